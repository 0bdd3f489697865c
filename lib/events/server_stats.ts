/** The numbers of a running server as its users read them, off its counters. */

import type { Clock } from "../core/clock.ts";
import {
  ACCEPTED,
  ACTIVE,
  type Counters,
  type Metrics,
  OPENING,
  RECEIVED,
  REJECTED,
  REQUESTS,
  SENT,
} from "./metrics.ts";

/** Numbers of a running server; each is read when it is asked for. */
export interface ServerStats {
  /** When the server started, in milliseconds since 1970. */
  readonly startedAt: number;
  /**
   * How long the server has been up, in milliseconds. Unlike a difference to
   * `startedAt` it stays right when somebody sets the system's date.
   */
  readonly uptime: number;
  /** Connections open now. */
  readonly connections: number;
  /** Connections accepted since the start, the refused ones left out. */
  readonly connectionsTotal: number;
  /** Connections refused since the start. */
  readonly connectionsRejected: number;
  /** Requests handed to the handler since the start. */
  readonly requests: number;
  /** Bytes received since the start. */
  readonly received: number;
  /** Bytes sent since the start. */
  readonly sent: number;
}

/** A stage of a shutdown. */
export interface DrainStatus {
  /** Whether connections are accepted still: it is the time before the drain. */
  readonly accepting: boolean;
  /** How long until it ends, in milliseconds; `Infinity` without a limit. */
  readonly left: number;
}

/** What servers with one thread and with several have in common. */
export class ServerStatsBase implements ServerStats {
  readonly #counters: Counters;
  readonly #clock: Clock;
  /** When it started, by this clock. */
  readonly #started: number;
  #stage: { readonly accepting: boolean; readonly until: number } | undefined;

  /** `uptime` is how long it runs already, in milliseconds. */
  constructor(
    counters: Counters,
    clock: Clock,
    readonly startedAt: number,
    uptime: number,
  ) {
    this.#counters = counters;
    this.#clock = clock;
    this.#started = clock.now() - uptime;
  }

  get uptime(): number {
    return this.#clock.now() - this.#started;
  }

  get connections(): number {
    return this.#counters.sum(ACTIVE);
  }

  get connectionsTotal(): number {
    return this.#counters.sum(ACCEPTED);
  }

  get connectionsRejected(): number {
    return this.#counters.sum(REJECTED, OPENING);
  }

  get requests(): number {
    return this.#counters.sum(REQUESTS);
  }

  get received(): number {
    return this.#counters.sum(RECEIVED);
  }

  get sent(): number {
    return this.#counters.sum(SENT);
  }

  get drain(): DrainStatus | undefined {
    if (this.#stage === undefined) return undefined;
    const { accepting, until } = this.#stage;
    return { accepting, left: Math.max(0, until - this.#clock.now()) };
  }

  metrics(): Metrics {
    return this.#counters.read();
  }

  /** Begins a stage of the shutdown; 0 milliseconds are no limit. */
  protected beginStage(accepting: boolean, ms: number): void {
    this.#stage = { accepting, until: this.#clock.now() + (ms || Infinity) };
  }
}
