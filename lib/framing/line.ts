/** Lines: the payload, then LF; a CR before the LF is dropped. */

import { EncodeError } from "../core/errors.ts";
import { Codec, tooLarge } from "./codec.ts";

const LF = 10;
const CR = 13;

// Four bytes at a time: a byte of `word ^ LFS` is zero where there is an LF, and
// then `(x - ONES) & ~x & HIGHS` is not. It takes a third of the time of a loop
// over bytes, and half of the engine's own `indexOf`.
const LFS = 0x0a0a0a0a;
const ONES = 0x01010101;
const HIGHS = 0x80808080;

/** A line up to here is searched byte by byte: it is over before words pay. */
const NEAR = 16;

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
  words?: Int32Array,
): number {
  const near = Math.min(end, from + NEAR);
  let i = from;
  for (; i < near; i++) {
    if (bytes[i] === LF) return i;
  }
  const { byteOffset } = bytes;
  // On to where a word begins.
  for (; i < end && ((byteOffset + i) & 3) !== 0; i++) {
    if (bytes[i] === LF) return i;
  }
  if (end - i >= 4) {
    words ??= wordsOf(bytes);
    const last = (byteOffset + end) >> 2;
    let at = (byteOffset + i) >> 2;
    for (; at < last; at++) {
      const x = words[at] ^ LFS;
      if (((x - ONES) & ~x & HIGHS) !== 0) break;
    }
    i = (at << 2) - byteOffset;
  }
  for (; i < end; i++) {
    if (bytes[i] === LF) return i;
  }
  return -1;
}
