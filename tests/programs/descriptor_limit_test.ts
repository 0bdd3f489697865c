// The programs at the system's limit of descriptors: whoever takes all of them,
// from which side ever, the server lives, says so, and serves again.

import { Peer } from "../support/fixtures.ts";
import {
  Lines,
  ROOT,
  Running,
  RunningServer,
  testPrograms,
  testWithTools,
} from "../support/programs.ts";
import { Folder } from "../support/socket_files.ts";
import { assert, assertEquals, assertMatch } from "../support/std.ts";

/** Many connections that say nothing. */
class Flood implements Disposable {
  readonly peers: Peer[] = [];

  /** Connects so many times, one after the other. */
  async pour(place: { addr: Deno.Addr }, count: number): Promise<void> {
    for (let i = 0; i < count; i++) this.peers.push(await Peer.to(place));
  }

  [Symbol.dispose](): void {
    for (const peer of this.peers) peer[Symbol.dispose]();
  }
}

/** Where the admin port is. */
function adminOf({ admin }: RunningServer): { addr: Deno.Addr } {
  const path = /^unix:(.*)$/.exec(admin!)?.[1];
  if (path !== undefined) return { addr: { transport: "unix", path } };
  const { hostname, port } = new URL(admin!);
  return { addr: { transport: "tcp", hostname, port: Number(port) } };
}

/** Asks how the server is, and returns how long that took, in milliseconds. */
async function probe(
  server: RunningServer,
  path: string,
  body: string,
): Promise<number> {
  const from = performance.now();
  using peer = await Peer.to(adminOf(server));
  await peer.send(`GET /${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  const answer = await peer.rest();
  assertMatch(answer, /^HTTP\/1\.1 200 OK\r\n/);
  assertEquals(answer.split("\r\n\r\n")[1], `${body}\n`);
  return performance.now() - from;
}

/**
 * Asks as Kubernetes does by default: a probe has one second, and the third one
 * in a row that is late counts. A busy machine may well delay one.
 */
async function assertHealthy(server: RunningServer): Promise<void> {
  for (const [path, body] of [["livez", "ok"], ["readyz", "ready"]]) {
    let late = 0;
    while (await probe(server, path, body) > 1000) assert(++late < 3, path);
  }
}

async function assertServes(peer: Peer): Promise<void> {
  assertEquals(await peer.ask("PING\n", "PONG\n"), "PONG\n");
}

/**
 * Waits until so many have their reply. Which of them are in, nobody knows:
 * each thread takes from a queue of its own, at its own pace.
 */
async function assertServed(peers: Peer[], count: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let served = 0;
  for (const peer of peers) {
    // Those who wait in the queue end with the flood.
    assertServes(peer).then(() => ++served === count && resolve(), () => {});
  }
  await promise;
}

async function floodBothSides(
  server: RunningServer,
  descriptors: number,
): Promise<void> {
  using before = await Peer.to(server);
  await assertServes(before);
  // What it has open itself leaves room for that many.
  const fits = Math.floor(descriptors / 2);
  for (let round = 0; round < 2; round++) {
    {
      using flood = new Flood();
      await flood.pour(server, descriptors + 50);
      const peers = [...flood.peers];
      if (round === 0) {
        const said = await server.stderr.until(/"msg":"cannot accept"/);
        assertMatch(said, /"connections_limit":\d+,/);
      }
      for (let i = 0; i < 5; i++) await assertHealthy(server);
      await flood.pour(adminOf(server), descriptors + 50);
      for (let i = 0; i < 5; i++) await assertHealthy(server);
      // Those who are in are served all the while.
      await assertServes(before);
      await assertServed(peers, fits);
    }
    using after = new Flood();
    await after.pour(server, fits);
    await Promise.all(after.peers.map(assertServes));
    await assertHealthy(server);
  }
}

for (const descriptors of [256, 1024]) {
  for (const threads of [1, 2]) {
    testPrograms(
      `server with ${descriptors} descriptors and --threads=${threads} lives through floods`,
      async (way) => {
        await using server = await RunningServer.start(
          way,
          ["--admin=127.0.0.1:0", `--threads=${threads}`, "--backlog=4096"],
          {},
          { descriptors },
        );
        await floodBothSides(server, descriptors);
        server.kill("SIGTERM");
        assertEquals(await server.code(), 0);
      },
      ["sh"],
    );
  }
}

testPrograms(
  "server with 256 descriptors has its admin port at a path, and keeps that",
  async (way) => {
    await using folder = await Folder.make();
    const { path } = folder;
    await using server = await RunningServer.start(
      way,
      [`--admin=unix:${path}`, "--backlog=4096"],
      {},
      { descriptors: 256 },
    );
    await floodBothSides(server, 256);
    assertEquals(folder.files, ["s.sock"]);
    server.kill("SIGTERM");
    assertEquals(await server.code(), 0);
    assertEquals(folder.files, []);
  },
  ["sh"],
);

testPrograms(
  "server says that it has too few descriptors for its threads",
  async (way) => {
    for (const check of [[], ["--check"]]) {
      const args = [...check, "--threads=16"];
      const place = { descriptors: 60 };
      await using server = new Running(way, "server", args, {}, place);
      assertMatch(
        await server.stderr.next(),
        /^server: \d+ descriptors left, expected 135 \(ulimit -n\)$/,
      );
      assertEquals(await server.code(), 1 + check.length);
    }
  },
  ["sh"],
);

testWithTools(
  "a thread that dies at the limit of descriptors is replaced",
  ["sh"],
  async () => {
    const at = (path: string) => JSON.stringify(`file://${ROOT}${path}`);
    const program = `
      import { serveThreads } from ${at("lib/threads/mod.ts")};
      const server = await serveThreads({
        hostname: "127.0.0.1",
        port: 0,
        threads: 2,
        worker: new URL(${at("tests/server/threads_worker.ts")}),
        events: { thread_lost: () => console.log("lost") },
      });
      console.log(server.addr.port);
    `;
    await using child = new Deno.Command("sh", {
      args: [
        ...["-c", 'ulimit -n 128; exec "$@"', "sh", Deno.execPath()],
        ...["run", "--no-check", "--allow-net", "--allow-read"],
        ...["--unstable-net", "--unstable-worker-options"],
        `data:application/typescript,${encodeURIComponent(program)}`,
      ],
      stdout: "piped",
      // Each death is told there.
      stderr: "null",
    }).spawn();
    const said = new Lines(child.stdout);
    const port = Number(await said.next());
    const place = {
      addr: { transport: "tcp", hostname: "127.0.0.1", port } as const,
    };
    using flood = new Flood();
    await flood.pour(place, 150);
    const [first, ...others] = flood.peers;
    await first.ask("id\n", "1\n");
    await first.send("DIE\n");
    assertEquals(await said.next(), "lost");
    // Those of the first thread are gone, the second one has the rest.
    const lost = said.next();
    for (const peer of others) await peer.send("DIE\n").catch(() => {});
    assertEquals(await lost, "lost");
    const last = performance.now() + 20_000;
    while (true) {
      assert(performance.now() < last, "nobody serves any more");
      try {
        using peer = await Peer.to(place);
        assertMatch(await peer.ask("id\n", "1"), /^\d/);
        break;
      } catch {
        // The new thread does not listen yet.
      }
    }
    child.kill("SIGTERM");
    await said.cancel();
  },
);
