// The measurement of `client bench`: what it counts, what it reports, and the
// program around it.

import {
  type BenchOptions,
  type Client,
  runBench,
} from "../../lib/cli/bench/bench.ts";
import { preciseClock } from "../../lib/cli/bench/mode.ts";
import {
  type BenchSubject,
  type BenchSummary,
  summarize,
  toCsv,
  toJson,
  toProgress,
  toText,
} from "../../lib/cli/bench/report.ts";
import {
  BenchResult,
  Latencies,
  Series,
  Tally,
} from "../../lib/cli/bench/result.ts";
import {
  benchRequest,
  checkPairs,
  commandOf,
  commands as clientCommands,
} from "../../lib/cli/client/flags.ts";
import { parseFlags, UsageError } from "../../lib/cli/flags/flags.ts";
import {
  ClientClosedError,
  commands,
  connect,
  ConnectionLostError,
  echo,
  EncodeError,
  framingNames,
  serve,
  TimeoutError,
} from "../../lib/mod.ts";
import { ONE, ONE_CA } from "../support/certificates.ts";
import {
  bytes,
  FakeClock,
  NOBODY,
  ownAddress,
  Peer,
  random,
  serveTest,
  settle,
  text,
  turnOfLoop,
} from "../support/fixtures.ts";
import { run, Running, shareOf, testPrograms } from "../support/programs.ts";
import { Folder } from "../support/socket_files.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertThrows,
} from "../support/std.ts";

const PONG = bytes("PONG");

/** Options of a short run over TCP, for a test to change. */
function optionsFor(
  port: number,
  options: Partial<BenchOptions> = {},
): BenchOptions {
  return {
    connections: 3,
    depth: 1,
    requests: 100,
    duration: Infinity,
    rate: null,
    payloads: [bytes("PING")],
    connect: (signal) => connect({ port, signal }),
    clock: preciseClock,
    signal: new AbortController().signal,
    ...options,
  };
}

function portOf({ addr }: { addr: Deno.Addr }): number {
  return (addr as Deno.NetAddr).port;
}

/** Lets a clock that stands still pass by until something has ended. */
async function passing<Value>(
  clock: FakeClock,
  waited: Promise<Value>,
): Promise<Value> {
  let ended = false;
  const watched = waited.finally(() => ended = true);
  watched.catch(() => {});
  while (!ended) {
    clock.advance(10);
    await turnOfLoop();
  }
  return await watched;
}

/** A client whose replies come when a test says. */
class FakeClient implements Client {
  readonly remoteAddr: Deno.Addr = {
    transport: "tcp",
    hostname: "127.0.0.1",
    port: 1,
  };
  readonly localAddr = this.remoteAddr;
  readonly closed: Promise<Error | undefined>;
  /** How many requests it was given. */
  asked = 0;
  sent = 0;
  readonly #waiting: PromiseWithResolvers<Uint8Array<ArrayBuffer>>[] = [];
  readonly #ended: (error: Error | undefined) => void;

  constructor() {
    const { promise, resolve } = Promise.withResolvers<Error | undefined>();
    this.closed = promise;
    this.#ended = resolve;
  }

  get pending(): number {
    return this.#waiting.length;
  }

  request(): Promise<Uint8Array<ArrayBuffer>> {
    this.asked++;
    const waiting = Promise.withResolvers<Uint8Array<ArrayBuffer>>();
    this.#waiting.push(waiting);
    return waiting.promise;
  }

  /** Answers the oldest request, or fails it. */
  async reply(reply: Uint8Array<ArrayBuffer> | Error = PONG): Promise<void> {
    const waiting = this.#waiting.shift();
    assert(waiting !== undefined, "no request waits");
    if (reply instanceof Error) waiting.reject(reply);
    else waiting.resolve(reply);
    await settle();
  }

  close(): void {
    this.#end(new ClientClosedError("Client is closed"));
    this.#ended(undefined);
  }

  /** Ends as if the server had gone. */
  async lose(): Promise<void> {
    const error = new ConnectionLostError("lost");
    this.#end(error);
    this.#ended(error);
    await settle();
  }

  #end(error: Error): void {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.closed;
  }
}

/** A run over one connection that a test answers, by a clock of its own. */
function runFake(options: Partial<BenchOptions>) {
  const client = new FakeClient();
  const clock = new FakeClock();
  const interrupt = new AbortController();
  const finished = runBench(optionsFor(0, {
    connections: 1,
    connect: () => Promise.resolve(client),
    clock,
    signal: interrupt.signal,
    ...options,
  }));
  /** Lets time pass, and what is due by then be sent. */
  const pass = async (ms: number) => {
    clock.advance(ms);
    await settle();
  };
  return { client, clock, interrupt, finished, pass };
}

/** What holds after every run: nothing is counted that has no outcome. */
function assertSettled({ sent, done, failed, latencies, errors }: BenchResult) {
  assertEquals(done + failed, sent);
  assertEquals(latencies.count, done);
  assertEquals(errors.total, failed);
}

// -------------------------------------------------------------- latencies

Deno.test("Latencies gives what is known of 1 to 1000 ms", () => {
  const latencies = new Latencies();
  // In an order that is not theirs.
  for (let i = 0; i < 1000; i++) latencies.add((i * 7) % 1000 + 1);
  assertEquals(latencies.count, 1000);
  assertEquals(latencies.min, 1);
  assertEquals(latencies.max, 1000);
  assertEquals(latencies.mean, 500.5);
  for (const percent of [1, 50, 90, 95, 99, 99.9]) {
    const exact = percent * 10;
    const read = latencies.percentile(percent);
    assert(read >= exact && read <= exact * 1.001, `${percent}%: ${read}`);
  }
  assertEquals(latencies.percentile(100), 1000);
});

Deno.test("Latencies keeps the shortest and the longest of all", () => {
  const latencies = new Latencies();
  assertEquals(latencies.percentile(50), NaN);
  assertEquals(latencies.bars(), []);
  const longest = 40 * 24 * 3_600_000;
  latencies.add(0);
  latencies.add(longest);
  assertEquals([latencies.min, latencies.max], [0, longest]);
  assert(latencies.percentile(1) <= 0.001);
});

Deno.test("Latencies has a bar for every bound from the shortest to the longest", () => {
  const latencies = new Latencies();
  for (const ms of [0.9, 1, 1.2, 1.5, 1.6, 6, 6, 6]) latencies.add(ms);
  assertEquals(latencies.bars(), [
    { above: 0.7, upTo: 1, count: 2 },
    { above: 1, upTo: 1.5, count: 2 },
    { above: 1.5, upTo: 2, count: 1 },
    { above: 2, upTo: 3, count: 0 },
    { above: 3, upTo: 5, count: 0 },
    { above: 5, upTo: 7, count: 3 },
  ]);
});

Deno.test("Series keeps few moments however long a run is, to its end", () => {
  const series = new Series();
  // A hundred million requests at 10,000 a second, four moments in each.
  for (let i = 1; i <= 40_000; i++) {
    series.add({ elapsed: i * 250, done: i * 2500 });
    assert(series.moments.length <= 120, `${series.moments.length}`);
  }
  assert(series.moments.length >= 60, `${series.moments.length}`);
  const [first, second] = series.moments;
  for (const [i, { elapsed, done }] of series.moments.entries()) {
    assertEquals(elapsed, first.elapsed + i * (second.elapsed - first.elapsed));
    assertEquals(done, elapsed * 10);
  }
  const last = series.moments[series.moments.length - 1];
  assert(last.elapsed > 0.98 * 10_000_000, `${last.elapsed}`);
});

Deno.test("Tally counts each text, and no more texts than a hundred", () => {
  const tally = new Tally();
  for (let i = 0; i < 500; i++) tally.add(`text ${i}`);
  tally.add("text 7");
  assertEquals(tally.total, 501);
  const [first, second] = tally.list();
  assertEquals(first, { text: "(others)", count: 400 });
  assertEquals(second, { text: "text 7", count: 2 });
  assertEquals(tally.list().length, 101);
});

Deno.test("preciseClock calls no earlier than it is due, and not if it is taken back", async () => {
  const called: string[] = [];
  const cancels = [0, 1, 10].map((ms) =>
    preciseClock.after(ms, () => called.push(`cancelled ${ms}`))
  );
  for (const cancel of cancels) cancel();
  for (const ms of [0, 1, 10]) {
    const started = preciseClock.now();
    await new Promise<void>((done) => preciseClock.after(ms, done));
    assert(preciseClock.now() - started >= ms);
  }
  assertEquals(called, []);
});

// ---------------------------------------------------------------- the run

for (const [connections, depth, requests] of [[3, 4, 1001], [8, 8, 5]]) {
  Deno.test(`runBench sends ${requests} requests over ${connections} connections with ${depth} in flight, no more and no less`, async () => {
    await using running = serveTest(commands);
    const result = await runBench(
      optionsFor(portOf(running), { connections, depth, requests }),
    );
    assertSettled(result);
    assertEquals([result.sent, result.done], [requests, requests]);
    assertEquals(result.end, "complete");
    assertEquals(result.receivedBytes, requests * PONG.length);
    assertEquals(running.server.requests, requests);
    await running.events.next("connection_close", connections);
    assertEquals(running.server.connectionsTotal, connections);
  });
}

Deno.test("runBench keeps as many requests in flight as it is told", async () => {
  const { client, finished } = runFake({ depth: 4, requests: 10 });
  await settle();
  assertEquals([client.asked, client.pending], [4, 4]);
  await client.reply();
  assertEquals([client.asked, client.pending], [5, 4]);
  while (client.pending > 0) await client.reply();
  assertEquals((await finished).done, 10);
  assertEquals(client.asked, 10);
});

Deno.test("runBench counts ERR replies by their text, and they are done", async () => {
  let count = 0;
  await using server = serve(
    { hostname: "127.0.0.1", port: 0 },
    () => ["ok", "ERR one", "ERROR", "ERR two", "ERR one"][count++ % 5],
  );
  const result = await runBench(optionsFor(portOf(server)));
  assertSettled(result);
  assertEquals(result.done, 100);
  assertEquals(result.errReplies.total, 60);
  assertEquals(result.errReplies.list(), [
    { text: "ERR one", count: 40 },
    { text: "ERR two", count: 20 },
  ]);
});

Deno.test("runBench counts what a lost connection takes, and opens it again", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const clock = new FakeClock();
  const finished = runBench(optionsFor(listener.addr.port, {
    connections: 1,
    depth: 4,
    requests: 20,
    clock,
  }));
  using first = new Peer(await listener.accept());
  assertEquals(await first.receive(20), "PING\n".repeat(4));
  await first.send("PONG\nPONG\n");
  assertEquals(await first.receive(10), "PING\n".repeat(2));
  first.conn.close();
  using second = new Peer(await passing(clock, listener.accept()));
  for (let left = 14; left > 0; left--) {
    assertEquals(await second.receive(5), "PING\n");
    await second.send("PONG\n");
  }
  const result = await finished;
  assertSettled(result);
  assertEquals([result.sent, result.done, result.failed], [20, 16, 4]);
  assertEquals([result.lost, result.reopened, result.givenUp], [1, 1, 0]);
  assertEquals(result.errors.list(), [{
    text: `Connection closed by 127.0.0.1:${listener.addr.port}`,
    count: 4,
  }]);
  assertEquals(result.end, "complete");
});

Deno.test("runBench gives a server up that is gone, after five tries for each connection", async () => {
  const hostname = ownAddress();
  const listener = Deno.listen({ hostname, port: 0 });
  const clock = new FakeClock();
  let tries = 0;
  const { port } = listener.addr;
  const finished = runBench(optionsFor(port, {
    clock,
    connect(signal) {
      tries++;
      return connect({ hostname, port, signal });
    },
  }));
  const peers = [];
  for (let i = 0; i < 3; i++) peers.push(new Peer(await listener.accept()));
  for (const peer of peers) assertEquals(await peer.receive(5), "PING\n");
  listener.close();
  for (const peer of peers) peer.conn.close();
  const result = await passing(clock, finished);
  assertSettled(result);
  assertEquals(tries, 3 + 3 * 5);
  assertEquals([result.sent, result.failed], [3, 3]);
  assertEquals([result.lost, result.reopened, result.givenUp], [3, 0, 3]);
  assertEquals(result.connectErrors.list(), [{
    text: `Cannot connect to ${hostname}:${port}: connection refused`,
    count: 15,
  }]);
  assertEquals(result.end, "no_connection");
  assertEquals(clock.timers, 0);
});

Deno.test("runBench gives a server up that closes whoever asks, and does not spin", async () => {
  const clock = new FakeClock();
  await using running = serveTest((_, info) => {
    info.close();
  });
  const started = clock.now();
  const result = await passing(
    clock,
    runBench(optionsFor(portOf(running), { connections: 1, clock })),
  );
  assertSettled(result);
  // The first connection and five more, with waits that double.
  assertEquals([result.sent, result.failed, result.lost], [6, 6, 6]);
  assertEquals([result.reopened, result.givenUp], [5, 1]);
  assertEquals(running.server.connectionsTotal, 6);
  assert(clock.now() - started >= 100 + 200 + 400 + 800 + 1600);
});

Deno.test("runBench counts no time in which there is no connection", async () => {
  for (const comesBack of [true, false]) {
    const clients = [new FakeClient(), new FakeClient()];
    const waiting = [...clients];
    const { clock, finished } = runFake({
      requests: 10,
      connect() {
        const client = waiting.shift();
        if (client !== undefined) return Promise.resolve(client);
        return Promise.reject(new Error("gone"));
      },
    });
    await settle();
    if (!comesBack) waiting.length = 0;
    clock.advance(1000);
    await clients[0].reply();
    clock.advance(500);
    await clients[0].lose();
    clock.advance(100);
    await settle();
    if (comesBack) {
      clock.advance(50);
      while (clients[1].pending > 0) await clients[1].reply();
    } else {
      for (const wait of [200, 400, 800, 1600]) {
        clock.advance(wait);
        await settle();
      }
    }
    const result = await finished;
    assertSettled(result);
    assertEquals(result.failed, 1);
    assertEquals(result.end, comesBack ? "complete" : "no_connection");
    assertEquals(result.elapsed, comesBack ? 1550 : 1500);
  }
});

Deno.test("runBench counts the bytes of requests, framing aside, that the system took", async () => {
  for (const framing of framingNames) {
    for (const length of [1, 64, 100_000]) {
      await using running = serveTest(() => "", { framing, maxFrame: 100_000 });
      const payloads = [new Uint8Array(length).fill(120)];
      const result = await runBench(optionsFor(portOf(running), {
        requests: 20,
        payloads,
        connect: (signal) =>
          connect({ port: portOf(running), framing, signal }),
      }));
      const summary = summarize({ ...subject, framing }, payloads, result);
      assertEquals(summary.sent_bytes, 20 * length);
    }
  }
});

Deno.test("runBench counts no bytes that nobody took", async () => {
  const hostname = ownAddress();
  const listener = Deno.listen({ hostname, port: 0 });
  const { port } = listener.addr;
  const clock = new FakeClock();
  const payload = new Uint8Array(50_000_000).fill(120);
  const finished = runBench(optionsFor(port, {
    connections: 1,
    requests: 1,
    payloads: [payload],
    connect: (signal) => connect({ hostname, port, signal }),
    clock,
  }));
  using peer = new Peer(await listener.accept());
  listener.close();
  await peer.receive(1000);
  peer.conn.close();
  const result = await passing(clock, finished);
  assertSettled(result);
  assertEquals([result.sent, result.failed], [1, 1]);
  const { sent_bytes } = summarize(subject, [payload], result);
  assert(sent_bytes >= 1000, `${sent_bytes} bytes`);
  assert(sent_bytes < payload.length, `${sent_bytes} bytes`);
});

Deno.test("runBench gives a server up that answers nothing", async () => {
  const { client, finished } = runFake({ depth: 2, requests: 1000 });
  await settle();
  const late = new TimeoutError("No reply within 5 ms");
  for (let i = 0; i < 9; i++) await client.reply(late);
  // One reply, and the patience is as great as before.
  await client.reply();
  for (let i = 0; i < 10; i++) await client.reply(late);
  const result = await finished;
  assertSettled(result);
  assertEquals([result.done, result.givenUp], [1, 1]);
  assertEquals(result.errors.list()[0], { text: late.message, count: 19 });
  assertEquals(result.end, "no_connection");
});

Deno.test("runBench fails at once where nobody listens, and asks once", async () => {
  const { port } = NOBODY;
  let tries = 0;
  await assertRejects(
    () =>
      runBench(optionsFor(port, {
        connections: 50,
        connect(signal) {
          tries++;
          return connect({ port, signal });
        },
      })),
    Error,
    "connection refused",
  );
  assertEquals(tries, 1);
});

Deno.test("runBench closes what is open if another connection is refused", async () => {
  await using running = serveTest(commands);
  let tries = 0;
  await assertRejects(
    () =>
      runBench(optionsFor(portOf(running), {
        connections: 5,
        connect(signal) {
          if (++tries === 3) return Promise.reject(new Error("no more"));
          return connect({ port: portOf(running), signal });
        },
      })),
    Error,
    "no more",
  );
  await running.events.next("connection_close", 4);
  assertEquals(running.server.requests, 0);
});

Deno.test("runBench refuses a request that the framing cannot carry", async () => {
  await using running = serveTest(commands);
  await assertRejects(
    () => runBench(optionsFor(portOf(running), { payloads: [bytes("a\nb")] })),
    EncodeError,
    "LF",
  );
  await running.events.next("connection_close", 3);
  assertEquals(running.server.requests, 0);
});

Deno.test("runBench counts what is in flight when it is interrupted as failed", async () => {
  const interrupt = new AbortController();
  await using running = serveTest(commands);
  const finished = runBench(optionsFor(portOf(running), {
    depth: 2,
    payloads: [bytes("DELAY 60000 x")],
    signal: interrupt.signal,
  }));
  await running.events.next("connection_open", 3);
  while (running.server.requests < 3) await turnOfLoop();
  interrupt.abort();
  const result = await finished;
  assertSettled(result);
  assertEquals([result.sent, result.done, result.failed], [6, 0, 6]);
  assertEquals(result.errors.list(), [
    { text: "Interrupted before the reply", count: 6 },
  ]);
  assertEquals([result.end, result.lost], ["interrupted", 0]);
});

Deno.test("runBench waits for no last reply once it is interrupted", async () => {
  const { client, interrupt, finished } = runFake({ requests: 2, depth: 2 });
  await settle();
  await client.reply();
  assertEquals(client.asked, 2);
  interrupt.abort();
  const result = await finished;
  assertSettled(result);
  assertEquals([result.done, result.failed], [1, 1]);
  assertEquals(result.errors.list()[0].text, "Interrupted before the reply");
  assertEquals(result.end, "interrupted");
});

Deno.test("runBench throws the reason of an interrupt before the first request", async () => {
  await using running = serveTest(commands);
  const interrupt = new AbortController();
  await assertRejects(
    () =>
      runBench(optionsFor(portOf(running), {
        signal: interrupt.signal,
        async connect() {
          const client = await connect({ port: portOf(running) });
          interrupt.abort(new Error("enough"));
          return client;
        },
      })),
    Error,
    "enough",
  );
  assertEquals(running.server.requests, 0);
});

Deno.test("runBench sends for a time, and waits for the replies", async () => {
  const { client, pass, finished } = runFake({
    requests: Infinity,
    duration: 1000,
  });
  await settle();
  for (let i = 0; i < 10; i++) {
    await pass(99);
    await client.reply();
  }
  assertEquals(client.asked, 11);
  await pass(500);
  assertEquals(client.pending, 1);
  await client.reply();
  const result = await finished;
  assertSettled(result);
  assertEquals([result.sent, client.asked], [11, 11]);
  assertEquals([result.elapsed, result.latencies.max], [1490, 500]);
  assertEquals(result.end, "complete");
});

Deno.test("runBench --rate counts a latency from when the request was due", async () => {
  const { client, pass, finished } = runFake({ rate: 100, requests: 12 });
  await settle();
  // Each is answered after a millisecond, and the next is due at the tenth.
  for (let i = 0; i < 2; i++) {
    await pass(1);
    await client.reply();
    assertEquals(client.pending, 0);
    await pass(8);
    assertEquals(client.pending, 0);
    await pass(1);
    assertEquals(client.pending, 1);
  }
  // Now the server stands still for 85 ms. Requests 3 to 10 become due.
  await pass(85);
  for (let i = 0; i < 9; i++) await client.reply();
  // Number 11 is due at 110 ms, and so is not sent at 105.
  assertEquals([client.asked, client.pending], [11, 0]);
  await pass(5);
  await client.reply();
  const result = await finished;
  assertSettled(result);
  // 1, 1, 85, then 75, 65, ... 5 for those that waited, and 0 for the last.
  const waited = [75, 65, 55, 45, 35, 25, 15, 5];
  const sum = 1 + 1 + 85 + waited.reduce((a, b) => a + b) + 0;
  assertEquals(result.latencies.count, 12);
  assertEquals(result.latencies.mean, sum / 12);
  assertEquals(result.latencies.max, 85);
  assertEquals(result.elapsed, 110);
});

Deno.test("runBench --rate sends what is due in a time, and says what it could not send", async () => {
  const { client, pass, finished } = runFake({
    rate: 10,
    requests: Infinity,
    duration: 1000,
  });
  await settle();
  await client.reply();
  await pass(100);
  await client.reply();
  await pass(100);
  // The third is not answered before the end, so the other seven cannot be.
  await pass(800);
  await client.reply();
  const result = await finished;
  assertSettled(result);
  assertEquals([result.sent, result.done, result.unsent], [3, 3, 7]);
});

Deno.test("runBench --rate sends nothing that is due at the end", async () => {
  const { client, clock, pass, finished } = runFake({
    rate: 10,
    requests: Infinity,
    duration: 1000,
  });
  await settle();
  for (let i = 0; i < 9; i++) {
    await client.reply();
    await pass(100);
  }
  // The timer of the end comes late, and the last reply before it.
  clock.jump(500);
  await client.reply();
  clock.advance(0);
  const result = await finished;
  assertEquals([result.sent, result.done, result.unsent], [10, 10, 0]);
});

Deno.test("runBench --rate uses its connections in turn", async () => {
  const clients = Array.from({ length: 3 }, () => new FakeClient());
  const waiting = [...clients];
  const clock = new FakeClock();
  const finished = runBench(optionsFor(0, {
    rate: 1000,
    requests: 6,
    connect: () => Promise.resolve(waiting.shift()!),
    clock,
  }));
  await settle();
  for (let i = 0; i < 6; i++) {
    assertEquals(clients.map(({ pending }) => pending)[i % 3], 1);
    await clients[i % 3].reply();
    clock.advance(1);
    await settle();
  }
  await finished;
  assertEquals(clients.map(({ asked }) => asked), [2, 2, 2]);
});

Deno.test("runBench has the percentiles of a handler whose delays are known", async () => {
  // In milliseconds: so many of 10,000 took so long, in an order of chance.
  const delays: [count: number, ms: number][] = [
    ...[[7000, 1], [1500, 2], [900, 5], [500, 20]] as [number, number][],
    ...[[90, 100], [9, 400], [1, 3000]] as [number, number][],
  ];
  const all = delays.flatMap(([count, ms]) => Array<number>(count).fill(ms));
  const chance = random(7);
  for (let i = all.length - 1; i > 0; i--) {
    const j = Math.floor(chance() * (i + 1));
    [all[i], all[j]] = [all[j], all[i]];
  }
  const { client, clock, finished } = runFake({ requests: all.length });
  await settle();
  for (const ms of all) {
    clock.advance(ms);
    await client.reply();
  }
  const result = await finished;
  const { latency_seconds, rate_over_time, requests_per_second } = summarize(
    subject,
    [PONG],
    result,
  );
  const total = all.reduce((a, b) => a + b);
  const avg = total / all.length;
  const variance = all.reduce((sum, ms) => sum + (ms - avg) ** 2, 0) /
    all.length;
  const expected: Record<string, number> = {
    ...{ min: 1, avg, stddev: Math.sqrt(variance), p50: 1, p75: 2, p90: 5 },
    ...{ p95: 20, p99: 20, "p99.9": 100, "p99.99": 400, max: 3000 },
  };
  assertEquals(Object.keys(latency_seconds!), Object.keys(expected));
  for (const [name, ms] of Object.entries(expected)) {
    const error = Math.abs(latency_seconds![name] * 1000 / ms - 1);
    assert(
      error < 0.001,
      `${name} is ${latency_seconds![name]} s, not ${ms} ms`,
    );
  }
  assertEquals(Math.round(requests_per_second * total / 1000), all.length);
  // The rates of the intervals are those of the whole, so nothing is lost.
  let [from, sum] = [0, 0];
  for (const { upto_seconds, requests_per_second: rate } of rate_over_time) {
    sum += (upto_seconds - from) * rate;
    from = upto_seconds;
  }
  assert(Math.abs(sum / all.length - 1) < 0.01, `${sum} requests`);
});

Deno.test("runBench ends its time with the last reply, not with what came to nothing", async () => {
  const { client, clock, finished } = runFake({ depth: 2, requests: 3 });
  await settle();
  clock.advance(100);
  await client.reply();
  clock.advance(100);
  await client.reply();
  clock.advance(30_000);
  await client.reply(new TimeoutError("No reply within 30 s"));
  const result = await finished;
  assertSettled(result);
  assertEquals([result.done, result.failed, result.elapsed], [2, 1, 200]);
});

Deno.test("toProgress leaves parts out, the last ones first, where a line is narrow", () => {
  const result = new BenchResult();
  Object.assign(result, { elapsed: 2000, done: 300, failed: 4 });
  result.latencies.add(5);
  result.errReplies.add("ERR x");
  const last = { elapsed: 1000, done: 100 };
  const whole = "2.0 s: 200 requests/s now, 150 on average, 300 done, " +
    "5 failed, p99 5.000 ms";
  assertEquals(toProgress(result, last, Infinity), whole);
  for (let columns = 1; columns <= whole.length; columns++) {
    const line = toProgress(result, last, columns);
    assert(line.length <= columns && whole.startsWith(line), line);
    assert(columns < 26 || /^2\.0 s: 200 requests\/s now(, .*\w)?$/.test(line));
  }
});

Deno.test("runBench --reconnect ends where nobody listens any more", async () => {
  let tries = 0;
  const result = await runBench(optionsFor(0, {
    connections: 2,
    reconnect: true,
    connect() {
      if (tries++ > 3) return Promise.reject(new Error("gone"));
      return Promise.resolve({
        sent: 0,
        closed: Promise.resolve(undefined),
        close() {},
        request: () => Promise.resolve(PONG),
      });
    },
  }));
  assertSettled(result);
  assertEquals([result.done, result.givenUp], [3, 2]);
  assertEquals(result.errors.list(), [{ text: "gone", count: result.failed }]);
  assert(result.failed >= 10 && result.failed < 20, `${result.failed}`);
  assertEquals(result.end, "no_connection");
  // The first one saw that somebody listens.
  assertEquals(result.connects.count, 4);
});

Deno.test("runBench says four times a second how far it is", async () => {
  const said: string[] = [];
  let last = { elapsed: 0, done: 0 };
  const { client, clock, finished } = runFake({
    requests: 3,
    onProgress(result) {
      said.push(toProgress(result, last, 80));
      last = { elapsed: result.elapsed, done: result.done };
    },
  });
  await settle();
  clock.advance(125);
  await client.reply();
  clock.advance(125);
  clock.advance(250);
  await client.reply();
  await client.reply();
  await finished;
  clock.advance(1000);
  assertEquals(said, [
    "0.3 s: 4 requests/s now, 4 on average, 1 done, 0 failed, p99 125.000 ms",
    "0.5 s: 0 requests/s now, 2 on average, 1 done, 0 failed, p99 125.000 ms",
  ]);
});

// ------------------------------------------------------------- the report

/** What was asked for where the numbers are known. */
const subject: BenchSubject = {
  target: "host, of mine:1",
  framing: "line",
  tls: false,
  connections: 2,
  depth: 1,
  rate: null,
  reconnect: false,
};

/** A summary of known numbers. */
function known(): BenchSummary {
  const latencies = new Latencies();
  for (const ms of [1, 2, 3, 4]) latencies.add(ms);
  const connects = new Latencies();
  connects.add(0.5);
  const series = new Series();
  series.add({ elapsed: 1000, done: 1 });
  series.add({ elapsed: 2000, done: 4 });
  const [errors, errReplies, connectErrors] = [
    new Tally(),
    new Tally(),
    new Tally(),
  ];
  errors.add("lost");
  errReplies.add('ERR "x"\x1b[31m');
  return summarize(
    subject,
    [new Uint8Array(100)],
    {
      elapsed: 2000,
      sent: 5,
      done: 4,
      failed: 1,
      unsent: 0,
      takenBytes: 505,
      receivedBytes: 300,
      latencies,
      connects,
      series,
      load: 0.956,
      errors,
      errReplies,
      lost: 1,
      refused: 0,
      reopened: 1,
      givenUp: 0,
      connectErrors,
      end: "complete",
    },
  );
}

Deno.test("the report's JSON has these names, in seconds and bytes", () => {
  const json = toJson(known());
  // deno-lint-ignore no-control-regex
  assert(!/[\n\x1b]/.test(json));
  assertEquals(JSON.parse(json), {
    target: "host, of mine:1",
    framing: "line",
    tls: false,
    connections: 2,
    depth: 1,
    rate: null,
    reconnect: false,
    request_bytes: 100,
    requests: 1,
    duration_seconds: 2,
    sent: 5,
    done: 4,
    failed: 1,
    unsent: 0,
    requests_per_second: 2,
    sent_bytes: 500,
    received_bytes: 300,
    bytes_per_second: 400,
    latency_seconds: {
      min: 0.001,
      avg: 0.0025,
      stddev: 0.001118,
      p50: 0.002,
      p75: 0.003001,
      p90: 0.004,
      p95: 0.004,
      p99: 0.004,
      "p99.9": 0.004,
      "p99.99": 0.004,
      max: 0.004,
    },
    connect_seconds: {
      min: 0.0005,
      avg: 0.0005,
      stddev: 0,
      p50: 0.0005,
      p75: 0.0005,
      p90: 0.0005,
      p95: 0.0005,
      p99: 0.0005,
      "p99.9": 0.0005,
      "p99.99": 0.0005,
      max: 0.0005,
    },
    client_load: 0.96,
    rate_over_time: [
      { upto_seconds: 1, requests_per_second: 1 },
      { upto_seconds: 2, requests_per_second: 3 },
    ],
    histogram: [
      { above_seconds: 0.0007, upto_seconds: 0.001, count: 1 },
      { above_seconds: 0.001, upto_seconds: 0.0015, count: 0 },
      { above_seconds: 0.0015, upto_seconds: 0.002, count: 1 },
      { above_seconds: 0.002, upto_seconds: 0.003, count: 1 },
      { above_seconds: 0.003, upto_seconds: 0.005, count: 1 },
    ],
    errors: [{ text: "lost", count: 1 }],
    err_replies: 1,
    err_reply_texts: [{ text: 'ERR "x"\x1b[31m', count: 1 }],
    connections_lost: 1,
    connections_refused: 0,
    connections_reopened: 1,
    connections_given_up: 0,
    connect_errors: [],
    end: "complete",
  });
});

Deno.test("the report's CSV has a line of names and one of values", () => {
  const [names, values, ...rest] = toCsv(known()).split("\n");
  assertEquals(rest, []);
  const kinds = [
    ...["min", "avg", "stddev", "p50", "p75", "p90", "p95", "p99", "p99.9"],
    ...["p99.99", "max"],
  ];
  assertEquals(names.split(","), [
    ...["target", "framing", "tls", "connections", "depth", "rate"],
    ...["reconnect", "request_bytes", "requests", "duration_seconds", "sent"],
    ...["done", "failed", "unsent", "requests_per_second", "sent_bytes"],
    ...["received_bytes", "bytes_per_second", "client_load", "err_replies"],
    ...["connections_lost", "connections_refused", "connections_reopened"],
    ...["connections_given_up", "end"],
    ...kinds.map((kind) => `latency_seconds_${kind}`),
    ...kinds.map((kind) => `connect_seconds_${kind}`),
  ]);
  assertEquals(
    values,
    '"host, of mine:1",line,false,2,1,,false,100,1,2,5,4,1,0,2,500,300,400,' +
      "0.96,1,1,0,1,0,complete," +
      "0.001,0.0025,0.001118,0.002,0.003001,0.004,0.004,0.004,0.004,0.004,0.004," +
      "0.0005,0.0005,0,0.0005,0.0005,0.0005,0.0005,0.0005,0.0005,0.0005,0.0005",
  );
});

Deno.test("the report for people says all of it, and shows no control character", () => {
  assertEquals(
    toText(known()),
    `host, of mine:1, line framing: 2 connections, depth 1, requests of 100 bytes

4 requests done in 2.000 s, 1 of them with ERR, 1 failed
This client was busy for 96% of the time: the server may be faster
Connecting took 0.500 ms on average, p99 0.500, max 0.500
2 requests/s
0.00 MB/s of payload (0.00 MB sent, 0.00 MB received)

requests/s over time, up to 3
  ▃█

latency in ms
  min     1.000
  avg     2.500
  stddev  1.118
  p50     2.000
  p75     3.001
  p90     4.000
  p95     4.000
  p99     4.000
  p99.9   4.000
  p99.99  4.000
  max     4.000

requests by latency, up to so many ms
    1  1  ${"█".repeat(40)}
  1.5  0
    2  1  ${"█".repeat(40)}
    3  1  ${"█".repeat(40)}
    5  1  ${"█".repeat(40)}

failed requests
  1  lost

ERR replies
  1  ERR "x"\\u001b[31m

1 connection lost, 1 opened again, 0 given up`,
  );
});

Deno.test("the report has no latency where nothing was answered", () => {
  const summary = {
    ...known(),
    ...{ done: 0, latency_seconds: null, histogram: [], rate: 5, unsent: 7 },
    ...{ connect_seconds: null, rate_over_time: [] },
    end: "interrupted" as const,
  };
  const report = toText(summary);
  assert(!/latency|Connecting|over time|busy/.test(report), report);
  assertMatch(report, /, 5 requests\/s due, /);
  assertMatch(report, /\n7 more were due/);
  assertMatch(report, /\nInterrupted before all was done\n/);
  assertEquals(JSON.parse(toJson(summary)).latency_seconds, null);
  assertMatch(toCsv(summary), /,interrupted,{22}$/);
});

// -------------------------------------------------------------- the flags

/** Reads a command line as `client.ts` does. */
function lineOf(...args: string[]) {
  const line = parseFlags(clientCommands.bench.flags, args);
  checkPairs("bench", line);
  return line;
}

Deno.test("client reads the letters of a measurement however they are written", () => {
  for (
    const args of [
      ["-c", "5", "-n", "7", "-P", "2", "-d", "1KiB", "-q"],
      ["-c5", "-n7", "-qP2", "-d1KiB"],
      ["-c=5", "-n=7", "-P=2", "-d=1KiB", "-q"],
    ]
  ) {
    const { flags, rest } = lineOf("host", ...args);
    const { c, n, P, d, q } = flags;
    assertEquals({ c, n, P, d, q, rest }, {
      c: 5,
      n: 7,
      P: 2,
      d: 1024,
      q: true,
      rest: ["host"],
    });
  }
  for (
    const args of [["-z", "1s"], ["-z1s"], ["-z=1s"], ["--duration", "1s"]]
  ) {
    assertEquals(lineOf(...args).flags.duration, 1000);
  }
  const { c, n, P, d, rate, duration, csv, q } = lineOf().flags;
  assertEquals([c, n, P, d], [50, 100_000, 1, 64]);
  assertEquals([rate, duration, csv, q], [undefined, undefined, false, false]);
});

/** A command line, and what is said about it. */
const badLines: [string[], string][] = [
  [["-c0"], '-c is "0", expected a whole number from 1 to 1000000'],
  [["-c", "-1"], '-c is "-1", expected a whole number'],
  [["-c1.5"], '-c is "1.5", expected a whole number'],
  [["-n", "0"], '-n is "0", expected a whole number from 1 to'],
  [["-n"], '-n is "", expected a whole number'],
  [
    ["-P", "0"],
    '-P is "0", expected a whole number from 1 to 10000',
  ],
  [["-d", "0"], '-d is "0", expected a size such as'],
  [["--rate=0"], '--rate is "0", expected a whole number from 1'],
  [["-z", "0"], '-z is "0", expected a duration such as'],
  [["-z10"], '-z is "10", expected a duration such as'],
  [["--duration=0s"], '--duration is "0s", expected a duration'],
  [["-z1s", "--duration="], '--duration is "", expected a duration'],
  [["-q=1"], '-q is "1", expected no value'],
  [["-n5", "-z1s"], "-n and -z are given, expected only one"],
  [["-n5", "--duration", "1s"], "-n and --duration are given"],
  [["-e", "--errors-ok"], "-e and --errors-ok are given"],
  [["--requests=x", "-d5"], "--requests and -d are given"],
  [["--reconnect", "-P2"], "--reconnect and -P are given"],
  [["--json", "--csv"], "--json and --csv are given"],
];

for (const [args, said] of badLines) {
  Deno.test(`client refuses ${args.join(" ")}`, () => {
    assertThrows(() => lineOf(...args), UsageError, said);
  });
}

Deno.test("client makes a request of as many bytes as -d says, and both handlers answer it", async () => {
  const lengths: [number, string][] = [
    [1, "P"],
    [4, "PING"],
    [5, "PING "],
    [6, "PING x"],
    [10, "PING xxxxx"],
  ];
  for (const [length, request] of lengths) {
    const made = benchRequest(lineOf("-d", `${length}`), []);
    assertEquals(text(made), request);
  }
  // No text may be so long.
  assertEquals(benchRequest(lineOf("-d513MiB"), []).length, 513 * 1024 ** 2);
  const request = benchRequest(lineOf(), []);
  assertEquals(request.length, 64);
  for (const handler of [commands, echo]) {
    await using server = serve({ hostname: "127.0.0.1", port: 0 }, handler);
    await using client = await connect({ port: portOf(server) });
    assertMatch(text(await client.request(request)), /^(PING )?x{59}$/);
  }
  assertEquals(text(benchRequest(lineOf(), ["ECHO ä"])), "ECHO ä");
  assertEquals(benchRequest(lineOf(), [""]).length, 0);
  assertThrows(
    () => benchRequest(lineOf(), ["a", "b"]),
    UsageError,
    "2 requests are given, expected at most one",
  );
  assertThrows(
    () => benchRequest(lineOf("-d5"), ["a"]),
    UsageError,
    "-d and a request are given",
  );
});

// ------------------------------------------------------------ the program

/** Asserts that a program said one line, with all of `parts` in it. */
function assertOneLine(said: string, ...parts: string[]): void {
  assertMatch(said, /^client: [^\n]+\n$/);
  for (const part of parts) {
    assert(said.includes(part), `${said} lacks ${part}`);
  }
}

for (const framing of ["line", "length", "netstring"] as const) {
  testPrograms(
    `client bench measures a server with ${framing} framing`,
    async (way) => {
      await using server = serve(
        { hostname: "127.0.0.1", port: 0, framing },
        commands,
      );
      const args = ["bench", "-n", "200", "-c", "4", "-P", "3", "--json"];
      const place = `127.0.0.1:${portOf(server)}`;
      const result = await run(way, "client", [
        ...args,
        ...["--framing", framing, "-e", place],
      ]);
      assertEquals([result.code, result.stderr], [0, ""]);
      assertMatch(result.stdout, /^\{.*\}\n$/);
      const { target, connections, depth, done, failed, sent, request_bytes } =
        JSON.parse(result.stdout);
      assertEquals([target, connections, depth], [place, 4, 3]);
      assertEquals([sent, done, failed, request_bytes], [200, 200, 0, 64]);
      assertEquals(server.requests, 200);
    },
  );
}

testPrograms(
  "client bench prints text into a pipe, and no progress",
  async (way) => {
    await using server = serve({ hostname: "127.0.0.1", port: 0 }, echo);
    const place = `127.0.0.1:${portOf(server)}`;
    const args = ["bench", place, "-n20", "-c2", "ECHO hi"];
    const { code, stdout, stderr } = await run(way, "client", args);
    assertEquals([code, stderr], [0, ""]);
    assertMatch(stdout, /: 2 connections, depth 1, requests of 7 bytes\n/);
    assertMatch(
      stdout,
      /\n20 requests done in [\d.]+ s, 0 failed\n[^]*\n\d+ requests\/s\n/,
    );
    assertMatch(stdout, /\n {2}p99\.9 +[\d.]+\n/);
    assertMatch(stdout, /█\n$/);
  },
);

testPrograms("client bench --csv prints two lines", async (way) => {
  await using server = serve({ hostname: "127.0.0.1", port: 0 }, echo);
  const place = `127.0.0.1:${portOf(server)}`;
  const args = ["bench", place, "-n20", "--rate", "2000", "--csv"];
  const { code, stdout, stderr } = await run(way, "client", args);
  assertEquals([code, stderr], [0, ""]);
  const [names, values, end, ...rest] = stdout.split("\n");
  assertEquals([end, rest], ["", []]);
  const row = Object.fromEntries(
    names.split(",").map((name, i) => [name, values.split(",")[i]]),
  );
  assertEquals([row.done, row.failed, row.rate, row.connections], [
    ...["20", "0", "2000", "50"],
  ]);
  assert(Number(row.latency_seconds_p50) > 0, stdout);
});

testPrograms(
  "client bench ends with 1 at ERR replies, unless --errors-ok is given",
  async (way) => {
    await using server = serve({ hostname: "127.0.0.1", port: 0 }, commands);
    const args = ["bench", `127.0.0.1:${portOf(server)}`, "-n20", "FOO"];
    const cases = [[[], 1], [["-e"], 1], [["--errors-ok"], 0]] as const;
    for (const [flags, code] of cases) {
      const result = await run(way, "client", [...args, ...flags]);
      assertEquals([result.code, result.stderr], [code, ""]);
      assertMatch(
        result.stdout,
        /\n20 requests .* s, 20 of them with ERR, 0 fai/,
      );
      assertMatch(
        result.stdout,
        /\nERR replies\n {2}20 {2}ERR unknown command: "FOO" \(try HELP\)\n$/,
      );
    }
  },
);

testPrograms(
  "client bench --requests sends the lines of a file in turn",
  async (way) => {
    const counts = new Map<string, number>();
    await using server = serve(
      { hostname: "127.0.0.1", port: 0 },
      (request) => {
        const line = text(request);
        counts.set(line, (counts.get(line) ?? 0) + 1);
        return "";
      },
    );
    const file = await Deno.makeTempFile();
    try {
      const place = `127.0.0.1:${portOf(server)}`;
      const args = ["bench", place, "-c2", "-n10", "--requests", file];
      const empty = await run(way, "client", args);
      assertEquals([empty.code, empty.stdout], [1, ""]);
      assertOneLine(empty.stderr, file, "it is empty");
      await Deno.writeTextFile(file, "one\r\n\nthree");
      const { code, stdout } = await run(way, "client", [...args, "--json"]);
      const { requests, request_bytes, sent_bytes } = JSON.parse(stdout);
      assertEquals([code, requests, request_bytes], [0, 3, 3]);
      // The last round is not whole, so it is an estimate.
      assert(sent_bytes > 20 && sent_bytes < 30, stdout);
      assertEquals(
        [...counts].sort(),
        [["", 3], ["one", 4], ["three", 3]],
      );
    } finally {
      await Deno.remove(file);
    }
    const gone = await run(way, "client", [
      ...["bench", "127.0.0.1:1", "--requests", file],
    ]);
    assertEquals([gone.code, gone.stdout], [1, ""]);
    assertOneLine(gone.stderr, file, "no such file");
  },
);

testPrograms(
  "client bench --reconnect makes a connection for each request",
  async (way) => {
    await using running = serveTest(commands);
    const place = `127.0.0.1:${portOf(running)}`;
    const { code, stdout } = await run(way, "client", [
      ...["bench", place, "-c3", "-n50", "--reconnect", "--json"],
    ]);
    const { done, failed, connections_lost, sent_bytes } = JSON.parse(stdout);
    assertEquals([code, done, failed, connections_lost], [0, 50, 0, 0]);
    assertEquals(sent_bytes, 50 * 64);
    // One more saw that somebody listens.
    await running.events.next("connection_close", 51);
    assertEquals(running.server.connectionsTotal, 51);
  },
);

testPrograms(
  "client bench goes by TLS, and by a Unix socket",
  async (way) => {
    await using folder = await Folder.make();
    const ca = `${folder.name}/ca.pem`;
    await Deno.writeTextFile(ca, ONE_CA);
    await using secure = serve(
      { hostname: "127.0.0.1", port: 0, ...ONE },
      echo,
    );
    await using _local = serve({ path: folder.path }, echo);
    const tls = ["--tls", "--tls-ca", ca, `127.0.0.1:${portOf(secure)}`];
    for (const place of [tls, ["--unix", folder.path]]) {
      const args = ["bench", "-n100", "-c3", "--json", ...place];
      const { code, stdout, stderr } = await run(way, "client", args);
      assertEquals([code, stderr], [0, ""]);
      const { done, tls } = JSON.parse(stdout);
      assertEquals([done, tls], [100, place.includes("--tls")]);
    }
  },
);

testPrograms(
  "client bench ends with 1 and one line where there is no server",
  async (way) => {
    const refused = `127.0.0.1:${NOBODY.port}`;
    await using server = serve({ hostname: "127.0.0.1", port: 0 }, echo);
    const plain = `127.0.0.1:${portOf(server)}`;
    const cases: [string[], string[]][] = [
      [[refused], [refused, "refused"]],
      [[plain, "--tls"], [plain, "does not speak TLS"]],
      [[plain, "a\nb"], ["LF"]],
    ];
    for (const [args, said] of cases) {
      const result = await run(way, "client", ["bench", ...args]);
      assertEquals([result.code, result.stdout], [1, ""]);
      assertOneLine(result.stderr, ...said);
    }
  },
);

testPrograms(
  "client bench ends with 1 and a report if a server is lost",
  async (way) => {
    const hostname = ownAddress();
    const listener = Deno.listen({ hostname, port: 0 });
    const place = `${hostname}:${listener.addr.port}`;
    const args = ["bench", place, "-c1", "-n1000", "--json"];
    const running = run(way, "client", args);
    const conn = await listener.accept();
    listener.close();
    using peer = new Peer(conn);
    await peer.receive(65);
    await peer.send("PONG\n");
    await peer.receive(65);
    await peer.finish();
    await peer.rest();
    const { code, stdout, stderr } = await running;
    assertEquals([code, stderr], [1, ""]);
    const report = JSON.parse(stdout);
    const { sent, done, failed, errors, end, connect_errors } = report;
    assertEquals([sent, done, failed, end], [2, 1, 1, "no_connection"]);
    assertEquals(report.sent_bytes, 2 * 64);
    // Five waits took 3.1 s more.
    assert(report.duration_seconds < 3, stdout);
    assertEquals(errors, [{ text: `Connection closed by ${place}`, count: 1 }]);
    assertEquals(connect_errors, [{
      text: `Cannot connect to ${place}: connection refused`,
      count: 5,
    }]);
  },
);

testPrograms(
  "client bench counts the bytes that were taken of a request that is refused",
  async (way) => {
    await using server = serve({ hostname: "127.0.0.1", port: 0 }, echo);
    const args = ["bench", `127.0.0.1:${portOf(server)}`, "-c1", "-n1"];
    const { code, stdout } = await run(way, "client", [
      ...args,
      ...["-d", "50MiB", "--json"],
    ]);
    const { sent_bytes, err_reply_texts } = JSON.parse(stdout);
    assertEquals(code, 1);
    assertMatch(err_reply_texts[0].text, /^ERR frame too large: /);
    assert(sent_bytes > 0 && sent_bytes < 50 * 2 ** 20, stdout);
  },
);

testPrograms(
  "client bench keeps a connection whose reply is late",
  async (way) => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const place = `127.0.0.1:${listener.addr.port}`;
    const args = ["bench", place, "-c1", "-n3", "-d4", "--json"];
    const running = run(way, "client", [...args, "--timeout", "500ms"]);
    using peer = new Peer(await listener.accept());
    // The second is sent once the first is late.
    assertEquals(await peer.receive(10), "PING\nPING\n");
    await peer.send("late\nPONG\n");
    assertEquals(await peer.receive(5), "PING\n");
    await peer.send("PONG\n");
    const { code, stdout } = await running;
    const { done, failed, errors, received_bytes } = JSON.parse(stdout);
    assertEquals([code, done, failed, received_bytes], [1, 2, 1, 8]);
    assertEquals(errors, [{ text: "No reply within 500 ms", count: 1 }]);
  },
);

testPrograms(
  "client ends with 2 at flags of bench without it, or wrong ones",
  async (way) => {
    const cases: [string[], string][] = [
      [["-c5"], 'unknown flag "-c5"'],
      [["-c", "50"], 'unknown flag "-c"'],
      [["--rate", "5"], 'unknown flag "--rate"'],
      [["--bench=1"], '--bench is "1", expected no value'],
      [["--tls", "bench"], '"bench" is a command, expected as the first word'],
      [["bench", "--no-history"], 'unknown flag "--no-history"'],
      [["wait", "--balance", "failover"], 'unknown flag "--balance"'],
      ...badLines.slice(-2).map(([args, said]): [string[], string] => [
        ["bench", ...args],
        said,
      ]),
      [["bench", "host", "a", "b"], "3 requests are given"],
    ];
    for (const [args, said] of shareOf(way, cases)) {
      const result = await run(way, "client", [...args, "127.0.0.1:1"]);
      assertEquals([result.code, result.stdout], [2, ""], args.join(" "));
      assertOneLine(result.stderr, said);
    }
  },
);

Deno.test("client takes its first word for a command, and --bench for bench", () => {
  const cases: [string[], ...ReturnType<typeof commandOf>][] = [
    [["bench", "-c5", "h"], "bench", ["-c5", "h"]],
    [["-c5", "--bench", "h"], "bench", ["-c5", "h"]],
    [["h", "--bench", "--", "--bench"], "bench", ["h", "--", "--bench"]],
    [["h", "--", "--bench"], "", ["h", "--", "--bench"]],
    [["h", "bench"], "", ["h", "bench"]],
    [["bench:8080"], "", ["bench:8080"]],
    [["toString"], "", ["toString"]],
    [[""], "", [""]],
    [[], "", []],
  ];
  for (const [args, ...expected] of cases) {
    assertEquals(commandOf(args), expected);
  }
});

testPrograms(
  "client bench ends with 130 at Ctrl-C, and reports",
  async (way) => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const place = `127.0.0.1:${listener.addr.port}`;
    await using client = new Running(way, "client", [
      ...["bench", place, "-c1", "-P2", "-d4", "--json"],
    ]);
    using peer = new Peer(await listener.accept());
    assertEquals(await peer.receive(10), "PING\nPING\n");
    await peer.send("PONG\n");
    assertEquals(await peer.receive(5), "PING\n");
    client.kill("SIGINT");
    const report = JSON.parse(await client.stdout.next());
    assertEquals(await client.code(), 130);
    const { sent, done, failed, errors, end } = report;
    assertEquals([sent, done, failed, end], [3, 1, 2, "interrupted"]);
    assertEquals(errors, [{ text: "Interrupted before the reply", count: 2 }]);
    assertEquals(await peer.rest(), "");
  },
);
