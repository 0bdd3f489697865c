/**
 * A server without sockets and without time: its clients are in memory, its
 * clock moves only when a test says so.
 *
 * @module
 */

import { setImmediate } from "node:timers";

import { assertEquals } from "./std.ts";

import type { AnyOptions } from "../../lib/server/options.ts";
import type { ParleyServer } from "../../lib/server/parley_server.ts";
import { startServer, taskOptions } from "../../lib/server/serve.ts";
import type { Service, Surroundings } from "../../lib/server/server.ts";

import { Events, FakeClock } from "./fixtures.ts";
import { MemoryListener, type MemoryTransport } from "./memory_transport.ts";

/** One turn of the event loop; all microtasks are done before and after. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Several of them: enough for what takes a few turns and waits for nobody. */
export async function turns(count = 10): Promise<void> {
  for (let i = 0; i < count; i++) await turn();
}

/** A server in memory, under test. */
export class InMemory implements AsyncDisposable {
  readonly listener = new MemoryListener();
  readonly clock = new FakeClock();
  readonly events = new Events();
  readonly server: ParleyServer;

  constructor(
    service: Service,
    options: AnyOptions = {},
    surroundings: Surroundings = {},
  ) {
    // A timer looks for its moment: it would be taken for one that is left.
    const events = { ...this.events.listeners, certificate_expiry: undefined };
    if (typeof service === "object") options = taskOptions(options);
    this.server = startServer(
      { drainTimeout: 2000, events, ...options },
      service,
      { listen: () => this.listener, clock: this.clock, ...surroundings },
    );
  }

  /** Connects, and waits until the server has taken the connection. */
  async connect(hostname?: string): Promise<MemoryTransport> {
    const transport = this.listener.connect(hostname);
    await turn();
    return transport;
  }

  /** Connects several. */
  async connectAll(count: number): Promise<MemoryTransport[]> {
    const all = Array.from({ length: count }, () => this.listener.connect());
    await turns(4);
    await this.acceptAll();
    return all;
  }

  /** Waits until all are accepted: the loop rests after some of them. */
  async acceptAll(): Promise<void> {
    for (let i = 0; i < 1000 && this.listener.queued > 0; i++) {
      await this.pass(1, 1);
    }
  }

  /** Moves the clock on in small steps, with a turn of the event loop after each. */
  async pass(ms: number, step = 50): Promise<void> {
    for (let left = ms; left > 0; left -= step) {
      this.clock.advance(Math.min(step, left));
      await turn();
    }
  }

  /** What the connections are doing, in their order. */
  async states(): Promise<string[]> {
    return (await this.server.connectionList()).map(({ state }) => state);
  }

  /** Drains the server, and moves the clock on until it has ended. */
  async finish(): Promise<void> {
    let ended = false;
    const finished = this.server.shutdown().finally(() => ended = true);
    while (!ended) await this.pass(10, 10);
    await finished;
  }

  /** Drains it, and sees that nothing is left of any connection. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.finish();
    // A connection that was closed may still have had a turn of 1 ms to come.
    await this.pass(1, 1);
    await this.assertNothingLeft();
  }

  /** All connections have ended: each number says so, and no timer is set. */
  async assertNothingLeft(): Promise<void> {
    const { active, opening, held, inFlight, requests } = this.server.metrics();
    assertEquals({ active, opening, held, inFlight }, {
      active: 0,
      opening: 0,
      held: 0,
      inFlight: 0,
    });
    const { busy: _, ...handed } = requests;
    assertEquals(
      Object.values(handed).reduce((a, b) => a + b),
      this.server.requests,
      "each request is finished once",
    );
    assertEquals(
      idsOf(this.events.of("connection_close")),
      idsOf(this.events.of("connection_open")),
      "each connection that was opened is closed once",
    );
    assertEquals(await this.server.connectionList(), []);
    assertEquals(this.clock.timers, 0, "no timer is left");
  }
}

function idsOf(events: { id: number }[]): number[] {
  return events.map(({ id }) => id).sort((a, b) => a - b);
}
