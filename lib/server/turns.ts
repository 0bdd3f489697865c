/**
 * Turns of the event loop: what the connections of one turn share.
 *
 * The runtime hands over the bytes of all connections that have some before it
 * goes on. Their replies go out together once all have been handled: written
 * one by one between the handlers, each write would find the processor's caches
 * cold. And they share their looks at the clock: one as the turn begins, and one
 * for each time that replies go out.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";

/** Whoever has something to write at the end of a turn. */
export interface Flushable {
  /**
   * Called once, at the end of the turn.
   *
   * @param now The time, by the clock.
   */
  flush(now: number): void;
}

/**
 * How many wait for the end of a turn at the most: where a handler computes for
 * long, the first reply must not wait for the last.
 */
const MOST = 16;

const settled = Promise.resolve();

/** See the module's text. */
export class Turns {
  readonly #clock: Clock;
  readonly #waiting = new Array<Flushable | undefined>(MOST).fill(undefined);
  #count = 0;
  /** When the turn under way began; -1 where nobody has asked yet. */
  #began = -1;
  /** Whether its end will be noticed. */
  #ending = false;
  readonly #end = () => {
    this.#ending = false;
    this.#began = -1;
    if (this.#count > 0) this.#flush();
  };

  /** @param clock The source of time. */
  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** When the turn under way began, by the clock. */
  get began(): number {
    if (this.#began === -1) {
      this.#began = this.#clock.now();
      this.#notice();
    }
    return this.#began;
  }

  /**
   * Calls back at the end of the turn under way, or before if there are many.
   *
   * @param item Whom.
   */
  add(item: Flushable): void {
    this.#waiting[this.#count++] = item;
    if (this.#count === MOST) this.#flush();
    else this.#notice();
  }

  /** The microtasks of whoever has bytes are queued already: this is behind. */
  #notice(): void {
    if (this.#ending) return;
    this.#ending = true;
    settled.then(this.#end);
  }

  #flush(): void {
    const now = this.#clock.now();
    const count = this.#count;
    this.#count = 0;
    for (let i = 0; i < count; i++) {
      const item = this.#waiting[i]!;
      this.#waiting[i] = undefined;
      item.flush(now);
    }
  }
}
