/** Those who are refused: what they hold, and what they give back. */

import { assert, assertEquals } from "../support/std.ts";

import { descriptorCells, Descriptors } from "../../lib/server/descriptors.ts";
import { InMemory, turns } from "../support/in_memory.ts";
import { FakeClock } from "../support/fixtures.ts";

Deno.test("everybody gives a descriptor back, served or refused", async () => {
  const cells = descriptorCells(1);
  const descriptors = new Descriptors(new FakeClock(), cells);
  await using running = new InMemory(
    (request) => request,
    { maxConnections: 1 },
    { descriptors },
  );
  const all = await running.connectAll(300);
  await turns(20);
  // One is served, 256 are told why they are not, and the others are closed.
  assertEquals(all.filter(({ closed }) => !closed).length, 257);
  assertEquals([...cells.open], [257]);
  for (const transport of all) transport.end();
  await turns(20);
  assertEquals([...cells.open], [0]);
});

Deno.test("a drain tells of those who are served, and waits for all", async () => {
  await using running = new InMemory(
    (request) => request,
    { maxConnections: 1, drainTimeout: 500 },
  );
  const [served, refused] = await running.connectAll(2);
  served.push("half a request");
  await turns(3);
  const finished = running.server.shutdown();
  await running.pass(20, 1);
  assertEquals(running.events.of("drain"), [
    { type: "drain", connections: 1, by: "shutdown()" },
  ]);
  served.push("\n");
  served.end();
  await running.pass(400, 10);
  // It has been told, and does not close.
  assertEquals([served.closed, refused.finished], [true, true]);
  assertEquals(running.events.of("finished"), []);
  assert(!refused.closed);
  // Before its own limit of 2 s.
  await running.pass(100, 10);
  assert(refused.closed);
  await finished;
  assertEquals(running.events.of("finished"), [
    { type: "finished", forced: 0 },
  ]);
});
