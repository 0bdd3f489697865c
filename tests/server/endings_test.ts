/** Connections that end at the moments when it is easiest to miscount them. */

import { assertEquals, toText } from "../support/std.ts";

import { serve } from "../../lib/mod.ts";
import type { Transport } from "../../lib/net/connection.ts";
import type { RequestInfo } from "../../lib/server/handler.ts";
import type { ServeOptions } from "../../lib/server/options.ts";
import type { Service } from "../../lib/server/server.ts";
import { ONE, ONE_CA } from "../support/certificates.ts";
import {
  bytes,
  Events,
  FakeClock,
  FakeListener,
  Peer,
  serveTest,
  settle,
  turnOfLoop,
} from "../support/fixtures.ts";
import { InMemory, turns } from "../support/in_memory.ts";

/** Everything is as if nobody had ever been there. */
function assertEmpty({ server, events }: ReturnType<typeof serveTest>): void {
  assertEquals(server.connections, 0);
  assertEquals(server.metrics().inFlight, 0);
  assertEquals(
    events.of("connection_open").map(({ id }) => id),
    events.of("connection_close").map(({ id }) => id),
  );
}

Deno.test("serve keeps nothing of those it refuses without a word", async () => {
  await using running = serveTest((request) => request, { deny: "127.0.0.1" });
  const { server, events } = running;
  // These are told why, and do not go: there is no room to tell more.
  const told = await Promise.all(
    Array.from({ length: 256 }, () => Peer.to(server)),
  );
  await events.next("connection_rejected", 256);
  for (let i = 0; i < 20; i++) {
    using peer = await Peer.to(server);
    assertEquals(await peer.rest(), "");
  }
  assertEquals(server.metrics().rejected.denied, 276);
  for (const peer of told) peer[Symbol.dispose]();
  // A timer that went on would be a leak that the test's own checks find.
  await server.shutdown();
});

Deno.test("disconnect as soon as a connection is open ends it as any other", async () => {
  const events = new Events();
  const server = serve({
    hostname: "127.0.0.1",
    port: 0,
    maxConnectionsPerIp: 1,
    events: {
      ...events.listeners,
      connection_open: (event) => {
        events.listeners.connection_open?.(event);
        server.disconnect(event.id);
      },
    },
  }, (request) => request);
  for (let i = 1; i <= 3; i++) {
    using peer = await Peer.to(server);
    assertEquals(await peer.rest(), "");
    assertEquals((await events.next("connection_close", i)).reason, "closed");
  }
  assertEquals(events.of("connection_rejected"), []);
  assertEquals(server.connections, 0);
  await server.shutdown();
});

const within: Record<string, {
  answer: (info: RequestInfo, leave: () => void) => unknown;
  calls: number;
}> = {
  "and replies at once": { answer: (_info, leave) => (leave(), "x"), calls: 1 },
  "and replies later": {
    answer: async (_info, leave) => {
      leave();
      await settle();
      return "x";
    },
    calls: 1,
  },
  "and replies with much": {
    answer: (_info, leave) => (leave(), "x".repeat(70_000)),
    calls: 1,
  },
  "and replies in pieces": {
    answer: (info, leave) => {
      info.replyInPieces(1);
      leave();
      return "xyz";
    },
    calls: 1,
  },
  "and throws": {
    answer: (_info, leave) => {
      leave();
      throw new Error("gone");
    },
    calls: 1,
  },
  "and rejects": {
    answer: async (_info, leave) => {
      await settle();
      leave();
      throw new Error("gone");
    },
    calls: 1,
  },
};

for (const [how, { answer, calls }] of Object.entries(within)) {
  Deno.test(`disconnect of a handler's own connection ${how} counts once`, async () => {
    let called = 0;
    await using running = serveTest((_request, info) => {
      called++;
      return answer(
        info,
        () => void running.server.disconnect(info.id),
      ) as string;
    });
    using peer = await Peer.to(running.server);
    await peer.send("a\nb\nc\n");
    assertEquals(await peer.rest(), "");
    await running.events.closed();
    await settle();
    assertEquals(called, calls, "what came behind is handled no more");
    const { requests } = running.server.metrics();
    assertEquals(Object.values(requests).reduce((a, b) => a + b), calls);
    assertEmpty(running);
  });
}

Deno.test("disconnect from a listener for a handler's error counts once", async () => {
  const events = new Events();
  const server = serve({
    hostname: "127.0.0.1",
    port: 0,
    events: {
      ...events.listeners,
      handler_error: ({ id }) => void server.disconnect(id),
    },
  }, () => {
    throw new Error("wrong");
  });
  using peer = await Peer.to(server);
  await peer.send("a\n");
  assertEquals(await peer.rest(), "");
  await events.closed();
  await settle();
  assertEquals(server.metrics().requests.abandoned, 1);
  assertEquals(server.metrics().inFlight, 0);
  await server.shutdown();
});

/** A connection whose one read gives what a test says, when it says so. */
class FakeTransport implements Transport {
  readonly localAddr: Deno.Addr = {
    transport: "tcp",
    hostname: "127.0.0.1",
    port: 1,
  };
  readonly remoteAddr: Deno.Addr = {
    transport: "tcp",
    hostname: "127.0.0.1",
    port: 2,
  };
  readonly asked = Promise.withResolvers<void>();
  #read: {
    space: Uint8Array;
    resolve: (n: number | null) => void;
    reject: (error: unknown) => void;
  } | undefined;
  #closed = false;

  read(space: Uint8Array): Promise<number | null> {
    if (this.#closed) {
      return Promise.reject(new Deno.errors.BadResource("closed"));
    }
    const { promise, resolve, reject } = Promise.withResolvers<number | null>();
    this.#read = { space, resolve, reject };
    this.asked.resolve();
    return promise;
  }

  give(text: string): void {
    const all = bytes(text);
    this.#read?.space.set(all);
    this.#read?.resolve(all.length);
  }

  finish(): void {
    this.#read?.resolve(null);
  }

  write(bytes: Uint8Array): Promise<number> {
    return this.#closed
      ? Promise.reject(new Deno.errors.BadResource("closed"))
      : Promise.resolve(bytes.length);
  }

  closeWrite(): Promise<void> {
    return Promise.resolve();
  }

  close(): void {
    this.#closed = true;
    this.#read?.reject(new Deno.errors.BadResource("closed"));
  }
}

/** One whose writes are broken, and say so by no promise. */
class BrokenWriter extends FakeTransport {
  override write(): Promise<number> {
    throw new Error("broken");
  }
}

/** One that cannot be read from, and says so by no promise. */
class BrokenReader extends FakeTransport {
  override read(): Promise<number | null> {
    throw new Error("broken");
  }
}

Deno.test("a write that throws at once ends its own connection only", async () => {
  const listener = new FakeListener();
  const broken = new BrokenWriter();
  const others = [new FakeTransport(), new FakeTransport()];
  const all = [others[0], broken, others[1]];
  await using running = serveTest((request) => request, {}, {
    listen: () => listener,
  });
  for (const transport of all) {
    listener.next(transport as unknown as Deno.TcpConn);
    await transport.asked.promise;
  }
  // All in one turn.
  for (const transport of all) transport.give("a\n");
  await settle();
  assertEquals(running.events.reasons, ["error"]);
  assertEquals(running.server.sent, 4);
  for (const transport of others) transport.finish();
});

Deno.test("a read that throws at once ends its connection", async () => {
  const listener = new FakeListener();
  await using running = serveTest((request) => request, {}, {
    listen: () => listener,
  });
  listener.next(new BrokenReader() as unknown as Deno.TcpConn);
  await settle();
  assertEquals(running.events.reasons, ["error"]);
});

/** One whose peer takes nothing. */
class FullTransport extends FakeTransport {
  override write(): Promise<number> {
    return new Promise(() => {});
  }
}

for (const pieces of [0, 1]) {
  Deno.test(`a request's duration ends before its reply is taken, ${pieces || "no"} pieces`, async () => {
    const clock = new FakeClock();
    const listener = new FakeListener();
    const transport = new FullTransport();
    await using running = serveTest(
      (_request, info) => {
        if (pieces > 0) info.replyInPieces(pieces);
        clock.jump(3);
        return "x".repeat(70_000);
      },
      {},
      { clock, listen: () => listener },
    );
    listener.next(transport as unknown as Deno.TcpConn);
    await transport.asked.promise;
    transport.give("a\n");
    await settle();
    clock.jump(5000);
    await running.server.disconnect(1);
    assertEquals(
      running.events.of("request").map(({ duration }) => duration),
      [3],
    );
  });
}

const afterHeader: Record<string, ServeOptions> = {
  "who would be served": {},
  "who would be denied": { deny: "192.0.2.9" },
};

for (const [who, options] of Object.entries(afterHeader)) {
  for (let turns = 0; turns < 6; turns++) {
    Deno.test(`disconnect of one ${who}, ${turns} turns after its header`, async () => {
      const listener = new FakeListener();
      const transport = new FakeTransport();
      const running = serveTest((request) => request, {
        proxyProtocol: "v1",
        proxyTrust: "127.0.0.1",
        maxConnectionsPerIp: 1,
        ...options,
      }, { listen: () => listener });
      listener.next(transport as unknown as Deno.TcpConn);
      await transport.asked.promise;
      transport.give("PROXY TCP4 192.0.2.9 192.0.2.1 1 2\r\n");
      for (let i = 0; i < turns; i++) await undefined;
      await running.server.disconnect(1);
      await settle();
      assertEmpty(running);
      const finished = running.server.shutdown();
      // One who was told of his denial already is waited for.
      transport.finish();
      await finished;
    });
  }
}

const atOnce: Record<
  string,
  (leave: (peer: { id: number }) => void) => {
    service: Service;
    options?: ServeOptions;
  }
> = {
  "a greeting": (leave) => ({
    service: (request) => request,
    options: { onOpen: leave },
  }),
  "a greeting that comes later": (leave) => ({
    service: (request) => request,
    options: {
      onOpen: async (info) => {
        leave(info);
        await settle();
        return "220 ready";
      },
    },
  }),
  "a request": (leave) => ({ service: (_, info) => leave(info) }),
  "a task": (leave) => ({
    service: {
      task: async (connection) => {
        leave(connection);
        await connection.read();
      },
    },
  }),
};

for (const [what, make] of Object.entries(atOnce)) {
  Deno.test(`disconnect within ${what}, as its connection begins, counts once`, async () => {
    const closed: string[] = [];
    const { service, options } = make(({ id }) =>
      void running.server.disconnect(id)
    );
    const hooks = typeof service === "object" ? {} : {
      onClose: (_: unknown, reason: string) => void closed.push(reason),
    };
    await using running = new InMemory(service, {
      proxyProtocol: "v1",
      proxyTrust: "127.0.0.1",
      ...hooks,
      ...options,
    });
    const transport = await running.connect();
    transport.push("PROXY TCP4 192.0.2.9 192.0.2.1 1 2\r\na\nb\n");
    await turns();
    assertEquals([transport.closed, transport.text], [true, ""]);
    const { reason, requests } = running.events.of("connection_close")[0];
    assertEquals([reason, requests], ["closed", what === "a request" ? 1 : 0]);
    if (typeof service === "function") assertEquals(closed, ["closed"]);
    assertEquals(running.server.metrics().beforeRequest.silent, 0);
    await running.assertNothingLeft();
  });
}

Deno.test("drain waits for the request behind a PROXY header", async () => {
  const clock = new FakeClock();
  const listener = new FakeListener();
  const transport = new FakeTransport();
  await using running = serveTest((request) => request, {
    proxyProtocol: "v1",
    proxyTrust: "127.0.0.1",
  }, { clock, listen: () => listener });
  listener.next(transport as unknown as Deno.TcpConn);
  await transport.asked.promise;
  const finished = running.server.shutdown();
  clock.advance(10);
  await running.events.next("drain");
  transport.give("PROXY TCP4 192.0.2.9 192.0.2.1 1 2\r\n");
  await settle();
  // The proxy sends it by itself, as soon as its own client has asked.
  transport.give("a\n");
  await settle();
  transport.finish();
  await finished;
  const { requests, unanswered, sent } = await running.events.closed();
  assertEquals({ requests, unanswered, sent }, {
    requests: 1,
    unanswered: false,
    sent: 2,
  });
});

Deno.test("drain over TLS answers all that has arrived", async () => {
  const { promise: slow, resolve: goOn } = Promise.withResolvers<void>();
  await using running = serveTest(async (request) => {
    if (request[0] === 115) await slow;
    return request;
  }, { ...ONE, drainTimeout: 60_000 });
  const { port } = running.addr as Deno.NetAddr;
  using conn = await Deno.connectTls({
    hostname: "127.0.0.1",
    port,
    caCerts: [ONE_CA],
  });
  await conn.write(bytes("slow\n"));
  // Many small records: the engine below hands out a few at a time.
  const some = bytes(("x".repeat(49) + "\n").repeat(14));
  for (let i = 0; i < 140; i++) await conn.write(some);
  // On the loopback what is sent has arrived; these turns have it sent.
  for (let turn = 0; turn < 10; turn++) await turnOfLoop();
  const finished = running.server.shutdown();
  // All of it is owed before the drain begins, and answered after.
  await running.events.next("drain");
  goOn();
  const replies = await toText(conn.readable);
  assertEquals(replies.split("\n").length - 1, 1 + 140 * 14);
  await finished;
});
