/** What a measurement counts. */

import { Float64Histogram } from "hdr-histogram-js";

export type BenchEnd = "complete" | "interrupted" | "no_connection";

/** What was measured; or, while it goes on, what has been so far. */
export class BenchResult {
  /**
   * Milliseconds since the first request, less those without any connection;
   * in the end, to the last reply, for nobody was served behind it.
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
  readonly latencies = new Latencies();
  /** How long connecting took, where it succeeded. */
  readonly connects = new Latencies();
  readonly series = new Series();
  /** The client's own processor time, as a part of the time that passed. */
  load = 0;
  readonly errors = new Tally();
  readonly errReplies = new Tally();
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

/** Counts texts; the first hundred by themselves, and all others together. */
export class Tally {
  total = 0;
  readonly #counts = new Map<string, number>();

  add(text: string): void {
    this.total++;
    const known = this.#counts.has(text) || this.#counts.size < MOST_TEXTS;
    const key = known ? text : "(others)";
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }

  list(): { text: string; count: number }[] {
    return Array.from(this.#counts, ([text, count]) => ({ text, count }))
      .sort((a, b) => b.count - a.count);
  }
}

const MOST_MOMENTS = 120;

/** How many requests were done by which moment, in milliseconds. */
export interface Moment {
  readonly elapsed: number;
  readonly done: number;
}

/** Moments at even intervals, which get twice as long when there are too many. */
export class Series {
  moments: Moment[] = [];
  #ticks = 0;
  #every = 1;

  add({ elapsed, done }: Moment): void {
    if (++this.#ticks % this.#every !== 0) return;
    this.moments.push({ elapsed, done });
    if (this.moments.length < MOST_MOMENTS) return;
    this.moments = this.moments.filter((_, i) => i % 2 === 1);
    this.#every *= 2;
  }
}

/** The histogram counts microseconds; it goes to 24 days, as timeouts do. */
const STEPS_PER_MS = 1000;
const MOST_STEPS = 2 ** 31 * STEPS_PER_MS;
const DIGITS = 3;

/** Where bars end, in milliseconds: six in each decade, from a microsecond on. */
const BOUNDS = Array.from(
  { length: 13 },
  (_, i) => [1, 1.5, 2, 3, 5, 7].map((step) => Number(`${step}e${i - 3}`)),
).flat();

/**
 * Latencies, counted as they come: memory stays the same however many they are,
 * and a percentile is right to a thousandth of itself.
 */
export class Latencies {
  /** The shortest and the longest, in milliseconds. */
  min = Infinity;
  max = 0;
  count = 0;
  #sum = 0;
  #squares = 0;
  readonly #histogram = new Float64Histogram(1, MOST_STEPS, DIGITS);

  add(ms: number): void {
    this.count++;
    this.#sum += ms;
    this.#squares += ms * ms;
    if (ms < this.min) this.min = ms;
    if (ms > this.max) this.max = ms;
    const steps = Math.ceil(ms * STEPS_PER_MS);
    this.#histogram.recordValue(steps < MOST_STEPS ? steps : MOST_STEPS);
  }

  get mean(): number {
    return this.#sum / this.count;
  }

  get deviation(): number {
    const variance = this.#squares / this.count - this.mean ** 2;
    return Math.sqrt(Math.max(variance, 0));
  }

  /** What so many per cent do not exceed, in milliseconds; `NaN` of none. */
  percentile(percent: number): number {
    if (this.count === 0) return NaN;
    const ms = this.#histogram.getValueAtPercentile(percent) / STEPS_PER_MS;
    return Math.min(Math.max(ms, this.min), this.max);
  }

  /**
   * The latencies by size, from the bar of the shortest to that of the longest;
   * what is `above` exactly belongs to the bar below. Bars grow with the
   * latencies, for these may differ by several decades.
   */
  bars() {
    const bars: { above: number; upTo: number; count: number }[] = [];
    const histogram = this.#histogram;
    let [above, counted, i] = [0, 0, 0];
    for (const upTo of BOUNDS) {
      const before = counted;
      while (
        counted < this.count &&
        histogram.valueFromIndex(i) / STEPS_PER_MS <= upTo
      ) counted += histogram.getCountAtIndex(i++);
      if (counted > 0) bars.push({ above, upTo, count: counted - before });
      if (counted === this.count) break;
      above = upTo;
    }
    return bars;
  }
}
