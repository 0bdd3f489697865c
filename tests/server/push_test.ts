// Frames that answer no request, hooks, and replies of several frames.

import {
  broadcast,
  ConnectionLostError,
  type Handler,
  type RequestInfo,
  type ServeOptions,
  TimeoutError,
} from "../../lib/mod.ts";
import {
  bytes,
  Peer,
  RudePeer,
  serveTest,
  type TestServer,
  text,
  turnOfLoop,
} from "../support/fixtures.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
} from "../support/std.ts";

Deno.test("what a handler sends goes out in order with the replies", async () => {
  await using running = serveTest(async (request, info) => {
    info.send(`before ${text(request)}`);
    if (request[0] === 98) await info.send("while");
    return `reply to ${text(request)}`;
  });
  using peer = await Peer.to(running);
  const expected = "before a\nreply to a\nbefore b\nwhile\nreply to b\n";
  assertEquals(await peer.ask("a\nb\n", expected), expected);
});

Deno.test("a frame is sent to a peer that has asked for nothing, whenever", async () => {
  let info: RequestInfo | undefined;
  await using running = serveTest((request) => request, {
    onOpen: (opened) => void (info = opened),
  });
  using peer = await Peer.to(running);
  await running.events.next("connection_open");
  await info!.send("1");
  assertEquals(await peer.receive(2), "1\n");
  assertEquals(await peer.ask("a\n", "a\n"), "a\n");
  for (let i = 0; i < 100; i++) info!.send(bytes("x".repeat(1000)));
  assertEquals((await peer.receive(100_100)).length, 100_100);
  assertEquals(await peer.ask("b\n", "b\n"), "b\n");
});

Deno.test("pushed frames stay whole beside large replies", async () => {
  const large = "L".repeat(3_000_000);
  let info: RequestInfo | undefined;
  await using running = serveTest(() => large, {
    onOpen: (opened) => void (info = opened),
  });
  using peer = await Peer.to(running);
  await peer.send("a\nb\nc\n");
  await running.events.next("connection_open");
  const rest = peer.rest();
  for (let i = 0; i < 50; i++) {
    await info!.send("p".repeat(i * 1000 + 1));
  }
  await peer.finish();
  const lines = (await rest).split("\n").slice(0, -1);
  assertEquals(lines.length, 53);
  assertEquals(lines.filter((line) => line === large).length, 3);
  const pushed = lines.filter((line) => line !== large);
  assert(pushed.every((line, i) => line === "p".repeat(i * 1000 + 1)));
});

const ends: Record<string, (running: TestServer, peer: Peer) => unknown> = {
  "info.close()": (_, peer) => peer.send("close\n"),
  "a drain": ({ server }) => void server.shutdown(),
  "the peer's own end": (_, peer) => peer.finish(),
};

for (const [what, end] of Object.entries(ends)) {
  for (const length of [1000, 3_000_000]) {
    Deno.test(`frames of ${length} bytes that are pushed go out before ${what}`, async () => {
      const { promise, resolve } = Promise.withResolvers<RequestInfo>();
      await using running = serveTest((_, info) => info.close(), {
        onOpen: (info) => resolve(info),
        maxBuffered: 2 ** 30,
      });
      using peer = await Peer.to(running);
      const info = await promise;
      const frame = "p".repeat(length);
      // More than the kernel takes.
      const count = 12_000_000 / length;
      for (let i = 0; i < count; i++) info.send(frame);
      await turnOfLoop();
      await end(running, peer);
      await running.events.next(
        what === "a drain" ? "drain" : "connection_open",
      );
      const lines = (await peer.rest()).split("\n");
      assertEquals(lines.pop(), "");
      assertEquals(lines.length, count);
      assert(lines.every((line) => line === frame));
    });
  }
}

Deno.test("info.close() ends a connection that asks for nothing", async () => {
  const { promise, resolve } = Promise.withResolvers<RequestInfo>();
  await using running = serveTest((request) => request, {
    onOpen: (info) => resolve(info),
  });
  using peer = await Peer.to(running);
  const info = await promise;
  await running.events.next("connection_open");
  await turnOfLoop();
  info.send("bye");
  info.close();
  assertEquals(await peer.rest(), "bye\n");
  assertEquals((await running.events.closed()).reason, "handler_closed");
});

Deno.test("close sends the frames given before, also where there is no reply", async () => {
  const large = "L".repeat(300_000);
  await using running = serveTest((_, info) => {
    info.send(large);
    info.close();
  });
  using peer = await Peer.to(running);
  await peer.send("a\n");
  assertEquals((await peer.rest()).length, large.length + 1);
});

Deno.test("onOpen may greet, before all replies", async () => {
  await using running = serveTest((request) => request, {
    onOpen: async (info) => {
      await Promise.resolve();
      return `220 ready, ${info.id}`;
    },
  });
  using peer = await Peer.to(running);
  await peer.send("a\n");
  await peer.finish();
  assertEquals(await peer.rest(), "220 ready, 1\na\n");
});

Deno.test("what onOpen and onError reply may be several frames", async () => {
  const several = async function* (...frames: string[]) {
    for (const frame of frames) yield await Promise.resolve(frame);
  };
  await using running = serveTest(() => {
    throw new Error("no");
  }, {
    onOpen: () => several("220-hello", "220 ready"),
    onError: (_error, _info, request) => several("500-sorry", text(request)),
  });
  using peer = await Peer.to(running);
  await peer.send("a\nb\n");
  await peer.finish();
  const replies = ["500-sorry", "a", "500-sorry", "b"];
  const expected = ["220-hello", "220 ready", ...replies, ""];
  assertEquals((await peer.rest()).split("\n"), expected);
  assertEquals((await running.events.closed()).reason, "peer_closed");
});

Deno.test("an onOpen that throws ends the connection, with onError's words", async () => {
  await using running = serveTest((request) => request, {
    onOpen: () => {
      throw new Error("no");
    },
    onError: (error) => `500 ${(error as Error).message}`,
  });
  using peer = await Peer.to(running);
  await peer.send("a\n");
  assertEquals(await peer.rest(), "500 no\n");
  assertEquals((await running.events.closed()).reason, "error");
  assertEquals(running.events.of("handler_error").length, 1);
});

Deno.test("onClose is called once for each connection, with the reason", async () => {
  const seen: string[] = [];
  await using running = serveTest((request, info) => {
    if (request.length === 0) info.close();
    return request;
  }, { onClose: ({ id }, reason) => void seen.push(`${id} ${reason}`) });
  using first = await Peer.to(running);
  await first.send("\n");
  await first.rest();
  const second = await RudePeer.to(running);
  await running.events.next("connection_open", 2);
  second.reset();
  await running.events.next("connection_close", 2);
  assertEquals(seen, ["1 handler_closed", "2 peer_reset"]);
});

Deno.test("an onClose that throws is an event", async () => {
  await using running = serveTest((request) => request, {
    onClose: () => Promise.reject(new Error("no")),
  });
  using peer = await Peer.to(running);
  await peer.finish();
  await peer.rest();
  assertMatch(String((await running.events.next("handler_error")).error), /no/);
});

Deno.test("state is made for each connection", async () => {
  const options: ServeOptions<{ count: number }> = {
    state: () => ({ count: 0 }),
  };
  const handler: Handler<{ count: number }> = (_, info) =>
    `${++info.state.count}`;
  await using running = serveTest(handler as Handler, options);
  for (let i = 0; i < 2; i++) {
    using peer = await Peer.to(running);
    assertEquals(await peer.ask("\n\n", "1\n2\n"), "1\n2\n");
  }
});

Deno.test("broadcast reaches all, and a slow one is closed", async () => {
  const room = new Set<RequestInfo>();
  await using running = serveTest(
    (request) => broadcast(room, request),
    {
      onOpen: (info) => void room.add(info),
      onClose: (info) => void room.delete(info),
      maxBuffered: 200_000,
    },
  );
  const peers = await Promise.all(
    Array.from({ length: 5 }, () => Peer.to(running)),
  );
  await running.events.next("connection_open", 5);
  await peers[0].send("hello\n");
  for (const peer of peers) assertEquals(await peer.receive(6), "hello\n");
  const large = `${"x".repeat(60_000)}\n`;
  // The last one takes nothing, the others all of it.
  const all = peers.slice(0, 4).map((peer) => peer.receive(large.length * 200));
  for (let i = 0; i < 200; i++) await peers[0].send(large);
  for (const got of all) assertEquals((await got).length, large.length * 200);
  assertEquals((await running.events.closed()).reason, "slow_consumer");
  for (const peer of peers) peer[Symbol.dispose]();
});

Deno.test("a reply of several frames is sent as the peer takes it, and no faster", async () => {
  let made = 0;
  let ended = 0;
  await using running = serveTest(async function* (request) {
    try {
      for (let i = 0; i < Number(text(request)); i++) {
        made++;
        yield new Uint8Array(50_000);
      }
    } finally {
      ended++;
    }
  }, { writeTimeout: 300 });
  {
    using peer = await Peer.to(running);
    await peer.send("3\n0\n1\n");
    await peer.finish();
    assertEquals((await peer.rest()).length, 4 * 50_001);
    assertEquals([made, ended], [4, 3]);
  }
  using _stuck = await Peer.to(running);
  await _stuck.send("1000000\n");
  await running.events.next("connection_close", 2);
  assertEquals(running.events.reasons, ["peer_closed", "write_timeout"]);
  assert(made < 1000, `${made} were made for a peer that takes nothing`);
  assertEquals(ended, 4);
});

Deno.test("a stream is a reply of several frames", async () => {
  let cancelled = false;
  await using running = serveTest(() =>
    new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(bytes("a")),
      cancel: () => void (cancelled = true),
    }, { highWaterMark: 0 })
  );
  const peer = await RudePeer.to(running);
  await peer.send("x\n");
  await running.events.next("connection_open");
  peer.reset();
  assertEquals((await running.events.closed()).reason, "peer_reset");
  assert(cancelled);
});

Deno.test("a stream that comes too late to be sent is cancelled", async () => {
  for (const how of ["reset", "timeout", "disconnect"]) {
    const late = Promise.withResolvers<ReadableStream<Uint8Array>>();
    const cancelled = Promise.withResolvers<void>();
    await using running = serveTest((_, { id }) => {
      if (how === "disconnect") running.server.disconnect(id);
      return late.promise;
    }, how === "timeout" ? { requestTimeout: 50 } : {});
    const peer = await RudePeer.to(running);
    await peer.send("x\n");
    await running.events.next("connection_open");
    if (how === "reset") {
      while (running.server.requests === 0) await turnOfLoop();
      await turnOfLoop();
      peer.reset();
    }
    await running.events.closed();
    if (how !== "reset") peer.reset();
    late.resolve(
      new ReadableStream({ cancel: () => cancelled.resolve() }),
    );
    await cancelled.promise;
  }
});

Deno.test("items of a reply may come by any thenable", async () => {
  const items = ["1", "2"];
  const next = () => ({
    then: (resolve: (item: IteratorResult<string>) => void) =>
      resolve(
        items.length > 0
          ? { value: items.shift()!, done: false }
          : { value: undefined, done: true },
      ),
  });
  const reply = { [Symbol.asyncIterator]: () => ({ next }) };
  await using running = serveTest(() => reply as AsyncIterable<string>);
  using peer = await Peer.to(running);
  assertEquals(await peer.ask("a\n", "1\n2\n"), "1\n2\n");
});

Deno.test("a reply that fails halfway ends the connection, and says so", async () => {
  await using running = serveTest(async function* () {
    yield "1";
    await Promise.resolve();
    throw new Error("broken");
  });
  using peer = await Peer.to(running);
  await peer.send("a\nb\n");
  assertEquals(await peer.rest(), "1\nERR internal error\n");
  assertEquals((await running.events.closed()).reason, "error");
});

Deno.test("the request timeout counts for each item of a reply", async () => {
  let next = Promise.withResolvers<void>();
  await using running = serveTest(async function* () {
    yield "1";
    await next.promise;
    yield "2";
    next = Promise.withResolvers();
    await next.promise;
  }, { requestTimeout: 50 });
  using peer = await Peer.to(running);
  await peer.send("a\n");
  assertEquals(await peer.receive(2), "1\n");
  next.resolve();
  assertMatch(await peer.rest(), /^2\nERR request timeout/);
  const { reason, error } = await running.events.closed();
  assertEquals([reason, error], ["request_timeout", undefined]);
  next.resolve();
});

Deno.test("thenables are awaited", async () => {
  await using running = serveTest((request) => ({
    then: (resolve: (reply: string) => void) => resolve(text(request)),
  } as PromiseLike<string>));
  using peer = await Peer.to(running);
  assertEquals(await peer.ask("a\n", "a\n"), "a\n");
});

Deno.test("onError has the request, also where it took too long", async () => {
  const seen: unknown[] = [];
  await using running = serveTest(
    (request) =>
      request[0] === 97 ? "x".repeat(100) : new Promise<string>(() => {}),
    {
      requestTimeout: 50,
      maxReply: 50,
      onError: (error, _, request) => {
        seen.push(error);
        return `-${(error as Error).name} ${text(request)}`;
      },
    },
  );
  using peer = await Peer.to(running);
  await peer.send("a\nb\n");
  assertEquals(
    await peer.rest(),
    "-ReplyTooLargeError a\n-TimeoutError b\n",
  );
  assertInstanceOf(seen[1], TimeoutError);
  assertEquals((await running.events.closed()).reason, "request_timeout");
});

Deno.test("onRefuse says a refusal in the protocol's words", async () => {
  await using running = serveTest((request) => request, {
    maxConnections: 1,
    onRefuse: (reason, text) => reason === "busy" ? `-BUSY ${text}` : undefined,
  });
  using first = await Peer.to(running);
  await first.ask("a\n", "a\n");
  using second = await Peer.to(running);
  assertMatch(await second.rest(), /^-BUSY ERR busy: connection limit of 1/);
});

Deno.test("without halfOpen a handler ends with its client", async () => {
  for (const halfOpen of [false, true]) {
    const { promise, resolve } = Promise.withResolvers<string>();
    let aborted = false;
    await using running = serveTest((_, { signal }) => {
      signal.addEventListener("abort", () => {
        aborted = true;
        resolve("late");
      });
      return promise;
    }, { halfOpen });
    using peer = await Peer.to(running);
    await peer.send("a\n");
    await running.events.next("connection_open");
    await peer.finish();
    if (halfOpen) resolve("reply");
    assertEquals(await peer.rest(), halfOpen ? "reply\n" : "");
    assertEquals((await running.events.closed()).reason, "peer_closed");
    assertEquals(aborted, !halfOpen);
  }
});

Deno.test("send to one that has ended rejects, and nobody need look", async () => {
  let info: RequestInfo | undefined;
  await using running = serveTest((_, asked) => {
    info = asked;
    asked.close();
  });
  using peer = await Peer.to(running);
  await peer.send("a\n");
  await peer.rest();
  await running.events.closed();
  info!.send("b");
  broadcast([info!], "c");
  await assertRejects(() => info!.send("d"), ConnectionLostError);
});
