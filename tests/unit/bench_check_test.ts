import { assertEquals } from "../support/std.ts";

import { judge, quotientsOf, type Recorded } from "../../bench/check.ts";

const recorded: Recorded = {
  deno: "2.9.6",
  processor: "one",
  quotients: { a: 9, b: 0.9 },
};

Deno.test("judge lets a request pass that takes up to a tenth of the speed more", () => {
  const kept = (a: number, b: number, same = true) =>
    judge(recorded, { a, b }, same).map(({ kept }) => kept);
  assertEquals(kept(10, 1), [true, true]);
  assertEquals(kept(10.01, 0.1), [false, true]);
  assertEquals(kept(9 * 1.15, 0.9 * 1.15), [false, false]);
  // Caches of another processor change the quotient as well.
  assertEquals(kept(9 * 1.15, 0.9 * 1.15, false), [true, true]);
  assertEquals(kept(9 * 1.6, 0.9, false), [false, true]);
});

Deno.test("judge lets nothing pass that was not recorded", () => {
  const [verdict] = judge(recorded, { c: 0.001 }, true);
  assertEquals([verdict.recorded, verdict.kept], [undefined, false]);
});

Deno.test("quotientsOf takes the quickest turns of the quickest process", () => {
  const busy = { work: hundred(300), loop: hundred(150) };
  const quiet = { work: hundred(200), loop: hundred(100) };
  // One turn in a hundred is no measure: a clock may have been set.
  const odd = { work: [1, ...hundred(300)], loop: [1, ...hundred(150)] };
  assertEquals(
    quotientsOf(new Map([["a", [busy, quiet, odd]], ["b", [busy]]])),
    { a: 2, b: 3 },
  );
});

Deno.test("quotientsOf is the same on a machine that is slower in all", () => {
  const turns = { work: hundred(200), loop: hundred(100) };
  const slower = {
    work: turns.work.map((ns) => ns * 3),
    loop: turns.loop.map((ns) => ns * 3),
  };
  assertEquals(
    quotientsOf(new Map([["a", [slower]]])),
    quotientsOf(new Map([["a", [turns]]])),
  );
});

function hundred(least: number): number[] {
  return Array.from({ length: 200 }, (_, i) => least + (i > 100 ? i : 0));
}
