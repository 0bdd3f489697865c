import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertThrows,
} from "../support/std.ts";

import { systemClock } from "../../lib/core/clock.ts";
import { framingOf } from "../../lib/framing/mod.ts";
import {
  connect,
  ConnectionLostError,
  fixed,
  FrameError,
  length,
  OptionError,
  ParleyError,
  serve,
} from "../../lib/mod.ts";
import {
  serveThread,
  serveThreadConnections,
} from "../../lib/threads/thread.ts";
import {
  type ServeThreadsOptions,
  startThreads,
  type ThreadedServer,
} from "../../lib/threads/serve_threads.ts";
import { ONE } from "../support/certificates.ts";
import {
  Events,
  FakeClock,
  ownAddress,
  Peer,
  settle,
  text,
  turnOfLoop,
} from "../support/fixtures.ts";
import { respFraming } from "../support/framings.ts";
import { leaveOut, testAllowed } from "../support/permissions.ts";
import { run, RunningServer, testPrograms } from "../support/programs.ts";

/** Registers a test that starts workers, which takes reading their module. */
function testThreads(name: string, fn: () => Promise<void>): void {
  if (Deno.build.os === "linux") testAllowed(name, ["read"], fn);
  else leaveOut("Linux");
}

interface Started extends AsyncDisposable {
  server: ThreadedServer;
  events: Events;
}

async function serveTwo(
  options: Partial<ServeThreadsOptions> = {},
  clock = systemClock,
): Promise<Started> {
  const events = new Events();
  const server = await startThreads({
    hostname: "127.0.0.1",
    port: 0,
    threads: 2,
    drainTimeout: 2000,
    worker: new URL("./threads_worker.ts", import.meta.url),
    events: events.listeners,
    ...options,
  }, clock);
  return {
    server,
    events,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** Connects until both threads have a connection of ours; gives them all. */
async function reachBoth(started: Started): Promise<Peer[]> {
  const peers: Peer[] = [];
  const ask = async () => {
    const peer = await Peer.to(started.server);
    peers.push(peer);
    await peer.ask("id\n", `${peers.length}\n`);
  };
  // The kernel takes one of two by a hash: that 64 in a row are the same one's
  // does not happen.
  for (let i = 0; i < 64; i++) await ask();
  return peers;
}

function closeAll(peers: Peer[]): void {
  for (const peer of peers) peer[Symbol.dispose]();
}

testThreads("threads share one port, and their numbers are sums", async () => {
  await using started = await serveTwo();
  const { server, events } = started;
  const peers = await reachBoth(started);

  const ids = events.of("connection_open").map(({ id }) => id);
  assertEquals(
    ids.toSorted((a, b) => a - b),
    peers.map((_, i) => i + 1),
    "each number once",
  );
  assertEquals(server.connections, 64);
  assertEquals((await server.connectionList()).length, 64);
  assertEquals(await peers[0].ask("STATS\n", "64 64 65\n"), "64 64 65\n");
  assertEquals(await peers[63].ask("STATS\n", "64 64 66\n"), "64 64 66\n");
  const metrics = server.metrics();
  assertEquals(metrics.active, 64);
  assertEquals(metrics.requests.ok, 66);
  assertEquals(metrics.inFlight, 0);

  closeAll(peers);
  await events.next("connection_close", 64);
  assertEquals(server.connections, 0);
  assertEquals(server.metrics().closed.peer_closed, 64);
});

testThreads("threads have one limit of connections", async () => {
  await using started = await serveTwo({ maxConnections: 64 });
  const peers = await reachBoth(started);

  for (let i = 0; i < 8; i++) {
    using late = await Peer.to(started.server);
    assertEquals(
      await late.rest(),
      "ERR busy: connection limit of 64 reached\n",
    );
  }
  assertEquals(started.server.connectionsRejected, 8);
  assertEquals(
    started.events.of("connection_rejected").map(({ reason }) => reason),
    Array(8).fill("busy"),
  );

  peers.pop()![Symbol.dispose]();
  await started.events.next("connection_close");
  using next = await Peer.to(started.server);
  await next.send("id\n");
  assert(/^\d+\n$/.test(await next.receive(2) + await next.receive(1)));
  closeAll(peers);
});

testThreads("threads tell their handlers the limit of a reply", async () => {
  await using started = await serveTwo({ maxReply: 100 });
  using peer = await Peer.to(started.server);
  assertEquals(await peer.ask("MAX REPLY\n", "100\n"), "100\n");
});

testThreads("threads have one limit for an address", async () => {
  await using started = await serveTwo({ maxConnectionsPerIp: 64 });
  const peers = await reachBoth(started);

  for (let i = 0; i < 8; i++) {
    using late = await Peer.to(started.server);
    assertEquals(
      await late.rest(),
      "ERR busy: connection limit of 64 for this address reached\n",
    );
  }
  closeAll(peers);
  await started.events.next("connection_close", 64);
  using next = await Peer.to(started.server);
  await next.send("id\n");
  assert((await next.receive(2)).length === 2);
});

testThreads("threads have one rate of connections for an address", async () => {
  await using started = await serveTwo({ maxConnectionRate: "1/h:40" });
  const { server, events } = started;
  const replies = [];
  for (let i = 0; i < 64; i++) {
    using peer = await Peer.to(server);
    await peer.send("id\n").catch(() => {});
    await peer.finish().catch(() => {});
    replies.push(await peer.rest());
  }
  const busy = "ERR busy: connection rate of 1/h:40 for this address reached\n";
  assertEquals(replies.filter((reply) => reply === busy).length, 24);
  assertEquals(replies.slice(-24), Array(24).fill(busy));
  await events.next("connection_close", 40);
  assertEquals(server.metrics().rejected.busy_rate, 24);
  assertEquals(server.connectionsTotal, 40);
});

testThreads("threads have one rate of requests for an address", async () => {
  await using started = await serveTwo({ maxRequestRate: "1/h:100" });
  const peers = await reachBoth(started);
  // 64 are taken by now, by both threads.
  const busy = "ERR busy:";
  const reply = `${16 * 1024 * 1024}\n`;
  for (const [i, peer] of peers.entries()) {
    const expected = i < 36 ? reply : busy;
    assertEquals(await peer.ask("MAX REPLY\n", expected), expected);
  }
  const { requests } = started.server.metrics();
  assertEquals([requests.ok, requests.busy], [100, 28]);
  closeAll(peers);
});

testThreads("threads have the rules for addresses before TLS", async () => {
  for (
    const [options, reason, places] of [
      [{ deny: "127.0.0.1" }, "denied", 0],
      [{ maxConnectionsPerIp: 10 }, "busy_ip", 10],
      [{ maxConnectionRate: "1/h:10" }, "busy_rate", 10],
    ] as const
  ) {
    await using started = await serveTwo({ ...ONE, ...options });
    const { server, events } = started;
    const peers = [];
    for (let i = 0; i < 64; i++) peers.push(await Peer.to(server));
    await events.next("connection_rejected", 64 - places);
    const { rejected, opening, active } = server.metrics();
    assertEquals([rejected[reason], opening, active], [64 - places, places, 0]);
    assertEquals((await server.connectionList()).length, places);
    closeAll(peers);
    await events.next("connection_close", places);
  }
});

testThreads("a thread that dies is replaced, and counted", async () => {
  const clock = new FakeClock();
  await using started = await serveTwo({ maxConnectionsPerIp: 65 }, clock);
  const { server, events } = started;
  const peers = await reachBoth(started);
  using killer = await Peer.to(server);
  await killer.send("DIE\n");

  const lost = await events.next("thread_lost");
  assert(lost.error instanceof Error);
  assert(lost.error.message.includes("a bug far from its handler"));
  assert(lost.connections >= 1 && lost.connections < 65);
  assertEquals(lost.requests, 1);
  assertEquals(lost.retryIn, 100);
  assertEquals(server.threadsLost, 1);
  assert(server.ready, "the other one serves");
  assertEquals(server.connections, 65 - lost.connections);
  assertEquals(server.metrics().closed.error, lost.connections);
  assertEquals(server.metrics().requests.abandoned, 1);
  assertEquals(await killer.rest(), "");

  clock.advance(100);
  closeAll(peers);
  await events.next("connection_close", 65 - lost.connections);
  // Both listen again once one of 64 more has reached the new one: as many
  // places as before are there for this address.
  const again: Peer[] = [];
  for (let i = 0; i < 64; i++) {
    const peer = await Peer.to(server);
    again.push(peer);
    await peer.send("id\n");
    assertEquals((await peer.receive(3)).length, 3);
  }
  assertEquals(server.connections, 64);
  closeAll(again);
});

testThreads("a thread that dies again waits for longer", async () => {
  const clock = new FakeClock();
  const hostname = ownAddress();
  await using started = await serveTwo({ hostname, threads: 1 }, clock);
  const { server, events } = started;
  for (const [i, wait] of [100, 200, 400].entries()) {
    using killer = await Peer.to(server);
    await killer.send("DIE\n");
    assertEquals((await events.next("thread_lost", i + 1)).retryIn, wait);
    assertEquals(server.ready, false, "nobody accepts");
    clock.advance(wait);
    while (!await answers(server)) await settle();
  }
  // A new thread knows how long the whole server has been up.
  clock.advance(3_600_000);
  using killer = await Peer.to(server);
  await killer.send("DIE\n");
  await events.next("thread_lost", 4);
  clock.advance(100);
  while (!await answers(server)) await settle();
  using peer = await Peer.to(server);
  assertEquals(await peer.ask("UPTIME\n", "more\n"), "more\n");
});

testThreads(
  "a thread that is confined has no network, and its own onError",
  async () => {
    for (const [confine, state] of [[false, "granted"], [true, "prompt"]]) {
      // Only what is its own: the program keeps it, and so does the other thread.
      await using started = await serveTwo({ confine: !!confine });
      using peer = await Peer.to(started.server);
      assertEquals(await peer.ask("MAY CONNECT\n", `${state}\n`), `${state}\n`);
      assertEquals(await peer.ask("FAIL\n", "onError\n"), "onError\n");
    }
  },
);

async function answers(server: ThreadedServer): Promise<boolean> {
  try {
    using peer = await Peer.to(server);
    await peer.send("id\n");
    return (await peer.receive(2)).length === 2;
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) return false;
    if (error instanceof Deno.errors.ConnectionReset) return false;
    throw error;
  }
}

testThreads("a handler cannot end its thread", async () => {
  await using started = await serveTwo();
  using peer = await Peer.to(started.server);
  const refused = "ERR internal error\n";
  assertEquals(await peer.ask("LEAVE\n", refused), refused);
  const { error } = await started.events.next("handler_error");
  assert(error instanceof Error && error.message.startsWith("Cannot end"));
  assertEquals(await peer.ask("THROW\n", refused), refused);
  const second = await started.events.next("handler_error", 2);
  assertEquals((second.error as Error).message, "[object Object]");
  assertEquals(await peer.ask("THROW NOTHING\n", refused), refused);
  const third = await started.events.next("handler_error", 3);
  assertEquals((third.error as Error).message, "an object that has no text");
  assertEquals(await peer.ask("id\n", "1\n"), "1\n");
});

/** Asks what is refused as too long, and leaves. */
async function overlong(server: { addr: Deno.Addr }): Promise<void> {
  using peer = await Peer.to(server);
  await peer.send("a line of more than 16 bytes\n");
  assert((await peer.rest()).startsWith("ERR frame too large"));
}

testThreads("errors of threads keep their class", async () => {
  await using started = await serveTwo({ maxFrame: 16 });
  await overlong(started.server);
  const { error } = await started.events.next("connection_close");
  assert(error instanceof FrameError, String(error));
  assertEquals(error.kind, "too_large");
});

testThreads("an operator closes a connection of any thread", async () => {
  await using started = await serveTwo();
  const { server, events } = started;
  const peers = await reachBoth(started);
  for (const [i, peer] of peers.entries()) {
    assertEquals(await server.disconnect(i + 1), true);
    assertEquals(await peer.rest(), "");
  }
  await events.next("connection_close", 64);
  assertEquals(new Set(events.reasons), new Set(["closed"]));
  assertEquals(await server.disconnect(1), false);
});

testThreads("threads drain together, and force what is left", async () => {
  const clock = new FakeClock();
  const started = await serveTwo(
    { preDrainDelay: 5000, drainTimeout: 300 },
    clock,
  );
  const { server, events } = started;
  const peers = await reachBoth(started);
  using waiting = await Peer.to(server);
  await waiting.send("WAIT\n");
  while (server.metrics().inFlight === 0) await settle();

  const finished = server.shutdown();
  assertEquals(server.ready, false);
  assertEquals(events.of("pre_drain")[0].delay, 5000);
  assertEquals(await peers[5].ask("id\n", "6\n"), "6\n", "still served");
  using late = await Peer.to(server);
  assertEquals(await late.ask("id\n", "66\n"), "66\n", "still accepted");

  clock.advance(5000);
  assertEquals(events.of("drain")[0].connections, 66);
  await finished;
  for (const peer of peers) assertEquals(await peer.rest(), "");
  assertEquals(events.of("finished"), [{ type: "finished", forced: 1 }]);
  assertEquals(server.connections, 0);
  assertEquals(server.metrics().closed.forced, 1);
  assertEquals(server.metrics().requests.abandoned, 1);
});

testThreads("a thread that is held up is cut, and asked in vain", async () => {
  const clock = new FakeClock();
  await using started = await serveTwo({ drainTimeout: 500 }, clock);
  const { server, events } = started;
  using peer = await Peer.to(server);
  await peer.ask("id\n", "1\n");
  await peer.send("BLOCK\n");
  while (server.metrics().inFlight === 0) await settle();

  const list = server.connectionList();
  clock.advance(1000);
  assertEquals(await list, []);

  const finished = server.shutdown();
  clock.advance(1499);
  assertEquals(events.of("thread_lost"), []);
  clock.advance(1);
  await finished;
  // The other one had no time either, by this clock.
  const lost = events.of("thread_lost");
  assertEquals(lost.reduce((sum, { requests }) => sum + requests, 0), 1);
  assertEquals(lost[0].retryIn, undefined);
  assertEquals(events.of("finished")[0].forced, 1);
});

testThreads("threads that cannot start leave nothing behind", async () => {
  await using taken = serve({ hostname: "127.0.0.1", port: 0 }, () => "");
  const { port } = taken.addr as Deno.NetAddr;
  await assertRejects(() => serveTwo({ port }), Deno.errors.AddrInUse);
  await assertRejects(() => serveTwo({ threads: 0 }), OptionError, "threads");
  await assertRejects(
    () => serveTwo({ maxFrame: -1 }),
    OptionError,
    "maxFrame",
  );
});

testThreads(
  "threads are sent the name of a framing, given by it or not",
  async () => {
    for (
      const framing of [
        "length:2" as const,
        "delimiter:\n" as const,
        fixed(3),
        length({ bytes: 8, endian: "little" }),
      ]
    ) {
      await using started = await serveTwo({ framing });
      const { addr, framing: name } = started.server;
      assertEquals(name, framingOf(framing).name);
      const { port } = addr as Deno.NetAddr;
      await using client = await connect({ port, framing });
      if (name === "fixed:3") {
        await assertRejects(() => client.request("xyz"), ConnectionLostError);
        const { error } = await started.events.next("handler_error");
        assertEquals(
          String(error),
          "EncodeError: Cannot send 1 bytes: expected 3",
        );
      } else assertEquals(text(await client.request("MAX REPLY")), "16777216");
    }
  },
);

testThreads(
  "threads have a framing of their module, whose name the server says",
  async () => {
    const worker = new URL("./framing_worker.ts", import.meta.url);
    await using started = await serveTwo({ worker, framing: respFraming });
    assertEquals(started.server.framing, "resp");
    using peer = await Peer.to(started.server);
    assertEquals(await peer.ask("*0\r\n", "+resp\r\n"), "+resp\r\n");
    assertEquals(
      await peer.ask("!\r\n", "-ERR malformed frame: "),
      "-ERR malformed frame: ",
    );
  },
);

testThreads(
  "threads and server that differ in their framing do not start",
  async () => {
    const worker = new URL("./framing_worker.ts", import.meta.url);
    for (
      const [options, said] of [
        // The module has no framing, and none that ships has that name.
        [
          { framing: respFraming },
          'Cannot use framing "resp": expected one of',
        ],
        [{ worker }, 'framing "resp": expected line, as serveThreads has it'],
        [
          { worker, framing: "varint" as const },
          'framing "resp": expected varint, as serveThreads has it',
        ],
        [
          { framing: "fixed:9" as const, maxFrame: 8 },
          'framing "fixed:9": expected frames of at most 8 bytes, the maximum',
        ],
        [{ framing: "x" as "line" }, 'framing "x": expected one of'],
      ] as const
    ) {
      await assertRejects(() => serveTwo(options), OptionError, said);
    }
  },
);

testThreads("threads serve by tasks, and drain them", async () => {
  const worker = new URL("./task_worker.ts", import.meta.url);
  const started = await serveTwo({ worker });
  const peers = await Promise.all(
    Array.from({ length: 8 }, () => Peer.to(started.server)),
  );
  for (const peer of peers) {
    assertEquals(await peer.ask("\n\n", "1\n2\n"), "1\n2\n");
  }
  assertEquals(started.server.metrics().requests.ok, 16);
  const [, ...rests] = await Promise.all([
    started.server.shutdown(),
    ...peers.map((peer) => peer.rest()),
  ]);
  assertEquals(rests, peers.map(() => "bye\n"));
});

testThreads("threads have hooks of their module", async () => {
  const worker = new URL("./hooks_worker.ts", import.meta.url);
  await using started = await serveTwo({ worker });
  using peer = await Peer.to(started.server);
  const expected = "welcome\nhello\n";
  assertEquals(await peer.ask("hello\n", expected), expected);
});

Deno.test("serveThread says so where it is not in a worker", () => {
  const { exit } = Deno;
  const starts = [
    () => serveThread((request) => request),
    () => serveThreadConnections(() => {}),
  ];
  for (const start of starts) {
    assertThrows(start, ParleyError, "serveThreads runs");
  }
  assertEquals(Deno.exit, exit);
});

/** A module whose text is this, behind what it may need. */
function moduleOf(code: string): URL {
  const lib = new URL("../../lib/threads/mod.ts", import.meta.url);
  const all = `import { serveThread } from ${JSON.stringify(lib)};${code}`;
  return new URL(`data:application/javascript,${encodeURIComponent(all)}`);
}

testThreads(
  "what a worker's own options cannot be is refused at the start",
  async () => {
    for (
      const [options, blamed] of [
        ["{ port: 5 }", "port"],
        ["{ maxFrame: 5 }", "maxFrame"],
        ["{ state: 5 }", "state"],
        ["{ onOpen: {} }", "onOpen"],
        ["5", "options"],
      ]
    ) {
      const worker = moduleOf(`serveThread((request) => request, ${options});`);
      const error = await assertRejects(
        () => serveTwo({ worker }),
        OptionError,
      );
      assertEquals(error.option, blamed);
    }
    const worker = moduleOf("serveThread((r) => r, { framing: undefined });");
    await using started = await serveTwo({ worker, framing: "netstring" });
    using peer = await Peer.to(started.server);
    assertEquals(await peer.ask("1:a,", "1:a,"), "1:a,");
  },
);

testThreads("a worker that does not serve is given up", async () => {
  const clock = new FakeClock();
  for (const code of ["", "setInterval(() => {}, 1000);", "await 0;"]) {
    let error: unknown;
    const starting = serveTwo({ worker: moduleOf(code) }, clock)
      .catch((thrown) => error = thrown);
    while (error === undefined) {
      clock.advance(10_000);
      await turnOfLoop();
    }
    await starting;
    assertMatch(String(error), /calls no serveThread within 60 s$/);
    assertEquals(clock.timers, 0);
  }
});

testThreads("a port with threads on it is in use for others", async () => {
  await using started = await serveTwo();
  const { port } = started.server.addr as Deno.NetAddr;
  await assertRejects(() => serveTwo({ port }), Deno.errors.AddrInUse);
});

testPrograms("server serves on two threads", async (way) => {
  await using server = await RunningServer.start(way, ["--threads", "2"]);
  const seen = new Set<string>();
  const clients = [];
  for (let i = 0; i < 16; i++) {
    const client = await connect(server.addr);
    clients.push(client);
    seen.add(text(await client.request("WHOAMI")).split(" ")[0]);
  }
  assertEquals(seen.size, 16, "each number once");
  const stats = text(await clients[0].request("STATS"));
  assert(stats.includes("connections=16 connections_total=16 "), stats);
  for (const client of clients) await client.close();

  server.kill("SIGTERM");
  assertEquals(await server.code(), 0);
});

testPrograms("server logs an error of a thread by its name", async (way) => {
  const flags = ["--threads", "2", "--max-frame", "16"];
  await using server = await RunningServer.start(way, flags);
  await overlong(server);
  const { error } = await server.logged("connection closed");
  assert(String(error).startsWith("FrameError: frame too large"), `${error}`);
});

testPrograms("server says what is wrong with --threads", async (way) => {
  const { code, stderr } = await run(way, "server", ["--threads", "many"]);
  assert(stderr.includes('"many"') && stderr.includes("1 to 256"), stderr);
  assertEquals(code, 2);
});
