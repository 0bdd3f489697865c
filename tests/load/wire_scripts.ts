// deno-lint-ignore-file no-import-prefix -- what deno.json imports is fetched
// for every program, and only tests need this.

/**
 * The servers that `deno task fuzz:wire` plays against, and the scripts that it
 * makes up for each.
 *
 * @module
 */

import fc from "npm:fast-check@4.3.0";

import type { Script, Step, Talk } from "./wire_play.ts";
import { headers, type Kind, kinds, type Setting } from "./wire_sent.ts";

const ordinary = {
  framing: "line",
  handler: "commands",
  maxFrame: 64 * 1024,
  maxReply: 16 * 1024 ** 2,
  requestTimeout: 500,
} as const;

/** Each has a server of its own. */
export const settings: readonly Setting[] = [
  { ...ordinary, name: "line" },
  { ...ordinary, name: "length", framing: "length" },
  { ...ordinary, name: "netstring", framing: "netstring" },
  { ...ordinary, name: "echo", handler: "echo", maxFrame: 100_000 },
  { ...ordinary, name: "small", maxFrame: 300, maxReply: 200 },
  { ...ordinary, name: "tls", tls: true },
  { ...ordinary, name: "proxy-v1", framing: "netstring", proxy: "v1" },
  {
    ...ordinary,
    name: "proxy-v2-tls",
    framing: "length",
    proxy: "v2",
    tls: true,
  },
  { ...ordinary, name: "threads-proxy", proxy: "any", threads: 2 },
  {
    ...ordinary,
    name: "threads-tls",
    framing: "netstring",
    tls: true,
    threads: 2,
  },
  { ...ordinary, name: "few-places", places: 4 },
  { ...ordinary, name: "tight", framing: "length", tight: true },
];

const small = fc.integer({ min: 0, max: 40 });

const sizes = fc.oneof(
  { weight: 12, arbitrary: small },
  { weight: 4, arbitrary: fc.constantFrom(480, 600, 1500, 3000, 9000) },
  { weight: 1, arbitrary: fc.constantFrom(66_000, 80_000) },
);

/** How often the rare ones come; the others have 100. */
const weights: Partial<Record<Kind, number>> = {
  quit: 15,
  close: 15,
  never: 2,
  most: 2,
  longest: 20,
  tooLong: 10,
  malformed: 20,
  tlsHello: 10,
};

function oneOf(all: readonly Kind[]): fc.Arbitrary<Kind> {
  return fc.oneof(
    ...all.map((kind) => ({
      weight: weights[kind] ?? 100,
      arbitrary: fc.constant(kind),
    })),
  );
}

/** Of a crowd nobody asks for so much: it would be more than may be held. */
const modest = oneOf(kinds.filter((kind) => kind !== "most"));

const counts = fc.oneof(
  fc.integer({ min: 1, max: 30 }),
  fc.constantFrom(600, 3000, 10_000, 70_000, 1_000_000),
);

const acts = fc.oneof(
  { weight: 20, arbitrary: fc.constant("send") },
  { weight: 4, arbitrary: fc.constantFrom("turn", "wait", "sync") },
  { weight: 2, arbitrary: fc.constantFrom("freeze", "thaw") },
  { weight: 2, arbitrary: fc.constantFrom("take", "hold", "flow") },
  { weight: 2, arbitrary: fc.constantFrom("finish", "cut", "reset", "close") },
) as fc.Arbitrary<Step["act"]>;

function talks(
  { proxy, tls }: Setting,
  kind: fc.Arbitrary<Kind>,
  size: fc.Arbitrary<number>,
  most: number,
): fc.Arbitrary<readonly Talk[]> {
  const names = Object.entries(headers)
    .filter(([, { version }]) => proxy === "any" || version === proxy)
    .map(([name]) => name);
  return fc.array(
    fc.record<Talk>({
      header: names.length === 0 ? fc.constant("") : fc.oneof(
        { weight: 2, arbitrary: fc.constantFrom(names[0], names.at(-5)!) },
        { weight: 1, arbitrary: fc.constantFrom(...names) },
      ),
      plain: tls === undefined ? fc.constant(false) : fc.oneof(
        { weight: 15, arbitrary: fc.constant(false) },
        { weight: 1, arbitrary: fc.constant(true) },
      ),
      requests: fc.array(fc.tuple(kind, size), { minLength: 1, maxLength: 12 }),
    }),
    { minLength: 1, maxLength: most },
  );
}

/** What may be played against a server. */
export function scripts(setting: Setting): fc.Arbitrary<Script> {
  const steps = fc.array(
    fc.record<Step>({ at: fc.nat({ max: 7 }), act: acts, count: counts }),
    { minLength: 1, maxLength: 60, size: "max" },
  );
  const piece = fc.constantFrom(16_384, 1000, 100, 7);
  const few = fc.record<Script>({
    copies: fc.constant(1),
    piece,
    talks: talks(setting, oneOf(kinds), sizes, 8),
    steps,
  });
  if (setting.places !== undefined) return few;
  // More at once than the runtime finishes in one turn.
  const many = fc.record<Script>({
    copies: fc.constant(150),
    piece: fc.constant(16_384),
    talks: talks(setting, modest, small, 2),
    steps,
  });
  return fc.oneof(
    { weight: 20, arbitrary: few },
    { weight: 1, arbitrary: many },
  );
}
