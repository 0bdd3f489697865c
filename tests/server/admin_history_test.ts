// The hour of numbers that the admin port keeps, and how far a drain is.

import { type History, keepHistory } from "../../lib/admin/history.ts";
import { startAdmin } from "../../lib/admin/server.ts";
import { type Stats, statsOf } from "../../lib/admin/stats.ts";
import { SERIES } from "../../lib/admin/page/numbers.js";
import { quantileOf } from "../../lib/events/metrics.ts";
import { FakeClock, Peer, serveTest, turnOfLoop } from "../support/fixtures.ts";
import { PretendServer } from "../support/pretend_server.ts";
import { assert, assertEquals } from "../support/std.ts";

type Samples = ReturnType<History["after"]>;

/** Samples by the names of their columns. */
function named({ columns, rows }: Samples) {
  return rows.map((row) =>
    Object.fromEntries(row.map((value, i) => [columns[i], value]))
  );
}

Deno.test("the history has what went on between two samples", async () => {
  const clock = new FakeClock();
  const test = serveTest((request) => request, {}, { clock });
  const admin = startAdmin({ port: 0 }, { clock });
  admin.attach(test.server);
  const get = async (path: string) => {
    const { port } = admin.addr as Deno.NetAddr;
    using client = Deno.createHttpClient({ poolMaxIdlePerHost: 0 });
    const url = `http://127.0.0.1:${port}${path}`;
    return await (await fetch(url, { client })).json();
  };
  const ask = async (query = ""): Promise<Samples> =>
    await get(`/history.json${query}`);
  assertEquals(await ask(), {
    period: 5,
    columns: ["time", ...SERIES],
    rows: [],
  });

  using peer = await Peer.to(test);
  assertEquals(await peer.ask("ab\ncd\n", "ab\ncd\n"), "ab\ncd\n");
  const began = Date.now() / 1000;
  clock.advance(5000);
  const [first] = named(await ask());
  assert(first.time >= began - 0.001 && first.time <= Date.now() / 1000);
  assertEquals(
    [first.requests, first.received, first.sent, first.active],
    [0.4, 1.2, 1.2, 1],
  );
  assertEquals([first.errors, first.timeouts, first.rejected], [0, 0, 0]);
  assertEquals(first.p99, quantileOf(test.server.metrics().durations, 0.99));
  assert(first.resident > 2 ** 20 && first.cpu > 0);

  // `stats.json` has the newest row by its names.
  const { recent } = await get("/stats.json");
  assertEquals(
    [recent.requests, recent.received, recent.active, recent.rejected],
    [0.4, 1.2, 1, 0],
  );

  // What no request has is null, and no number.
  clock.advance(5000);
  const [, second] = named(await ask());
  assertEquals([second.requests, second.p99], [0, null]);
  assertEquals((await ask(`?after=${second.time}`)).rows, []);
  assertEquals((await ask("?after=x")).rows.length, 2);
  const stats = statsOf(test.server, { handler: "", actions: false });
  assertEquals(second.held, stats.memory.heldBytes);

  await admin.close();
  await peer.finish();
  await test[Symbol.asyncDispose]();
});

/** A history of a server whose date the test sets, in milliseconds. */
function historyOf(clock: FakeClock) {
  const server = new PretendServer();
  const date = { shift: 0, reads: 0 };
  const read = (): Stats => {
    date.reads++;
    return {
      ...statsOf(server, { handler: "", actions: false }),
      now: 1e12 + clock.now() + date.shift,
      uptimeSeconds: clock.now() / 1000,
    };
  };
  return { history: keepHistory(read, clock), date };
}

Deno.test("the history keeps an hour, and no more", () => {
  const clock = new FakeClock();
  const { history, date } = historyOf(clock);
  clock.advance(3_600_000);
  assertEquals(date.reads, 721);
  assertEquals(history.after(0).rows.length, 720);
  clock.advance(50_000);
  const times = history.after(0).rows.map(([time]) => time);
  assertEquals(times.length, 720);
  assertEquals(times.at(-1), 1e9 + clock.now() / 1000);
  assertEquals(times, times.map((_, i) => times[0] + 5 * i));
  assertEquals(history.after(times[699]).rows.length, 20);
  const { reads } = date;
  history.close();
  clock.advance(5000);
  assertEquals(date.reads, reads);
});

Deno.test("the history begins anew where the date is set back", () => {
  const clock = new FakeClock();
  const { history, date } = historyOf(clock);
  clock.advance(100_000);
  date.shift = 3_600_000;
  clock.advance(10_000);
  assertEquals(history.after(0).rows.length, 22);
  date.shift = -3_600_000;
  clock.advance(15_000);
  const { rows } = history.after(0);
  assertEquals(rows.length, 3);
  assert(named(history.after(0)).every(({ requests }) => requests >= 0));
  history.close();
});

Deno.test("a server says how far its drain is", async () => {
  const clock = new FakeClock();
  const { server, events, ...test } = serveTest(
    () => new Promise<never>(() => {}),
    { preDrainDelay: 3000, drainTimeout: 7000 },
    { clock },
  );
  using peer = await Peer.to(server);
  await peer.send("x\n");
  await events.next("connection_open");
  for (let i = 0; i < 1000 && server.requests === 0; i++) await turnOfLoop();
  assertEquals(server.drain, undefined);
  server.shutdown();
  assertEquals(server.drain, { accepting: true, left: 3000 });
  clock.advance(1000);
  assertEquals(server.drain, { accepting: true, left: 2000 });
  clock.advance(2000);
  // Those that are queued at the listener are accepted first.
  clock.advance(10);
  await events.next("drain");
  assertEquals(server.drain?.accepting, false);
  const left = server.drain?.left ?? 0;
  assert(left <= 7000 && left > 6900, `${left}`);
  clock.advance(left + 1);
  assertEquals(server.drain, { accepting: false, left: 0 });
  await server.finished;
  await test[Symbol.asyncDispose]();
});

Deno.test("a drain without a limit has no end", async () => {
  const { server, ...test } = serveTest((x) => x, { drainTimeout: 0 });
  await server.shutdown();
  assertEquals(server.drain, { accepting: false, left: Infinity });
  const stats = statsOf(server, { handler: "", actions: false });
  // JSON has no infinity.
  assertEquals(JSON.parse(JSON.stringify(stats)).drain.left, null);
  await test[Symbol.asyncDispose]();
});
