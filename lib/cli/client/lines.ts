/** Input as requests: one a line. */

// @ts-types="./delimiter_stream.d.ts"
import { DelimiterStream } from "@std/streams";

const LF = 10;
const CR = 13;

/**
 * Cuts a stream of bytes into lines. LF ends a line, a CR before it is
 * dropped; the last one may lack its LF. The lines end in front of one that is
 * longer than `max` bytes, no more of which is ever held; `failure` says so then.
 */
export function splitLines(
  input: ReadableStream<Uint8Array>,
  max: number,
) {
  let failure: string | undefined;
  const lines = input
    .pipeThrough(lengthGuard(max, (number) => {
      failure = `input line ${number} is longer than ${max} bytes, ` +
        "the maximum (--max-frame sets it)";
    }))
    // The endings stay on until here: what comes without any is the end of the
    // input, and no line if there is nothing in it.
    .pipeThrough(
      new DelimiterStream(new Uint8Array([LF]), { disposition: "suffix" }),
    )
    .pipeThrough(
      new TransformStream({
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

/** Passes bytes on, until a line gets longer than `max`. */
function lengthGuard(
  max: number,
  tooLong: (number: number) => void,
): TransformStream<Uint8Array, Uint8Array> {
  let number = 1;
  let length = 0;
  let endsInCr = false;
  return new TransformStream({
    transform(chunk, controller) {
      for (let from = 0; from < chunk.length;) {
        const lf = chunk.indexOf(LF, from);
        const end = lf === -1 ? chunk.length : lf;
        length += end - from;
        if (end > from) endsInCr = chunk[end - 1] === CR;
        // The CR of an ending does not count, nor does one that may be it.
        if (length - Number(endsInCr) > max) {
          controller.enqueue(chunk.subarray(0, from));
          tooLong(number);
          return controller.terminate();
        }
        if (lf !== -1) {
          number++;
          length = 0;
          endsInCr = false;
        }
        from = end + 1;
      }
      controller.enqueue(chunk);
    },
  });
}
