/** How many the accept loop takes, and when. */

import { assertEquals } from "../support/std.ts";

import { InMemory, turn, turns } from "../support/in_memory.ts";
import { MemoryListener } from "../support/memory_transport.ts";

/** How many are connected, or were refused. */
function accepted({ server }: InMemory): number {
  const { active, opening } = server.metrics();
  return active + opening;
}

Deno.test("accept leaves the event loop to others while many are queued", async () => {
  await using running = new InMemory((request) => request);
  const all = Array.from({ length: 100 }, () => running.listener.connect());
  // However many turns follow each other: they would not be enough for others.
  await turns(20);
  const each = [accepted(running)];
  for (let i = 0; i < 3; i++) {
    const before = accepted(running);
    await running.pass(1, 1);
    each.push(accepted(running) - before);
  }
  assertEquals(each, [32, 32, 32, 4]);
  for (const transport of all) transport.end();
  await running.pass(5, 1);
});

Deno.test("accept leaves it to them while many are reset in the queue", async () => {
  let tries = 0;
  const listener = new MemoryListener();
  const accept = listener.accept.bind(listener);
  listener.accept = () =>
    ++tries > 100
      ? accept()
      : Promise.reject(new Deno.errors.NotConnected("They have gone"));
  const listen = () => listener;
  await using running = new InMemory((request) => request, {}, { listen });
  const each = [];
  for (let before = 0; before < 101; before = tries) {
    await running.pass(1, 1);
    await turns(20);
    each.push(tries - before);
  }
  assertEquals(each, [32, 32, 32, 5]);
  assertEquals(running.events.of("accept_error").length, 100);
});

Deno.test("accept does not rest where connections come one by one", async () => {
  await using running = new InMemory((request) => request);
  const all = [];
  for (let i = 0; i < 100; i++) all.push(await running.connect());
  assertEquals(accepted(running), 100);
  for (const transport of all) transport.end();
});

Deno.test("shutdown accepts as many as may be queued, and then no more", async () => {
  await using running = new InMemory((request) => request, { tcpBacklog: 3 });
  await turn();
  const finished = running.server.shutdown();
  for (let i = 0; i < 10; i++) {
    const transport = running.listener.connect();
    transport.push("x\n");
    transport.end();
  }
  await turn();
  assertEquals(running.server.connectionsTotal, 3);
  await running.pass(10, 1);
  await finished;
  assertEquals(running.server.requests, 3);
});
