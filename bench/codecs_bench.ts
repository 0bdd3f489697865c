/**
 * What each codec costs by itself: `deno bench bench/codecs_bench.ts`.
 *
 * @module
 */

import {
  type Codec,
  framingNames,
  framings,
  MAX_OVERHEAD,
} from "../lib/framing/mod.ts";

const MAX_FRAME = 64 * 1024;
const FRAMES = 1000;

const small = new Uint8Array(64).fill(0x61);
const large = new Uint8Array(MAX_FRAME).fill(0x61);

for (const framing of framingNames) {
  const { codec } = framings[framing];

  const pipelined = framesOf(codec(MAX_FRAME), small, FRAMES);
  Deno.bench(`${framing}: decode ${FRAMES} frames of 64 B`, {
    group: "decode 64 B, pipelined",
  }, () => {
    if (decodeAll(codec(MAX_FRAME), pipelined) !== FRAMES) throw new Error();
  });

  const one = framesOf(codec(MAX_FRAME), large, 1);
  Deno.bench(`${framing}: decode one frame of 64 KiB`, {
    group: "decode 64 KiB",
  }, () => {
    if (decodeAll(codec(MAX_FRAME), one) !== 1) throw new Error();
  });

  // Per byte this must cost no more than for a short frame: what was looked at
  // once is not looked at again.
  const short = framesOf(codec(MAX_FRAME), large.subarray(0, 4096), 1);
  for (const [size, bytes] of [["4 KiB", short], ["64 KiB", one]] as const) {
    Deno.bench(`${framing}: decode ${size} byte by byte`, {
      group: "decode byte by byte",
    }, () => {
      if (decodeByByte(codec(MAX_FRAME), bytes) !== 1) throw new Error();
    });
  }

  const out = new Uint8Array(MAX_FRAME + MAX_OVERHEAD);
  for (const [size, payload] of [["64 B", small], ["64 KiB", large]] as const) {
    const encoder = codec(MAX_FRAME);
    Deno.bench(`${framing}: check and encode ${size}`, {
      group: `encode ${size}`,
    }, () => {
      encode(encoder, payload, out, 0);
    });
  }
}

function framesOf(
  codec: Codec,
  payload: Uint8Array,
  count: number,
): Uint8Array {
  const out = new Uint8Array(count * (payload.length + MAX_OVERHEAD));
  let end = 0;
  for (let i = 0; i < count; i++) end = encode(codec, payload, out, end);
  return out.subarray(0, end);
}

function encode(
  codec: Codec,
  payload: Uint8Array,
  out: Uint8Array,
  at: number,
): number {
  codec.check(payload);
  const start = codec.writeHeader(out, at, payload.length);
  out.set(payload, start);
  return codec.writeTrailer(out, start + payload.length);
}

function decodeAll(codec: Codec, bytes: Uint8Array): number {
  let count = 0;
  for (let start = 0; start < bytes.length; count++) {
    const next = codec.decode(bytes, start, bytes.length);
    if (next === 0) break;
    start = next;
  }
  return count;
}

function decodeByByte(codec: Codec, bytes: Uint8Array): number {
  let count = 0;
  for (let end = 1; end <= bytes.length; end++) {
    if (codec.decode(bytes, 0, end) !== 0) count++;
  }
  return count;
}
