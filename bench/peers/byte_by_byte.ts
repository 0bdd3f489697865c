/**
 * What a byte costs the codecs in a frame that arrives byte by byte:
 * `byte_by_byte.ts SIZE`. No network. Prints nanoseconds for each framing.
 *
 * The cost must not grow with the frame: what was looked at once is not looked
 * at again.
 *
 * @module
 */

import { framingOf } from "../../lib/framing/mod.ts";
import { decodeByByte, framesOf, measured } from "../codecs.ts";

const WARMUP_MS = 100;
const MEASURED_MS = 150;

/** Bytes that are decoded at a time, in frames of any size: the engine sees the same loops. */
const BATCH = 64 * 1024;

const size = Number(Deno.args[0]);
const payload = new Uint8Array(size).fill(0x61);

const works = measured.map((framing) => {
  const { codec } = framingOf(framing);
  const frame = framesOf(codec(size), payload, 1);
  return () => {
    for (let done = 0; done < BATCH; done += size) {
      if (decodeByByte(codec(size), frame) !== 1) throw new Error(framing);
    }
  };
});
// All of them before the first counts: what the engine has compiled for one
// codec it compiles anew when it meets the next.
for (let i = 0; i < 2; i++) {
  for (const work of works) nanosecondsOf(work, WARMUP_MS);
}
const figures = works.map((work, i) => [
  `by-byte-${measured[i]}`,
  nanosecondsOf(work, MEASURED_MS) / BATCH,
]);
console.log(JSON.stringify(Object.fromEntries(figures)));

/** What doing something takes on average, over that long. */
function nanosecondsOf(what: () => void, ms: number): number {
  const began = performance.now();
  let spent = 0;
  let times = 0;
  for (; spent < ms; times++) {
    what();
    spent = performance.now() - began;
  }
  return spent * 1e6 / times;
}
