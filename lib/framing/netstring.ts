/**
 * Netstrings: `5:hello,`.
 *
 * The form is D. J. Bernstein's (https://cr.yp.to/proto/netstrings.txt): the
 * length in decimal with no leading zero, a colon, the payload, a comma.
 */

import { EncodeError, FrameError } from "../core/errors.ts";
import { hex } from "../core/text.ts";
import { type Codec, tooLarge } from "./codec.ts";

const ZERO = 48;
const COLON = 58;
const COMMA = 44;

// Enough for 2^32 - 1, the most that the `length` framing carries.
const MAX_DIGITS = 10;
const MAX_LENGTH = 10 ** MAX_DIGITS - 1;

export class NetstringCodec implements Codec {
  payloadStart = 0;
  payloadEnd = 0;
  readonly #max: number;
  /** Digits seen so far of the header under way. */
  #digits = 0;
  /** Their value; the payload's length once `#colon` is set. */
  #length = 0;
  /** Whether the header is complete. */
  #colon = false;

  constructor(maxFrame: number) {
    this.#max = maxFrame;
  }

  decode(bytes: Uint8Array, start: number, end: number): number {
    if (!this.#colon && !this.#header(bytes, start, end)) return 0;
    const payloadStart = start + this.#digits + 1;
    const payloadEnd = payloadStart + this.#length;
    if (payloadEnd >= end) return 0;
    if (bytes[payloadEnd] !== COMMA) {
      const got = hex(bytes[payloadEnd]);
      malformed(`expected "," after ${this.#length} bytes, got ${got}`);
    }
    this.#digits = 0;
    this.#length = 0;
    this.#colon = false;
    this.payloadStart = payloadStart;
    this.payloadEnd = payloadEnd;
    return payloadEnd + 1;
  }

  /** Reads digits up to the colon; false when more bytes are needed. */
  #header(bytes: Uint8Array, start: number, end: number): boolean {
    for (let i = start + this.#digits; i < end; i++) {
      const byte = bytes[i];
      if (byte === COLON && this.#digits > 0) {
        if (this.#length > this.#max) throw tooLarge(this.#length, this.#max);
        this.#colon = true;
        return true;
      }
      const digit = byte - ZERO;
      if (digit < 0 || digit > 9) {
        const expected = this.#digits > 0 ? 'a digit or ":"' : "a digit";
        malformed(`expected ${expected}, got ${hex(byte)}`);
      }
      if (this.#digits > 0 && this.#length === 0) {
        malformed("length has a leading zero");
      }
      if (this.#digits === MAX_DIGITS) {
        malformed(`length has more than ${MAX_DIGITS} digits`);
      }
      this.#length = this.#length * 10 + digit;
      this.#digits++;
    }
    return false;
  }

  check(payload: Uint8Array): void {
    if (payload.length > MAX_LENGTH) {
      throw new EncodeError(
        `Cannot send ${payload.length} bytes: a frame holds ${MAX_LENGTH}`,
      );
    }
  }

  writeHeader(out: Uint8Array, at: number, length: number): number {
    const digits = String(length);
    for (let i = 0; i < digits.length; i++) out[at++] = digits.charCodeAt(i);
    out[at++] = COLON;
    return at;
  }

  writeTrailer(out: Uint8Array, at: number): number {
    out[at] = COMMA;
    return at + 1;
  }
}

function malformed(text: string): never {
  throw new FrameError("malformed", text);
}
