// Connections served by tasks, on transports in memory: deadlines, fairness,
// memory and drains, without time and without sockets.

import {
  broadcast,
  type ConnectionTask,
  type ParleyConnection,
} from "../../lib/mod.ts";
import { InMemory, turns } from "../support/in_memory.ts";
import { assert, assertEquals, assertMatch } from "../support/std.ts";

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

Deno.test("a task that closes its side and ends loses nothing, nor sends it twice", async () => {
  for (const size of [10, 100_000]) {
    await using running = new InMemory({
      task: (connection) => {
        for (const letter of "abc") connection.send(letter.repeat(size));
        connection.writable.close();
      },
    });
    const transport = await running.connect();
    transport.mostPerWrite = 7000;
    transport.end();
    while (!transport.closed) await turns();
    const sent = [..."abc"].map((letter) => `${letter.repeat(size)}\n`).join(
      "",
    );
    assertEquals(
      transport.text === sent,
      true,
      `${transport.text.length} bytes`,
    );
    assertEquals(running.events.reasons, ["handler_closed"]);
  }
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

Deno.test("bytes of no length are written at once, whatever waits before", async () => {
  const done: string[] = [];
  await using running = new InMemory({
    task: async (connection) => {
      connection.send("x".repeat(200_000)).then(
        () => done.push("large"),
        () => {},
      );
      const writer = connection.writable.getWriter();
      await writer.write(new Uint8Array());
      done.push("empty");
      await writer.write(new Uint8Array([10]));
      done.push("short");
    },
  });
  const transport = running.listener.connect();
  transport.take(10);
  await turns();
  assertEquals(done, ["empty"]);
  transport.take(Infinity);
  await turns();
  transport.end();
  assertEquals(done, ["empty", "large", "short"]);
  assertEquals(transport.taken.length, 200_002);
});

Deno.test("what is no bytes is not written, and counts for nothing", async () => {
  const values = [
    ...[undefined, null, 5, {}, [1, 2], new ArrayBuffer(2)],
    ...[new Uint16Array(2), new DataView(new ArrayBuffer(2))],
  ];
  const errors: unknown[] = [];
  await using running = new InMemory({
    task: async (connection) => {
      const writer = connection.writable.getWriter();
      const value = values[connection.id - 1];
      await writer.write(value as Uint8Array).catch((e) => errors.push(e));
    },
  });
  const transports = await running.connectAll(values.length);
  await turns(3);
  for (const transport of transports) transport.end();
  assertEquals(errors.length, values.length);
  for (const error of errors) {
    assertMatch(`${error}`, /^TypeError: Cannot send/);
  }
  assertEquals(transports.map(({ text }) => text).join(""), "");
  assertEquals(running.server.metrics().held, 0);
});

Deno.test("a framing that cannot be is not used, nor by half", async () => {
  const seen: string[] = [];
  await using running = new InMemory({
    task: async (connection) => {
      for await (const _ of connection) {
        for (const framing of ["fixed:11", "none", undefined, {}]) {
          try {
            connection.setFraming(framing as "line");
          } catch (error) {
            seen.push((error as Error).name);
          }
        }
        seen.push(connection.framing);
        broadcast([connection], "a");
      }
    },
  }, { maxFrame: 10, maxReply: 10 });
  const transport = await running.connect();
  transport.push("a\nb\n");
  await turns(3);
  transport.end();
  const each = [...Array(4).fill("OptionError"), "line"];
  assertEquals(seen, [...each, ...each]);
  assertEquals(transport.text, "a\na\n");
});

Deno.test("a task may throw anything, and only its connection ends", async () => {
  const revoked = Proxy.revocable({}, {});
  revoked.revoke();
  const thrown: unknown[] = [
    ...[undefined, null, 0, Object.create(null), Object.freeze(new Error("f"))],
    ...[Symbol("s"), revoked.proxy],
  ];
  await using running = new InMemory({
    task: ({ id }) => {
      throw thrown[id - 1];
    },
  });
  const transports = await running.connectAll(thrown.length);
  await turns(3);
  for (const transport of transports) transport.end();
  await turns(3);
  assertEquals(running.events.reasons, thrown.map(() => "error"));
  const told = running.events.of("handler_error").map(({ error }) => error);
  assert(told.every((error, i) => error === thrown[i]));
  assertEquals(told.length, thrown.length);
});
