/**
 * What a byte costs the codecs in a frame that arrives byte by byte:
 * `byte_by_byte.ts SIZE`. No network. Prints nanoseconds for each framing.
 *
 * The cost must not grow with the frame: what was looked at once is not looked
 * at again.
 *
 * @module
 */

import { framingNames, framings } from "../../lib/framing/mod.ts";
import { decodeByByte, framesOf } from "../codecs.ts";

/** Less, and what the engine has not compiled yet shows in the long frames. */
const WARMUP_MS = 300;
const MEASURED_MS = 150;

const size = Number(Deno.args[0]);
const payload = new Uint8Array(size).fill(0x61);

const figures = framingNames.map((framing) => {
  const { codec } = framings[framing];
  const frame = framesOf(codec(size), payload, 1);
  const decode = () => {
    if (decodeByByte(codec(size), frame) !== 1) throw new Error(framing);
  };
  nanosecondsOf(decode, WARMUP_MS);
  const each = nanosecondsOf(decode, MEASURED_MS) / frame.length;
  return [`by-byte-${framing}`, each];
});
console.log(JSON.stringify(Object.fromEntries(figures)));

/** Does something again and again, for that long. */
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
