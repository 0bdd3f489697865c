// Peers that go at the worst moment, and handlers that fail, with real sockets:
// the one connection ends for its reason, the others are served all the while,
// and nothing is left behind.

import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
} from "../support/std.ts";

import {
  connect,
  type ConnectionCloseEvent,
  ConnectionLostError,
  type Handler,
  serve,
} from "../../lib/mod.ts";
import {
  FakeClock,
  Peer,
  RudePeer,
  serveTest,
  type TestServer,
  turnOfLoop,
} from "../support/fixtures.ts";

const LARGE = 16 * 1024 * 1024;

/** What the second connection of {@linkcode whileOthersAreServed} is at. */
interface Trouble extends TestServer {
  clock: FakeClock;
  /** Waits until the server has received so much of the second connection. */
  received(bytes: number): Promise<void>;
}

/**
 * Serves one peer before, while and after another makes trouble, and checks
 * that the server is as it was then.
 *
 * @returns How the connection that made trouble ended.
 */
async function whileOthersAreServed(
  handler: Handler,
  trouble: (running: Trouble) => Promise<void>,
): Promise<ConnectionCloseEvent> {
  const clock = new FakeClock();
  await using running = serveTest(
    (request, info) => info.id === 1 ? request : handler(request, info),
    {},
    { clock },
  );
  const { server, events } = running;
  let asked = 0;
  const other = await Peer.to(running);
  const served = async () => {
    asked++;
    assertEquals(await other.ask("x\n", "x\n"), "x\n");
  };
  await served();
  await trouble({
    ...running,
    clock,
    async received(bytes) {
      while (server.received - 2 * asked < bytes) await turnOfLoop();
      await served();
    },
  });
  const end = await events.closed();
  assertEquals([end.id, server.connections], [2, 1]);
  await served();
  other.conn.close();
  await events.next("connection_close", 2);
  assertEquals(events.reasons[1], "peer_closed");
  assertEquals([server.connections, server.connectionsTotal], [0, 2]);
  assertEquals([server.received, server.sent], [
    end.received + 2 * asked,
    end.sent + 2 * asked,
  ]);
  // The memory of a large reply is looked after for a while; no deadline is.
  clock.advance(16_000);
  assertEquals(clock.timers, 0);
  return end;
}

const never: Handler = () => new Promise(() => {});

Deno.test("serve goes on after a peer that resets while it is queued", async () => {
  const gate = Promise.withResolvers<void>();
  const listen = () => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    return {
      addr: listener.addr,
      close: () => listener.close(),
      async accept() {
        await gate.promise;
        return await listener.accept();
      },
    };
  };
  await using running = serveTest((request) => request, {}, { listen });
  const before = await Peer.to(running);
  const rude = await RudePeer.to(running);
  await rude.send("x\n");
  await rude.reset();
  const after = await Peer.to(running);
  gate.resolve();
  for (const peer of [before, after]) {
    assertEquals(await peer.ask("x\n", "x\n"), "x\n");
    peer.conn.close();
  }
  const { server, events } = running;
  await events.next("connection_close", 2);
  assertEquals(
    events.of("accept_error").map(({ error, retryIn, fatal }) => [
      error instanceof Deno.errors.NotConnected,
      retryIn,
      fatal,
    ]),
    [[true, 0, false]],
  );
  assertEquals([server.connections, server.connectionsTotal], [0, 2]);
});

Deno.test("serve goes on after a peer that resets in the middle of a request", async () => {
  const end = await whileOthersAreServed(never, async (running) => {
    const rude = await RudePeer.to(running);
    await rude.send("half a requ");
    await running.received(11);
    await rude.reset();
  });
  assertEquals(end.reason, "peer_reset");
  assertEquals([end.requests, end.unanswered], [0, false]);
});

Deno.test("serve goes on after a peer that resets in the middle of a reply", async () => {
  const end = await whileOthersAreServed(
    () => new Uint8Array(LARGE),
    async (running) => {
      const rude = await RudePeer.to(running);
      await rude.send("large\nnext\n");
      await running.received(11);
      // More than the other peer's replies: a part of the large one is out.
      while (running.server.sent < 10_000) await turnOfLoop();
      await rude.reset();
    },
  );
  assertEquals(end.reason, "peer_reset");
  assertEquals([end.requests, end.unanswered], [1, true]);
  assert(end.sent > 0 && end.sent < LARGE, `${end.sent} bytes sent`);
});

Deno.test("serve goes on after a peer that resets while its handler runs", async () => {
  let signal: AbortSignal | undefined;
  const end = await whileOthersAreServed((_request, info) => {
    signal = info.signal;
    return new Promise(() => {});
  }, async (running) => {
    const rude = await RudePeer.to(running);
    await rude.send("slow\n");
    await running.received(5);
    assertEquals(signal?.aborted, false);
    await rude.reset();
  });
  assertEquals(end.reason, "peer_reset");
  assertEquals([end.requests, end.unanswered], [1, true]);
  assertEquals(signal?.aborted, true);
});

Deno.test("serve goes on after a peer that closes while its handler runs", async () => {
  const reply = Promise.withResolvers<string>();
  const end = await whileOthersAreServed(
    () => reply.promise,
    async (running) => {
      const peer = await Peer.to(running);
      await peer.send("slow\n");
      await running.received(5);
      peer.conn.close();
      await turnOfLoop();
      reply.resolve("for nobody");
    },
  );
  // The reply may meet the peer's reset, or be gone before it comes.
  assertMatch(end.reason, /^(peer_closed|peer_reset)$/);
  assertEquals(end.requests, 1);
});

Deno.test("serve goes on after a peer that never reads", async () => {
  let silent: Peer | undefined;
  const end = await whileOthersAreServed(
    () => new Uint8Array(LARGE),
    async (running) => {
      silent = await Peer.to(running);
      await silent.send("large\n");
      await running.received(6);
      // A quarter of a minute a turn: the kernel takes some of it, then no more.
      while (running.events.reasons.length === 0) {
        running.clock.advance(15_000);
        await turnOfLoop();
      }
    },
  );
  assertEquals(end.reason, "write_timeout");
  assertEquals([end.requests, end.unanswered], [1, true]);
  assert(end.sent > 0 && end.sent < LARGE, `${end.sent} bytes sent`);
  silent?.conn.close();
});

Deno.test("serve reads no more than a buffer from a peer that floods while its handler runs", async () => {
  let flooding: Promise<void> | undefined;
  const end = await whileOthersAreServed(never, async (running) => {
    const { server, clock } = running;
    const peer = await Peer.to(running);
    flooding = peer.send("x\n".repeat(4_000_000)).catch(() => {});
    await running.received(2);
    for (let before = 0; before !== server.received;) {
      before = server.received;
      for (let turn = 0; turn < 10; turn++) await turnOfLoop();
    }
    assert(server.received < 200_000, `${server.received} bytes received`);
    clock.advance(35_000);
    assertMatch(await peer.rest(), /^ERR request timeout: /);
  });
  await flooding;
  assertEquals([end.reason, end.requests], ["request_timeout", 1]);
});

const failures: Record<string, Handler> = {
  throws: () => {
    throw new Error("secret");
  },
  rejects: () => Promise.reject(new Error("secret")),
  "rejects later": async () => {
    await turnOfLoop();
    throw new Error("secret");
  },
  "replies too much": () => new Uint8Array(LARGE + 1),
};

for (const [name, handler] of Object.entries(failures)) {
  Deno.test(`serve goes on after a handler that ${name}`, async () => {
    const reply = name === "replies too much"
      ? `ERR reply too large: length is ${LARGE + 1}, maximum is ${LARGE}\n`
      : "ERR internal error\n";
    const end = await whileOthersAreServed(handler, async (running) => {
      const peer = await Peer.to(running);
      assertEquals(await peer.ask("one\n", reply), reply);
      await running.received(4);
      assertEquals(await peer.ask("two\n", reply), reply);
      peer.conn.close();
      assertEquals(running.events.of("handler_error").length, 2);
    });
    assertEquals(end.reason, "peer_closed");
    assertEquals([end.requests, end.unanswered], [2, false]);
  });
}

Deno.test("serve goes on after a handler that never settles", async () => {
  const expected = "ERR request timeout: no reply within 30000 ms\n";
  const end = await whileOthersAreServed(never, async (running) => {
    const peer = await Peer.to(running);
    await peer.send("slow\n");
    await running.received(5);
    running.clock.advance(35_000);
    assertEquals(await peer.rest(), expected);
  });
  assertEquals(end.reason, "request_timeout");
  assertEquals([end.requests, end.sent], [1, expected.length]);
});

Deno.test("a handler that disconnects its own client can go on to read its request", async () => {
  const others = Promise.withResolvers<void>();
  const seen = Promise.withResolvers<string>();
  await using server = serve(
    { hostname: "127.0.0.1", port: 0 },
    (request, info) => {
      if (request[0] !== 97) return request;
      server.disconnect(info.id);
      return (async () => {
        await others.promise;
        seen.resolve(new TextDecoder().decode(request));
      })();
    },
  );
  const { port } = server.addr;
  const lost = connect({ port }).then((client) =>
    client.request("a".repeat(20_000))
  );
  await assertRejects(() => lost, ConnectionLostError);
  // They get the memory that was given back last.
  await using client = await connect({ port });
  for (let i = 0; i < 4; i++) await client.request("b".repeat(20_000));
  others.resolve();
  assert(/^a{20000}$/.test(await seen.promise));
});
