/** The numbers of a running server, as handlers read them. */

import type { Clock } from "../core/clock.ts";
import {
  ACCEPTED,
  ACTIVE,
  type Counters,
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

/** Reads the numbers from the counters. A handler can change nothing by it. */
export class ServerStatsBase implements ServerStats {
  readonly #counters: Counters;
  readonly #clock: Clock;
  /** When it started, by this clock. */
  readonly #started: number;

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
}
