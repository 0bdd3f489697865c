// deno-lint-ignore-file no-import-prefix -- what deno.json imports is fetched
// for every program, and only tests need this.

/**
 * `deno task fuzz [runs]`: byte sequences against the codecs, made by
 * fast-check, which shrinks what breaks one and prints the seed to repeat it.
 *
 * Whatever comes in, a codec finds the frames and the faults that the model of
 * `deno task fuzz:wire` does, in one piece, in several, and byte by byte.
 *
 * @module
 */

import { assert, assertEquals } from "../support/std.ts";
import fc from "npm:fast-check@4.3.0";

import { FrameError } from "../../lib/core/errors.ts";
import { frameAt } from "../support/wire_model.ts";
import { type FramingName, framingOf } from "../../lib/framing/mod.ts";

const MAX_FRAME = 24;

/** Bytes that a codec's rules are about, more often than chance has them. */
const special: Readonly<Partial<Record<FramingName, number[]>>> = {
  line: [10, 13],
  length: [0, 1, 2, 24, 25, 255],
  netstring: [..."0123456789:,"].map((c) => c.charCodeAt(0)),
  varint: [0, 1, 24, 25, 127, 128, 129, 255],
  "length:2:little:itself": [0, 1, 2, 3, 26, 27],
  "length:8": [0, 0, 0, 1, 24, 25, 255],
  "fixed:3": [0],
  "delimiter:aab": [97, 98],
};

/** What a codec makes of the bytes, in pieces of the given size. */
function verdict(name: FramingName, sent: Uint8Array, step: number): string {
  const codec = framingOf(name).codec(MAX_FRAME);
  let start = 0;
  let said = "";
  try {
    for (let from = 0; from < sent.length; from += step) {
      const end = Math.min(from + step, sent.length);
      while (start < end) {
        const next = codec.decode(sent, start, end);
        if (next === 0) break;
        const { payloadStart, payloadEnd } = codec;
        assert(payloadStart >= start && next <= end);
        said += `${payloadStart}-${payloadEnd} `;
        start = next;
      }
    }
    return said;
  } catch (error) {
    if (error instanceof FrameError) return said + error.message;
    throw error;
  }
}

/** What the model makes of them. */
function foretold(name: FramingName, sent: Uint8Array): string {
  let said = "";
  for (let at = 0; at < sent.length;) {
    const frame = frameAt(name, sent, at, MAX_FRAME);
    if (typeof frame === "string") return said + frame;
    if (frame === undefined) break;
    said += `${frame.start}-${frame.end} `;
    at = frame.next;
  }
  return said;
}

const runs = Number(Deno.args[0] ?? 10_000_000);
if (!Number.isInteger(runs) || runs < 1) {
  console.error(`fuzz: runs is "${Deno.args[0]}", expected a number from 1`);
  Deno.exit(2);
}
const seed = Date.now() % 2 ** 31;
console.log(`fuzz: ${runs} sequences, seed ${seed}`);
const names = Object.keys(special) as FramingName[];
for (const name of names) {
  const byte = fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom(...special[name]!) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 255 }) },
  );
  const sequence = fc.array(byte, { maxLength: 40 });
  const numRuns = Math.ceil(runs / names.length);
  const started = performance.now();
  fc.assert(
    fc.property(sequence, fc.integer({ min: 2, max: 20 }), (raw, step) => {
      const sent = Uint8Array.from(raw);
      const expected = foretold(name, sent);
      for (const size of [sent.length || 1, 1, step]) {
        assertEquals(verdict(name, sent, size), expected);
      }
    }),
    { numRuns, seed },
  );
  const seconds = (performance.now() - started) / 1000;
  console.log(`${name}: ${numRuns} sequences in ${seconds.toFixed(0)} s`);
}
