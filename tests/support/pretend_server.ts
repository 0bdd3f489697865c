/**
 * A server that serves nobody, for what an operator sees of one: with numbers
 * that a test makes, and an hour of them already.
 *
 * @module
 */

import { type AdminOptions, startAdmin } from "../../lib/admin/server.ts";
import { Counters, METRIC_CELLS } from "../../lib/events/metrics.ts";
import type { DrainStatus } from "../../lib/server/parley_server.ts";
import type { AdminSource } from "../../lib/observe/numbers.ts";
import type {
  ConnectionInfo,
  ConnectionState,
} from "../../lib/server/parley_server.ts";
import type { TlsStatus } from "../../lib/tls/identity.ts";
import { FakeClock, random } from "./fixtures.ts";

/** What a pretended server is at. */
export interface Pretence {
  threads?: number;
  threadsLost?: number;
  connections?: ConnectionInfo[];
  drain?: DrainStatus;
  tls?: TlsStatus;
  address?: Deno.Addr;
  /** Whether failures have begun a few minutes ago. */
  failing?: boolean;
  /** How much busier it is than a common one. */
  size?: number;
}

/** How long it has been up already, in milliseconds. */
const UP = 3_700_000;

/** When failures begin, before the end of the hour. */
const FAILING = 240_000;

/** Where these are counted; a million of them take a moment one by one. */
const [ACTIVE, REQUESTS] = ["opened", "requested"].map((what) => {
  const counters = new Counters();
  counters[what as "opened" | "requested"]();
  return counters.cells.indexOf(1);
});

export class PretendServer implements AdminSource {
  readonly clock = new FakeClock();
  readonly addr: Deno.Addr;
  readonly framing = "line";
  readonly limits = {
    connections: 10_000,
    connectionsPerIp: 0,
    memory: 268_435_456,
    maxFrame: 65_536,
    timeouts: { idle: 300_000, request: 30_000, write: 30_000, drain: 10_000 },
  };
  readonly startedAt = Date.now() - UP;
  readonly threads: number;
  readonly threadsLost: number;
  readonly tls?: TlsStatus;
  /** What it counts, of each thread. */
  readonly counters: Counters[];
  readonly #ended = Promise.withResolvers<void>();
  readonly finished = this.#ended.promise;
  readonly #all: Counters;
  readonly #chance = random(11);
  readonly #epoch = this.clock.now();
  #real = 0;
  #reached = 0;

  constructor(readonly is: Pretence = {}) {
    const { threads = 1, threadsLost = 0, tls, address } = is;
    const cells = Array.from(
      { length: threads },
      () => new Float64Array(METRIC_CELLS),
    );
    this.counters = cells.map((each) => new Counters(each, cells));
    this.#all = this.counters[0];
    this.threads = threads;
    this.threadsLost = threadsLost;
    this.tls = tls;
    this.addr = address ??
      { transport: "tcp", hostname: "10.20.0.7", port: 7000 };
  }

  /** Its port for operators, with an hour of samples. */
  openAdmin(options: AdminOptions = {}) {
    const { clock } = this;
    const admin = startAdmin({ port: 0, handler: "commands", ...options }, {
      clock,
    });
    admin.attach(this);
    const now = Date.now;
    const began = now() - UP;
    try {
      Date.now = () => began + this.uptime;
      clock.advance(UP);
    } finally {
      Date.now = now;
    }
    this.#real = performance.now();
    return admin;
  }

  get uptime(): number {
    const real = this.#real && performance.now() - this.#real;
    return this.clock.now() - this.#epoch + real;
  }

  get ready(): boolean {
    return this.is.drain === undefined;
  }

  get draining(): boolean {
    return this.is.drain !== undefined;
  }

  get drain(): DrainStatus | undefined {
    return this.is.drain;
  }

  get descriptors() {
    return { open: this.#all.read().active, limit: 0 };
  }

  metrics() {
    const { uptime } = this;
    this.#pass((uptime - this.#reached) / 1000, uptime);
    this.#reached = uptime;
    return this.#all.read();
  }

  connectionList(): Promise<ConnectionInfo[]> {
    return Promise.resolve(this.is.connections ?? []);
  }

  disconnect(): Promise<boolean> {
    return Promise.resolve(true);
  }

  shutdown(): Promise<void> {
    return this.finished;
  }

  end(): void {
    this.#ended.resolve();
  }

  /** Counts what goes on in so many seconds. */
  #pass(seconds: number, uptime: number): void {
    const { failing = false, size = 1, connections } = this.is;
    const chance = this.#chance;
    const tide = 0.6 + 0.3 * Math.sin(uptime / 400_000) + 0.1 * chance();
    const failingFor = failing ? Math.max(0, uptime - UP + FAILING) : 0;
    for (const [i, counters] of this.counters.entries()) {
      const share = (1 + 0.3 * Math.sin(i)) / this.counters.length;
      const many = Math.round(9000 * size * share * tide * seconds);
      const bad = Math.round(many * failingFor / 2_000_000);
      counters.cells[REQUESTS] += many;
      counters.finished("ok", many - bad);
      counters.finished("error", Math.ceil(bad / 2));
      counters.finished("timeout", Math.floor(bad / 2));
      const p50 = 0.014 + 0.01 * chance();
      counters.took(p50, Math.ceil(many * 0.985));
      counters.took(p50 * (5 + 4 * chance()), Math.ceil(many * 0.013));
      counters.took(4 + 40 * chance() ** 4, Math.ceil(many * 0.002));
      counters.received(many * 380 * size);
      counters.sent(many * 350 * size);
      counters.hold(2e6 * size * share * tide - counters.heldHere);
      counters.delayed(0.2 + 3 * chance() ** 8);
      const most = connections?.length ?? 1400 * size * tide;
      counters.cells[ACTIVE] = Math.round(most * share);
      for (let n = 0; n < bad / 8; n++) counters.rejected("busy");
    }
  }
}

/** Connections that nobody has made. */
export function fakeRows(many: number): ConnectionInfo[] {
  const states: ConnectionState[] = ["handling", "idle", "idle"];
  return Array.from({ length: many }, (_, i) => ({
    id: i + 1,
    remoteAddr: {
      transport: "tcp",
      hostname: `10.0.${i >> 8}.${i & 255}`,
      port: 4000,
    },
    network: `10.0.${i >> 8}.${i & 255}`,
    age: i * 1000,
    state: states[i % states.length],
    // Each number once, in another order than the ids.
    requests: (i * 7919) % many,
    received: i * 100,
    sent: i * 200,
    idle: i,
  }));
}

/** Those with the longest words and numbers that there may be. */
export function longRows(): ConnectionInfo[] {
  const hostname = "2001:db8:1111:2222:3333:4444:5555:6666";
  return Array.from({ length: 40 }, (_, i) => ({
    id: 123_456_780 + i,
    remoteAddr: { transport: "tcp", hostname, port: 55_132 },
    network: hostname,
    age: 99 * 86_400_000 + i,
    state: "handshaking",
    requests: 1_234_567_890,
    received: 1e14,
    sent: 1e14,
    idle: 86_399_000,
  }));
}
