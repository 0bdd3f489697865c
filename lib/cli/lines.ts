/**
 * Input as requests: one a line.
 *
 * @module
 */

// @ts-types="../std_types/streams.d.ts"
import { DelimiterStream } from "@std/streams";

const LF = 10;
const CR = 13;

/** A line of input is longer than a request may be. */
export class LineTooLongError extends Error {
  override name = "LineTooLongError";
}

/**
 * Cuts a stream of bytes into lines. LF ends a line, a CR before it is
 * dropped; the last one may lack its LF.
 *
 * @param input The bytes.
 * @param max The longest line in bytes. A longer one fails the stream while it
 * is read, so that no more than it is ever held.
 * @returns The lines, without their endings.
 */
export function lines(
  input: ReadableStream<Uint8Array>,
  max: number,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  return input
    .pipeThrough(lengthGuard(max))
    // The endings stay on until here: what comes without any is the end of the
    // input, and no line if there is nothing in it.
    .pipeThrough(
      new DelimiterStream(new Uint8Array([LF]), { disposition: "suffix" }),
    )
    .pipeThrough(
      new TransformStream({
        transform(line, controller) {
          let end = line.length;
          if (end === 0) return;
          if (line[end - 1] === LF) {
            end--;
            if (line[end - 1] === CR) end--;
          }
          controller.enqueue(line.subarray(0, end));
        },
      }),
    );
}

/** Passes bytes on, until a line gets longer than `max`. */
function lengthGuard(
  max: number,
): TransformStream<Uint8Array, Uint8Array> {
  let number = 1;
  let length = 0;
  return new TransformStream({
    transform(chunk, controller) {
      let from = 0;
      let lf;
      while ((lf = chunk.indexOf(LF, from)) !== -1) {
        check(length + lf - from);
        number++;
        length = 0;
        from = lf + 1;
      }
      length += chunk.length - from;
      check(length);
      controller.enqueue(chunk);
    },
  });

  function check(length: number) {
    // One more may be the CR of the ending.
    if (length <= max + 1) return;
    throw new LineTooLongError(
      `input line ${number} is longer than ${max} bytes, the maximum ` +
        "(--max-frame sets it)",
    );
  }
}
