// A pool whose servers are in memory, whose clock stands still until it is told,
// and whose chance is a number.

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
} from "../support/std.ts";

import type { ServersOptions } from "../../lib/client/api.ts";
import { PipelinedClient } from "../../lib/client/pipelined_client.ts";
import { ServerPool } from "../../lib/client/pool.ts";
import {
  ClientClosedError,
  ConnectError,
  ConnectionLostError,
  PoolBusyError,
  RefusedError,
  TimeoutError,
} from "../../lib/core/errors.ts";
import { framingOf } from "../../lib/framing/mod.ts";
import { FakeClock, outcome, settle } from "../support/fixtures.ts";
import { MemoryTransport } from "../support/memory_transport.ts";

/** A pool of servers that a test plays, each by its port. */
class Play {
  readonly clock = new FakeClock();
  /** The connections that were made to each server, in their order. */
  readonly links: MemoryTransport[][];
  /** Why there is no connection to a server. */
  readonly down = new Map<number, Error>();
  /** When each server was tried. */
  readonly tried: number[][];
  readonly changes: [number, string][] = [];
  /** Between 0 and 1, in place of chance. */
  chance = 0.5;
  readonly pool: ServerPool;

  constructor(count: number, options: Partial<ServersOptions> = {}) {
    const servers = Array.from({ length: count }, (_, port) => ({
      ...{ hostname: "h", port },
    }));
    this.links = servers.map(() => []);
    this.tried = servers.map(() => []);
    this.pool = new ServerPool(
      {
        ...{ size: 1, maxPending: 16, maxQueued: 4, retries: 1 },
        ...{ maxDelay: 1000, balance: "failover" },
        ...{ checkInterval: 500, timeout: 8000 },
        onStateChange: (server: string, error?: Error) => {
          const port = Number(server.split(":")[1]);
          this.changes.push([port, error?.message ?? "up"]);
        },
        ...options,
        servers,
        link: (place, _signal, hooks) => {
          const { port } = place as Deno.NetAddr;
          this.tried[port].push(this.clock.now() - 1000);
          const error = this.down.get(port);
          if (error !== undefined) return Promise.reject(error);
          const transport = new MemoryTransport();
          this.links[port].push(transport);
          const settings = {
            ...{ framing: framingOf("line"), maxFrame: 1000, timeout: 8000 },
            ...hooks,
          };
          return Promise.resolve(
            new PipelinedClient(transport, settings, this.clock),
          );
        },
      },
      this.clock,
      () => this.chance,
    );
  }

  /** The newest connection to a server. */
  last(port: number): MemoryTransport {
    return this.links[port].at(-1)!;
  }

  fail(...ports: number[]): void {
    for (const port of ports) {
      this.down.set(port, new ConnectError(`no way to ${port}`));
    }
  }

  async pass(ms: number): Promise<void> {
    this.clock.advance(ms);
    await settle();
  }

  /** Closes it, which must leave no timer and no connection. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.pool[Symbol.asyncDispose]();
    await settle();
    assertEquals(this.clock.timers, 0);
    assert(this.links.flat().every(({ closed }) => closed));
  }
}

Deno.test("a pool opens what a request needs, and sends it there", async () => {
  await using play = new Play(2);
  assertEquals(play.tried, [[], []]);
  const reply = outcome(play.pool.request("a"));
  assertEquals([play.pool.pending, play.pool.queued], [1, 1]);
  await settle();
  assertEquals(play.tried, [[0], []]);
  assertEquals([play.pool.pending, play.pool.queued], [1, 0]);
  assertEquals(play.last(0).text, "a\n");
  play.last(0).push("A\n");
  assertEquals(await reply, "A");
  assertEquals(play.changes, [[0, "up"]]);
});

Deno.test("a pool goes on to the next server, and back to the first", async () => {
  await using play = new Play(3);
  play.fail(0, 1);
  const first = outcome(play.pool.request("a"));
  await settle();
  assertEquals(play.tried, [[0], [0], [0]]);
  play.last(2).push("A\n");
  assertEquals(await first, "A");
  play.down.clear();
  // Both are probed, with nothing to ask of them.
  await play.pass(50);
  assertEquals(play.tried, [[0, 50], [0, 50], [0]]);
  const second = outcome(play.pool.request("b"));
  await settle();
  play.last(0).push("B\n");
  assertEquals(await second, "B");
});

Deno.test("a server that fails is left alone for a growing while, up to a bound", async () => {
  await using play = new Play(1);
  play.fail(0);
  const reply = outcome(play.pool.request("a"));
  await settle();
  // Half of 100, 200, 400, 800 and then of the bound of 1000.
  for (const ms of [50, 100, 200, 400, 500, 500]) await play.pass(ms);
  assertEquals(play.tried, [[0, 50, 150, 350, 750, 1250, 1750]]);
  play.chance = 0;
  await play.pass(500);
  play.down.clear();
  await play.pass(0);
  assertEquals(play.tried[0].slice(7), [2250, 2250]);
  play.last(0).push("A\n");
  assertEquals(await reply, "A");
  // It has replied, so it begins anew.
  play.chance = 0.5;
  play.fail(0);
  const lost = outcome(play.pool.request("b"));
  await settle();
  play.last(0).end();
  assertInstanceOf(await lost, ConnectionLostError);
  await play.pass(50);
  assertEquals(play.tried[0].at(-1), 2300);
});

Deno.test("a request in flight is sent again only if it may be done twice", async () => {
  await using play = new Play(2, { retries: 2 });
  const options = { idempotent: true };
  const replies = [
    play.pool.request("one"),
    play.pool.request("two", options),
    play.pool.request("three", options),
  ].map(outcome);
  await settle();
  play.last(0).push("ONE\n");
  play.last(0).end();
  assertEquals(await replies[0], "ONE");
  await settle();
  assertEquals(play.last(1).text, "two\nthree\n");
  play.last(1).push("TWO\n");
  assertEquals(await replies[1], "TWO");
  // At most twice: the third loss is the last.
  play.last(1).reset();
  await settle();
  await play.pass(50);
  assertEquals(play.last(0).text, "three\n");
  play.last(0).end();
  await settle();
  assertInstanceOf(await replies[2], ConnectionLostError);

  await play.pass(100);
  const once = outcome(play.pool.request("four"));
  await settle();
  const busy = play.links.flat().find(({ text }) => text === "four\n")!;
  busy.end();
  assertInstanceOf(await once, ConnectionLostError);
  await play.pass(1000);
  assert(
    play.links.flat().every((link) => link === busy || link.text !== "four\n"),
  );
});

Deno.test("a server that closes an idle connection is asked again at once", async () => {
  await using play = new Play(1);
  const first = outcome(play.pool.request("a"));
  await settle();
  play.last(0).push("A\n");
  assertEquals(await first, "A");
  play.last(0).end();
  await play.pass(5000);
  assertEquals(play.tried, [[0]]);
  const second = outcome(play.pool.request("b"));
  await settle();
  play.last(0).push("B\n");
  assertEquals(await second, "B");
  assertEquals(play.changes, [
    [0, "up"],
    [0, "Connection closed by 127.0.0.1:2"],
    [0, "up"],
  ]);
});

Deno.test("a request that is refused goes to another server, or rejects", async () => {
  await using play = new Play(2);
  const reply = outcome(play.pool.request("a"));
  await settle();
  play.last(0).push("ERR busy: server is full\n");
  play.last(0).end();
  await settle();
  assertEquals(play.last(1).text, "a\n");
  play.last(1).push("ERR denied: not you\n");
  play.last(1).end();
  await settle();
  const error = await reply;
  assertInstanceOf(error, RefusedError);
  assertEquals(error.text, "ERR denied: not you");
});

Deno.test("requests wait for a connection up to their timeout, from the call on", async () => {
  await using play = new Play(1);
  play.fail(0);
  const late = outcome(play.pool.request("a", { timeout: 700 }));
  const given = new AbortController();
  const aborted = outcome(play.pool.request("b", { signal: given.signal }));
  const kept = outcome(play.pool.request("c", { timeout: 2000 }));
  await settle();
  await play.pass(699);
  assertEquals(play.pool.queued, 3);
  given.abort(new Error("no more"));
  await play.pass(1);
  assertEquals(
    `${await late}`,
    "TimeoutError: No connection in time: no way to 0",
  );
  assertEquals(`${await aborted}`, "Error: no more");
  play.down.clear();
  await play.pass(500);
  assertEquals(play.last(0).text, "c\n");
  // What was waited counts; a coarse timer may add a quarter.
  await play.pass(1300);
  assertInstanceOf(await kept, TimeoutError);
});

Deno.test("a pool has a bound for those that wait, and says when it is reached", async () => {
  await using play = new Play(1, { maxPending: 2 });
  const all = "abcdef".split("").map((one) => outcome(play.pool.request(one)));
  assertInstanceOf(await all[4], PoolBusyError);
  assertEquals(
    `${await all[5]}`,
    "PoolBusyError: 4 requests wait already",
  );
  await settle();
  assertEquals([play.last(0).text, play.pool.queued], ["a\nb\n", 2]);
  // Room for one is for the first that waits.
  play.last(0).push("A\n");
  assertEquals(await all[0], "A");
  await settle();
  assertEquals([play.last(0).text, play.pool.queued], ["a\nb\nc\n", 1]);
  play.last(0).push("B\nC\n");
  await settle();
  play.last(0).push("D\n");
  assertEquals(await Promise.all(all.slice(1, 4)), ["B", "C", "D"]);
});

Deno.test("a pool opens a connection more while all have something to do", async () => {
  await using play = new Play(1, { size: 2, maxQueued: 16 });
  const ask = (one: string) => outcome(play.pool.request(one));
  const first = [ask("a"), ask("b")];
  await settle();
  await settle();
  assertEquals(play.links[0].map(({ text }) => text), ["a\nb\n"]);
  const second = [ask("c"), ask("d"), ask("e"), ask("f")];
  await settle();
  const third = ask("g");
  await settle();
  assertEquals(play.links[0].length, 2);
  for (const link of play.links[0]) {
    link.push(link.text.toUpperCase());
  }
  assertEquals(
    await Promise.all([...first, ...second, third]),
    ["A", "B", "C", "D", "E", "F", "G"],
  );
});

for (
  const [balance, expected] of [
    ["round-robin", ["b\nd\nf\n", "a\nc\ne\n"]],
    ["least-pending", ["b\n", "a\nc\nd\ne\nf\n"]],
    ["failover", ["a\nb\nc\nd\ne\nf\n", undefined]],
  ] as const
) {
  Deno.test(`a pool spreads requests: ${balance}`, async () => {
    await using play = new Play(2, { balance });
    // Each request to begin with finds a server that has no connection yet.
    const warm = ["x", "y"].map((one) => outcome(play.pool.request(one)));
    await settle();
    for (const link of play.links.flat()) link.push("ok\n".repeat(2));
    await Promise.all(warm);
    const before = play.links.map(([link]) => link?.text.length);
    for (const one of "abcdef") {
      play.pool.request(one).catch(() => {});
      await settle();
      // The second replies at once, the first never does.
      const link = play.links[1][0];
      if (link?.text.slice(before[1]).endsWith(`${one}\n`)) link.push("ok\n");
      await settle();
    }
    const asked = play.links.map(([link], i) => link?.text.slice(before[i]));
    assertEquals<unknown>(asked, expected);
  });
}

Deno.test("health checks find out who does not answer, and who is back", async () => {
  await using play = new Play(1, {
    healthCheck: { request: "PING", expect: "PONG" },
  });
  const reply = outcome(play.pool.request("a"));
  await settle();
  play.last(0).push("A\n");
  assertEquals(await reply, "A");
  await play.pass(500);
  assertEquals(play.last(0).text, "a\nPING\n");
  play.last(0).push("PONG\n");
  await settle();
  await play.pass(500);
  play.last(0).push("WHAT\n");
  await settle();
  assert(play.last(0).closed);
  assertEquals(
    play.changes.at(-1),
    [0, 'Health check got the reply "WHAT"'],
  );
  // It is back only when it replies as it should.
  await play.pass(50);
  assertEquals(play.last(0).text, "PING\n");
  const other = outcome(play.pool.request("b"));
  await settle();
  assertEquals(play.last(0).text, "PING\n");
  await play.pass(700);
  assert(play.last(0).closed, "no reply within the interval");
  await play.pass(100);
  play.last(0).push("PONG\n");
  await settle();
  assertEquals(play.last(0).text, "PING\nb\n");
  play.last(0).push("B\n");
  assertEquals(await other, "B");
  // Silence is one failure: 50 ms, and not 100.
  const silent = play.last(0);
  while (!silent.closed) await play.pass(10);
  const tries = play.tried[0].length;
  await play.pass(50);
  assertEquals(play.tried[0].length, tries + 1);
});

Deno.test("a health check that does not end counts as failed", async () => {
  await using play = new Play(1, {
    healthCheck: { request: "PING", expect: () => new Promise(() => {}) },
  });
  const reply = outcome(play.pool.request("a"));
  await settle();
  play.last(0).push("A\n");
  assertEquals(await reply, "A");
  await play.pass(500);
  const checked = play.last(0);
  checked.push("PONG\n");
  await settle();
  await play.pass(400);
  assert(!checked.closed);
  await play.pass(150);
  assert(checked.closed);
});

Deno.test("a health check may be a function that throws, or that takes its time", async () => {
  let answer: () => unknown = () => true;
  await using play = new Play(1, {
    healthCheck: { request: "PING", expect: () => answer() as boolean },
  });
  const reply = outcome(play.pool.request("a"));
  await settle();
  play.last(0).push("A\n");
  assertEquals(await reply, "A");
  const answers = [
    () => Promise.resolve(false),
    () => Promise.reject(new Error("no idea")),
    () => {
      throw new Error("broken");
    },
  ];
  for (answer of answers) {
    while (play.last(0).closed) await play.pass(100);
    const link = play.last(0);
    const { length } = link.text;
    for (let i = 0; i < 20 && link.text.length === length; i++) {
      await play.pass(100);
    }
    link.push("PONG\n");
    await settle();
    assert(link.closed, String(answer));
    answer = () => Promise.resolve(true);
    while (play.last(0).closed) await play.pass(100);
    play.last(0).push("PONG\n");
    await settle();
    assert(!play.last(0).closed);
  }
  assertEquals(
    play.changes.filter((change) => change[1] !== "up").map(([, why]) => why),
    ['Health check got the reply "PONG"', "no idea", "broken"],
  );
});

Deno.test("open gives the pool with a first connection, or says why not", async () => {
  await using play = new Play(2);
  play.fail(0);
  assertEquals(await play.pool.open(), play.pool);
  await using none = new Play(2);
  none.fail(0, 1);
  await assertRejects(
    () => none.pool.open(),
    ConnectError,
    "No server is there: no way to 0; no way to 1",
  );
  await using one = new Play(1);
  one.fail(0);
  await assertRejects(() => one.pool.open(), ConnectError, "no way to 0");
});

Deno.test("a pool that is closed rejects what waits and what comes", async () => {
  await using play = new Play(1, { maxPending: 1 });
  const all = ["a", "b"].map((one) => outcome(play.pool.request(one)));
  await settle();
  assertEquals(play.pool.queued, 1);
  await play.pool[Symbol.asyncDispose]();
  for (
    const error of [
      ...await Promise.all(all),
      await outcome(play.pool.request("c")),
    ]
  ) {
    assertInstanceOf(error, ClientClosedError);
  }
  assert(play.last(0).closed);
});
