/**
 * `deno task soak [minutes]`: mixed traffic against one server for a chosen
 * time. Every few seconds the traffic pauses; then nothing may be left of it:
 * no session, no timer, no descriptor; and after garbage collection the heap
 * may not have grown from the first pauses to the last.
 *
 * @module
 */

import { createConnection } from "node:net";

import { type Clock, systemClock } from "../../lib/core/clock.ts";
import { commands, connect } from "../../lib/mod.ts";
import { startServer } from "../../lib/server/serve.ts";
import { Peer, random } from "../support/fixtures.ts";

/** How long traffic runs between two pauses, in milliseconds. */
const ROUND = 5000;
/** How many peers are busy at a time. */
const PEERS = 100;
/** What the heap may grow by between the first and the last pauses. */
const GROWTH = 2 * 1024 * 1024;

const minutes = Number(Deno.args[0] ?? 10);
if (!(minutes > 0)) {
  console.error(`soak: minutes is "${Deno.args[0]}", expected a number over 0`);
  Deno.exit(2);
}
const collect = (globalThis as { gc?: () => void }).gc;
if (collect === undefined) {
  console.error("soak: no garbage collector, expected --v8-flags=--expose-gc");
  Deno.exit(2);
}

let timers = 0;
const clock: Clock = {
  now: () => systemClock.now(),
  after(ms, tick) {
    let set = true;
    timers++;
    const done = () => {
      if (set) timers--;
      set = false;
    };
    const cancel = systemClock.after(ms, () => {
      done();
      tick();
    });
    return () => {
      done();
      cancel();
    };
  },
};

const reasons = new Map<string, number>();
const server = startServer(
  {
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 2000,
    requestTimeout: 1000,
    writeTimeout: 1000,
    maxConnections: PEERS - 10,
    events: {
      connection_close: ({ reason }) =>
        reasons.set(reason, (reasons.get(reason) ?? 0) + 1),
    },
  },
  commands,
  { clock },
);
const { port } = server.addr as Deno.NetAddr;
const seed = Date.now() % 2 ** 31;
const next = random(seed);
console.log(`soak: ${minutes} minutes, seed ${seed}`);

/** The kinds of peers; each takes one through its life. */
const kinds: (() => Promise<unknown>)[] = [
  async function asks() {
    await using client = await connect({ port });
    for (let i = 0; i < 50; i++) await client.request(`ECHO ${i}`);
  },
  async function pipelines() {
    await using client = await connect({ port });
    await Promise.all(
      Array.from(
        { length: 200 },
        (_, i) =>
          client.request(`ECHO ${"x".repeat(next() * (i % 20 ? 99 : 60_000))}`),
      ),
    );
  },
  async function waits() {
    await using client = await connect({ port });
    await client.request(`DELAY ${Math.floor(next() * 1500)} x`);
  },
  async function drops() {
    using peer = await Peer.to(server);
    await peer.send("PING\nSIZE 100000\nhalf a requ");
  },
  async function finishes() {
    using peer = await Peer.to(server);
    await peer.send("PING\nSIZE 1000000\nWHOAMI\n");
    await peer.finish();
    await peer.rest();
  },
  async function overlong() {
    using peer = await Peer.to(server);
    await peer.send("x".repeat(70_000));
    await peer.rest();
  },
  async function idles() {
    using peer = await Peer.to(server);
    await peer.send("PING\nidle");
    await peer.rest();
  },
  async function neverReads() {
    using peer = await Peer.to(server);
    await peer.send("SIZE 16000000\nSIZE 16000000\n");
    await pause(1500);
  },
  async function resets() {
    const socket = createConnection(port, "127.0.0.1");
    socket.on("error", () => {});
    await new Promise((done) => socket.once("connect", done));
    socket.write("PING\nDELAY 500 x\nPING\n");
    await pause(next() * 20);
    const closed = new Promise((done) => socket.once("close", done));
    socket.resetAndDestroy();
    await closed;
  },
];

const ends = systemClock.now() + minutes * 60_000;
const heaps: number[] = [];
let descriptors: number | undefined;
let peers = 0;
while (systemClock.now() < ends) {
  const roundEnds = systemClock.now() + ROUND;
  await Promise.all(Array.from({ length: PEERS }, async () => {
    while (systemClock.now() < roundEnds) {
      peers++;
      // A peer that is refused or cut off is part of the traffic.
      await kinds[Math.floor(next() * kinds.length)]().catch(() => {});
    }
  }));
  while (server.connections > 0) await pause(50);
  await pause(200);
  collect();
  const heap = Deno.memoryUsage().heapUsed;
  const fds = Array.from(Deno.readDirSync("/proc/self/fd")).length;
  heaps.push(heap);
  descriptors ??= fds;
  console.log(
    `${peers} peers, ${server.requests} requests: heap ` +
      `${(heap / 1e6).toFixed(1)} MB, ${fds} descriptors, ${timers} timers, ` +
      `${server.connections} connections`,
  );
  if (timers > 0) fail(`${timers} timers are left`);
  if (fds > descriptors) fail(`${fds - descriptors} descriptors are left`);
}
await server.shutdown();

// The first pauses see code being compiled and pools being filled.
const settled = heaps.slice(Math.floor(heaps.length / 4));
const third = Math.max(1, Math.floor(settled.length / 3));
const growth = median(settled.slice(-third)) - median(settled.slice(0, third));
console.log(
  `connections ended: ${JSON.stringify(Object.fromEntries(reasons))}`,
);
console.log(`heap growth ${Math.round(growth)} bytes`);
if (growth > GROWTH) fail(`the heap grew by ${Math.round(growth)} bytes`);

function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}

function fail(message: string): never {
  console.error(`soak: ${message}`);
  Deno.exit(1);
}
