// Connections served by tasks, on transports in memory: deadlines, fairness,
// memory and drains, without time and without sockets.

import type { ConnectionTask, ParleyConnection } from "../../lib/mod.ts";
import { InMemory, turns } from "../support/in_memory.ts";
import { assert, assertEquals } from "../support/std.ts";

const echo: ConnectionTask = async (connection) => {
  for await (const frame of connection) await connection.send(frame);
};

Deno.test("a task is echoed to, and nothing is left of it", async () => {
  await using running = new InMemory({ task: echo });
  const transport = await running.connect();
  transport.push("a\nb");
  await turns();
  transport.push("\n");
  await turns();
  assertEquals(transport.text, "a\nb\n");
  assertEquals(await running.states(), ["idle"]);
});

Deno.test("a task's wait for a frame ends by idleTimeout, however bytes trickle", async () => {
  await using running = new InMemory({ task: echo }, { idleTimeout: 1000 });
  const transport = await running.connect();
  await running.pass(900);
  transport.push("a\n");
  await running.pass(900);
  assertEquals(running.events.reasons, []);
  for (let i = 0; i < 4; i++) {
    transport.push("x");
    await running.pass(300);
  }
  assertEquals(running.events.reasons, ["idle_timeout"]);
});

Deno.test("frames that are pushed are a sign of life", async () => {
  let connection: ParleyConnection | undefined;
  await using running = new InMemory({
    task: async (served) => {
      connection = served;
      for await (const _ of served);
    },
  }, { idleTimeout: 1000 });
  const transport = await running.connect();
  for (let i = 0; i < 5; i++) {
    await running.pass(600);
    connection!.send("x");
    await turns();
  }
  assertEquals([transport.text, running.events.reasons], ["x\n".repeat(5), []]);
  await running.pass(1500);
  assertEquals(running.events.reasons, ["idle_timeout"]);
});

Deno.test("what a task does itself has no deadline", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  await using running = new InMemory({
    task: async (connection) => {
      await connection.read();
      await promise;
      await connection.send("late");
    },
  }, { idleTimeout: 1000 });
  const transport = await running.connect();
  transport.push("a\n");
  await running.pass(60_000, 1000);
  assertEquals(await running.states(), ["handling"]);
  resolve();
  await turns();
  assertEquals(transport.text, "late\n");
  assertEquals(running.events.reasons, []);
  transport.end();
});

Deno.test("a task that has closed its side has the deadlines of before", async () => {
  for (const reads of [true, false]) {
    await using running = new InMemory({
      task: async (connection) => {
        await Promise.all([
          reads && connection.read(),
          connection.writable.close(),
        ]);
        await new Promise((end) => connection.signal.onabort = end);
      },
    }, { writeTimeout: 1000, idleTimeout: 10_000 });
    const transport = await running.connect();
    await turns();
    assert(transport.finished);
    assertEquals(await running.states(), [reads ? "idle" : "handling"]);
    await running.pass(5000, 500);
    assertEquals(running.events.reasons, []);
    transport.reset();
    await running.finish();
  }
});

Deno.test("a push that nobody takes ends by writeTimeout, while the task reads or not", async () => {
  for (const reads of [true, false]) {
    await using running = new InMemory({
      task: async (connection) => {
        connection.send("x".repeat(100));
        if (reads) await connection.read();
        else await new Promise((end) => connection.signal.onabort = end);
      },
    }, { writeTimeout: 1000, idleTimeout: 5000 });
    const transport = running.listener.connect();
    transport.take(10);
    await turns();
    await running.pass(900);
    // It takes something: the time begins anew.
    transport.take(10);
    await running.pass(900);
    assertEquals(running.events.reasons, []);
    await running.pass(300);
    assertEquals(running.events.reasons, ["write_timeout"]);
  }
});

Deno.test("one read ahead is all that is read of a peer whose task does not read", async () => {
  await using running = new InMemory({
    task: async ({ signal, read: _ }) => {
      await new Promise((end) => signal.onabort = end);
    },
  });
  const transport = await running.connect();
  transport.push("x".repeat(100_000));
  await turns();
  const [{ received }] = await running.server.connectionList();
  assert(received <= 512, `${received}`);
  transport.reset();
  await running.finish();
});

Deno.test("a task whose peer floods it leaves turns to others", async () => {
  await using running = new InMemory({ task: echo });
  const flooder = await running.connect();
  const other = await running.connect();
  flooder.push("\n".repeat(60_000));
  other.push("a\n");
  let count = 0;
  while (other.text === "" && count++ < 20) await turns(1);
  assert(count < 5, `${count} turns`);
  assert(flooder.text.length < 20_000, `${flooder.text.length}`);
  await flooder.until(({ text }) => text.length === 60_000);
});

Deno.test("a task that keeps what it reads is paused near the bound of memory", async () => {
  await using running = new InMemory({ task: echo }, {
    maxMemory: 100_000,
    maxFrame: 1_000_000,
  });
  const all = await running.connectAll(3);
  for (const transport of all) transport.push("x".repeat(60_000));
  await turns(20);
  await running.pass(6000);
  // Those that hold most have ended, whoever is left goes on.
  assert(running.events.reasons.length >= 1, `${running.events.reasons}`);
  assert(running.events.reasons.every((reason) => reason === "overload"));
  for (const transport of all) if (!transport.closed) transport.push("\n");
  await turns(20);
  const answered = all.filter(({ text }) => text.length === 60_001);
  assertEquals(answered.length + running.events.reasons.length, 3);
});

Deno.test("a drain gives a task what has come, and then the end", async () => {
  const running = new InMemory({
    task: async (connection) => {
      for await (const frame of connection) await connection.send(frame);
      await connection.send("bye");
    },
  });
  const idle = await running.connect();
  const busy = await running.connect();
  idle.push("a\n");
  await turns();
  busy.push("1\n2\n3\n");
  const ends = Promise.all(
    [idle, busy].map(async (transport) => {
      await transport.until(({ finished }) => finished);
      transport.end();
    }),
  );
  await running.finish();
  await ends;
  assertEquals(idle.text, "a\nbye\n");
  assertEquals(busy.text, "1\n2\n3\nbye\n");
  assertEquals(running.events.reasons, ["shutdown", "shutdown"]);
  await running.assertNothingLeft();
});
