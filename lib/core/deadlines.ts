/**
 * One coarse timer for the deadlines of all connections. To set a deadline is to
 * write a number; the timer looks at all of them once an interval. So a deadline
 * is noticed up to two intervals late, and never early.
 */

import { type Clock, systemClock } from "./clock.ts";

export interface Expirable {
  /** When it expires, in the time of {@linkcode Deadlines.now}. */
  readonly deadline: number;
  /** Called once `deadline` has passed; it must be a new one then, or deleted. */
  expire(): void;
}

/** The bounds of the interval, in milliseconds. */
const FINEST = 5;
const COARSEST = 1000;

export class Deadlines {
  #interval = Infinity;
  readonly #watched = new Set<Expirable>();
  /** This timer's own time: the clock's, less what the process slept. */
  #now = 0;
  #ticked = 0;
  #cancel: (() => void) | undefined;

  /** The interval is an eighth of the shortest timeout, in milliseconds. */
  constructor(shortest: number, private readonly clock: Clock = systemClock) {
    this.refine(shortest);
  }

  /** Makes the interval shorter if this timeout needs it; 0 means no limit. */
  refine(timeout: number): void {
    const eighth = (timeout || Infinity) / 8;
    const interval = Math.min(Math.max(eighth, FINEST), COARSEST);
    if (interval >= this.#interval) return;
    this.#cancel?.();
    if (this.#cancel !== undefined) this.#moveOn();
    this.#interval = interval;
    if (this.#cancel !== undefined) this.#schedule();
  }

  /** The time, in milliseconds, that counts for something that starts now. */
  get now(): number {
    // The time of the last tick may be an interval old: that much is added.
    return this.#now + this.#interval;
  }

  add(item: Expirable): void {
    this.#watched.add(item);
    if (this.#cancel === undefined) {
      this.#ticked = this.clock.now();
      this.#schedule();
    }
  }

  delete(item: Expirable): void {
    this.#watched.delete(item);
    if (this.#watched.size === 0) {
      this.#cancel?.();
      this.#cancel = undefined;
    }
  }

  #schedule(): void {
    this.#cancel = this.clock.after(this.#interval, () => this.#tick());
  }

  #tick(): void {
    this.#moveOn();
    this.#schedule();
    for (const item of this.#watched) {
      if (item.deadline <= this.#now) item.expire();
    }
  }

  #moveOn(): void {
    const clock = this.clock.now();
    // While the machine was suspended, or a handler held up the event loop, no
    // bytes could arrive: such a gap counts as two intervals only.
    this.#now += Math.min(clock - this.#ticked, 2 * this.#interval);
    this.#ticked = clock;
  }
}
