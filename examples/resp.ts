// RESP2, the protocol of Redis, as a framing of your own: a frame is one
// complete value, such as an array of bulk strings. kv_resp.ts and
// chat_cluster.ts use it.
// https://redis.io/docs/latest/develop/reference/protocol-spec/

import { Codec, EncodeError, FrameError } from "@parley/parley";

/** A value as it is read. */
export type Value = string | number | null | Uint8Array | Error | Value[];

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const [LF, CR] = [10, 13];
const TYPES = encoder.encode("+-:$*");

class RespCodec extends Codec {
  override readonly startsUnlikeTls = true;
  /** How many values are still to come, from `#at` bytes after the start on. */
  #left = 1;
  #at = 0;
  /** Where the search for a line's end continues. */
  #seen = 0;

  decode(bytes: Uint8Array, start: number, end: number): number {
    // Bytes after the limit are not looked at, so that splits change nothing.
    const last = Math.min(end, start + this.maxFrame);
    while (this.#left > 0) {
      const line = start + this.#at;
      if (line < last && !TYPES.includes(bytes[line])) {
        throw new FrameError("malformed", "expected one of +, -, :, $ and *");
      }
      const from = Math.max(line, start + this.#seen);
      const lf = bytes.subarray(0, last).indexOf(LF, from);
      if (lf === -1) {
        this.#seen = last - start;
        return this.#more(last - start);
      }
      const more = extra(bytes, line, lf);
      const bulk = bytes[line] === 36 && more >= 0 ? more + 2 : 0;
      this.#left += (bytes[line] === 42 && more > 0 ? more : 0) - 1;
      this.#at = lf + 1 + bulk - start;
      if (this.#at > this.maxFrame) this.#more(this.#at);
    }
    const next = start + this.#at;
    if (next > end) return 0;
    [this.#left, this.#at, this.#seen] = [1, 0, 0];
    this.payloadStart = start;
    return this.payloadEnd = next;
  }

  override check(payload: Uint8Array): void {
    const codec = new RespCodec(payload.length);
    try {
      if (codec.decode(payload, 0, payload.length) === payload.length) return;
    } catch {
      // Broken bytes are refused below too.
    }
    throw new EncodeError("Cannot send bytes that are not one value of RESP");
  }

  override error(text: string): string {
    return `-${text}\r\n`;
  }

  #more(length: number): 0 {
    if (length < this.maxFrame) return 0;
    throw new FrameError("too_large", `maximum is ${this.maxFrame}`);
  }
}

/** The number in a line, if it counts what comes after the line. */
function extra(bytes: Uint8Array, line: number, lf: number): number {
  if (bytes[lf - 1] !== CR) throw new FrameError("malformed", "LF without CR");
  if (bytes[line] !== 36 && bytes[line] !== 42) return 0;
  const length = lengthAt(bytes, line, lf);
  if (length >= -1) return length;
  throw new FrameError("malformed", "expected a length of up to 9 digits");
}

/** The length in a line, which may be -1; `NaN` if there is none. */
function lengthAt(bytes: Uint8Array, line: number, lf: number): number {
  const digits = lf - line - 2;
  if (digits === 2 && bytes[line + 1] === 45 && bytes[line + 2] === 49) {
    return -1;
  }
  let length = digits > 0 && digits < 10 ? 0 : NaN;
  for (let i = line + 1; i < lf - 1; i++) {
    const digit = bytes[i] - 48;
    length = digit >= 0 && digit <= 9 ? 10 * length + digit : NaN;
  }
  return length;
}

/** The framing. */
export const resp = {
  name: "resp",
  codec: (maxFrame: number) => new RespCodec(maxFrame),
};

/** Writes a command, or another array of bulk strings. */
export function array(...items: (Uint8Array | string)[]): Uint8Array {
  return join(`*${items.length}\r\n`, ...items.map(bulk));
}

/** Writes a bulk string, or the null one. */
export function bulk(item: Uint8Array | string | undefined): Uint8Array {
  if (item === undefined) return encoder.encode("$-1\r\n");
  const bytes = typeof item === "string" ? encoder.encode(item) : item;
  return join(`$${bytes.length}\r\n`, bytes, "\r\n");
}

function join(...parts: (Uint8Array | string)[]): Uint8Array {
  const all = parts.map((p) => typeof p === "string" ? encoder.encode(p) : p);
  const joined = new Uint8Array(all.reduce((n, { length }) => n + length, 0));
  let at = 0;
  for (const part of all) joined.set(part, at), at += part.length;
  return joined;
}

/** Reads a frame. Bulk strings are views of it. */
export function parse(frame: Uint8Array): Value {
  let at = 0;
  const value = (): Value => {
    const type = frame[at];
    const lf = frame.indexOf(LF, at);
    const length = lengthAt(frame, at, lf);
    const text = frame.subarray(at + 1, lf - 1);
    at = lf + 1;
    if (type === 42) {
      return length < 0 ? null : Array.from({ length }, value);
    }
    if (type === 36) {
      if (length < 0) return null;
      at += length + 2;
      return frame.subarray(at - length - 2, at - 2);
    }
    const said = decoder.decode(text);
    return type === 58 ? Number(said) : type === 45 ? new Error(said) : said;
  };
  return value();
}
