/** Frames that end in a delimiter. */

import { EncodeError, OptionError } from "../core/errors.ts";
import { hex } from "../core/text.ts";
import { Codec, frameOf, type Framing, tooLarge } from "./codec.ts";

/**
 * Frames that end in a delimiter of 1 to 32 bytes; text is UTF-8. A payload
 * cannot hold it, nor make it begin early: `xa` cannot stand before `aa`.
 *
 * @throws {OptionError} It is empty, or longer.
 *
 * @example
 * ```ts
 * import { delimiter } from "../mod.ts";
 * import { testCodec } from "./test_codec.ts";
 *
 * testCodec(delimiter("\0"));
 * ```
 */
export function delimiter(bytes: Uint8Array | string): Framing {
  const own = typeof bytes === "string"
    ? new TextEncoder().encode(bytes)
    : bytes.slice();
  const { length } = own;
  if (length < 1 || length > 32) {
    throw new OptionError("delimiter", bytes, "1 to 32 bytes");
  }

  class DelimiterCodec extends Codec {
    override readonly overhead = length;
    /** Bytes from the frame's start in which it does not begin. */
    #scanned = 0;

    decode(bytes: Uint8Array, start: number, end: number): number {
      const from = start + this.#scanned;
      const at = find(bytes.subarray(from, end), own);
      // Where it is not found, it may have begun with the last bytes.
      const payloadEnd = at < 0 ? Math.max(start, end - length + 1) : from + at;
      if (payloadEnd - start > this.maxFrame) tooLarge(this.maxFrame);
      this.#scanned = at < 0 ? payloadEnd - start : 0;
      this.payloadStart = start;
      this.payloadEnd = payloadEnd;
      return at < 0 ? 0 : payloadEnd + length;
    }

    override check(payload: Uint8Array): void {
      if (find(frameOf(this, payload), own) === payload.length) return;
      throw new EncodeError("Cannot send what has the delimiter in it");
    }

    override writeTrailer(out: Uint8Array, at: number): number {
      out.set(own, at);
      return at + length;
    }
  }
  const digits = Array.from(own, (byte) => `\\${hex(byte).slice(1)}`);
  const name = `delimiter:${digits.join("")}`;
  return { name, codec: (maxFrame) => new DelimiterCodec(maxFrame) };
}

/** Where some bytes are in others, or -1. */
function find(bytes: Uint8Array, wanted: Uint8Array): number {
  for (let at = -1; (at = bytes.indexOf(wanted[0], at + 1)) >= 0;) {
    if (wanted.every((byte, i) => bytes[at + i] === byte)) return at;
  }
  return -1;
}
