/** Frames whose length is fixed, or what they begin with. */

import { checkOptions } from "../core/checks.ts";
import { EncodeError, OptionError } from "../core/errors.ts";
import { hex } from "../core/text.ts";
import { Codec, type Framing, malformed, tooLarge } from "./codec.ts";

export abstract class PrefixCodec extends Codec {
  /** The most that a payload has, and how many bytes stand behind it. */
  readonly most: number = 2 ** 32 - 1;
  readonly tail: number = 0;
  /** The length that was read last. */
  length = 0;
  /** The size of the header, of the frame under way; 0 until it is whole. */
  #header = 0;

  /** Sets `length`, and gives the header's size; or 0 while it is not whole. */
  abstract readHeader(bytes: Uint8Array, start: number, end: number): number;

  decode(bytes: Uint8Array, start: number, end: number): number {
    const header = this.#header || this.readHeader(bytes, start, end);
    if (header === 0) return 0;
    const { length, maxFrame } = this;
    if (length > maxFrame) tooLarge(maxFrame, length);
    const payloadEnd = start + header + length;
    const next = payloadEnd + this.tail;
    this.#header = next > end ? header : 0;
    if (next > end) return 0;
    this.payloadStart = start + header;
    this.payloadEnd = payloadEnd;
    return next;
  }

  override check({ length }: Uint8Array): void {
    const { most } = this;
    if (length <= most) return;
    throw new EncodeError(`Cannot send ${length} bytes: a frame holds ${most}`);
  }
}

/** The form of a length. */
export interface LengthOptions {
  /** How many bytes it has; by default 4. */
  bytes?: 1 | 2 | 4 | 8;
  /** Whether its most significant byte comes first (the default), or last. */
  endian?: "big" | "little";
  /** Whether it counts its own bytes, too. */
  includesItself?: boolean;
}

/**
 * Frames that begin with their length. By default it is what Erlang calls
 * `{packet, 4}` and Netty a length field of (0, 4, 0, 4).
 *
 * @throws {OptionError} A length cannot have this form.
 *
 * @example
 * ```ts
 * import { length } from "../mod.ts";
 * import { testCodec } from "./test_codec.ts";
 *
 * testCodec(length({ bytes: 2, endian: "little", includesItself: true }));
 * ```
 */
export function length(options: LengthOptions = {}): Framing {
  checkOptions(options, { bytes: 0, endian: 0, includesItself: "boolean" });
  const { bytes: size = 4, endian = "big", includesItself } = options;
  const big = endian === "big";
  const form = (big ? "" : `:${endian}`) + (includesItself ? ":itself" : "");
  const name = size === 4 && form === "" ? "length" : `length:${size}${form}`;
  if (![1, 2, 4, 8].includes(size) || !big && endian !== "little") {
    throw new OptionError("framing", name, "1, 2, 4 or 8 bytes, big or little");
  }
  const own = includesItself ? size : 0;

  class LengthCodec extends PrefixCodec {
    override readonly overhead = size;
    override readonly most = 2 ** Math.min(8 * size, 32) - 1 - own;
    // As a length, TLS begins with 0x15030000 or more.
    override readonly startsUnlikeTls = big && size > 2 &&
      this.maxFrame + own < 0x15030000;

    readHeader(bytes: Uint8Array, start: number, end: number): number {
      if (end - start < size) return 0;
      let length = 0;
      if (big && size === 4) {
        // In less than half the time of the loop, for the form that most have.
        length = ((bytes[start] << 24) | (bytes[start + 1] << 16) |
          (bytes[start + 2] << 8) | bytes[start + 3]) >>> 0;
      } else {
        for (let i = 0; i < size; i++) {
          length = length * 256 + bytes[big ? start + i : start + size - 1 - i];
        }
      }
      if (length < own) malformed(`length is ${length}, of itself ${own}`);
      // Larger numbers are not exact.
      if (length > 2 ** 53) tooLarge(this.maxFrame, `over ${2 ** 53}`);
      this.length = length - own;
      return size;
    }

    override writeHeader(out: Uint8Array, at: number, payload: Uint8Array) {
      let rest = payload.length + own;
      for (let i = 0; i < size; i++, rest >>>= 8) {
        out[big ? at + size - 1 - i : at + i] = rest;
      }
      return at + size;
    }
  }
  return { name, codec: (maxFrame) => new LengthCodec(maxFrame) };
}

class Varint extends PrefixCodec {
  override readonly overhead = 5;

  readHeader(bytes: Uint8Array, start: number, end: number): number {
    this.length = 0;
    for (let i = 0; start + i < end; i++) {
      const byte = bytes[start + i];
      if (i === 4 && byte > 0x0f) malformed("length has more than 32 bits");
      this.length += (byte & 0x7f) * 2 ** (7 * i);
      if (byte < 0x80) return i + 1;
    }
    return 0;
  }

  override writeHeader(out: Uint8Array, at: number, payload: Uint8Array) {
    let { length } = payload;
    for (; length > 0x7f; length >>>= 7) out[at++] = length | 0x80;
    out[at++] = length;
    return at;
  }
}

/**
 * Frames that begin with their length as an unsigned LEB128 of 32 bits, five
 * bytes at most, as delimited messages of Protocol Buffers do.
 */
export const varint: Framing = {
  name: "varint",
  codec: (max) => new Varint(max),
};

const ZERO = 48;
const COLON = 58;
const COMMA = 44;

class Netstring extends PrefixCodec {
  // Ten digits, a colon and a comma.
  override readonly overhead = 12;
  override readonly startsUnlikeTls = true;
  override readonly tail = 1;

  override decode(bytes: Uint8Array, start: number, end: number): number {
    const next = super.decode(bytes, start, end);
    if (next !== 0 && bytes[next - 1] !== COMMA) {
      const got = hex(bytes[next - 1]);
      malformed(`expected "," after ${this.length} bytes, got ${got}`);
    }
    return next;
  }

  readHeader(bytes: Uint8Array, start: number, end: number): number {
    let length = 0;
    for (let i = 0; start + i < end; i++) {
      const byte = bytes[start + i];
      if (byte === COLON && i > 0) {
        this.length = length;
        return i + 1;
      }
      const digit = byte - ZERO;
      if (digit < 0 || digit > 9) {
        const expected = i > 0 ? 'a digit or ":"' : "a digit";
        malformed(`expected ${expected}, got ${hex(byte)}`);
      }
      if (i > 0 && length === 0) malformed("length has a leading zero");
      // Enough for 2^32 - 1, the most that a payload has.
      if (i === 10) malformed("length has more than 10 digits");
      length = length * 10 + digit;
    }
    return 0;
  }

  override writeHeader(out: Uint8Array, at: number, payload: Uint8Array) {
    const digits = String(payload.length);
    for (let i = 0; i < digits.length; i++) out[at++] = digits.charCodeAt(i);
    out[at++] = COLON;
    return at;
  }

  override writeTrailer(out: Uint8Array, at: number): number {
    out[at] = COMMA;
    return at + 1;
  }
}

/**
 * Netstrings, such as `5:hello,`. The form is D. J. Bernstein's
 * (https://cr.yp.to/proto/netstrings.txt): the length in decimal with no leading
 * zero, a colon, the payload, a comma.
 */
export const netstring: Framing = {
  name: "netstring",
  codec: (max) => new Netstring(max),
};

/**
 * Frames of so many bytes each, at most `maxFrame` and `maxReply`. The server
 * has nothing to say an error with: it closes the connection.
 *
 * @throws {OptionError} It is no whole number from 1 to 2^30.
 *
 * @example
 * ```ts
 * import { fixed } from "../mod.ts";
 * import { testCodec } from "./test_codec.ts";
 *
 * testCodec(fixed(16), () => new Uint8Array(16));
 * ```
 */
export function fixed(bytes: number): Framing {
  const name = `fixed:${bytes}`;
  if (!Number.isInteger(bytes) || bytes < 1 || bytes > 2 ** 30) {
    throw new OptionError("framing", name, "a whole number from 1 to 2^30");
  }

  class FixedCodec extends Codec {
    decode(_bytes: Uint8Array, start: number, end: number): number {
      if (start + bytes > end) return 0;
      this.payloadStart = start;
      return this.payloadEnd = start + bytes;
    }

    override check({ length }: Uint8Array): void {
      if (length === bytes) return;
      throw new EncodeError(`Cannot send ${length} bytes: expected ${bytes}`);
    }

    override error(): undefined {}
  }
  return {
    name,
    codec(maxFrame) {
      if (bytes <= maxFrame) return new FixedCodec(maxFrame);
      const expected = `frames of at most ${maxFrame} bytes, the maximum`;
      throw new OptionError("framing", name, expected);
    },
  };
}
