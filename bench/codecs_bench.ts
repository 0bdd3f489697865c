/**
 * What each codec costs by itself: `deno bench bench/codecs_bench.ts`.
 *
 * @module
 */

import { framingOf } from "../lib/framing/mod.ts";
import {
  decodeAll,
  decodeByByte,
  encode,
  framesOf,
  measured,
} from "./codecs.ts";

const MAX_FRAME = 64 * 1024;
const FRAMES = 1000;

const small = new Uint8Array(64).fill(0x61);
const large = new Uint8Array(MAX_FRAME).fill(0x61);

for (const framing of measured) {
  const { codec } = framingOf(framing);

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

  const out = new Uint8Array(MAX_FRAME + codec(MAX_FRAME).overhead);
  for (const [size, payload] of [["64 B", small], ["64 KiB", large]] as const) {
    const encoder = codec(MAX_FRAME);
    Deno.bench(`${framing}: check and encode ${size}`, {
      group: `encode ${size}`,
    }, () => {
      encode(encoder, payload, out, 0);
    });
  }
}
