/** Who gets a place, on one thread. */

import { assertEquals } from "../support/std.ts";

import { AddressCounts, Places } from "../../lib/server/places.ts";

Deno.test("Places gives as many places as there are, and no number twice", () => {
  const places = new Places({ maxConnections: 2, maxConnectionsPerIp: 0 });
  assertEquals([1, 2, 3].map(() => places.take()), [true, true, false]);
  places.free();
  assertEquals([places.take(), places.take()], [true, false]);
  assertEquals([1, 2, 3].map(() => places.nextId()), [1, 2, 3]);
});

Deno.test("Places has no limit where that is 0", () => {
  const places = new Places({ maxConnections: 0, maxConnectionsPerIp: 0 });
  for (let i = 0; i < 100; i++) {
    assertEquals([places.take(), places.enter("::1")], [true, true]);
  }
});

Deno.test("AddressCounts forgets an address whose places are all given back", () => {
  const counts = new AddressCounts(3);
  const enter = (ip: string) => counts.enter(ip);
  assertEquals(["a", "a", "b", "a", "a"].map(enter), [
    ...[true, true, true],
    ...[true, false],
  ]);
  assertEquals([...counts], [["a", 3], ["b", 1]]);
  counts.leave("b");
  assertEquals([...counts], [["a", 3]]);
  counts.leave("a", 2);
  assertEquals([...counts], [["a", 1]]);
  counts.leave("a");
  assertEquals([...counts], []);
});
