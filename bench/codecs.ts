/**
 * What is done with the codecs when they are measured by themselves, in
 * `codecs_bench.ts` and in `peers/byte_by_byte.ts`.
 *
 * @module
 */

import type { Codec, FramingName } from "../lib/framing/mod.ts";

/** The framings that are measured. */
export const measured: readonly FramingName[] = ["line", "length", "netstring"];

/**
 * Makes frames.
 *
 * @param codec What frames them.
 * @param payload The payload of each.
 * @param count How many.
 * @returns Their bytes, one behind the other.
 */
export function framesOf(
  codec: Codec,
  payload: Uint8Array,
  count: number,
): Uint8Array {
  const out = new Uint8Array(count * (payload.length + codec.overhead));
  let end = 0;
  for (let i = 0; i < count; i++) end = encode(codec, payload, out, end);
  return out.subarray(0, end);
}

/**
 * Checks a payload and frames it.
 *
 * @param codec What frames it.
 * @param payload The payload.
 * @param out Where it goes.
 * @param at Where in there.
 * @returns Where the frame ends.
 */
export function encode(
  codec: Codec,
  payload: Uint8Array,
  out: Uint8Array,
  at: number,
): number {
  codec.check(payload);
  const start = codec.writeHeader(out, at, payload);
  out.set(payload, start);
  return codec.writeTrailer(out, start + payload.length, payload);
}

/**
 * Finds frames that have all arrived.
 *
 * @param codec What finds them.
 * @param bytes Frames, one behind the other.
 * @returns How many there are.
 */
export function decodeAll(codec: Codec, bytes: Uint8Array): number {
  let count = 0;
  for (let start = 0; start < bytes.length; count++) {
    const next = codec.decode(bytes, start, bytes.length);
    if (next === 0) break;
    start = next;
  }
  return count;
}

/**
 * Looks for one frame anew after each of its bytes.
 *
 * @param codec What looks for it.
 * @param bytes The frame.
 * @returns How often it was found: once.
 */
export function decodeByByte(codec: Codec, bytes: Uint8Array): number {
  let count = 0;
  for (let end = 1; end <= bytes.length; end++) {
    if (codec.decode(bytes, 0, end) !== 0) count++;
  }
  return count;
}
