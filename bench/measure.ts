/**
 * Runs a scenario: its peers take turns, and each turn gives a sample.
 *
 * @module
 */

import { floodOn } from "./flood.ts";
import { at, BUILD } from "./paths.ts";
import { type Peer, peers } from "./peers.ts";
import { run, type RunningServer, serverOf } from "./processes.ts";
import type { Scenario } from "./scenarios.ts";

/** Times from the sending of a batch to its last reply, in microseconds. */
export interface Latency {
  /** Half of the batches took no longer. */
  readonly p50: number;
  /** 99% took no longer. */
  readonly p99: number;
  /** 99.9% took no longer. */
  readonly p999: number;
  /** None took longer. */
  readonly max: number;
}

/** What went wrong, in connections. */
export interface Failures {
  /** Not accepted. */
  readonly refused: number;
  /** Reset by the server. */
  readonly reset: number;
  /** Closed, or silent, with a reply owing. */
  readonly lost: number;
  /** Answered with other bytes than were sent. */
  readonly wrong: number;
}

/** One turn of one peer. */
export interface Sample {
  /** By the names of the scenario's figures. */
  readonly values: Readonly<Record<string, number>>;
  /** None where only the start was timed. */
  readonly latency?: Latency;
  /** None where only the start was timed. */
  readonly failures?: Failures;
  /** Processor time of the server for a request, in microseconds. */
  readonly cpu?: number;
}

/** How long and how often. */
export interface Effort {
  /** Turns of each peer. */
  readonly rounds: number;
  /** Seconds that a turn is measured. */
  readonly seconds: number;
  /** Seconds before, in which buffers grow and queues fill. */
  readonly warmup: number;
  /** The same before a server's first turn, in which engines compile. */
  readonly first: number;
  /** Seconds after which there are no further rounds, whatever `rounds` is. */
  readonly total: number;
}

/** How long one turn is. */
type Turn = Pick<Effort, "seconds" | "warmup">;

/** The line of JSON that the load generator prints. */
interface Printed extends Latency, Failures {
  readonly least?: number;
  readonly most?: number;
  readonly busy?: number;
  readonly requestsPerSecond: number;
  readonly megabytesPerSecond: number;
  readonly cpu?: number;
  readonly emptyKiB?: number;
  readonly idleKiB?: number;
  readonly movedKiB?: number;
  readonly residentKiB?: number;
}

/** Who is driven where the generators are measured. */
const DRIVEN = "epoll";

/** How long a turn may take beyond what it was asked to. */
const GRACE_MS = 200_000;

/**
 * Runs a scenario.
 *
 * @param scenario The scenario.
 * @param names Its peers that can run here.
 * @param effort How long and how often.
 * @param share Seconds after which no further round begins.
 * @returns The samples of each peer. A peer that failed has none for that turn.
 */
export async function measure(
  scenario: Scenario,
  names: readonly string[],
  effort: Effort,
  share: number,
): Promise<Map<string, Sample[]>> {
  const samples = new Map<string, Sample[]>(names.map((name) => [name, []]));
  const servers = new Map<string, RunningServer>();
  // Settled memory and the start are those of a fresh process. Under load all servers
  // stand ready, the silent ones at no cost, and keep what they have compiled.
  const { mode, settle = 0 } = scenario;
  const fresh = mode === "start" || settle > 0;
  const rounds = Math.min(scenario.rounds ?? effort.rounds, effort.rounds * 2);
  const began = performance.now();
  // The first start of a program reads it from disk. It does not count.
  const start = mode === "start" ? -1 : 0;
  try {
    for (let round = start; round < rounds; round++) {
      const spent = (performance.now() - began) / 1000;
      if (round > 0 && spent > share) break;
      for (const name of names) await turnOf(name, round);
    }
  } finally {
    for (const server of servers.values()) await server.stop();
  }
  return samples;

  async function turnOf(name: string, round: number): Promise<void> {
    const turn = {
      seconds: scenario.seconds ?? effort.seconds,
      warmup: round === 0 ? effort.first : effort.warmup,
    };
    try {
      const sample = await sampleFrom(name, turn);
      if (round >= 0) samples.get(name)?.push(sample);
    } catch (error) {
      const why = error instanceof Error ? error.message : error;
      console.error(`bench: ${scenario.name}, "${name}": ${why}`);
    }
    // A server is given time to close its connections, at 10,000 a second:
    // it would do so in the turn of the next.
    await new Promise((done) => setTimeout(done, scenario.connections / 10));
    if (fresh) {
      await servers.get(name)?.stop();
      servers.delete(name);
    }
  }

  async function sampleFrom(name: string, turn: Turn): Promise<Sample> {
    const peer = peers[name];
    switch (mode) {
      case "start":
        return await timeStart(scenario, peer, name === "hello");
      case "compute": {
        const text = await run(peer.command(scenario), GRACE_MS);
        return { values: JSON.parse(text) };
      }
      case "generate": {
        const { port } = await running(DRIVEN);
        return sampleOf(scenario, await loadBy(peer, scenario, port, turn));
      }
    }
    const server = await running(name);
    if (mode === "flood") return await floodOn(scenario, peer, server, turn);
    const printed = mode === "client"
      ? await loadBy(peers.clientBuilt, scenario, server.port, turn)
      : await load(scenario, peer, server, turn);
    return sampleOf(scenario, printed);
  }

  async function running(name: string): Promise<RunningServer> {
    const { command, ready } = peers[name];
    const server = servers.get(name) ??
      await serverOf(command(scenario), ready);
    servers.set(name, server);
    return server;
  }
}

async function load(
  scenario: Scenario,
  peer: Peer,
  { port, pid }: RunningServer,
  { seconds, warmup }: Turn,
): Promise<Printed> {
  const { mode, connections, depth, payload, framing, tls } = scenario;
  const ask = `${"PING ".padEnd(payload, "abcdefgh")}\n`;
  const answer = peer.answer?.(ask, scenario) ?? ask;
  const { move = 0, settle = 0 } = scenario;
  const flags = { port, pid, mode, connections, depth, payload, framing };
  const more = mode === "idle"
    // Who waits longer for a handshake than a server allows is no idle connection.
    ? { settle, move, opening: tls ? 256 : 2048 }
    : { seconds, warmup };
  const text = await run(
    [
      at(`${BUILD}load`),
      ...Object.entries({ ...flags, ...more }).map(([name, value]) =>
        `--${name}=${value}`
      ),
      ...(tls ? ["--tls"] : []),
      // Requests that differ are the better check, where they come back.
      ...(answer === ask ? [] : [`--ask=${ask}`, `--answer=${answer}`]),
    ],
    GRACE_MS + 1000 * (seconds + warmup + 2 * settle),
    { quiet: false },
  );
  return JSON.parse(text);
}

/** What `client bench --json` prints, of which this is used. */
interface PrintedByClient {
  readonly failed: number;
  readonly requests_per_second: number;
  readonly bytes_per_second: number;
  readonly latency_seconds: Readonly<Record<string, number>>;
}

/** Drives a server with a generator that prints what Parley's client does. */
async function loadBy(
  { command }: Peer,
  scenario: Scenario,
  port: number,
  { seconds, warmup }: Turn,
): Promise<Printed> {
  const bench = (seconds: number) =>
    run(
      command({ ...scenario, load: { ...scenario, port, seconds } }),
      GRACE_MS,
    );
  await bench(warmup);
  const printed: PrintedByClient = JSON.parse(await bench(seconds));
  const { p50, p99, "p99.9": p999, max } = printed.latency_seconds;
  const us = (seconds: number) => seconds * 1e6;
  return {
    requestsPerSecond: printed.requests_per_second,
    megabytesPerSecond: printed.bytes_per_second / 1e6,
    p50: us(p50),
    p99: us(p99),
    p999: us(p999),
    max: us(max),
    refused: 0,
    reset: 0,
    lost: printed.failed,
    wrong: 0,
  };
}

function sampleOf(
  { mode, figures, connections }: Scenario,
  printed: Printed,
): Sample {
  const { p50, p99, p999, max, refused, reset, lost, wrong } = printed;
  // A bare generator looks at no clock.
  const latency = Number.isNaN(p50) ? undefined : { p50, p99, p999, max };
  const failures = { refused, reset, lost, wrong };
  const { requestsPerSecond, megabytesPerSecond, cpu } = printed;
  if (mode === "idle") {
    const { emptyKiB = 0, idleKiB = 0, movedKiB = 0 } = printed;
    const values = {
      accept: requestsPerSecond,
      idle: (idleKiB - emptyKiB) / connections,
      "idle-tls": (idleKiB - emptyKiB) / connections,
      "idle-moved": (movedKiB - emptyKiB) / connections,
    };
    return { values, latency, failures };
  }
  const [{ name, unit }] = figures;
  const { least, most, busy, residentKiB } = printed;
  const shares = least !== undefined && most !== undefined &&
    { least: least * 100, most: most * 100 };
  const memory = residentKiB !== undefined && { memory: residentKiB / 1024 };
  const value = mode === "paced"
    ? busy ?? NaN
    : unit === "MB/s"
    ? megabytesPerSecond
    : requestsPerSecond;
  return {
    values: { [name]: value, ...shares, ...memory },
    latency,
    failures,
    cpu,
  };
}

/** Times a process from its start to its first reply, or to its end. */
async function timeStart(
  scenario: Scenario,
  peer: Peer,
  ends: boolean,
): Promise<Sample> {
  const command = peer.command(scenario);
  const began = performance.now();
  let took;
  if (ends) {
    await run(command, GRACE_MS);
    took = performance.now() - began;
  } else {
    const server = await serverOf(command);
    try {
      using conn = await Deno.connect({
        hostname: "127.0.0.1",
        port: server.port,
      });
      await conn.write(new TextEncoder().encode("hello\n"));
      await conn.read(new Uint8Array(64));
      took = performance.now() - began;
    } finally {
      await server.stop();
    }
  }
  return { values: { [scenario.figures[0].name]: took } };
}
