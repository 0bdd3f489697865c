/** Input as requests: one a line, or all of it. */

// @ts-types="../std.d.ts"
import {
  DelimiterStream,
  LimitedBytesTransformStream,
  toBytes,
} from "@std/streams";

const LF = 10;
const CR = 13;

/**
 * Cuts bytes into lines. LF ends a line, a CR before it is dropped; the last one
 * may lack its LF. They end in front of one that is longer than `max` bytes, no
 * more of which is ever held; `failure` says so then.
 */
export function splitLines(input: AsyncIterable<Uint8Array>, max: number) {
  let failure: string | undefined;
  /** Passes bytes on, until a line gets longer than `max`. */
  async function* guarded() {
    let number = 1;
    let length = 0;
    let endsInCr = false;
    for await (const chunk of input) {
      for (let from = 0; from < chunk.length;) {
        const lf = chunk.indexOf(LF, from);
        const end = lf === -1 ? chunk.length : lf;
        length += end - from;
        if (end > from) endsInCr = chunk[end - 1] === CR;
        // The CR of an ending does not count, nor does one that may be it.
        if (length - Number(endsInCr) > max) {
          failure = `input line ${number} is longer than ${max} bytes, ` +
            "the maximum (--max-frame sets it)";
          yield chunk.subarray(0, from);
          return;
        }
        if (lf !== -1) {
          number++;
          length = 0;
          endsInCr = false;
        }
        from = end + 1;
      }
      yield chunk;
    }
  }
  // The endings stay on until here: what comes without any is the end of the
  // input, and no line if there is nothing in it.
  const ended = ReadableStream.from(guarded()).pipeThrough(
    new DelimiterStream(new Uint8Array([LF]), { disposition: "suffix" }),
  );
  const lines = ended.pipeThrough(
    new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
      transform(line, controller) {
        let end = line.length;
        const whole = line[end - 1] === LF;
        // What is there of a line that is too long is no line.
        if (end === 0 || (!whole && failure !== undefined)) return;
        if (whole && line[--end - 1] === CR) end--;
        controller.enqueue(line.subarray(0, end));
      },
    }),
  );
  return { lines, failure: () => failure };
}

/** Reads all of the input as one request, behind a text and a space. */
export async function readWhole(
  input: AsyncIterable<Uint8Array>,
  max: number,
  before?: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const limited = ReadableStream.from(input)
    .pipeThrough(new LimitedBytesTransformStream(max, { error: true }));
  try {
    const bytes = await toBytes(limited);
    return before === undefined
      ? bytes
      : await new Blob([before, " ", bytes]).bytes();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const most = `${max} bytes, the maximum (--max-frame sets it)`;
    throw new Error(`standard input is longer than ${most}`);
  }
}
