/** What is counted and told of requests: each once, each with its own time. */

import { assertEquals } from "../support/std.ts";

import { InMemory, turn, turns } from "../support/in_memory.ts";

Deno.test("requests are told once each, batch after batch", async () => {
  await using running = new InMemory((request) => request);
  const transport = await running.connect();
  for (const batch of ["a\nbc\n", "def\n", "\n"]) {
    transport.push(batch);
    await turns(3);
  }
  transport.end();
  assertEquals(
    running.events.of("request").map(({ requestBytes }) => requestBytes),
    [1, 2, 3, 0],
  );
});

Deno.test("a request that waits for another is timed from its own beginning", async () => {
  const answers = [0, 1].map(() => Promise.withResolvers<string>());
  let called = 0;
  await using running = new InMemory(() => answers[called++].promise);
  const transport = await running.connect();
  transport.push("a\nb\n");
  await turn();
  await running.pass(300);
  answers[0].resolve("");
  await turns(3);
  await running.pass(500);
  answers[1].resolve("");
  await turns(3);
  transport.end();
  assertEquals(
    running.events.of("request").map(({ duration }) => duration),
    [300, 500],
  );
});

Deno.test("slow requests are told with their peer and size, and no others", async () => {
  const told: unknown[] = [];
  await using slow = new InMemory(
    async (request) => {
      await turns(1);
      if (request[0] === 115) slow.clock.jump(100);
      return request;
    },
    {
      slowRequest: 100,
      events: { slow_request: (event) => void told.push(event) },
    },
  );
  const transport = await slow.connect();
  transport.push("quick\nslow\nquick\n");
  await turns(20);
  assertEquals(told, [{
    type: "slow_request",
    id: 1,
    remoteAddr: transport.remoteAddr,
    duration: 100,
    requests: 1,
    requestBytes: 4,
  }]);
  transport.end();
  await turns(3);
});

Deno.test("a listener that cuts a connection between two replies counts each request once", async () => {
  await using running = new InMemory(
    (request) => request[0] === 115 ? Promise.resolve(request) : request,
    { events: { request: () => void running.server.disconnect(1) } },
  );
  const transport = await running.connect();
  // The second is replied to as the first is told.
  transport.push("a\ns\n");
  await turns(3);
  const { ok, abandoned } = running.server.metrics().requests;
  assertEquals([ok, abandoned], [1, 1]);
});
