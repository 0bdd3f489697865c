// Connecting to a name with several addresses: when each attempt begins, and
// what becomes of it.

import {
  type Attempts,
  connectToAny,
  interleave,
} from "../../lib/client/happy_eyeballs.ts";
import { connect, ConnectError, echo, TimeoutError } from "../../lib/mod.ts";
import { FakeClock, NOBODY, serveTest, settle } from "../support/fixtures.ts";
import {
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
} from "../support/std.ts";

/** A connection that only knows whether it is open. */
class FakeConn {
  closed = false;
  readonly address: string;

  constructor(address: string) {
    this.address = address;
  }

  close(): void {
    this.closed = true;
  }
}

/** An attempt as the network has it: a test says how it ends. */
class FakeAttempt {
  readonly address: string;
  readonly signal: AbortSignal;
  readonly conn: FakeConn;
  readonly settled = Promise.withResolvers<FakeConn>();

  constructor(address: string, signal: AbortSignal) {
    this.address = address;
    this.signal = signal;
    this.conn = new FakeConn(address);
  }

  async succeed(): Promise<void> {
    this.settled.resolve(this.conn);
    await settle();
  }

  async fail(message: string): Promise<void> {
    this.settled.reject(new Error(message));
    await settle();
  }
}

/** A network with one name in it, and somebody who connects to that. */
class FakeNetwork implements Attempts<FakeConn> {
  readonly clock = new FakeClock();
  readonly attempts: FakeAttempt[] = [];
  readonly lookups: string[] = [];
  readonly found = Promise.withResolvers<readonly string[]>();
  readonly stop = new AbortController();
  readonly signal = this.stop.signal;
  /** How it went, once it is over. */
  outcome: unknown;

  lookup = (hostname: string): Promise<readonly string[]> => {
    this.lookups.push(hostname);
    return this.found.promise;
  };

  connect = (address: string, signal: AbortSignal): Promise<FakeConn> => {
    const attempt = new FakeAttempt(address, signal);
    this.attempts.push(attempt);
    return attempt.settled.promise;
  };

  /** Begins to connect. */
  async start(hostname: string, addresses?: string[]): Promise<void> {
    if (addresses !== undefined) this.found.resolve(addresses);
    connectToAny(hostname, this).then(
      (conn) => this.outcome = conn,
      (error) => this.outcome = error,
    );
    await settle();
  }

  /** The addresses that were tried so far. */
  get tried(): string[] {
    return this.attempts.map(({ address }) => address);
  }

  /** Whether each attempt so far was told that it is over. */
  get ended(): boolean[] {
    return this.attempts.map(({ signal }) => signal.aborted);
  }
}

const V6 = "2001:db8::1";
const V4 = "192.0.2.1";
const OTHER_V4 = "192.0.2.2";

Deno.test("interleave takes the families in turn, that of the first first", () => {
  const cases: [string[], string[]][] = [
    [[V4], [V4]],
    [["::1", "::2", "::3", "1.1.1.1"], ["::1", "1.1.1.1", "::2", "::3"]],
    [["1.1.1.1", "2.2.2.2", "::1"], ["1.1.1.1", "::1", "2.2.2.2"]],
    [["1.1.1.1", "::1", "::2", "::3"], ["1.1.1.1", "::1", "::2", "::3"]],
    [["1.1.1.1", "2.2.2.2"], ["1.1.1.1", "2.2.2.2"]],
    [["fe80::1%eth0", "1.1.1.1", "::1"], ["fe80::1%eth0", "1.1.1.1", "::1"]],
    // Each of them once.
    [["1.1.1.1", "1.1.1.1", "::1", "1.1.1.1"], ["1.1.1.1", "::1"]],
  ];
  for (const [given, order] of cases) assertEquals(interleave(given), order);
});

Deno.test("connectToAny begins the next attempt 250 ms after the one before", async () => {
  const net = new FakeNetwork();
  await net.start("name", [V6, V4, OTHER_V4]);
  assertEquals(net.lookups, ["name"]);
  assertEquals(net.tried, [V6]);
  net.clock.advance(249);
  assertEquals(net.tried, [V6]);
  net.clock.advance(1);
  assertEquals(net.tried, [V6, V4]);
  net.clock.advance(249);
  assertEquals(net.tried, [V6, V4]);
  net.clock.advance(1);
  assertEquals(net.tried, [V6, V4, OTHER_V4]);
  assertEquals(net.clock.timers, 0, "all attempts have begun");
  assertEquals(net.ended, [false, false, false], "they go on side by side");

  // The first one still may be the one that succeeds.
  await net.attempts[0].succeed();
  assertStrictEquals(net.outcome, net.attempts[0].conn);
  assertEquals(net.ended, [true, true, true]);
  assertEquals(net.attempts[0].conn.closed, false);
});

Deno.test("connectToAny begins the next attempt at once where one fails", async () => {
  const net = new FakeNetwork();
  await net.start("name", [V6, V4, OTHER_V4]);
  net.clock.advance(100);
  await net.attempts[0].fail("refused");
  assertEquals(net.tried, [V6, V4]);
  // This one has its whole time as well.
  net.clock.advance(249);
  assertEquals(net.tried, [V6, V4]);
  net.clock.advance(1);
  assertEquals(net.tried, [V6, V4, OTHER_V4]);
  await net.attempts[2].succeed();
  assertStrictEquals(net.outcome, net.attempts[2].conn);
  assertEquals(net.clock.timers, 0);
});

Deno.test("connectToAny begins no further attempt once one has succeeded", async () => {
  const net = new FakeNetwork();
  await net.start("name", [V6, V4]);
  await net.attempts[0].succeed();
  assertStrictEquals(net.outcome, net.attempts[0].conn);
  assertEquals(net.clock.timers, 0);
  net.clock.advance(1000);
  assertEquals(net.tried, [V6]);
});

Deno.test("connectToAny closes the connections that come too late", async () => {
  const net = new FakeNetwork();
  await net.start("name", [V6, V4, OTHER_V4]);
  net.clock.advance(500);
  // Two in the same turn, and one later.
  net.attempts[1].settled.resolve(net.attempts[1].conn);
  net.attempts[0].settled.resolve(net.attempts[0].conn);
  await settle();
  await net.attempts[2].succeed();
  assertStrictEquals(net.outcome, net.attempts[1].conn);
  assertEquals(
    net.attempts.map(({ conn }) => conn.closed),
    [true, false, true],
  );
});

Deno.test("connectToAny tells of every address where all fail", async () => {
  const net = new FakeNetwork();
  await net.start("name", [V6, V4, OTHER_V4]);
  net.clock.advance(250);
  await net.attempts[1].fail("refused");
  await net.attempts[2].fail("unreachable");
  assertEquals(net.outcome, undefined, "one still goes on");
  await net.attempts[0].fail("late");
  const { name, errors, attempts } = net.outcome as AggregateError & {
    attempts: { address: string }[];
  };
  assertEquals(name, "AttemptsError");
  assertEquals(errors.map(({ message }) => message), [
    "refused",
    "unreachable",
    "late",
  ]);
  assertEquals(attempts.map(({ address }) => address), [V4, OTHER_V4, V6]);
  assertEquals(net.clock.timers, 0);
});

Deno.test("connectToAny passes on the error of an only address", async () => {
  const net = new FakeNetwork();
  // The resolver may name it several times.
  await net.start("name", [V4, V4]);
  assertEquals(net.clock.timers, 0);
  await net.attempts[0].fail("refused");
  assertEquals((net.outcome as Error).message, "refused");
  assertEquals(net.tried, [V4]);
});

Deno.test("connectToAny passes on the error of the lookup", async () => {
  const net = new FakeNetwork();
  await net.start("name");
  net.found.reject(new Error("no such name"));
  await settle();
  assertEquals((net.outcome as Error).message, "no such name");
  assertEquals(net.tried, []);
});

for (const literal of [V4, V6, "::ffff:192.0.2.1", "fe80::1%eth0"]) {
  Deno.test(`connectToAny looks nothing up for ${literal}`, async () => {
    const net = new FakeNetwork();
    await net.start(literal);
    assertEquals([net.lookups, net.tried], [[], [literal]]);
    await net.attempts[0].succeed();
    assertStrictEquals(net.outcome, net.attempts[0].conn);
  });
}

Deno.test("connectToAny ends everything when its signal is aborted", async (t) => {
  const reason = new Error("enough");
  await t.step("before it begins", async () => {
    const net = new FakeNetwork();
    net.stop.abort(reason);
    await net.start("name", [V6, V4]);
    assertStrictEquals(net.outcome, reason);
    assertEquals([net.lookups, net.tried], [[], []]);
  });
  await t.step("during the lookup", async () => {
    const net = new FakeNetwork();
    await net.start("name");
    net.stop.abort(reason);
    await settle();
    assertStrictEquals(net.outcome, reason);
    net.found.resolve([V6, V4]);
    await settle();
    assertEquals(net.tried, []);
  });
  await t.step("between two attempts", async () => {
    const net = new FakeNetwork();
    await net.start("name", [V6, V4, OTHER_V4]);
    net.clock.advance(250);
    net.stop.abort(reason);
    await settle();
    assertStrictEquals(net.outcome, reason);
    assertEquals(net.ended, [true, true]);
    assertEquals(net.clock.timers, 0);
    // What an attempt comes to now starts nothing, and leaves nothing open.
    await net.attempts[0].fail("cancelled");
    await net.attempts[1].succeed();
    assertEquals(net.tried, [V6, V4]);
    assertEquals(net.attempts[1].conn.closed, true);
  });
  await t.step("in the turn in which an attempt succeeds", async () => {
    const net = new FakeNetwork();
    await net.start("name", [V6, V4]);
    net.stop.abort(reason);
    await net.attempts[0].succeed();
    assertStrictEquals(net.outcome, reason);
    assertEquals(net.attempts[0].conn.closed, true);
  });
});

Deno.test("connectToAny goes past an address that does not answer", async () => {
  // Nothing accepts here, and the queue has room for one more than it is told
  // to: the kernel leaves the third without an answer.
  const hostname = "127.0.0.1";
  using full = Deno.listen({ hostname, port: 0, tcpBacklog: 1 });
  using _first = await Deno.connect({ hostname, port: full.addr.port });
  using _second = await Deno.connect({ hostname, port: full.addr.port });
  using listener = Deno.listen({ hostname, port: 0 });
  const ports: Record<string, number> = {
    [V6]: full.addr.port,
    [V4]: listener.addr.port,
  };
  const clock = new FakeClock();
  const connecting = connectToAny("name", {
    lookup: () => Promise.resolve([V6, V4]),
    connect: (address, signal) =>
      Deno.connect({ hostname, port: ports[address], signal }),
    signal: new AbortController().signal,
    clock,
  });
  await settle();
  clock.advance(250);
  using conn = await connecting;
  assertEquals(conn.remoteAddr.port, listener.addr.port);
  (await listener.accept()).close();
});

Deno.test("connect leaves no connection open that is made when its time is over", async () => {
  // What it leaves open is found by the test runner.
  await using running = serveTest(echo);
  const { port } = running.addr as Deno.NetAddr;
  for (let round = 0; round < 200; round++) {
    const connecting = connect({ port, timeout: 1 });
    // The runtime gets to see both at the same time.
    const from = performance.now();
    while (performance.now() - from < 2);
    const error = await connecting.then((client) => client.close(), (e) => e);
    if (error !== undefined) assertInstanceOf(error, TimeoutError);
  }
});

Deno.test("connect tries the addresses of localhost, and says what is wrong with each", async () => {
  const { port } = NOBODY;
  const { message } = await assertRejects(
    () => connect({ hostname: "localhost", port }),
    ConnectError,
    `Cannot connect to localhost:${port}: `,
  );
  // Which ones it has is this machine's affair.
  const [, reasons] = message.split(`:${port}: `);
  for (const reason of reasons.split(", ")) {
    assertEquals(/^[a-z ]+( \([0-9a-f.:]+\))?$/.test(reason), true, message);
  }
});
