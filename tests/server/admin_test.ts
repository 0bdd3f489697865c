// The admin port as its users see it: every path, who may ask for it, and how
// it ends.

import { namesUs } from "../../lib/admin/access.ts";
import {
  type AdminServer,
  serveAdmin,
  startAdmin,
} from "../../lib/admin/server.ts";
import { OptionError } from "../../lib/core/errors.ts";
import { VERSION } from "../../lib/core/version.ts";
import { Counters, type Histogram } from "../../lib/events/metrics.ts";
import { cumulativeBuckets } from "../../lib/observe/numbers.ts";
import { prometheusText } from "../../lib/observe/prometheus.ts";
import type { ServeOptions } from "../../lib/server/options.ts";
import { FakeClock, Peer, serveTest, turnOfLoop } from "../support/fixtures.ts";
import { fakeRows, PretendServer } from "../support/pretend_server.ts";
import { testWithTools } from "../support/programs.ts";
import { Folder, leaveStale, permissions } from "../support/socket_files.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "../support/std.ts";

const TOKEN = "correct-horse-battery";

/** A server under test with its admin port. */
function served(
  options: ServeOptions = {},
  { token, clock, counters }: {
    token?: string;
    clock?: FakeClock;
    counters?: Counters;
  } = {},
) {
  const test = serveTest((request) => request, options, {
    ...clock && { clock },
    ...counters && { counters },
  });
  const admin = serveAdmin({ port: 0, token, handler: "echo" }, test.server);
  return {
    ...test,
    admin,
    async [Symbol.asyncDispose]() {
      await test[Symbol.asyncDispose]();
      await admin.finished;
    },
  };
}

/** Asks the admin port, and reads the answer to its end. */
async function ask(
  admin: AdminServer,
  path: string,
  init?: RequestInit,
): Promise<{ status: number; headers: Headers; body: string }> {
  const { port } = admin.addr as Deno.NetAddr;
  // A client of its own has no connection left over once it is closed.
  using client = Deno.createHttpClient({ poolMaxIdlePerHost: 0 });
  const { status, headers, ...response } = await fetch(
    `http://127.0.0.1:${port}${path}`,
    { ...init, client },
  ).then(async (answer) => ({
    status: answer.status,
    headers: answer.headers,
    body: await answer.text(),
  }));
  return { status, headers, ...response };
}

/** Status and body alone. */
async function answer(
  admin: AdminServer,
  path: string,
  init?: RequestInit,
): Promise<[number, string]> {
  const { status, body } = await ask(admin, path, init);
  return [status, body];
}

function post(token?: string): RequestInit {
  return {
    method: "POST",
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
  };
}

// ------------------------------------------------------------------ health

Deno.test("livez and readyz before there is a server, with one, and in its drain", async () => {
  const clock = new FakeClock();
  await using admin = serveAdmin({ port: 0 });
  assertEquals(await answer(admin, "/livez"), [200, "ok\n"]);
  for (const path of ["/readyz", "/metrics", "/stats.json", "/history.json"]) {
    assertEquals(await answer(admin, path), [503, "not ready\n"], path);
  }

  const { server } = serveTest((request) => request, { preDrainDelay: 1000 }, {
    clock,
  });
  admin.attach(server);
  assertEquals(await answer(admin, "/readyz"), [200, "ready\n"]);

  server.shutdown();
  assertEquals(await answer(admin, "/readyz"), [503, "draining\n"]);
  assertEquals(await answer(admin, "/livez"), [200, "ok\n"]);
  // It is accepted still, and has the drain last.
  using peer = await Peer.to(server);
  assertEquals(await peer.ask("x\n", "x\n"), "x\n");
  clock.advance(1000);
  clock.advance(10);
  await turnOfLoop();
  assertEquals(await answer(admin, "/readyz"), [503, "draining\n"]);
  await peer.finish();
  await server.finished;
  await admin.finished;
  await assertRejects(() => answer(admin, "/livez"), TypeError);
});

// ----------------------------------------------------------------- numbers

Deno.test("every answer is kept nowhere, taken for what it says, and loads nothing", async () => {
  await using test = served({}, { token: TOKEN });
  const paths = [
    ["/livez", 200, "text/plain; charset=utf-8"],
    ["/readyz", 200, "text/plain; charset=utf-8"],
    ["/metrics", 200, "text/plain; version=0.0.4; charset=utf-8"],
    ["/stats.json", 200, "application/json"],
    ["/history.json", 200, "application/json"],
    ["/connections.json", 200, "application/json"],
    ["/", 200, "text/html; charset=utf-8"],
    ["/nope", 404, "text/plain; charset=utf-8"],
    ["/drain", 405, "text/plain; charset=utf-8"],
  ] as const;
  for (const [path, expected, type] of paths) {
    for (const method of ["GET", "HEAD"]) {
      const { status, headers, body } = await ask(test.admin, path, { method });
      const said = `${method} ${path}`;
      assertEquals([status, headers.get("content-type")], [expected, type]);
      assertEquals(headers.get("cache-control"), "no-store", said);
      assertEquals(headers.get("x-content-type-options"), "nosniff", said);
      assertEquals(
        headers.get("content-security-policy"),
        "default-src 'none'; script-src 'self'; style-src 'self'; " +
          "connect-src 'self'; img-src 'self' data:; base-uri 'none'; " +
          "form-action 'none'; frame-ancestors 'none'",
        said,
      );
      assertEquals(body === "", method === "HEAD", said);
    }
  }
});

Deno.test("other methods are refused with those that are not", async () => {
  await using test = served({}, { token: TOKEN });
  const refused = [
    ["POST", "/livez", "GET, HEAD"],
    ["POST", "/readyz", "GET, HEAD"],
    ["DELETE", "/metrics", "GET, HEAD"],
    ["PUT", "/stats.json", "GET, HEAD"],
    ["POST", "/history.json", "GET, HEAD"],
    ["POST", "/connections.json", "GET, HEAD"],
    ["POST", "/", "GET, HEAD"],
    ["GET", "/drain", "POST"],
    ["OPTIONS", "/drain", "POST"],
    ["GET", "/connections/1/close", "POST"],
  ];
  for (const [method, path, allow] of refused) {
    const { status, headers } = await ask(test.admin, path, { method });
    assertEquals([status, headers.get("allow")], [405, allow], path);
  }
  assertEquals(test.server.ready, true);
  for (
    const path of [
      "/stats",
      "/livez/",
      "/connections/x/close",
      "/connections/-1/close",
      "/connections/1/open",
      `/connections/${"9".repeat(16)}/close`,
    ]
  ) {
    assertEquals((await ask(test.admin, path, post(TOKEN))).status, 404, path);
  }
});

Deno.test("stats.json and connections.json are what the server says", async () => {
  const counters = new Counters();
  await using test = served({
    framing: "netstring",
    maxConnections: 7,
    maxConnectionsPerIp: 5,
    maxFrame: 100,
  }, { counters });
  using peer = await Peer.to(test);
  await peer.ask("1:a,1:b,", "1:a,1:b,");

  const table = JSON.parse((await ask(test.admin, "/connections.json")).body);
  const { port } = peer.conn.localAddr as Deno.NetAddr;
  const [[id, address, age, state, ...counts]] = table.rows;
  assertEquals(table.columns, [
    ...["id", "peer", "age", "state", "requests", "received", "sent", "idle"],
    "network",
  ]);
  assertEquals(counts.at(-1), "127.0.0.1");
  assertEquals([id, address, state], [1, `127.0.0.1:${port}`, "idle"]);
  assertEquals(counts.slice(0, 3), [2, 8, 8]);
  assert(age >= counts[3] && counts[3] >= 0);

  const stats = JSON.parse((await ask(test.admin, "/stats.json")).body);
  const { now, uptimeSeconds, durations, queueing, loopDelays, ...others } =
    stats;
  const { process, perThread, ...rest } = others;
  const metrics = test.server.metrics();
  assertEquals(rest, {
    version: VERSION,
    runtime: Deno.version.deno,
    startedAt: test.server.startedAt,
    address: `127.0.0.1:${(test.addr as Deno.NetAddr).port}`,
    framing: "netstring",
    handler: "echo",
    threads: 1,
    threadsLost: 0,
    ready: true,
    draining: false,
    actions: false,
    limits: {
      connections: 7,
      connectionsPerIp: 5,
      memory: 268_435_456,
      maxFrame: 100,
      timeouts: { idle: 300_000, request: 30_000, write: 30_000, drain: 2000 },
    },
    connections: {
      active: 1,
      opening: 0,
      beforeRequest: { greeting: 0, handshaking: 0, admitting: 0, silent: 0 },
      accepted: 1,
      closed: metrics.closed,
      rejected: metrics.rejected,
      acceptFailures: { peer: 0, descriptors: 0, resources: 0, listener: 0 },
    },
    requests: {
      ...{ ok: 2, error_reply: 0, error: 0, timeout: 0 },
      ...{ abandoned: 0, busy: 0, inFlight: 0 },
    },
    bytes: { received: 8, sent: 8 },
    memory: { heldBytes: 0, limitBytes: 268_435_456 },
    descriptors: { open: 1, limit: 0 },
    // There is no sample yet.
    recent: {},
  });
  assert(now >= test.server.startedAt);
  // Not a difference of dates, which somebody may set: the monotonic clock's.
  assert(uptimeSeconds > 0 && uptimeSeconds <= test.server.uptime / 1000);
  assertEquals(durations, metrics.durations);
  assertEquals([durations.bounds.length, durations.counts.length], [141, 142]);
  assertEquals([queueing.count, queueing.counts.length], [2, 142]);
  assertEquals(loopDelays.bounds, durations.bounds);
  const [{ delays, ...thread }] = perThread;
  assertEquals([perThread.length, thread], [1, { active: 1, requests: 2 }]);
  assertEquals(delays, { sum: loopDelays.sum, count: loopDelays.count });
  assert(process.residentBytes > 2 ** 20 && process.cpuSeconds > 0);
});

/** Reads the text format: the samples, and each metric's type. */
function parsePrometheus(text: string) {
  const samples = new Map<string, number>();
  const types = new Map<string, string>();
  let helped = "";
  assertMatch(text, /\n$/);
  for (const line of text.trimEnd().split("\n")) {
    const help = /^# HELP (\w+) \S.*\.$/.exec(line);
    const type = /^# TYPE (\w+) (counter|gauge|histogram)$/.exec(line);
    const sample = /^(\w+(?:\{(?:\w+="[^"\\]*",?)+\})?) (\S+)$/.exec(line);
    if (help !== null) helped = help[1];
    else if (type !== null) {
      assertEquals(type[1], helped);
      assert(!types.has(type[1]), `${type[1]} is there twice`);
      types.set(type[1], type[2]);
    } else if (sample !== null) {
      assert(sample[1].startsWith(helped), line);
      assert(!samples.has(sample[1]), `${sample[1]} is there twice`);
      samples.set(sample[1], Number(sample[2]));
    } else throw new Error(`not in the format: ${line}`);
  }
  return { samples, types };
}

Deno.test("prometheusText has all numbers, and they are those of metrics()", async () => {
  const counters = new Counters();
  const clock = new FakeClock();
  await using test = served({ maxConnections: 3 }, { counters, clock });
  using peer = await Peer.to(test);
  await peer.ask("x\n", "x\n");
  // The event loop is held up for 30 ms.
  clock.jump(130);
  clock.advance(0);
  counters.rejected("busy");
  counters.finished("error", 2);
  counters.closed("idle_timeout");
  for (const ms of [0.01, 0.0101, 3, 10_000, 10_001]) counters.took(ms, 1);
  counters.queued(7, 2);
  counters.acceptFailed("descriptors");
  const source = Object.assign(test.server, { logLinesLost: () => 5 });

  const { body } = await ask(test.admin, "/metrics");
  const { samples, types } = parsePrometheus(body);
  const metrics = test.server.metrics();
  assertEquals(metrics.loopDelays.sum, 30);
  const histogram = (
    name: string,
    values: Histogram,
    count: number,
  ): [string, number][] => [
    ...cumulativeBuckets(values).map(({ le, count }): [string, number] => [
      `${name}_bucket{le="${le}"}`,
      count,
    ]),
    [`${name}_sum`, values.sum / 1000],
    [`${name}_count`, count],
  ];
  const expected: [string, number][] = [
    [
      `parley_build_info{version="${VERSION}",runtime="${Deno.version.deno}"}`,
      1,
    ],
    ["parley_ready", 1],
    ["parley_connections_active", metrics.active],
    ["parley_connections_limit", 3],
    ["parley_connections_opening", 0],
    ...Object.entries(metrics.beforeRequest).map((
      [phase, n],
    ): [string, number] => [
      `parley_connections_before_request{phase="${phase}"}`,
      n,
    ]),
    ...["peer", "descriptors", "resources", "listener"].map((
      fault,
    ): [string, number] => [
      `parley_accept_failures_total{fault="${fault}"}`,
      fault === "descriptors" ? 1 : 0,
    ]),
    ["parley_descriptors_open", 1],
    ["parley_descriptors_limit", 0],
    ["parley_memory_held_bytes", 0],
    ["parley_memory_limit_bytes", 268_435_456],
    ["parley_connections_accepted_total", 1],
    ...Object.entries(metrics.closed).map(([reason, n]): [string, number] => [
      `parley_connections_closed_total{reason="${reason}"}`,
      n,
    ]),
    ...Object.entries(metrics.rejected).map(([reason, n]): [string, number] => [
      `parley_connections_rejected_total{reason="${reason}"}`,
      n,
    ]),
    ...Object.entries(metrics.requests).map(([status, n]): [string, number] => [
      `parley_requests_total{status="${status}"}`,
      n,
    ]),
    ["parley_requests_in_flight", metrics.inFlight],
    ...histogram("parley_request_duration_seconds", metrics.durations, 6),
    ...histogram("parley_request_queue_seconds", metrics.queueing, 6),
    ...histogram("parley_event_loop_delay_seconds", metrics.loopDelays, 1),
    ["parley_received_bytes_total", 2],
    ["parley_sent_bytes_total", 2],
    ["parley_threads", 1],
    ["parley_threads_lost_total", 0],
    ["parley_log_lines_lost_total", 5],
    ["process_start_time_seconds", test.server.startedAt / 1000],
  ];
  const cpu = samples.get("process_cpu_seconds_total") ?? 0;
  assert(cpu > 0, `${cpu} seconds`);
  samples.delete("process_cpu_seconds_total");
  // Only who may do all may read these.
  if (samples.has("process_open_fds")) {
    assert(samples.get("process_open_fds")! > 5);
    const most = samples.get("process_max_fds")!;
    assert(most > samples.get("process_open_fds")!);
  }
  samples.delete("process_open_fds");
  samples.delete("process_max_fds");
  const memory = samples.get("process_resident_memory_bytes") ?? 0;
  assert(memory > 2 ** 20, `${memory} bytes`);
  samples.delete("process_resident_memory_bytes");
  assertEquals([...samples], expected);
  for (const name of types.keys()) {
    const type = name.endsWith("_total")
      ? "counter"
      : /_(duration|queue|delay)_seconds$/.test(name)
      ? "histogram"
      : "gauge";
    assertEquals(types.get(name), type, name);
  }

  test.server.shutdown();
  assertStringIncludes(prometheusText(source), "\nparley_ready 0\n");
});

// ----------------------------------------------------------------- actions

Deno.test("actions are refused to all where no token was set", async () => {
  await using test = served();
  for (const path of ["/drain", "/connections/1/close"]) {
    assertEquals(
      await answer(test.admin, path, post(TOKEN)),
      [403, "no token was set at the start\n"],
    );
  }
  assertEquals(test.server.ready, true);
});

Deno.test("actions are refused without the token, or with another", async () => {
  await using test = served({}, { token: TOKEN });
  const wrong = [
    undefined,
    "Bearer",
    "Bearer ",
    `Bearer ${TOKEN}x`,
    `Bearer ${TOKEN.slice(0, -1)}`,
    `Bearer ${TOKEN.toUpperCase()}`,
    `Bearer ${TOKEN} ${TOKEN}`,
    `Basic ${TOKEN}`,
    TOKEN,
  ];
  for (const authorization of wrong) {
    for (const path of ["/drain", "/connections/1/close"]) {
      const { status, headers } = await ask(test.admin, path, {
        method: "POST",
        headers: authorization === undefined ? {} : { authorization },
      });
      const said = `${path} with ${authorization}`;
      assertEquals(status, 401, said);
      assertEquals(headers.get("www-authenticate"), "Bearer", said);
    }
  }
  assertEquals(test.server.ready, true);
});

Deno.test("POST /connections/ID/close closes that connection alone", async () => {
  await using test = served({}, { token: TOKEN });
  using first = await Peer.to(test);
  using second = await Peer.to(test);
  await test.events.next("connection_open", 2);
  const [{ id, remoteAddr }] = test.events.of("connection_open");
  const { port } = remoteAddr as Deno.NetAddr;
  const firstIsIt = (first.conn.localAddr as Deno.NetAddr).port === port;
  const [closed, open] = firstIsIt ? [first, second] : [second, first];

  const path = `/connections/${id}/close`;
  assertEquals(await answer(test.admin, path, post(TOKEN)), [200, "closed\n"]);
  assertEquals(await closed.rest(), "");
  assertEquals((await test.events.closed()).reason, "closed");
  assertEquals(
    await answer(test.admin, path, post(TOKEN)),
    [404, "no such connection\n"],
  );
  assertEquals(await open.ask("x\n", "x\n"), "x\n");
});

Deno.test("POST /drain is answered, though the server has finished at once", async () => {
  for (let round = 0; round < 10; round++) {
    await using test = served({}, { token: TOKEN });
    assertEquals(
      await answer(test.admin, "/drain", post(TOKEN)),
      [202, "draining\n"],
    );
    await test.server.finished;
    await test.admin.finished;
  }
});

// ------------------------------------------------------------------- hosts

Deno.test("namesUs takes addresses, localhost and the own name", () => {
  const table: [string, boolean][] = [
    ["127.0.0.1:9090", true],
    ["10.1.2.3", true],
    ["[::1]:9090", true],
    ["localhost:9090", true],
    ["LOCALHOST", true],
    ["parley.localhost", true],
    ["admin.internal:9090", true],
    ["evil.example", false],
    ["127.0.0.1.evil.example:9090", false],
    ["localhost.evil.example", false],
    ["notlocalhost", false],
    ["internal", false],
  ];
  for (const [host, ours] of table) {
    const request = new Request(`http://${host}/`);
    assertEquals(namesUs(request, "Admin.internal"), ours, host);
  }
});

/** Sends what no browser lets a page send, and gives the status. */
async function raw(admin: AdminServer, lines: string[]): Promise<number> {
  using peer = await Peer.to(admin);
  await peer.send([...lines, "Connection: close", "", ""].join("\r\n"));
  const [, status] = /^HTTP\/1.1 (\d+) /.exec(await peer.rest()) ?? [];
  return Number(status);
}

Deno.test("a page under another name learns health and metrics only", async () => {
  await using test = served({}, { token: TOKEN });
  const { admin } = test;
  const host = "Host: evil.example";
  const statuses: [string, number][] = [
    ["GET /livez", 200],
    ["GET /readyz", 200],
    ["GET /metrics", 200],
    ["GET /stats.json", 421],
    ["GET /history.json", 421],
    ["GET /connections.json", 421],
    ["GET /", 421],
    ["POST /drain", 421],
    ["POST /connections/1/close", 421],
  ];
  for (const [line, status] of statuses) {
    const lines = [
      `${line} HTTP/1.1`,
      host,
      `Authorization: Bearer ${TOKEN}`,
      "Content-Length: 0",
    ];
    assertEquals(await raw(admin, lines), status, line);
  }
  for (const name of ["127.0.0.1", "localhost:1", "[::1]"]) {
    const lines = ["GET /stats.json HTTP/1.1", `Host: ${name}`];
    assertEquals(await raw(admin, lines), 200, name);
  }
  assertEquals(test.server.ready, true);
});

Deno.test("what is not HTTP, or asks for no path, harms nobody", async () => {
  await using test = served();
  const bad = [
    ["garbage"],
    ["GET / HTTP/1.1", "Host: a b"],
    ["GET / HTTP/1.1", "Host: %"],
    ["GET * HTTP/1.1", "Host: localhost"],
    ["GET http://evil.example/stats.json HTTP/1.1", "Host: evil.example"],
    ["\0\xff\r\n"],
  ];
  for (const lines of bad) {
    const status = await raw(test.admin, lines);
    assert(!(status < 400), `${status} for ${JSON.stringify(lines)}`);
  }
  assertEquals(await answer(test.admin, "/livez"), [200, "ok\n"]);
});

// --------------------------------------------------------------------- end

Deno.test("the port's end cuts connections that are idle, slow or silent", async () => {
  const { server, admin } = served();
  using idle = await Peer.to(admin);
  const ok = "HTTP/1.1 200 OK";
  assertEquals(await idle.ask("GET /livez HTTP/1.1\r\n\r\n", ok), ok);
  using halfway = await Peer.to(admin);
  await halfway.send("GET /livez HTTP/1.1\r\nHo");
  using silent = await Peer.to(admin);
  await server.shutdown();
  await admin.finished;
  for (const peer of [idle, halfway, silent]) await peer.rest();
});

Deno.test("the port's end waits for an answer under way, but not for long", async () => {
  const clock = new FakeClock();
  const admin = startAdmin({ port: 0 }, { clock });
  const asked = Promise.withResolvers<void>();
  const never = new Promise<never>(() => {});
  const connectionList = () => {
    asked.resolve();
    return never;
  };
  admin.attach(Object.assign(new PretendServer(), { connectionList }));
  using peer = await Peer.to(admin);
  await peer.send("GET /connections.json HTTP/1.1\r\nHost: localhost\r\n\r\n");
  const rest = peer.rest();
  await asked.promise;
  const finished = admin.close();
  assertEquals(clock.timers, 1);
  clock.advance(100);
  await finished;
  assertEquals(await rest, "");
});

Deno.test("the port's end cuts an answer that its client does not take", async () => {
  const { server, admin } = served();
  const connections = Array(400_000).fill(fakeRows(1)[0]);
  const { finished } = server;
  admin.attach(
    Object.assign(new PretendServer({ connections }), { finished }),
  );
  using peer = await Peer.to(admin);
  await peer.send("GET /connections.json HTTP/1.1\r\nHost: localhost\r\n\r\n");
  // More than the system's buffers hold is on its way now.
  assertEquals(await peer.receive(15), "HTTP/1.1 200 OK");
  await server.shutdown();
  await admin.finished;
});

Deno.test("serveAdmin refuses options that are not allowed, and binds nothing", () => {
  const bad = [
    { hostname: "" },
    { port: -1 },
    { port: 65_536 },
    { port: 1.5 },
    { token: "" },
    { token: "short" },
    { token: "with a space in it" },
    { token: "sixteen-and-more\n" },
  ];
  for (const options of bad) {
    const error = assertThrows(() => serveAdmin(options), OptionError);
    if (options.token) assert(!error.message.includes(options.token));
  }
});

Deno.test("serveAdmin throws where the port is taken", async () => {
  await using admin = serveAdmin({ port: 0 });
  const { port } = admin.addr as Deno.NetAddr;
  assertThrows(() => serveAdmin({ port }), Deno.errors.AddrInUse);
});

// ------------------------------------------------------------ Unix sockets

/** Asks for a path by HTTP as it is written, whatever the head says of a host. */
async function askAt(
  path: string,
  request: string,
  ...head: string[]
): Promise<[status: string, body: string]> {
  const conn = await Deno.connect({ transport: "unix", path });
  const lines = [`${request} HTTP/1.1`, ...head, "connection: close", "", ""];
  await conn.write(new TextEncoder().encode(lines.join("\r\n")));
  const answer = await new Response(conn.readable).text();
  const end = answer.indexOf("\r\n\r\n");
  return [answer.split(" ")[1], answer.slice(end + 4)];
}

testWithTools(
  "serveAdmin listens at a path, whatever host is asked for",
  [],
  async () => {
    await using folder = await Folder.make();
    const { path } = folder;
    const test = serveTest((request) => request, {});
    const admin = serveAdmin({ path, token: TOKEN }, test.server);
    assertEquals(admin.addr, { transport: "unix", path });
    assertEquals([folder.files, permissions(path)], [["s.sock"], "600"]);
    for (const host of ["localhost", "evil.example", "evil.example:80", ""]) {
      const [status, body] = await askAt(
        path,
        "GET /stats.json",
        `host: ${host}`,
      );
      assertEquals(status, "200", host);
      assertEquals(JSON.parse(body).ready, true, host);
    }
    assertEquals(await askAt(path, "GET /livez", "host: x"), ["200", "ok\n"]);
    // Whoever gets as far as here still needs the token to act.
    const [refused] = await askAt(path, "POST /drain", "host: x");
    assertEquals(refused, "401");
    const [accepted] = await askAt(
      path,
      "POST /drain",
      "host: x",
      `authorization: Bearer ${TOKEN}`,
    );
    assertEquals(accepted, "202");
    await test.server.finished;
    await admin.finished;
    assertEquals(folder.files, []);
  },
);

testWithTools("serveAdmin leaves what is at the path already", [], async () => {
  await using folder = await Folder.make();
  const { path } = folder;
  const { AddrInUse, NotFound } = Deno.errors;
  {
    await using _first = serveAdmin({ path });
    assertThrows(() => serveAdmin({ path }), AddrInUse, path);
    assertEquals((await askAt(path, "GET /livez", "host: x"))[0], "200");
  }
  leaveStale(path);
  assertThrows(() => serveAdmin({ path }), AddrInUse, path);
  await Deno.remove(path);
  await Deno.writeTextFile(path, "precious");
  assertThrows(() => serveAdmin({ path }), OptionError, path);
  assertEquals(await Deno.readTextFile(path), "precious");
  assertEquals(folder.files, ["s.sock"]);
  assertThrows(() => serveAdmin({ path: `${folder.name}/none/s` }), NotFound);
});

testWithTools("serveAdmin removes its own file only", [], async () => {
  await using folder = await Folder.make();
  const { path } = folder;
  const first = serveAdmin({ path });
  await Deno.remove(path);
  await using _second = serveAdmin({ path });
  await first.close();
  assertEquals((await askAt(path, "GET /livez", "host: x"))[0], "200");
});

Deno.test("serveAdmin refuses a path that can be none, or an address beside it", () => {
  for (const path of ["", "\0abstract", "/" + "x".repeat(107)]) {
    assertThrows(() => serveAdmin({ path }), OptionError, "path");
  }
  for (const beside of [{ hostname: "127.0.0.1" }, { port: 0 }]) {
    const error = assertThrows(
      () => serveAdmin({ path: "/nowhere/s", ...beside }),
      OptionError,
      "expected no such option beside path",
    );
    assertEquals([error.option], Object.keys(beside));
  }
});
