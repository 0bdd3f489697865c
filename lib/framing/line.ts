/** Lines: the payload, then LF; a CR before the LF is dropped. */

import { EncodeError } from "../core/errors.ts";
import { Codec, tooLarge } from "./codec.ts";

const LF = 10;
const CR = 13;

// Four bytes at a time: a byte of `word ^ LFS` is zero where there is an LF, and
// the lowest bit of `(x - ONES) & ~x & HIGHS` is in the first of them. It takes
// a third of the time of a loop over bytes, or of the engine's own `indexOf`.
const LFS = 0x0a0a0a0a;
const ONES = 0x01010101;
const HIGHS = 0x80808080;

/** A payload shorter than this is searched byte by byte: words do not pay. */
const SHORT = 32;

/** A buffer larger than this may be lent, and is not held on to. */
const OWN = 1536;

const NO_BYTES = new Uint8Array();
const NO_WORDS = new Int32Array();

export class LineCodec extends Codec {
  override readonly overhead = 2;
  override readonly startsUnlikeTls = true;
  /** Bytes from the frame's start that are known to hold no LF. */
  #scanned = 0;
  /**
   * Whether the frame found last ended in CR LF. One that is refused was not
   * found: whether its end is here yet goes by how the bytes were cut.
   */
  #crlf = false;
  /** The buffer looked at last, and its memory as words. */
  #bytes: Uint8Array = NO_BYTES;
  #words: Int32Array = NO_WORDS;

  decode(bytes: Uint8Array, start: number, end: number): number {
    if (bytes !== this.#bytes) {
      this.#bytes = bytes;
      this.#words = wordsOf(bytes);
    }
    const lf = findLf(bytes, start + this.#scanned, end, this.#words);
    if (lf === -1) return this.#awaitRest(bytes, start, end);
    if (lf + 1 === end && bytes.length > OWN) this.#forget();
    const crlf = lf > start && bytes[lf - 1] === CR;
    const payloadEnd = crlf ? lf - 1 : lf;
    if (payloadEnd - start > this.maxFrame) tooLarge(this.maxFrame);
    this.#crlf = crlf;
    this.#scanned = 0;
    this.payloadStart = start;
    this.payloadEnd = payloadEnd;
    return lf + 1;
  }

  /** The line's end is not here yet. */
  #awaitRest(bytes: Uint8Array, start: number, end: number): 0 {
    if (bytes.length > OWN) this.#forget();
    this.#scanned = end - start;
    const over = this.#scanned - this.maxFrame;
    // One byte over may still be the CR of an ending that is under way.
    if (over > 1 || over === 1 && bytes[end - 1] !== CR) {
      tooLarge(this.maxFrame);
    }
    return 0;
  }

  #forget(): void {
    this.#bytes = NO_BYTES;
    this.#words = NO_WORDS;
  }

  override check(payload: Uint8Array): void {
    if (findLf(payload, 0, payload.length) !== -1) {
      throw new EncodeError("Cannot send a line that contains LF");
    }
    if (!this.#crlf && payload.at(-1) === CR) {
      throw new EncodeError("Cannot send a line that ends in CR before LF");
    }
  }

  override writeTrailer(out: Uint8Array, at: number): number {
    if (this.#crlf) out[at++] = CR;
    out[at++] = LF;
    return at;
  }
}

/** The memory that a buffer is a part of, as words; all but an odd end. */
function wordsOf({ buffer }: Uint8Array): Int32Array {
  return new Int32Array(buffer, 0, buffer.byteLength >> 2);
}

function findLf(
  bytes: Uint8Array,
  from: number,
  end: number,
  words: Int32Array = end < SHORT ? NO_WORDS : wordsOf(bytes),
): number {
  const { byteOffset } = bytes;
  const stop = (byteOffset + end + 3) >> 2;
  let at = (byteOffset + from) >> 2;
  if (from < end && stop <= words.length) {
    // What is before the first byte, in the same word, is not looked at.
    let x = (words[at] ^ LFS) | ~(-1 << (((byteOffset + from) & 3) << 3));
    let found = (x - ONES) & ~x & HIGHS;
    while (found === 0 && ++at < stop) {
      x = words[at] ^ LFS;
      found = (x - ONES) & ~x & HIGHS;
    }
    const byte = (31 - Math.clz32(found & -found)) >> 3;
    const lf = (at << 2) + byte - byteOffset;
    return found !== 0 && lf < end ? lf : -1;
  }
  for (let i = from; i < end; i++) if (bytes[i] === LF) return i;
  return -1;
}
