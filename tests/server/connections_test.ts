// Connections that are served by a task each.

import { Buffer } from "node:buffer";

import {
  ConnectionLostError,
  type ConnectionTask,
  FrameError,
  OptionError,
  type ParleyConnection,
  serveConnections,
} from "../../lib/mod.ts";
import { ONE, ONE_CA } from "../support/certificates.ts";
import {
  Peer,
  RudePeer,
  serveTest,
  text,
  turnOfLoop,
} from "../support/fixtures.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertThrows,
  TextLineStream,
  toText,
} from "../support/std.ts";

const echo: ConnectionTask = async (connection) => {
  for await (const frame of connection) await connection.send(frame);
};

Deno.test("a task reads frames, sends them, and ends with its peer", async () => {
  await using running = serveTest({ task: echo });
  using peer = await Peer.to(running);
  assertEquals(await peer.ask("a\nbc\r\n", "a\nbc\r\n"), "a\nbc\r\n");
  await peer.send("last\n");
  await peer.finish();
  assertEquals(await peer.rest(), "last\n");
  const { reason, requests } = await running.events.closed();
  assertEquals([reason, requests], ["peer_closed", 3]);
  assertEquals(running.server.metrics().requests.ok, 3);
});

Deno.test("a task's frames are its own", async () => {
  const kept: Uint8Array[] = [];
  await using running = serveTest({
    task: async (connection) => {
      for await (const frame of connection) kept.push(frame);
      await connection.send(kept.map(text).join());
    },
  });
  using peer = await Peer.to(running);
  for (let i = 0; i < 2000; i++) await peer.send(`${i}\n`);
  await peer.finish();
  const all = Array.from({ length: 2000 }, (_, i) => i).join();
  assertEquals(await peer.rest(), `${all}\n`);
});

Deno.test("read() gives one frame, and null at the peer's end", async () => {
  const seen: (string | null)[] = [];
  await using running = serveTest({
    task: async (connection) => {
      for (let i = 0; i < 3; i++) {
        const frame = await connection.read();
        seen.push(frame && text(frame));
      }
    },
  });
  using peer = await Peer.to(running);
  await peer.send("a\n");
  await peer.finish();
  assertEquals(await peer.rest(), "");
  assertEquals(seen, ["a", null, null]);
});

Deno.test("a connection ends when its task does", async () => {
  await using running = serveTest({
    task: (connection) => void connection.send("bye"),
  });
  using peer = await Peer.to(running);
  assertEquals(await peer.rest(), "bye\n");
  assertEquals((await running.events.closed()).reason, "handler_closed");
});

for (const way of ["throws", "rejects"]) {
  Deno.test(`a task that ${way} is an event, and no crash`, async () => {
    const error = new Error("wrong");
    await using running = serveTest({
      task: (connection) => {
        connection.send("so far");
        if (way === "throws") throw error;
        return Promise.reject(error);
      },
    });
    using peer = await Peer.to(running);
    assertEquals(await peer.rest(), "so far\n");
    assertEquals((await running.events.closed()).reason, "error");
    assertEquals(running.events.of("handler_error").map((e) => e.error), [
      error,
    ]);
  });
}

Deno.test("a task is told what is wrong with its frames, and so is the peer", async () => {
  const seen: unknown[] = [];
  await using running = serveTest({
    task: async (connection) => {
      try {
        for await (const frame of connection) seen.push(text(frame));
      } catch (error) {
        seen.push(error);
        throw error;
      }
    },
  }, { maxFrame: 3 });
  using peer = await Peer.to(running);
  await peer.send("abc\nabcd\n");
  assertMatch(await peer.rest(), /^ERR frame too large: .*\n$/);
  assertEquals(seen[0], "abc");
  assertInstanceOf(seen[1], FrameError);
  assertEquals((await running.events.closed()).reason, "frame_error");
  assertEquals(running.events.of("handler_error"), []);
});

Deno.test("half a frame at the peer's end is malformed for a task, too", async () => {
  await using running = serveTest({ task: echo });
  using peer = await Peer.to(running);
  await peer.send("a\nb");
  await peer.finish();
  assertMatch(await peer.rest(), /^a\nERR malformed frame: stream ended/);
});

Deno.test("bytes go through the helpers of streams, either way", async () => {
  await using running = serveTest({
    task: async ({ readable, writable }) => {
      await readable
        .pipeThrough(new TextDecoderStream())
        .pipeThrough(new TextLineStream())
        .pipeThrough(
          new TransformStream<string, string>({
            transform: (line, to) => to.enqueue(`<${line}>`),
          }),
        )
        .pipeThrough(new TextEncoderStream())
        .pipeTo(writable);
    },
  });
  using peer = await Peer.to(running);
  await peer.send("a\nb");
  await peer.send("c\n");
  await peer.finish();
  assertEquals(await peer.rest(), "<a><bc>");
  assertEquals((await running.events.closed()).reason, "peer_closed");
});

Deno.test("a task reads its peer whole", async () => {
  let all = "";
  await using running = serveTest({
    task: async ({ readable }) => {
      all = await toText(readable);
    },
  });
  using peer = await Peer.to(running);
  await peer.send("x".repeat(300_000));
  await peer.finish();
  assertEquals(await peer.rest(), "");
  assertEquals(all.length, 300_000);
});

Deno.test("frames is a stream of frames", async () => {
  const seen: string[] = [];
  await using running = serveTest({
    task: async ({ frames }) => {
      for await (const frame of frames) seen.push(text(frame));
    },
  }, { framing: "netstring" });
  using peer = await Peer.to(running);
  await peer.send("1:a,2:bc,");
  await peer.finish();
  assertEquals(await peer.rest(), "");
  assertEquals(seen, ["a", "bc"]);
});

Deno.test("what a connection is read as, it is not read as anything else", async () => {
  const errors: unknown[] = [];
  const attempts: ((connection: ParleyConnection) => unknown)[] = [
    (connection) => connection.frames,
    (connection) => connection.readable,
    (connection) => connection.read(),
  ];
  await using running = serveTest({
    task: (connection) => {
      const at = connection.id - 1;
      attempts[at](connection);
      for (const attempt of attempts.toSpliced(at, 1)) {
        try {
          attempt(connection);
        } catch (error) {
          errors.push(error);
        }
      }
    },
  });
  for (let i = 0; i < 3; i++) {
    using peer = await Peer.to(running);
    assertEquals(await peer.rest(), "");
  }
  assertEquals(errors.length, 6);
  for (const error of errors) assertInstanceOf(error, TypeError);
});

Deno.test("two reads at once are refused, and frames where bytes are written", async () => {
  const errors: unknown[] = [];
  await using running = serveTest({
    task: async (connection) => {
      const first = connection.read();
      await connection.read().catch((error) => errors.push(error));
      await first;
      const writer = connection.writable.getWriter();
      try {
        connection.send("a");
      } catch (error) {
        errors.push(error);
      }
      await writer.write(new Uint8Array([65, 10]));
      writer.releaseLock();
      await connection.send("B");
    },
  });
  using peer = await Peer.to(running);
  await peer.send("\n");
  assertEquals(await peer.rest(), "A\nB\n");
  assertEquals(errors.map(String), [
    "TypeError: Cannot read: another read is pending",
    "TypeError: Cannot send a frame: writable is in use",
  ]);
});

Deno.test("frames have another form from setFraming on", async () => {
  await using running = serveTest({
    task: async (connection) => {
      await connection.read();
      await connection.send("ready");
      connection.setFraming("netstring");
      for await (const frame of connection) await connection.send(frame);
    },
  });
  using peer = await Peer.to(running);
  assertEquals(await peer.ask("upgrade\n1:a,", "ready\n1:a,"), "ready\n1:a,");
});

Deno.test("a drain ends the iteration, and lets the task say goodbye", async () => {
  const running = serveTest({
    task: async (connection) => {
      for await (const frame of connection) await connection.send(frame);
      await connection.send("bye");
    },
  });
  using peer = await Peer.to(running);
  await peer.ask("a\n", "a\n");
  await peer.send("b\n");
  const [rest] = await Promise.all([peer.rest(), running.server.shutdown()]);
  assertEquals(rest, "b\nbye\n");
  assertEquals(running.events.reasons, ["shutdown"]);
});

Deno.test("a task that does not end is forced by the drain timeout", async () => {
  let aborted: Promise<void> | undefined;
  const running = serveTest({
    task: ({ signal }) =>
      aborted = new Promise((resolve) =>
        signal.addEventListener("abort", () => resolve())
      ),
  }, { drainTimeout: 50 });
  using peer = await Peer.to(running);
  await running.events.next("connection_open");
  await running.server.shutdown();
  assertEquals(running.events.reasons, ["forced"]);
  await aborted;
  assertEquals(await peer.rest(), "");
});

Deno.test("a task is told that its peer is gone", async () => {
  const seen: unknown[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  await using running = serveTest({
    task: async (connection) => {
      await connection.read();
      await new Promise((aborted) =>
        connection.signal.addEventListener("abort", aborted)
      );
      await connection.read().catch((error) => seen.push(error));
      await connection.send("a").catch((error) => seen.push(error));
      resolve();
    },
  });
  const peer = await RudePeer.to(running);
  await peer.send("a\n");
  await running.events.next("request");
  peer.reset();
  await promise;
  for (const error of seen) assertInstanceOf(error, ConnectionLostError);
  assertEquals(seen.length, 2);
  assertEquals((await running.events.closed()).reason, "peer_reset");
});

Deno.test("a task has a state of its own, made when it is looked at", async () => {
  let made = 0;
  await using server = serveConnections(
    { hostname: "127.0.0.1", port: 0, state: () => ({ count: ++made * 10 }) },
    async (connection) => {
      for await (const _ of connection) {
        await connection.send(`${++connection.state.count}`);
      }
    },
  );
  using first = await Peer.to(server);
  assertEquals(await first.ask("\n\n", "11\n12\n"), "11\n12\n");
  using second = await Peer.to(server);
  assertEquals(await second.ask("\n", "21\n"), "21\n");
});

Deno.test("serveConnections refuses what speaks of requests and replies", () => {
  for (
    const options of [
      { requestTimeout: 1 },
      { halfOpen: false },
      { onError: () => "" },
      { onOpen: () => "" },
      { onClose: () => {} },
      { startTls: true },
    ]
  ) {
    const [name] = Object.keys(options);
    const error = assertThrows(
      () => serveConnections(options as object, echo),
      OptionError,
    );
    assertEquals((error as OptionError).option, name);
  }
  assertThrows(
    () => serveConnections({}, undefined as unknown as ConnectionTask),
    OptionError,
  );
});

Deno.test("httpGuard and the rate hold where tasks serve", async () => {
  await using running = serveTest({ task: echo }, {
    httpGuard: true,
    maxRequestRate: "1/m:2",
  });
  using peer = await Peer.to(running);
  await peer.send("a\nb\nc\n");
  await peer.finish();
  assertMatch(await peer.rest(), /^a\nb\nERR busy: request rate of .*\n$/);
  using other = await Peer.to(running);
  await other.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  assertMatch(await other.rest(), /^ERR malformed frame: an HTTP request/);
  await running.events.next("connection_close", 2);
  assertEquals(running.events.reasons, ["peer_closed", "http_request"]);
});

Deno.test("a flood over the rate is answered line by line, and holds up nobody", async () => {
  await using running = serveTest({ task: echo }, { maxRequestRate: "1/h" });
  using peer = await Peer.to(running);
  assertEquals(await peer.ask("a\n", "a\n"), "a\n");
  const count = 200_000;
  const replies = peer.rest();
  await peer.send("\n".repeat(count));
  await peer.finish();
  const lines = (await replies).split("\n").slice(0, -1);
  assertEquals(lines.length, count);
  assert(lines.every((line) => line.startsWith("ERR busy: request rate")));
  assertEquals((await running.events.closed()).reason, "peer_closed");
  assertEquals(running.server.metrics().requests.busy, count);
});

Deno.test("a task whose framing has no form for a refusal ends by it", async () => {
  await using running = serveTest({ task: echo }, {
    framing: "fixed:4",
    maxRequestRate: "1/h",
  });
  using peer = await Peer.to(running);
  await peer.send("one.two.six.");
  assertEquals(await peer.rest(), "one.");
  const { reason, error } = await running.events.closed();
  assertEquals(reason, "error");
  assertMatch(String(error), /^EncodeError: ERR busy: /);
});

for (const [way, options] of Object.entries({ plain: {}, TLS: ONE })) {
  Deno.test(`a task may close its side before it ends (${way})`, async () => {
    await using running = serveTest({
      task: async (connection) => {
        await connection.send("bye");
        await connection.writable.close();
      },
    }, options);
    const { port } = running.addr as Deno.NetAddr;
    using peer = new Peer(
      way === "TLS"
        ? await Deno.connectTls({ port, caCerts: [ONE_CA] })
        : await Deno.connect({ port }),
    );
    assertEquals(await peer.receive(4), "bye\n");
    assertEquals(await peer.conn.read(new Uint8Array(1)), null);
    // What it still sends would be answered by a reset, were it not waited for.
    for (let i = 0; i < 20; i++) await turnOfLoop();
    const [{ state }] = await running.server.connectionList();
    assertEquals(state, "lingering");
    await peer.send("a\n");
    await peer.finish();
    assertEquals((await running.events.closed()).reason, "handler_closed");
  });
}

Deno.test("a peer that takes nothing is a slow consumer, or ends by writeTimeout", async () => {
  for (
    const [maxBuffered, expected] of [[100_000, "slow_consumer"], [
      2 ** 30,
      "write_timeout",
    ]] as const
  ) {
    const errors: unknown[] = [];
    await using running = serveTest({
      task: async (connection) => {
        const frame = Buffer.alloc(10_000, "x");
        try {
          // More than the kernel takes.
          await Promise.all(
            Array.from({ length: 2000 }, () => connection.send(frame)),
          );
        } catch (error) {
          errors.push(error);
          throw error;
        }
      },
    }, { maxBuffered, writeTimeout: 300 });
    using _peer = await Peer.to(running);
    assertEquals((await running.events.closed()).reason, expected);
    assertEquals(errors.length, 1);
    assertInstanceOf(errors[0], ConnectionLostError);
    assertEquals(running.events.of("handler_error"), []);
  }
});

Deno.test("a connection whose task waits for a frame ends by idleTimeout", async () => {
  await using running = serveTest({
    task: async (connection) => {
      for await (const _ of connection);
    },
  }, { idleTimeout: 100 });
  using peer = await Peer.to(running);
  assertEquals(await peer.rest(), "");
  assertEquals((await running.events.closed()).reason, "idle_timeout");
});

Deno.test("buffered says what waits", async () => {
  let most = 0;
  let least = -1;
  await using running = serveTest({
    task: async (connection) => {
      const sent = connection.send("x".repeat(1000));
      most = connection.buffered;
      await sent;
      least = connection.buffered;
    },
  });
  using peer = await Peer.to(running);
  assertEquals((await peer.rest()).length, 1001);
  assertEquals([most, least], [1001, 0]);
});

Deno.test("send refuses what cannot be sent, at once", async () => {
  const errors: unknown[] = [];
  await using running = serveTest({
    task: (connection) => {
      for (const wrong of ["a\nb", "x".repeat(11), 7 as unknown as string]) {
        try {
          connection.send(wrong);
        } catch (error) {
          errors.push((error as Error).name);
        }
      }
    },
  }, { maxReply: 10 });
  using peer = await Peer.to(running);
  assertEquals(await peer.rest(), "");
  assertEquals(errors, ["EncodeError", "ReplyTooLargeError", "TypeError"]);
});

Deno.test("read() after the end rejects, and one that nobody awaits ends nothing", async () => {
  let kept: ParleyConnection | undefined;
  await using running = serveTest({
    task: (connection) => {
      kept = connection;
      connection.read();
    },
  });
  using peer = await Peer.to(running);
  assertEquals(await peer.rest(), "");
  await running.events.closed();
  await assertRejects(() => kept!.read(), ConnectionLostError);
  await assertRejects(() => kept!.send("a"), ConnectionLostError);
  assert(kept!.signal.aborted);
});
