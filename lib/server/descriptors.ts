/**
 * How many connections a server may hold where the system's limit of
 * descriptors (`ulimit -n`) is below `maxConnections`.
 *
 * A program is not told that limit, it meets it. So it is learned then, from
 * the most connections that were ever open at once, and the server stays a bit
 * below: what is free stays free, for the admin port and for new threads.
 */

import type { Clock } from "../core/clock.ts";
import type { DescriptorCount } from "./parley_server.ts";

/** How many descriptors are to be free below the limit. */
const ROOM = 16;

/**
 * How long a limit is believed in, in milliseconds. What else the process has
 * open may have been closed by then.
 */
const BELIEVED = 60_000;

/** The counts of a whole server, in memory that its threads may share. */
export interface DescriptorCells {
  /** How many connections each thread has open. */
  readonly open: Int32Array;
  /** {@linkcode PEAK}, {@linkcode LIMIT} and {@linkcode TIMES}. */
  readonly known: Int32Array;
}

/** In `known`: the most that were ever open at once. */
const PEAK = 0;
/** In `known`: the most that may be open; 0 before a limit was met. */
const LIMIT = 1;
/** In `known`: how often a limit was met. */
const TIMES = 2;

export function descriptorCells(threads: number): DescriptorCells {
  const make = (length: number) =>
    new Int32Array(
      new SharedArrayBuffer(length * Int32Array.BYTES_PER_ELEMENT),
    );
  return { open: make(threads), known: make(3) };
}

/** What one thread counts, and sees of the others' counts. */
export class Descriptors {
  /** How often a limit had been met when this thread last looked. */
  #times = 0;
  /** Until when that limit is believed in. */
  #until = -Infinity;

  constructor(
    private readonly clock: Clock,
    private readonly cells = descriptorCells(1),
    private readonly index = 0,
  ) {}

  get count(): DescriptorCount {
    return { open: this.#sum(), limit: Atomics.load(this.cells.known, LIMIT) };
  }

  opened(): void {
    Atomics.add(this.cells.open, this.index, 1);
    const sum = this.#sum();
    if (sum > Atomics.load(this.cells.known, PEAK)) {
      Atomics.store(this.cells.known, PEAK, sum);
    }
  }

  closed(): void {
    Atomics.sub(this.cells.open, this.index, 1);
  }

  /** The limit was met; gives the most connections that may be open now. */
  met(): number {
    const peak = Atomics.load(this.cells.known, PEAK);
    // Few connections are not what the descriptors went to.
    const limit = Math.max(1, peak - Math.min(ROOM, peak >> 3));
    Atomics.store(this.cells.known, LIMIT, limit);
    Atomics.add(this.cells.known, TIMES, 1);
    return limit;
  }

  get full(): boolean {
    return this.#left() <= 0;
  }

  /** Whether more are open, as they are when the limit has just been met. */
  get crowded(): boolean {
    return this.#left() < 0;
  }

  #left(): number {
    const times = Atomics.load(this.cells.known, TIMES);
    if (times === 0) return Infinity;
    const now = this.clock.now();
    if (times !== this.#times) {
      this.#times = times;
      this.#until = now + BELIEVED;
    }
    if (now >= this.#until) return Infinity;
    return Atomics.load(this.cells.known, LIMIT) - this.#sum();
  }

  #sum(): number {
    const { open } = this.cells;
    return open.reduce((sum, _, i) => sum + Atomics.load(open, i), 0);
  }
}
