/**
 * Framings of others, as a user of the library would write them.
 *
 * @module
 */

import { Codec, EncodeError, FrameError, type Framing } from "../../lib/mod.ts";

/** CRC-32 as Ethernet and zlib have it. */
export function crc32(bytes: Uint8Array): number {
  let crc = -1;
  for (const byte of bytes) {
    crc ^= byte;
    for (let i = 0; i < 8; i++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

/** A u32 length, the payload, and its CRC-32. */
class CrcCodec extends Codec {
  override readonly overhead = 8;

  decode(bytes: Uint8Array, start: number, end: number): number {
    if (end < start + 4) return 0;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const length = view.getUint32(start);
    if (length > this.maxFrame) {
      throw new FrameError("too_large", `${length} is over ${this.maxFrame}`);
    }
    const next = start + length + 8;
    if (next > end) return 0;
    this.payloadStart = start + 4;
    this.payloadEnd = next - 4;
    const crc = crc32(bytes.subarray(this.payloadStart, this.payloadEnd));
    if (view.getUint32(next - 4) !== crc) {
      throw new FrameError("malformed", "wrong CRC-32");
    }
    return next;
  }

  override writeHeader(out: Uint8Array, at: number, payload: Uint8Array) {
    new DataView(out.buffer, out.byteOffset).setUint32(at, payload.length);
    return at + 4;
  }

  override writeTrailer(out: Uint8Array, at: number, payload: Uint8Array) {
    new DataView(out.buffer, out.byteOffset).setUint32(at, crc32(payload));
    return at + 4;
  }
}

/** Length-prefixed frames with a checksum behind. */
export const crcFraming: Framing = {
  name: "crc",
  codec: (maxFrame) => new CrcCodec(maxFrame),
};

const CR = 13;

/** Values of RESP, Redis' protocol, each a frame and its own payload. */
class RespCodec extends Codec {
  decode(bytes: Uint8Array, start: number, end: number): number {
    const most = Math.min(end, start + this.maxFrame);
    const next = this.#value(bytes, start, most);
    if (next === 0 && most < start + this.maxFrame) return 0;
    if (next === 0) {
      throw new FrameError("too_large", `it has over ${this.maxFrame} bytes`);
    }
    this.payloadStart = start;
    return this.payloadEnd = next;
  }

  override check(payload: Uint8Array): void {
    if (this.#value(payload, 0, payload.length) === payload.length) return;
    throw new EncodeError("Cannot send what is no value of RESP");
  }

  override error(text: string): string {
    return `-${text}\r\n`;
  }

  /** Where a value ends, or 0 as long as it does not. */
  #value(bytes: Uint8Array, start: number, end: number): number {
    if (start >= end) return 0;
    const kind = String.fromCharCode(bytes[start]);
    if (!"+-:$*".includes(kind)) {
      throw new FrameError("malformed", "expected one of +-:$*");
    }
    const lineEnd = bytes.subarray(start, end).indexOf(CR) + start;
    if (lineEnd < start || lineEnd + 2 > end) return 0;
    let next = lineEnd + 2;
    if (kind !== "$" && kind !== "*") return next;
    const digits = new TextDecoder().decode(bytes.subarray(start + 1, lineEnd));
    if (!/^\d{1,9}$/.test(digits)) {
      throw new FrameError("malformed", "expected a length");
    }
    if (kind === "$") {
      next += Number(digits) + 2;
      return next > end ? 0 : next;
    }
    for (let i = 0; i < Number(digits); i++) {
      next = this.#value(bytes, next, end);
      if (next === 0) return 0;
    }
    return next;
  }
}

/** Redis' protocol, with its own way to tell of errors. */
export const respFraming: Framing = {
  name: "resp",
  codec: (maxFrame) => new RespCodec(maxFrame),
};

/** A command of RESP, as Redis' clients send them. */
export function respCommand(...words: string[]): string {
  const strings = words.map((word) => `$${word.length}\r\n${word}\r\n`);
  return `*${words.length}\r\n${strings.join("")}`;
}
