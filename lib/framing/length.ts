/**
 * Length prefix: u32 big-endian, then that many bytes. It is what Erlang calls
 * `{packet, 4}` and Netty a length field of (0, 4, 0, 4).
 */

import { EncodeError } from "../core/errors.ts";
import { type Codec, tooLarge } from "./codec.ts";

const HEADER = 4;
const MAX_U32 = 2 ** 32 - 1;

export class LengthCodec implements Codec {
  payloadStart = 0;
  payloadEnd = 0;
  readonly #max: number;
  /** The length of the frame under way; -1 until its header is whole. */
  #length = -1;

  constructor(maxFrame: number) {
    this.#max = maxFrame;
  }

  decode(bytes: Uint8Array, start: number, end: number): number {
    let length = this.#length;
    if (length === -1) {
      if (end - start < HEADER) return 0;
      length = ((bytes[start] << 24) | (bytes[start + 1] << 16) |
        (bytes[start + 2] << 8) | bytes[start + 3]) >>> 0;
      if (length > this.#max) throw tooLarge(length, this.#max);
    }
    const next = start + HEADER + length;
    if (next > end) {
      this.#length = length;
      return 0;
    }
    this.#length = -1;
    this.payloadStart = start + HEADER;
    this.payloadEnd = next;
    return next;
  }

  check(payload: Uint8Array): void {
    if (payload.length > MAX_U32) {
      throw new EncodeError(
        `Cannot send ${payload.length} bytes: a frame holds ${MAX_U32}`,
      );
    }
  }

  writeHeader(out: Uint8Array, at: number, length: number): number {
    out[at] = length >>> 24;
    out[at + 1] = length >>> 16;
    out[at + 2] = length >>> 8;
    out[at + 3] = length;
    return at + HEADER;
  }

  writeTrailer(_out: Uint8Array, at: number): number {
    return at;
  }
}
