/**
 * One coarse timer for all deadlines of all connections: setting one is the
 * writing of a number, and the timer looks at each once an interval. So it is
 * met late by up to two intervals, and never early.
 */

import { type Clock, systemClock } from "./clock.ts";

export interface Expirable {
  /** When it expires, in the time of {@linkcode Deadlines.now}. */
  readonly deadline: number;
  /** Called once `deadline` has passed; it must be a new one then, or deleted. */
  expire(): void;
}

/** A finer timer than this buys nothing; a coarser one frees too late. */
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

  /** Is finer from now on, for a timeout that is shorter; 0 means never. */
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

  /** The deadline for something that starts now, in milliseconds; 0 for none. */
  in(timeout: number): number {
    return timeout > 0 ? this.now + timeout : Infinity;
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
    // A machine that was suspended, or an event loop that a handler held up,
    // has let nobody send anything: such a gap counts as two intervals.
    this.#now += Math.min(clock - this.#ticked, 2 * this.#interval);
    this.#ticked = clock;
  }
}
