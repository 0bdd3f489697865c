/** Input as requests: one for each line, or all of it as one. */

import { Buffer } from "node:buffer";

// @ts-types="../std.d.ts"
import { LimitedBytesTransformStream, toBytes } from "@std/streams";

const LF = 10;
const CR = 13;

/**
 * Cuts bytes into lines. LF ends a line, and a CR before it is dropped; the last
 * line may lack its LF. At a line of more than `max` bytes they end, and
 * `failure` says so; no more of it is held in memory.
 */
export function splitLines(input: AsyncIterable<Uint8Array>, max: number) {
  let failure: string | undefined;
  async function* lines() {
    let number = 1;
    // Of the line whose LF has not come yet.
    let pieces: Uint8Array[] = [];
    let length = 0;
    for await (const chunk of input) {
      for (let from = 0; from < chunk.length;) {
        const lf = chunk.indexOf(LF, from);
        const end = lf === -1 ? chunk.length : lf;
        if (end > from) pieces.push(chunk.subarray(from, end));
        length += end - from;
        // A CR at the end does not count: an LF may come after it.
        const bare = length - Number(pieces.at(-1)?.at(-1) === CR);
        if (bare > max) {
          failure = `input line ${number} is longer than ${max} bytes, ` +
            "the maximum (--max-frame sets it)";
          return;
        }
        if (lf !== -1) {
          yield Buffer.concat(pieces, bare);
          [number, pieces, length] = [number + 1, [], 0];
        }
        from = end + 1;
      }
    }
    if (length > 0) yield Buffer.concat(pieces);
  }
  return { lines: ReadableStream.from(lines()), failure: () => failure };
}

/** Reads all of the input as one request, after a text and a space. */
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
