// How a server learns of the system's limit of descriptors, and stays below it.

import { descriptorCells, Descriptors } from "../../lib/server/descriptors.ts";
import { FakeClock } from "../support/fixtures.ts";
import { assertEquals } from "../support/std.ts";

/** Counts some connections at once. */
function repeat(count: number, step: () => void): void {
  for (let i = 0; i < count; i++) step();
}

Deno.test("Descriptors has no limit before one is met", () => {
  const descriptors = new Descriptors(new FakeClock());
  repeat(100_000, () => descriptors.opened());
  assertEquals([descriptors.full, descriptors.crowded], [false, false]);
});

Deno.test("Descriptors stays below the most that were open", () => {
  for (
    const [open, limit] of [[1, 1], [7, 7], [8, 7], [100, 88], [128, 112], [
      5000,
      4984,
    ]]
  ) {
    const descriptors = new Descriptors(new FakeClock());
    repeat(open, () => descriptors.opened());
    assertEquals(descriptors.met(), limit);
    assertEquals([descriptors.full, descriptors.crowded], [
      true,
      open > limit,
    ]);
    repeat(open - limit, () => descriptors.closed());
    assertEquals([descriptors.full, descriptors.crowded], [true, false]);
    descriptors.closed();
    assertEquals(descriptors.full, false);
    descriptors.opened();
    assertEquals(descriptors.full, true);
  }
});

Deno.test("Descriptors does not take a few connections for all there can be", () => {
  const descriptors = new Descriptors(new FakeClock());
  repeat(1000, () => descriptors.opened());
  repeat(990, () => descriptors.closed());
  descriptors.opened();
  // Something else in the process has taken the rest.
  assertEquals(descriptors.met(), 984);
  assertEquals(descriptors.full, false);
});

Deno.test("Descriptors believes in a limit for a minute", () => {
  const clock = new FakeClock();
  const descriptors = new Descriptors(clock);
  repeat(80, () => descriptors.opened());
  assertEquals(descriptors.met(), 70);
  clock.advance(0);
  assertEquals(descriptors.full, true);
  clock.advance(59_999);
  assertEquals(descriptors.full, true);
  clock.advance(1);
  assertEquals([descriptors.full, descriptors.crowded], [false, false]);
  // It is met again, or it is not.
  descriptors.opened();
  assertEquals(descriptors.met(), 71);
  assertEquals(descriptors.full, true);
});

Deno.test("Descriptors of several threads share a limit", () => {
  const cells = descriptorCells(3);
  const clock = new FakeClock();
  const [first, second, third] = [0, 1, 2].map((index) =>
    new Descriptors(clock, cells, index)
  );
  repeat(50, () => first.opened());
  repeat(50, () => second.opened());
  assertEquals(second.met(), 88);
  assertEquals([first.full, second.full, third.full], [true, true, true]);
  repeat(13, () => first.closed());
  assertEquals([first.full, second.full, third.full], [false, false, false]);
  third.opened();
  assertEquals([first.full, second.full, third.full], [true, true, true]);
});
