/** What a measurement counts. */

import { Latencies } from "./latencies.ts";

export type BenchEnd = "complete" | "interrupted" | "no_connection";

/** What was measured; or, while it goes on, what has been so far. */
export class BenchResult {
  /**
   * Milliseconds since the first request, less those without any connection;
   * in the end, to the last reply.
   */
  elapsed = 0;
  /** Requests handed to a connection; in the end, `done` and `failed`. */
  sent = 0;
  done = 0;
  failed = 0;
  /** Requests of an open loop that were due, and no connection was free. */
  unsent = 0;
  /** Bytes that the system took of all requests, the framing's included. */
  takenBytes = 0;
  receivedBytes = 0;
  /** Of each request that has a reply. */
  readonly latencies = new Latencies();
  readonly errors = new Tally();
  readonly errReplies = new Tally();
  /** Connections that ended during the run. */
  lost = 0;
  /** How many of them the server turned away. */
  refused = 0;
  reopened = 0;
  /** How many were given up: not opened again, or without any reply. */
  givenUp = 0;
  /** Why connections were turned away, or could not be opened again. */
  readonly connectErrors = new Tally();
  end: BenchEnd = "complete";
}

/** More texts than these are a peer's that says something else each time. */
const MOST_TEXTS = 100;

const OTHERS = "(others)";

/** Counts texts; the first hundred by themselves, and all others together. */
export class Tally {
  total = 0;
  readonly #counts = new Map<string, number>();

  add(text: string): void {
    this.total++;
    const known = this.#counts.has(text) || this.#counts.size < MOST_TEXTS;
    const key = known ? text : OTHERS;
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }

  /** The texts, the most frequent first. */
  list(): { text: string; count: number }[] {
    return [...this.#counts]
      .map(([text, count]) => ({ text, count }))
      .sort((a, b) => b.count - a.count);
  }
}
