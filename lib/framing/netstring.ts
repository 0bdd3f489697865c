/**
 * Netstrings: `5:hello,`.
 *
 * The form is D. J. Bernstein's (https://cr.yp.to/proto/netstrings.txt): the
 * length in decimal with no leading zero, a colon, the payload, a comma.
 */

import { hex } from "../core/text.ts";
import { malformed } from "./codec.ts";
import { PrefixCodec } from "./length.ts";

const ZERO = 48;
const COLON = 58;
const COMMA = 44;

export class NetstringCodec extends PrefixCodec {
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
