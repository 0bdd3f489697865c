/**
 * Lines: the payload, then LF; a CR before the LF is dropped.
 *
 * @module
 */

import { EncodeError, FrameError } from "../errors.ts";
import type { Codec } from "./codec.ts";

const LF = 10;
const CR = 13;

// A loop finds a near LF faster than a call into the engine does; from about
// here on the engine's own search wins. It is beyond 64, so that lines of that
// payload, which benchmarks like, do not pay for both.
const NEAR = 96;

/** The `line` framing; see {@linkcode Codec}. */
export class LineCodec implements Codec {
  payloadStart = 0;
  payloadEnd = 0;
  readonly #max: number;
  /** Bytes from the frame's start that are known to hold no LF. */
  #scanned = 0;
  /** Whether the frame found last ended in CR LF. */
  #crlf = false;

  /** @param maxFrame The maximum payload in bytes. */
  constructor(maxFrame: number) {
    this.#max = maxFrame;
  }

  /** See {@linkcode Codec.decode}. */
  decode(bytes: Uint8Array, start: number, end: number): number {
    const lf = findLf(bytes, start + this.#scanned, end);
    if (lf === -1) {
      const length = end - start;
      this.#scanned = length;
      // One byte over may still be the CR of an ending that is under way.
      if (
        length > this.#max + 1 ||
        (length === this.#max + 1 && bytes[end - 1] !== CR)
      ) this.#refuse();
      return 0;
    }
    this.#crlf = lf > start && bytes[lf - 1] === CR;
    this.#scanned = 0;
    this.payloadStart = start;
    this.payloadEnd = this.#crlf ? lf - 1 : lf;
    if (this.payloadEnd - start > this.#max) this.#refuse();
    return lf + 1;
  }

  /** See {@linkcode Codec.check}. */
  check(payload: Uint8Array): void {
    if (findLf(payload, 0, payload.length) !== -1) {
      throw new EncodeError("Cannot send a line that contains LF");
    }
    if (!this.#crlf && payload.at(-1) === CR) {
      throw new EncodeError("Cannot send a line that ends in CR before LF");
    }
  }

  /** See {@linkcode Codec.writeHeader}; a line has none. */
  writeHeader(_out: Uint8Array, at: number, _length: number): number {
    return at;
  }

  /** See {@linkcode Codec.writeTrailer}. */
  writeTrailer(out: Uint8Array, at: number): number {
    if (this.#crlf) out[at++] = CR;
    out[at++] = LF;
    return at;
  }

  // The same words whether the whole line is here or not, so that the answer
  // does not depend on how the bytes were cut on their way.
  #refuse(): never {
    throw new FrameError(
      "too_large",
      `length is at least ${this.#max + 1}, maximum is ${this.#max}`,
    );
  }
}

function findLf(bytes: Uint8Array, from: number, end: number): number {
  const near = Math.min(end, from + NEAR);
  for (let i = from; i < near; i++) {
    if (bytes[i] === LF) return i;
  }
  if (near === end) return -1;
  // The view keeps the search from running on into old bytes behind `end`.
  const at = bytes.subarray(near, end).indexOf(LF);
  return at === -1 ? -1 : near + at;
}
