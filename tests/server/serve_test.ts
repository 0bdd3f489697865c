// deno-lint-ignore-file no-import-prefix -- what deno.json imports is fetched
// for every program, and only tests need this.

import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "../support/std.ts";
import fc from "npm:fast-check@4.3.0";

import {
  connect,
  echo,
  type Handler,
  OptionError,
  serve,
} from "../../lib/mod.ts";
import type { RequestInfo, ServeOptions } from "../../lib/mod.ts";
import {
  bytes,
  Events,
  FakeClock,
  FakeListener,
  ownAddress,
  Peer,
  random,
  RudePeer,
  serveTest,
  settle,
  text,
  turnOfLoop,
} from "../support/fixtures.ts";

/** A handler that answers when it is told to. */
class Held {
  readonly infos: RequestInfo[] = [];
  readonly #open: PromiseWithResolvers<string>[] = [];
  readonly #called: (() => void)[] = [];

  readonly handler: Handler = (request, info) => {
    this.infos.push(info);
    const open = Promise.withResolvers<string>();
    this.#open.push(open);
    const words = text(request);
    for (const wake of this.#called.splice(0)) wake();
    return open.promise.then((reply) => `${words} ${reply}`);
  };

  /** Waits until it has been called so many times. */
  async calls(count: number): Promise<void> {
    while (this.#open.length < count) {
      await new Promise<void>((wake) => this.#called.push(wake));
    }
  }

  reply(call: number, reply: string): void {
    this.#open[call].resolve(reply);
  }
}

const upper: Handler = (request) => text(request).toUpperCase();

Deno.test("serve answers pipelined requests in order", async () => {
  await using running = serveTest(upper);
  using peer = await Peer.to(running);
  await peer.send("one\ntwo\r\n\nthree\n");
  await peer.finish();
  assertEquals(await peer.rest(), "ONE\nTWO\r\n\nTHREE\n");
  const end = await running.events.closed();
  assertEquals(end.reason, "peer_closed");
  assertEquals(end.requests, 4);
  assertEquals(end.received, 16);
  assertEquals(end.sent, 16);
  assertEquals(end.unanswered, false);
});

Deno.test("serve answers alike, however the bytes are cut", async () => {
  await using running = serveTest(echo, { maxFrame: 5000 });
  const payload = fc.string({
    unit: fc.constantFrom(..."abc \r,"),
    maxLength: 4000,
  }).map((line) => line.replace(/\r+$/, ""));
  await fc.assert(
    fc.asyncProperty(
      fc.array(payload, { maxLength: 10 }),
      fc.array(fc.nat(), { maxLength: 6 }),
      async (payloads, places) => {
        const sent = bytes(payloads.map((line) => `${line}\n`).join(""));
        const cuts = places.map((p) => p % (sent.length + 1))
          .sort((a, b) => a - b);
        using peer = await Peer.to(running);
        let from = 0;
        for (const at of [...cuts, sent.length]) {
          await peer.send(sent.subarray(from, at));
          from = at;
        }
        await peer.finish();
        assertEquals(await peer.rest(), text(sent));
      },
    ),
    { numRuns: 50 },
  );
});

Deno.test("serve handles one request of a connection at a time", async () => {
  const held = new Held();
  await using running = serveTest(held.handler);
  using peer = await Peer.to(running);
  await peer.send("a\nb\n");
  await held.calls(1);
  await settle();
  assertEquals(held.infos.length, 1);
  held.reply(0, "first");
  await held.calls(2);
  held.reply(1, "second");
  assertEquals(await peer.receive(17), "a first\nb second\n");
});

Deno.test("serve lets no connection hold up another", async () => {
  const held = new Held();
  await using running = serveTest((request, info) =>
    text(request) === "slow" ? held.handler(request, info) : request
  );
  using slow = await Peer.to(running);
  using quick = await Peer.to(running);
  await slow.send("slow\n");
  await held.calls(1);
  assertEquals(await quick.ask("quick\n", "quick\n"), "quick\n");
  held.reply(0, "done");
  assertEquals(await slow.receive(10), "slow done\n");
});

Deno.test("serve sends finished replies before it waits for a slow one", async () => {
  const held = new Held();
  await using running = serveTest((request, info) =>
    text(request) === "slow" ? held.handler(request, info) : request
  );
  using peer = await Peer.to(running);
  assertEquals(await peer.ask("a\nb\nslow\nc\n", "a\nb\n"), "a\nb\n");
  held.reply(0, "done");
  assertEquals(await peer.receive(12), "slow done\nc\n");
});

Deno.test("serve writes the replies to one batch at once", async () => {
  let writes = 0;
  const { listen, connections } = wrapped((conn) => ({
    write(p: Uint8Array) {
      writes++;
      return conn.write(p);
    },
  }));
  for (
    const handler of [
      echo,
      // Asynchronous, with nothing to wait for: still the same batch.
      (async (request) => await request) as Handler,
    ]
  ) {
    writes = 0;
    // By a clock that stands still nobody is late, however slow the machine is.
    const clock = new FakeClock();
    await using running = serveTest(handler, {}, { listen, clock });
    using peer = await Peer.to(running);
    await peer.send("x\n".repeat(500));
    assertEquals(await peer.receive(1000), "x\n".repeat(500));
    const reads = connections.at(-1)!.reads;
    assert(writes <= reads, `${writes} writes for ${reads} reads`);
  }
});

Deno.test("serve puts partial writes together again", async () => {
  const next = random(7);
  const { listen } = wrapped((conn) => ({
    write: (p: Uint8Array) =>
      conn.write(
        p.subarray(0, 1 + Math.floor(next() * Math.min(p.length, 50))),
      ),
  }));
  await using running = serveTest(echo, {}, { listen });
  using peer = await Peer.to(running);
  const lines = Array.from({ length: 300 }, (_, i) => `line ${i}\n`).join("");
  await peer.send(lines);
  await peer.finish();
  assertEquals(await peer.rest(), lines);
});

Deno.test("serve takes a handler's every kind of reply", async () => {
  const replies: Record<string, ReturnType<Handler>> = {
    bytes: bytes("B"),
    text: "Ü",
    empty: "",
    none: undefined,
    nothing: null,
    later: Promise.resolve("L"),
    laterNone: Promise.resolve(),
  };
  await using running = serveTest((request) => replies[text(request)]);
  using peer = await Peer.to(running);
  await peer.send(Object.keys(replies).map((name) => `${name}\n`).join(""));
  await peer.finish();
  assertEquals(await peer.rest(), "B\nÜ\n\nL\n");
});

Deno.test("serve sends replies larger than its buffers, whole", async () => {
  for (const framing of ["line", "length", "netstring"] as const) {
    await using running = serveTest(
      (request) => new Uint8Array(Number(text(request))).fill(120),
      { framing },
    );
    await using client = await connect({
      port: (running.addr as Deno.NetAddr).port,
      framing,
    });
    const sizes = [65_535, 65_536, 65_600, 1, 5_000_000, 0, 200_000];
    const replies = await Promise.all(
      sizes.map((size) => client.request(String(size))),
    );
    assertEquals(replies.map((reply) => reply.length), sizes);
    assert(replies.every((reply) => reply.every((byte) => byte === 120)));
  }
});

Deno.test("serve turns a handler's failure into ERR internal error", async () => {
  const failures: Record<string, Handler> = {
    throws: () => {
      throw new Error("secret");
    },
    rejects: () => Promise.reject(new Error("secret")),
    later: async () => {
      await settle();
      throw new Error("secret");
    },
    lf: () => "two\nlines",
    kind: () => 42 as unknown as string,
    fine: () => "fine",
  };
  await using running = serveTest((request, info) =>
    failures[text(request)](request, info)
  );
  using peer = await Peer.to(running);
  await peer.send(Object.keys(failures).map((name) => `${name}\n`).join(""));
  await peer.finish();
  assertEquals(
    await peer.rest(),
    "ERR internal error\n".repeat(5) + "fine\n",
  );
  assertEquals(
    running.events.of("handler_error").map(({ error }) =>
      (error as Error).message
    ),
    [
      "secret",
      "secret",
      "secret",
      "Cannot send a line that contains LF",
      "Cannot send 42: expected a Uint8Array, a string or nothing",
    ],
  );
  assertEquals(
    running.events.of("request").map(({ status }) => status),
    ["error", "error", "error", "error", "error", "ok"],
  );
});

Deno.test("serve lets onError make the reply", async () => {
  const onErrors: Record<string, ServeOptions["onError"]> = {
    "ERR a: boom": (error) => `ERR a: ${(error as Error).message}`,
    "ERR b": () => Promise.resolve("ERR b"),
    "ERR internal error": () => {
      throw new Error("again");
    },
  };
  for (const [expected, onError] of Object.entries(onErrors)) {
    await using running = serveTest(() => {
      throw new Error("boom");
    }, { onError });
    using peer = await Peer.to(running);
    assertEquals(await peer.ask("x\n", `${expected}\n`), `${expected}\n`);
  }
});

Deno.test("serve gives each connection an info of its own", async () => {
  await using running = serveTest((request, info) => {
    info.state.seen = `${info.state.seen ?? ""}${text(request)}`;
    const { port } = info.remoteAddr as Deno.NetAddr;
    return `${info.id} ${port} ${info.framing} ${info.state.seen}`;
  });
  using one = await Peer.to(running);
  using two = await Peer.to(running);
  const port = (peer: Peer) => (peer.conn.localAddr as Deno.NetAddr).port;
  for (
    const [peer, sent, id, seen] of [
      [one, "a", 1, "a"],
      [two, "b", 2, "b"],
      [one, "c", 1, "ac"],
    ] as const
  ) {
    const expected = `${id} ${port(peer)} line ${seen}\n`;
    assertEquals(await peer.ask(`${sent}\n`, expected), expected);
  }
});

Deno.test("serve counts what it serves", async () => {
  await using running = serveTest(echo);
  const { server } = running;
  {
    using peer = await Peer.to(running);
    await peer.ask("hello\n", "hello\n");
    assertEquals([server.connections, server.requests], [1, 1]);
    assertEquals([server.received, server.sent], [6, 6]);
  }
  await running.events.closed();
  assertEquals([server.connections, server.connectionsTotal], [0, 1]);
  assertEquals([server.received, server.sent], [6, 6]);
});

Deno.test("serve ends the connection after the reply when info.close() is called", async () => {
  await using running = serveTest((request, info) => {
    info.close();
    return request;
  });
  using peer = await Peer.to(running);
  await peer.send("last\nmore\n");
  assertEquals(await peer.rest(), "last\n");
  assertEquals((await running.events.closed()).reason, "handler_closed");
});

Deno.test("serve refuses a frame that is too large, and closes", async () => {
  for (
    const [framing, sent, expected] of [
      [
        "line",
        "ok\n" + "x".repeat(11) + "\n",
        "ok\nERR frame too large: length is at least 11, maximum is 10\n",
      ],
      [
        "length",
        "\0\0\0\x02ok\0\0\0\x0b",
        "\0\0\0\x02ok\0\0\x000ERR frame too large: length is 11, maximum is 10",
      ],
      [
        "netstring",
        "2:ok,11:",
        "2:ok,48:ERR frame too large: length is 11, maximum is 10,",
      ],
    ] as const
  ) {
    await using running = serveTest(echo, { framing, maxFrame: 10 });
    using peer = await Peer.to(running);
    await peer.send(sent);
    assertEquals(await peer.rest(), expected);
    const { reason, error } = await running.events.closed();
    assertEquals(reason, "frame_error");
    assertStringIncludes(String(error), "too large");
  }
});

Deno.test("serve tells a peer that keeps sending why it was refused", async () => {
  await using running = serveTest(echo, { maxFrame: 1000 });
  using peer = await Peer.to(running);
  // Far more than the sockets hold: the server has to take it in, or its
  // close would reset the connection, and the reply could be lost.
  const sending = peer.send(new Uint8Array(20_000_000).fill(97));
  assertEquals(
    await peer.receive(62),
    "ERR frame too large: length is at least 1001, maximum is 1000\n",
  );
  await sending;
});

Deno.test("serve says what is malformed, and closes", async () => {
  await using running = serveTest(echo, { framing: "netstring" });
  using peer = await Peer.to(running);
  await peer.send("1:a,bad");
  assertEquals(
    await peer.rest(),
    "1:a,47:ERR malformed frame: expected a digit, got 0x62,",
  );
  assertEquals((await running.events.closed()).reason, "frame_error");
});

Deno.test("serve handles nothing of a frame that is cut off", async () => {
  await using running = serveTest(echo);
  using peer = await Peer.to(running);
  await peer.send("whole\nhalf");
  await peer.finish();
  assertEquals(
    await peer.rest(),
    "whole\nERR malformed frame: stream ended after 4 bytes of a frame\n",
  );
  const { reason, requests } = await running.events.closed();
  assertEquals([reason, requests], ["frame_error", 1]);
});

Deno.test("serve refuses one connection over the limit, and serves again", async () => {
  await using running = serveTest(echo, { maxConnections: 2 });
  const busy = "ERR busy: connection limit of 2 reached\n";
  {
    using one = await Peer.to(running);
    using two = await Peer.to(running);
    await one.ask("x\n", "x\n");
    await two.ask("x\n", "x\n");
    using three = await Peer.to(running);
    await three.send("x\n");
    assertEquals(await three.rest(), busy);
    const [{ reason }] = running.events.of("connection_rejected");
    assertEquals(reason, "busy");
    assertEquals(running.server.connectionsRejected, 1);
    assertEquals(running.server.connectionsTotal, 2);
  }
  await running.events.next("connection_close", 2);
  using four = await Peer.to(running);
  assertEquals(await four.ask("y\n", "y\n"), "y\n");
});

Deno.test("serve reads no more from a peer that takes no replies", async () => {
  let received = 0;
  await using running = serveTest((request) => {
    received += request.length;
    return new Uint8Array(60_000);
  }, { framing: "length" });
  using peer = await Peer.to(running);
  const request = new Uint8Array(4 + 60_000);
  new DataView(request.buffer).setUint32(0, 60_000);
  // It sends 60 MB, and reads only when it can send no more.
  let sent = 0;
  let blocked = false;
  const sending = (async () => {
    for (; sent < 1000; sent++) await peer.send(request);
  })();
  while (!blocked) {
    const before = received;
    // A turn of the event loop in which the handler saw nothing, three times.
    blocked = true;
    for (let turn = 0; turn < 3 && blocked; turn++) {
      await turnOfLoop();
      blocked = received === before && before > 0;
    }
  }
  assert(sent < 1000, "the peer could send everything unread");
  const reading = peer.receive(1000 * 60_004);
  await sending;
  assertEquals((await reading).length, 1000 * 60_004);
});

Deno.test("serve aborts info.signal when the peer is gone", async () => {
  const held = new Held();
  await using running = serveTest(held.handler);
  const peer = await RudePeer.to(running);
  await peer.send("slow\n");
  await held.calls(1);
  const { signal } = held.infos[0];
  assertEquals(signal.aborted, false);
  const aborted = new Promise((done) => signal.addEventListener("abort", done));
  await peer.reset();
  await aborted;
  const { reason, unanswered } = await running.events.closed();
  assertEquals([reason, unanswered], ["peer_reset", true]);
});

Deno.test("serve gives each request a signal of its own", async () => {
  const signals: AbortSignal[] = [];
  await using running = serveTest(async (request, info) => {
    signals.push(info.signal);
    await turnOfLoop();
    return request;
  });
  using peer = await Peer.to(running);
  await peer.ask("a\nb\n", "a\nb\n");
  peer.conn.close();
  await running.events.closed();
  assert(signals[0] !== signals[1]);
  assertEquals(signals.map(({ aborted }) => aborted), [false, false]);
});

Deno.test("serve answers a peer that finished sending while a handler runs", async () => {
  const held = new Held();
  await using running = serveTest(held.handler);
  using peer = await Peer.to(running);
  await peer.send("a\nb\n");
  await peer.finish();
  await held.calls(1);
  held.reply(0, "1");
  await held.calls(2);
  assertEquals(held.infos[1].signal.aborted, false);
  held.reply(1, "2");
  assertEquals(await peer.rest(), "a 1\nb 2\n");
  assertEquals((await running.events.closed()).reason, "peer_closed");
});

Deno.test("serve closes an idle connection, and one that only dribbles", async () => {
  const clock = new FakeClock();
  await using running = serveTest(echo, {
    idleTimeout: 1000,
    requestTimeout: 0,
    writeTimeout: 0,
  }, { clock });
  using idle = await Peer.to(running);
  using dribbling = await Peer.to(running);
  using busy = await Peer.to(running);
  for (let second = 0; second < 3; second++) {
    await busy.ask("x\n", "x\n");
    await dribbling.send("y");
    // Its byte has arrived once the server has counted it.
    const { server } = running;
    while (server.received < (second + 1) * 3) await turnOfLoop();
    clock.advance(400);
    await settle();
  }
  assertEquals(await idle.rest(), "");
  assertEquals(await dribbling.rest(), "");
  await running.events.next("connection_close", 2);
  assertEquals(running.events.reasons, ["idle_timeout", "idle_timeout"]);
  assertEquals(await busy.ask("x\n", "x\n"), "x\n");
});

Deno.test("serve gives up on a handler after the request timeout", async () => {
  const clock = new FakeClock();
  const held = new Held();
  await using running = serveTest(held.handler, { requestTimeout: 1000 }, {
    clock,
  });
  using peer = await Peer.to(running);
  await peer.send("slow\nnext\n");
  await held.calls(1);
  await settle();
  const { signal } = held.infos[0];
  clock.advance(999);
  await settle();
  assertEquals(signal.aborted, false);
  clock.advance(500);
  assertEquals(
    await peer.rest(),
    "ERR request timeout: no reply within 1000 ms\n",
  );
  assertEquals(signal.aborted, true);
  assertEquals((await running.events.closed()).reason, "request_timeout");
  assertEquals(running.events.of("request")[0].status, "timeout");
  // A reply that comes too late is nobody's.
  held.reply(0, "late");
});

Deno.test("serve closes a connection whose peer takes no replies", async () => {
  const clock = new FakeClock();
  const { listen, connections } = wrapped(() => ({
    write: () => new Promise<number>(() => {}),
  }));
  await using running = serveTest(echo, { writeTimeout: 1000 }, {
    listen,
    clock,
  });
  using peer = await Peer.to(running);
  await peer.send("x\n");
  while (connections[0]?.blocked !== true) await turnOfLoop();
  clock.advance(999);
  await settle();
  assertEquals(running.events.reasons, []);
  clock.advance(500);
  const { reason, unanswered } = await running.events.closed();
  assertEquals([reason, unanswered], ["write_timeout", true]);
});

Deno.test("serve takes a stalled process for no timeout", async () => {
  const clock = new FakeClock();
  const held = new Held();
  await using running = serveTest(held.handler, { requestTimeout: 8000 }, {
    clock,
  });
  using peer = await Peer.to(running);
  await peer.send("slow\n");
  await held.calls(1);
  await settle();
  clock.jump(3_600_000);
  clock.advance(1000);
  await settle();
  assertEquals(held.infos[0].signal.aborted, false);
  held.reply(0, "done");
  assertEquals(await peer.receive(10), "slow done\n");
});

Deno.test("serve shutdown answers what has arrived and closes what is idle", async () => {
  const held = new Held();
  const hostname = ownAddress();
  await using running = serveTest(held.handler, { hostname });
  using idle = await Peer.to(running);
  using busy = await Peer.to(running);
  await running.events.next("connection_open", 2);
  await busy.send("a\nb\n");
  await held.calls(1);
  const finished = running.server.shutdown();
  assertEquals(await idle.rest(), "");
  await assertRejects(() => Peer.to(running), Deno.errors.ConnectionRefused);
  held.reply(0, "1");
  await held.calls(2);
  held.reply(1, "2");
  assertEquals(await busy.rest(), "a 1\nb 2\n");
  await finished;
  await running.server.finished;
  assertEquals(running.events.reasons, ["shutdown", "shutdown"]);
  assertEquals(running.events.of("drain")[0].connections, 2);
  assertEquals(running.events.of("finished")[0].forced, 0);
  assert(running.events.of("connection_close").every((e) => !e.unanswered));
});

Deno.test("serve shutdown answers what the kernel still holds", async () => {
  for (let seed = 1; seed <= 20; seed++) {
    const next = random(seed);
    await using running = serveTest(echo);
    using peer = await Peer.to(running);
    await peer.ask("first\n", "first\n");
    const lines = Array.from(
      { length: 1 + Math.floor(next() * 20_000) },
      (_, i) => `line ${i}\n`,
    ).join("");
    // All of it is in the sockets when the drain begins, or is on its way.
    const sent = peer.conn.write(bytes(lines));
    const n = await sent;
    const finished = running.server.shutdown();
    const got = await peer.rest();
    await finished;
    const whole = text(bytes(lines).subarray(0, n));
    assertEquals(
      got.slice(0, whole.lastIndexOf("\n") + 1),
      whole.slice(0, whole.lastIndexOf("\n") + 1),
      `seed ${seed}`,
    );
  }
});

Deno.test("serve shutdown serves those who are queued at its listener", async () => {
  await using running = serveTest(echo);
  // None of them has been accepted yet: nothing was awaited since.
  const { port } = running.addr as Deno.NetAddr;
  const connecting = Array.from(
    { length: 50 },
    () => Deno.connect({ hostname: "127.0.0.1", port }),
  );
  const peers = (await Promise.all(connecting)).map((conn) => new Peer(conn));
  const finished = running.server.shutdown();
  const replies = await Promise.all(peers.map(async (peer) => {
    await peer.send("x\n");
    await peer.finish();
    return await peer.rest();
  }));
  await finished;
  assertEquals(replies, peers.map(() => "x\n"));
});

Deno.test("serve shutdown ends a peer that never stops asking", async () => {
  await using running = serveTest(echo, { drainTimeout: 0 });
  using peer = await Peer.to(running);
  let rounds = 0;
  let closing: Promise<void> | undefined;
  while (await peer.ask("again\n", "again\n") === "again\n") {
    if (++rounds === 10) closing = running.server.shutdown();
  }
  peer.conn.close();
  await closing;
  assertEquals(running.events.reasons, ["shutdown"]);
});

Deno.test("serve shutdown forces what is left at the drain timeout", async () => {
  const clock = new FakeClock();
  const held = new Held();
  await using running = serveTest(held.handler, { drainTimeout: 5000 }, {
    clock,
  });
  using peer = await Peer.to(running);
  await peer.send("slow\n");
  await held.calls(1);
  const finished = running.server.shutdown();
  clock.advance(10);
  await running.events.next("drain");
  clock.advance(4999);
  await settle();
  assertEquals(running.events.reasons, []);
  assertEquals(held.infos[0].signal.aborted, false);
  clock.advance(1);
  await finished;
  assertEquals(held.infos[0].signal.aborted, true);
  assertEquals(running.events.of("finished")[0].forced, 1);
  assertEquals(running.events.reasons, ["forced"]);
  assertEquals(clock.timers, 0);
});

Deno.test("serve drains when its signal aborts, also before the start", async () => {
  const controller = new AbortController();
  const server = serve({
    hostname: "127.0.0.1",
    port: 0,
    signal: controller.signal,
  }, echo);
  using peer = await Peer.to(server);
  assertEquals(await peer.ask("x\n", "x\n"), "x\n");
  controller.abort();
  assertEquals(await peer.rest(), "");
  await server.finished;
  await serve(
    { hostname: "127.0.0.1", port: 0, signal: AbortSignal.abort() },
    echo,
  ).finished;
});

Deno.test("serve leaves nothing at a signal that outlives it", async () => {
  const { signal } = new AbortController();
  const listening = new Set<unknown>();
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (type: string, ...rest: unknown[]) => {
    listening.add(rest[0]);
    Reflect.apply(addEventListener, signal, [type, ...rest]);
  };
  signal.removeEventListener = (type: string, ...rest: unknown[]) => {
    listening.delete(rest[0]);
    Reflect.apply(removeEventListener, signal, [type, ...rest]);
  };
  const well = serveTest(echo, { signal });
  const listener = new FakeListener();
  const failed = serveTest(echo, { signal }, { listen: () => listener });
  assertEquals(listening.size, 2);
  await well.server.shutdown();
  listener.next(new Deno.errors.BadResource("Listener has been closed"));
  await assertRejects(() => failed.server.finished, Deno.errors.BadResource);
  await settle();
  assertEquals(listening.size, 0);
});

Deno.test("serve has shutdown called twice, and frees its port", async () => {
  const hostname = ownAddress();
  const { server } = serveTest(echo, { hostname });
  const { port } = server.addr as Deno.NetAddr;
  await Promise.all([server.shutdown(), server.shutdown()]);
  await server.shutdown();
  await using again = serve({ hostname, port }, echo);
  assertEquals((again.addr as Deno.NetAddr).port, port);
});

Deno.test("serve tells onListen and the events where it listens", async () => {
  const events = new Events();
  let told: Deno.Addr | undefined;
  await using server = serve({
    hostname: "127.0.0.1",
    port: 0,
    onListen: (addr) => told = addr,
    events: events.listeners,
  }, echo);
  assertEquals(told, server.addr);
  assertEquals(events.of("listening"), [{
    type: "listening",
    addr: server.addr,
  }]);
});

Deno.test("serve refuses options that are not allowed, with nothing bound", () => {
  const bad: [ServeOptions, string][] = [
    [{ port: 70_000 }, "port 70000: expected a whole number from 0 to 65535"],
    [{ port: NaN }, "port NaN"],
    [{ maxFrame: 0 }, "maxFrame 0"],
    [{ maxFrame: 1.5 }, "maxFrame 1.5"],
    [{ maxReply: 0 }, "maxReply 0: expected a whole number from 1 to 10737"],
    [{ maxReply: 2 ** 30 + 1 }, "maxReply 1073741825"],
    [{ idleTimeout: -1 }, "idleTimeout -1"],
    [{ writeTimeout: Infinity }, "writeTimeout Infinity"],
    [{ tcpBacklog: 0 }, "tcpBacklog 0"],
    [{ ipPrefix: 129 }, "ipPrefix 129"],
    [{ maxConnectionRate: "9" }, 'maxConnectionRate "9": expected a rate such'],
    [{ maxRequestRate: "0/s" }, 'maxRequestRate "0/s": expected a rate such'],
    [{ hostname: "" }, 'hostname "": expected an address or a host name'],
    [
      { framing: "lines" as "line" },
      'framing "lines": expected one of line, length, netstring',
    ],
    [{ framing: "toString" as "line" }, 'framing "toString"'],
  ];
  for (const [options, message] of bad) {
    assertThrows(
      () =>
        serveTest(echo, options, {
          listen: () => {
            throw new Error("bound");
          },
        }),
      OptionError,
      `Cannot use ${message}`,
    );
  }
  assertThrows(
    () => serve({ port: 0 }, "x" as unknown as Handler),
    OptionError,
    'Cannot use handler "x": expected a function',
  );
});

Deno.test("serve says when the port is taken", async () => {
  await using first = serve({ hostname: "127.0.0.1", port: 0 }, echo);
  const { port } = first.addr as Deno.NetAddr;
  assertThrows(
    () => serve({ hostname: "127.0.0.1", port }, echo),
    Deno.errors.AddrInUse,
  );
});

Deno.test("serve holds many connections at once", async () => {
  await using running = serveTest(echo);
  const peers = await Promise.all(
    Array.from({ length: 200 }, () => Peer.to(running)),
  );
  const replies = await Promise.all(
    peers.map((peer, i) => peer.ask(`${i}\n`, `${i}\n`)),
  );
  assertEquals(replies, peers.map((_, i) => `${i}\n`));
  assertEquals(running.server.connections, 200);
  for (const peer of peers) peer.conn.close();
  await running.events.next("connection_close", 200);
});

Deno.test("serve gives every connection_open one connection_close", async () => {
  const next = random(11);
  await using running = serveTest(
    (request, info) => {
      if (request.length === 3) throw new Error("three");
      if (request.length === 5) info.close();
      return request;
    },
    { maxFrame: 100 },
  );
  await Promise.all(Array.from({ length: 60 }, async () => {
    using peer = await Peer.to(running);
    const ways = [
      () => peer.finish(),
      () => peer.send("abc\n12345\nmore\n"),
      () => peer.send("x".repeat(200)),
      async () => {
        const rude = await RudePeer.to(running);
        await rude.send("ab\n");
        await rude.reset();
      },
      () => peer.conn.close(),
    ];
    await ways[Math.floor(next() * ways.length)]();
  }));
  await running.server.shutdown();
  const opened = running.events.of("connection_open").map(({ id }) => id);
  const closed = running.events.of("connection_close").map(({ id }) => id);
  assertEquals(closed.sort((a, b) => a - b), opened);
});

Deno.test("serve answers what came while it was writing", async () => {
  const gate = Promise.withResolvers<void>();
  const { listen } = wrapped((conn) => ({
    async write(p: Uint8Array) {
      await gate.promise;
      return await conn.write(p);
    },
  }));
  await using running = serveTest(
    async (request) => {
      const reply = request.slice();
      await turnOfLoop();
      return reply;
    },
    {},
    { listen },
  );
  using peer = await Peer.to(running);
  await peer.send("a\n");
  await running.events.next("request");
  // The reply to the first is held back; the second comes in beside it.
  await peer.send("b\n");
  while (running.server.received < 4) await turnOfLoop();
  gate.resolve();
  assertEquals(await peer.receive(4), "a\nb\n");
});

Deno.test("serve keeps a request's bytes for a handler that is too late", async () => {
  const clock = new FakeClock();
  const kept: Uint8Array[] = [];
  await using running = serveTest(
    (request) => {
      if (request[0] !== 97) return "ok";
      kept.push(request);
      return new Promise<string>(() => {});
    },
    { requestTimeout: 1000 },
    { clock },
  );
  {
    using peer = await Peer.to(running);
    await peer.send("a".repeat(20_000) + "\n");
    while (kept.length === 0) await turnOfLoop();
    await settle();
    clock.advance(2000);
    await peer.rest();
  }
  await running.events.closed();
  using other = await Peer.to(running);
  assertEquals(await other.ask("b".repeat(20_000) + "\n", "ok\n"), "ok\n");
  assertEquals(text(kept[0]), "a".repeat(20_000));
});

Deno.test("serve sends only the reply in pieces that was asked for so", async () => {
  let writes = 0;
  const { listen } = wrapped((conn) => ({
    write(p: Uint8Array) {
      writes++;
      return conn.write(p);
    },
  }));
  await using running = serveTest(
    (request, info) => {
      const words = text(request);
      if (words !== "whole") info.replyInPieces(1);
      if (words === "throw") throw new Error("boom");
      return words === "none" ? undefined : request;
    },
    {},
    { listen },
  );
  using peer = await Peer.to(running);
  await peer.ask("none\nwhole\n", "whole\n");
  assertEquals(writes, 1);
  await peer.ask("throw\n", "ERR internal error\n");
  assertEquals(writes, 2);
  await peer.ask("abc\n", "abc\n");
  assertEquals(writes, 6);
});

Deno.test("serve gives synchronous requests signals of their own, too", async () => {
  const signals: AbortSignal[] = [];
  await using running = serveTest((request, info) => {
    signals.push(info.signal);
    return request;
  });
  using peer = await Peer.to(running);
  await peer.ask("a\nb\n", "a\nb\n");
  peer.conn.close();
  await running.events.closed();
  assert(signals[0] !== signals[1]);
  assertEquals(signals.map(({ aborted }) => aborted), [false, false]);
});

Deno.test("serve frees its port when onListen throws", () => {
  let port = 0;
  assertThrows(
    () =>
      serve({
        hostname: "127.0.0.1",
        port: 0,
        onListen(addr) {
          port = (addr as Deno.NetAddr).port;
          throw new Error("no thanks");
        },
      }, echo),
    Error,
    "no thanks",
  );
  Deno.listen({ hostname: "127.0.0.1", port }).close();
});

/** Listens, and changes what connections do. */
function wrapped(
  change: (conn: Deno.TcpConn) => Partial<Pick<Deno.TcpConn, "write">>,
) {
  const connections: { reads: number; blocked: boolean }[] = [];
  const listen = () => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    return {
      addr: listener.addr,
      close: () => listener.close(),
      async accept() {
        const conn = await listener.accept();
        const seen = { reads: 0, blocked: false };
        connections.push(seen);
        const { write } = change(conn);
        return {
          localAddr: conn.localAddr,
          remoteAddr: conn.remoteAddr,
          read(p: Uint8Array) {
            seen.reads++;
            return conn.read(p);
          },
          write(p: Uint8Array) {
            seen.blocked = true;
            return (write ?? conn.write.bind(conn))(p);
          },
          closeWrite: () => conn.closeWrite(),
          close: () => conn.close(),
        };
      },
    };
  };
  return { listen, connections };
}
