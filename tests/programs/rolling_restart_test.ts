// Servers that go and come behind HAProxy, with `deploy/haproxy.cfg`, while
// clients are at work.

import { assert, assertEquals } from "../support/std.ts";

import {
  ClientClosedError,
  commands,
  connect,
  ConnectionLostError,
} from "../../lib/mod.ts";
import { Cluster, type Member } from "../support/cluster.ts";
import { Peer, serveTest } from "../support/fixtures.ts";
import { testPrograms } from "../support/programs.ts";
import { closedInGoodOrder, Load, portOf } from "../support/workload.ts";

/** How long the servers work on a reply. */
const REPLY_MS = 3;

/**
 * What a server has said that is an error. A client that was gone before it was
 * accepted is no fault of the server's, though it may say so.
 */
function complaints({ log }: Member): string[] {
  return log?.all.filter((line) =>
    line.startsWith("{")
      ? JSON.parse(line).level === "error"
      : /error|cannot|failed/i.test(line) && !line.includes("NotConnected")
  ) ?? [];
}

/** Restarts one server after the other, with a load that goes on meanwhile. */
async function rollingRestart(cluster: Cluster, load: Load): Promise<void> {
  for (const member of cluster.members) {
    const { mark } = cluster;
    await load.more(100);
    member.kill("SIGTERM");
    await cluster.until(member, "DOWN", mark);
    assertEquals(await member.code(), 0);
    await member.end();
    assertEquals(complaints(member), []);
    await member.start();
    await cluster.until(member, "UP", mark);
  }
  await load.more(100);
}

testPrograms(
  "a rolling restart behind haproxy fails no request and refuses no connection",
  async (way) => {
    // A server is marked down within 200 ms of the signal. The rest is for the
    // connections it has by then to come to their end: theirs take a few ms.
    await using cluster = await Cluster.start(way, "2s");
    await using load = new Load(cluster, REPLY_MS);
    await load.idle(30);
    load.shortLived(12);
    await rollingRestart(cluster, load);
    await load.stop();

    assertEquals(load.failures, []);
    // Each has lost the server that it began with.
    assert(load.closedIdle >= 30, `closed while idle: ${load.closedIdle}`);
    const { BACKEND, ...servers } = await cluster.stats();
    for (const { stot } of Object.values(servers)) assert(Number(stot) > 0);
    // Nor has HAProxy met a server that did not take its connection.
    const { econ, eresp, wretr, wredis } = BACKEND;
    assertEquals(
      { econ, eresp, wretr, wredis },
      { econ: "0", eresp: "0", wretr: "0", wredis: "0" },
    );
  },
  ["haproxy"],
);

testPrograms(
  "a rolling restart costs a connection that is never idle one request at most",
  async (way) => {
    await using cluster = await Cluster.start(way, "1s");
    await using load = new Load(cluster, REPLY_MS);
    load.busy(12);
    await rollingRestart(cluster, load);
    await load.stop();

    // The client's next request is on its way while the server closes, as it
    // does once all that had arrived is answered. The client is told, and no
    // connection was refused: all begin again, with another server.
    for (const { port, error } of load.failures) {
      assert(port !== undefined && closedInGoodOrder(error), `got ${error}`);
    }
    const ports = load.failures.map(({ port }) => port);
    assertEquals(new Set(ports).size, ports.length);
  },
  ["haproxy"],
);

Deno.test("a drain handles no request that it does not answer", async () => {
  let handled = 0;
  await using running = serveTest((request, info) => {
    handled++;
    return commands(request, info);
  });
  const { port } = running.addr as Deno.NetAddr;
  await using load = new Load({ hostname: "127.0.0.1", port });
  load.busy(50);
  await load.more(5000);
  load.connectNoMore();
  await running.server.shutdown();
  await load.stop();
  for (const { error } of load.failures) {
    assert(closedInGoodOrder(error), `got ${error}`);
  }
  assert(load.failures.length <= 50);
  assertEquals(handled, load.requests);
  assertEquals(running.events.of("finished").map(({ forced }) => forced), [0]);
});

/** A request that the server has, and answers when all is over. */
async function holdRequest(cluster: Cluster) {
  const { hostname, port } = cluster;
  const client = await connect({ hostname, port, timeout: 0 });
  const ready = client.request("PING");
  const outcome = client.request("DELAY 60000 late").catch((error) => error);
  // What is asked in one turn is sent in one write.
  await ready;
  return { client, outcome };
}

testPrograms(
  "a server killed behind haproxy takes its own requests in flight with it, and no other",
  async (way) => {
    await using cluster = await Cluster.start(way, "0ms");
    const [, victim] = cluster.members;
    const held = await Promise.all(
      Array.from({ length: 12 }, () => holdRequest(cluster)),
    );
    await using load = new Load(cluster, REPLY_MS);
    load.busy(12);
    load.shortLived(4);
    await load.more(500);
    const { mark } = cluster;
    victim.kill("SIGKILL");
    await victim.code();
    await cluster.until(victim, "DOWN", mark);
    await load.more(500);
    await victim.end();
    await victim.start();
    await cluster.until(victim, "UP", mark);
    await load.more(500);
    await load.stop();
    for (const { client } of held) client.close();
    // The others would work on for clients who may still be there.
    for (const member of cluster.members) await member.end();

    // Which server a connection was on, HAProxy says when it has ended.
    for (const { port, error } of load.failures) {
      assert(port !== undefined && error instanceof ConnectionLostError);
      assertEquals(await cluster.serverOf(port), victim.name);
    }
    const ports = load.failures.map(({ port }) => port);
    assertEquals(new Set(ports).size, ports.length);
    let lost = 0;
    for (const { client, outcome } of held) {
      const error = await outcome;
      const itsOwn = await cluster.serverOf(portOf(client)) === victim.name;
      const expected = itsOwn ? ConnectionLostError : ClientClosedError;
      assert(error instanceof expected, `got ${error}`);
      if (itsOwn) lost++;
    }

    assert(lost > 0);
  },
  ["haproxy"],
);

/** Stands between HAProxy and the admin ports, and counts the checks. */
class Checks {
  readonly #relays: Deno.HttpServer[] = [];
  readonly #enough: Promise<void>[] = [];

  /** Counts the checks of one server. @returns Where they are to go. */
  of({ hostname, adminPort }: Member): number {
    const { promise, resolve } = Promise.withResolvers<void>();
    let count = 0;
    const relay = Deno.serve(
      { hostname, port: 0, onListen() {} },
      ({ url }) => {
        if (++count === 20) resolve();
        const { pathname } = new URL(url);
        return fetch(`http://${hostname}:${adminPort}${pathname}`);
      },
    );
    this.#enough.push(promise);
    this.#relays.push(relay);
    return relay.addr.port;
  }

  /** Waits until each server has been checked twenty times. */
  async many(): Promise<void> {
    await Promise.all(this.#enough);
  }

  async end(): Promise<void> {
    for (const relay of this.#relays) await relay.shutdown();
  }
}

/** What a server says of itself, asked past HAProxy. */
async function statsOf({ hostname, port }: Member): Promise<string> {
  using peer = new Peer(await Deno.connect({ hostname, port }));
  // PROXY v2's header for a proxy that speaks for itself.
  await peer.send(
    Uint8Array.fromHex("0d0a0d0a000d0a515549540a20000000"),
  );
  await peer.send("STATS\n");
  await peer.finish();
  return await peer.rest();
}

testPrograms(
  "checks every 100 ms are no clients, and no errors",
  async (way) => {
    const checks = new Checks();
    await using cluster = await Cluster.start(
      way,
      "0ms",
      (member) => checks.of(member),
    );
    await using load = new Load(cluster, REPLY_MS);
    load.shortLived(3);
    await load.more(100);
    await load.stop();
    await checks.many();
    assertEquals(load.failures, []);

    let connections = 0;
    let requests = 0;
    for (const member of cluster.members) {
      const stats = await statsOf(member);
      connections += Number(/\bconnections_total=(\d+)/.exec(stats)?.[1]);
      requests += Number(/\brequests=(\d+)/.exec(stats)?.[1]);
    }
    assertEquals(requests, load.requests + 3);
    // One more may be left of the wait for HAProxy, if it was accepted at all.
    const more = connections - (load.connections + 3);
    assert(more === 0 || more === 1, `connections too many: ${more}`);
    await checks.end();
    for (const member of cluster.members) {
      member.kill("SIGTERM");
      assertEquals(await member.code(), 0);
      await member.end();
      assertEquals(complaints(member), []);
    }
  },
  ["haproxy"],
);
