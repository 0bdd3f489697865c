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
  assertEquals(descriptors.left, Infinity);
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
    assertEquals(descriptors.left, limit - open);
    repeat(open - limit, () => descriptors.closed());
    assertEquals(descriptors.left, 0);
    descriptors.closed();
    assertEquals(descriptors.left, 1);
    descriptors.opened();
    assertEquals(descriptors.left, 0);
  }
});

Deno.test("Descriptors does not take a few connections for all there can be", () => {
  const descriptors = new Descriptors(new FakeClock());
  repeat(1000, () => descriptors.opened());
  repeat(990, () => descriptors.closed());
  descriptors.opened();
  // Something else in the process has taken the rest.
  assertEquals(descriptors.met(), 984);
  assertEquals(descriptors.left, 973);
});

Deno.test("Descriptors believes in a limit for a minute", () => {
  const clock = new FakeClock();
  const descriptors = new Descriptors(clock);
  repeat(80, () => descriptors.opened());
  assertEquals(descriptors.met(), 70);
  clock.advance(0);
  assertEquals(descriptors.left, -10);
  clock.advance(59_999);
  assertEquals(descriptors.left, -10);
  clock.advance(1);
  assertEquals(descriptors.left, Infinity);
  // It is met again, or it is not.
  descriptors.opened();
  assertEquals(descriptors.met(), 71);
  assertEquals(descriptors.left, -10);
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
  assertEquals([first.left, second.left, third.left], [-12, -12, -12]);
  repeat(13, () => first.closed());
  assertEquals([first.left, second.left, third.left], [1, 1, 1]);
  third.opened();
  assertEquals([first.left, second.left, third.left], [0, 0, 0]);
});
