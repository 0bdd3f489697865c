// deno-lint-ignore-file no-import-prefix -- what deno.json imports is fetched
// for every program, and only tests need this.

// What is counted: the cells by themselves, and what sessions of each kind
// leave in them.

import {
  array,
  assert as check,
  float,
  integer,
  property,
} from "npm:fast-check@4.3.0";

import {
  closeReasons,
  rejectReasons,
  requestStatuses,
} from "../../lib/events/events.ts";
import {
  Counters,
  durationBounds,
  METRIC_CELLS,
  quantileOf,
  ServerStatsBase,
  settleLost,
} from "../../lib/events/metrics.ts";
import { coarseBounds, cumulativeBuckets } from "../../lib/observe/numbers.ts";
import type { ServeOptions } from "../../lib/server/options.ts";
import { InMemory, turns } from "../support/in_memory.ts";
import {
  FakeClock,
  FakeListener,
  ownAddress,
  Peer,
  RudePeer,
  serveTest,
  type TestServer,
  turnOfLoop,
} from "../support/fixtures.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertLessOrEqual,
  assertRejects,
} from "../support/std.ts";

/** Durations in milliseconds, from far below the first bound to above the last. */
const durations = array(
  float({ min: 0, max: 20_000, noNaN: true }),
  { maxLength: 200 },
);

function histogramOf(values: readonly number[]) {
  const counters = new Counters();
  for (const value of values) counters.took(value, 1);
  return counters.read().durations;
}

// ------------------------------------------------------------------ cells

Deno.test("durationBounds are 20 a decade from 1 µs to 10 s, at most a seventh apart", () => {
  assertEquals(durationBounds.length, 7 * 20 + 1);
  assertEquals(durationBounds[0], 0.001);
  assertEquals(durationBounds.at(-1), 10_000);
  for (const [i, bound] of durationBounds.entries()) {
    if (i === 0) continue;
    assert(bound > durationBounds[i - 1]);
    assertLessOrEqual(bound / durationBounds[i - 1], 8 / 7 + 1e-9);
  }
});

Deno.test("coarseBounds are bounds of the fine histogram too", () => {
  assertEquals(coarseBounds.slice(0, 4), [0.01, 0.025, 0.05, 0.1]);
  assertEquals(coarseBounds.slice(-3), [2500, 5000, 10_000]);
  for (const bound of coarseBounds) {
    assert(durationBounds.includes(bound), String(bound));
  }
});

Deno.test("cumulativeBuckets counts the values up to each bound", () => {
  check(property(durations, (values) => {
    const buckets = cumulativeBuckets(histogramOf(values));
    const bounds = [...coarseBounds, Infinity];
    assertEquals(
      buckets.map(({ count }) => count),
      bounds.map((bound) => values.filter((value) => value <= bound).length),
    );
    assertEquals(buckets[0].le, "0.00001");
    assertEquals(buckets.at(-1)?.le, "+Inf");
  }));
});

Deno.test("quantileOf is the bound above what sorting gives", () => {
  check(property(
    durations,
    integer({ min: 0, max: 1000 }),
    (values, permille) => {
      const quantile = permille / 1000;
      const sorted = [...values].sort((a, b) => a - b);
      const rank = Math.max(1, Math.ceil(values.length * quantile));
      const exact = sorted[rank - 1];
      const read = quantileOf(histogramOf(values), quantile);
      if (exact === undefined) return assertEquals(read, undefined);
      assertEquals(read, durationBounds.find((b) => exact <= b) ?? Infinity);
      if (exact >= 0.001 && exact <= 10_000) {
        assertLessOrEqual(read! / exact, 8 / 7 + 1e-9);
      }
    },
  ));
});

/** The numbers as users read them, and that they are those of `read()`. */
function numbersOf(counters: Counters) {
  const stats = new ServerStatsBase(counters, new FakeClock(), 0, 0);
  const { connections, connectionsTotal, connectionsRejected } = stats;
  const { requests, received, sent } = stats;
  const all = counters.read();
  assertEquals([connections, connectionsTotal], [all.active, all.accepted]);
  assertEquals([received, sent], [all.received, all.sent]);
  const refused = Object.values(all.rejected).reduce((a, b) => a + b);
  assertEquals(connectionsRejected, refused);
  return [connections, connectionsTotal, refused, requests, received, sent];
}

Deno.test("Counters reads the sum of all threads, whoever counted", () => {
  const step = property(
    array(integer({ min: 0, max: 2 }), { minLength: 1, maxLength: 100 }),
    (threads) => {
      const cells = [0, 1, 2].map(() => new Float64Array(METRIC_CELLS));
      const each = cells.map((own) => new Counters(own, cells));
      const alone = new Counters();
      for (const [i, thread] of threads.entries()) {
        for (const counters of [each[thread], alone]) {
          counters.opened();
          counters.requested();
          counters.received(i);
          counters.sent(2 * i);
          counters.took(i, 1);
          counters.finished(requestStatuses[i % requestStatuses.length], 1);
          counters.rejected(rejectReasons[i % rejectReasons.length]);
          if (i % 2) counters.closed(closeReasons[i % closeReasons.length]);
        }
      }
      for (const counters of each) {
        const { perThread, ...all } = counters.read();
        const { perThread: _, ...same } = alone.read();
        assertEquals(all, same);
        const open = perThread.reduce((sum, { active }) => sum + active, 0);
        assertEquals(open, all.active);
        assertEquals(numbersOf(counters), numbersOf(alone));
      }
    },
  );
  check(step);
});

Deno.test("settleLost ends what a lost thread had open, and nobody else's", () => {
  const lost = new Float64Array(METRIC_CELLS);
  const alive = new Float64Array(METRIC_CELLS);
  const counters = new Counters(alive, [alive, lost]);
  const gone = new Counters(lost);
  for (const one of [counters, gone, gone, gone]) one.opened();
  for (const one of [counters, gone, gone, gone]) one.requested();
  gone.closed("peer_closed");
  gone.finished("ok", 1);
  assertEquals(settleLost(lost), { connections: 2, requests: 2 });
  const { active, closed, requests, inFlight } = counters.read();
  assertEquals([active, inFlight], [1, 1]);
  assertEquals([closed.peer_closed, closed.error], [1, 2]);
  assertEquals([requests.ok, requests.abandoned], [1, 2]);
  assertEquals(settleLost(lost), { connections: 0, requests: 0 });
});

// --------------------------------------------------------------- sessions

const never = () => new Promise<string>(() => {});

/** Handles by the request: `ok`, `later`, `bad`, `close`, and what hangs. */
function answer(
  request: Uint8Array,
  info: { close(): void; failed(): void },
) {
  switch (new TextDecoder().decode(request)) {
    case "ok":
      return "fine";
    case "later":
      return Promise.resolve("fine");
    case "bad":
      throw new Error("on purpose");
    case "close":
      return info.close();
    case "no":
      info.failed();
      return "ERR no";
    case "no, later":
      return Promise.resolve().then(() => (info.failed(), "ERR no"));
    default:
      return never();
  }
}

/** A server whose metrics are looked at, and a way to know it handles. */
function counted(options: ServeOptions = {}, clock?: FakeClock) {
  const handling = Promise.withResolvers<void>();
  const server = serveTest(
    (request, info) => {
      const reply = answer(request, info);
      handling.resolve();
      return reply;
    },
    options,
    clock === undefined ? {} : { clock },
  );
  return { ...server, handling: handling.promise };
}

/** Asserts the numbers that are not 0, once every connection has ended. */
async function assertCounted(
  { server, events }: Pick<TestServer, "server" | "events">,
  expected: {
    closed: Record<string, number>;
    requests?: Record<string, number>;
  },
): Promise<void> {
  const connections = Object.values(expected.closed).reduce((a, b) => a + b);
  await events.next("connection_close", connections);
  const { active, accepted, closed, requests, inFlight, durations } = server
    .metrics();
  const { abandoned, ...replied } = requests;
  assertEquals({
    active,
    accepted,
    inFlight,
    closed: present(closed),
    requests: present(requests),
  }, {
    active: 0,
    accepted: connections,
    inFlight: 0,
    closed: expected.closed,
    requests: expected.requests ?? {},
  });
  assertEquals(
    durations.count,
    Object.values(replied).reduce((a, b) => a + b),
    `each reply has a duration, what is abandoned (${abandoned}) has none`,
  );
}

function present(counts: Readonly<Record<string, number>>) {
  return Object.fromEntries(Object.entries(counts).filter(([, n]) => n > 0));
}

Deno.test("metrics count requests, replies and bytes of a whole conversation", async () => {
  await using test = counted();
  using peer = await Peer.to(test);
  await peer.send("ok\nlater\nok\nbad\n");
  await peer.finish();
  const replies = await peer.rest();
  await assertCounted(test, {
    closed: { peer_closed: 1 },
    requests: { ok: 3, error: 1 },
  });
  const { received, sent } = test.server.metrics();
  assertEquals([received, sent], [16, replies.length]);
});

Deno.test("metrics count the replies that a handler calls errors, and only those", async () => {
  await using test = counted();
  using peer = await Peer.to(test);
  await peer.send("ok\nno\nok\nno, later\nlater\nbad\nno\n");
  await peer.finish();
  await peer.rest();
  await assertCounted(test, {
    closed: { peer_closed: 1 },
    requests: { ok: 3, error_reply: 3, error: 1 },
  });
  assertEquals(
    test.events.of("request").map(({ status, requestBytes }) => [
      status,
      requestBytes,
    ]),
    [
      ...[["ok", 2], ["error_reply", 2], ["ok", 2], ["error_reply", 9]],
      ...[["ok", 5], ["error", 3], ["error_reply", 2]],
    ],
  );
});

Deno.test("metrics count who is open and has asked nothing yet", async () => {
  await using test = counted();
  const silent = () => test.server.metrics().beforeRequest.silent;
  using one = await Peer.to(test);
  using other = await Peer.to(test);
  await test.events.next("connection_open", 2);
  assertEquals(silent(), 2);
  await one.ask("ok\n", "fine\n");
  assertEquals(silent(), 1);
  for (const peer of [one, other]) {
    await peer.finish();
    await peer.rest();
  }
  await assertCounted(test, {
    closed: { peer_closed: 2 },
    requests: { ok: 1 },
  });
  assertEquals(silent(), 0);
});

Deno.test("metrics tell the wait for a handler from its duration", async () => {
  const running: InMemory = new InMemory(() => {
    running.clock.jump(10);
    return "done";
  });
  await using _ = running;
  const all = await running.connectAll(3);
  // The first time shows that they compute for long.
  for (const count of [1, 2]) {
    for (const transport of all) transport.push("work\n");
    await turns();
    for (const { text } of all) assertEquals(text, "done\n".repeat(count));
    // The event loop, which was busy, rests.
    await running.pass(2, 1);
  }
  const { queueing, durations } = running.server.metrics();
  // The second waits for the first then, and the third for both.
  assertEquals([queueing.count, queueing.sum], [6, 30]);
  assertEquals(durations.count, 6);
  assert(
    durations.sum >= queueing.sum + 60,
    "each works for 10 ms beside that",
  );
  for (const transport of all) transport.end();
  await turns();
});

Deno.test("metrics count what a session answered before the handler closed it", async () => {
  await using test = counted();
  using peer = await Peer.to(test);
  await peer.send("ok\nok\nclose\n");
  assertEquals(await peer.rest(), "fine\nfine\n");
  await assertCounted(test, {
    closed: { handler_closed: 1 },
    requests: { ok: 3 },
  });
});

Deno.test("metrics count what a session answered before a frame error", async () => {
  await using test = counted({ maxFrame: 8 });
  using peer = await Peer.to(test);
  await peer.send("ok\nmuch too long\n");
  await peer.rest();
  await assertCounted(test, {
    closed: { frame_error: 1 },
    requests: { ok: 1 },
  });
});

Deno.test("metrics count a request in flight, and its timeout", async () => {
  const clock = new FakeClock();
  await using test = counted({ requestTimeout: 80 }, clock);
  using peer = await Peer.to(test);
  await peer.send("hang\n");
  await test.handling;
  assertEquals(test.server.metrics().inFlight, 1);
  assertEquals(test.server.metrics().active, 1);
  // The wait that has the deadline begins a few turns after the call.
  await clockUntil(clock, () => test.server.metrics().requests.timeout === 1);
  await peer.rest();
  await assertCounted(test, {
    closed: { request_timeout: 1 },
    requests: { timeout: 1 },
  });
});

Deno.test("metrics count an idle connection's end", async () => {
  const clock = new FakeClock();
  await using test = counted({ idleTimeout: 80 }, clock);
  using peer = await Peer.to(test);
  await test.events.next("connection_open");
  await clockUntil(clock, () => test.server.metrics().active === 0);
  await peer.rest();
  await assertCounted(test, { closed: { idle_timeout: 1 } });
});

Deno.test("metrics count what a reset, a drain and an operator abandon", async () => {
  await using reset = counted();
  const rude = await RudePeer.to(reset);
  await rude.send("ok\nhang\n");
  await reset.handling;
  await rude.reset();
  await assertCounted(reset, {
    closed: { peer_reset: 1 },
    requests: { ok: 1, abandoned: 1 },
  });
  // A write that fails while a handler works is no failure of the handler's.
  assertEquals(reset.events.of("handler_error"), []);

  await using operated = counted();
  using peer = await Peer.to(operated);
  await peer.send("hang\n");
  await operated.handling;
  const [{ id }] = await operated.server.connectionList();
  assertEquals(await operated.server.disconnect(id + 1), false);
  assertEquals(await operated.server.disconnect(id), true);
  await assertCounted(operated, {
    closed: { closed: 1 },
    requests: { abandoned: 1 },
  });

  const clock = new FakeClock();
  await using forced = counted({ drainTimeout: 500 }, clock);
  using slow = await Peer.to(forced);
  await slow.send("hang\n");
  await forced.handling;
  const finished = forced.server.shutdown();
  clock.advance(10);
  await forced.events.next("drain");
  clock.advance(500);
  await finished;
  await assertCounted(forced, {
    closed: { forced: 1 },
    requests: { abandoned: 1 },
  });
});

Deno.test("metrics count who is turned away, and nothing else for them", async () => {
  await using test = counted({ deny: "127.0.0.0/8" });
  using peer = await Peer.to(test);
  assertEquals(
    await peer.rest(),
    "ERR denied: this address may not connect\n",
  );
  const { active, accepted, rejected } = test.server.metrics();
  assertEquals([active, accepted], [0, 0]);
  assertEquals(present(rejected), { denied: 1 });
});

// ---------------------------------------------------------- preDrainDelay

Deno.test("preDrainDelay: not ready, still accepting, then a drain", async () => {
  const clock = new FakeClock();
  const hostname = ownAddress();
  await using test = counted({ hostname, preDrainDelay: 3000 }, clock);
  const { server, events } = test;
  assertEquals(server.ready, true);
  const finished = server.shutdown();
  assertEquals(server.ready, false);
  assertEquals(events.of("pre_drain"), [
    { type: "pre_drain", connections: 0, delay: 3000, by: "shutdown()" },
  ]);
  clock.advance(2999);
  using peer = await Peer.to(server);
  assertEquals(await peer.ask("ok\n", "fine\n"), "fine\n");
  // A second call neither shortens nor lengthens it.
  server.shutdown();
  assertEquals(events.of("drain").length, 0);
  clock.advance(1);
  clock.advance(10);
  await events.next("drain");
  // What the peer is owed at the drain is nothing, after a last call.
  await clockUntil(clock, () => server.metrics().closed.shutdown === 1, peer);
  await finished;
  await assertRejects(() => Peer.to(server), Deno.errors.ConnectionRefused);
});

Deno.test("preDrainDelay ends with a listener that fails meanwhile", async () => {
  const clock = new FakeClock();
  const listener = new FakeListener();
  const { server, events } = serveTest(
    (request) => request,
    { preDrainDelay: 3000 },
    { clock, listen: () => listener },
  );
  const failed = server.finished.catch((error) => error);
  server.shutdown().catch(() => {});
  listener.next(new Deno.errors.BadResource("gone"));
  assertInstanceOf(await failed, Deno.errors.BadResource);
  assertEquals(server.ready, false);
  assertEquals(events.of("finished").length, 1);
  assertEquals(clock.timers, 0);
});

/** Moves the clock, a little at a time, until something is so. */
async function clockUntil(
  clock: FakeClock,
  isSo: () => boolean,
  peer?: Peer,
): Promise<void> {
  const ended = peer?.rest().then(() => peer[Symbol.dispose]());
  while (!isSo()) {
    clock.advance(10);
    await turnOfLoop();
  }
  await ended;
}
