/**
 * How many connections a server may hold where the system's limit of
 * descriptors (`ulimit -n`) is below `maxConnections`.
 *
 * A program learns that limit only when `accept` fails by it. The server then
 * takes the most connections that were ever open at once as the limit. It stays a
 * bit below, as the admin port and new threads need descriptors, too.
 */

import type { Clock } from "../core/clock.ts";
import type { DescriptorCount } from "./parley_server.ts";

/** How many descriptors stay free below the limit. */
const ROOM = 16;

/**
 * How long a limit holds, in milliseconds. By then the process may have closed
 * something else that it had open.
 */
const HOLDS = 60_000;

/** The counts of a whole server, in memory that its threads may share. */
export type DescriptorCells = ReturnType<typeof descriptorCells>;

/** In `known`: the most that were ever open at once. */
const PEAK = 0;
/** In `known`: the most that may be open; 0 before a limit was met. */
const LIMIT = 1;
/** In `known`: how often a limit was met. */
const TIMES = 2;

export function descriptorCells(threads: number) {
  const make = (length: number) =>
    new Int32Array(new SharedArrayBuffer(4 * length));
  // `open` has how many connections each thread has open.
  return { open: make(threads), known: make(3) };
}

/** What one thread counts, and sees of the others' counts. */
export class Descriptors {
  /** How often a limit had been met when this thread last looked. */
  #times = 0;
  /** Until when that limit holds. */
  #until = -Infinity;

  constructor(
    private readonly clock: Clock,
    private readonly cells: DescriptorCells = descriptorCells(1),
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
    // A few connections did not use up the descriptors.
    const limit = Math.max(1, peak - Math.min(ROOM, peak >> 3));
    Atomics.store(this.cells.known, LIMIT, limit);
    Atomics.add(this.cells.known, TIMES, 1);
    return limit;
  }

  /**
   * How many more connections may be opened. It is negative where more are open
   * than may be, as just after the limit was met.
   */
  get left(): number {
    const times = Atomics.load(this.cells.known, TIMES);
    if (times === 0) return Infinity;
    const now = this.clock.now();
    if (times !== this.#times) {
      this.#times = times;
      this.#until = now + HOLDS;
    }
    if (now >= this.#until) return Infinity;
    return Atomics.load(this.cells.known, LIMIT) - this.#sum();
  }

  #sum(): number {
    const { open } = this.cells;
    return open.reduce((sum, _, i) => sum + Atomics.load(open, i), 0);
  }
}
