/**
 * How many connections a server may have at once, and how many from one address
 * (`networkOf`). The limits hold for all threads together.
 */

import type { ServeConfig } from "./config.ts";

/** The counts that the threads of a server share. */
export interface PlaceCells {
  /** How many places each thread has taken. */
  readonly taken: Int32Array;
  readonly lastId: BigInt64Array;
}

/** Counts connections by address. */
export class AddressCounts {
  readonly #open = new Map<string, number>();

  constructor(private readonly most: number) {}

  enter(ip: string): boolean | Promise<boolean> {
    const open = this.#open.get(ip) ?? 0;
    if (open >= this.most) return false;
    this.#open.set(ip, open + 1);
    return true;
  }

  leave(ip: string, count = 1): void {
    const open = (this.#open.get(ip) ?? 0) - count;
    if (open > 0) this.#open.set(ip, open);
    else this.#open.delete(ip);
  }

  [Symbol.iterator](): IterableIterator<[string, number]> {
    return this.#open.entries();
  }
}

/** Who gets a place. */
export class Places {
  constructor(
    private readonly limits: Pick<
      ServeConfig,
      "maxConnections" | "maxConnectionsPerIp"
    >,
    private readonly addresses: Pick<AddressCounts, "enter" | "leave"> =
      new AddressCounts(limits.maxConnectionsPerIp),
    private readonly cells: PlaceCells = {
      taken: new Int32Array(1),
      lastId: new BigInt64Array(1),
    },
    /** The place of this thread in the cells. */
    private readonly index = 0,
  ) {}

  /** The next connection's number, from 1, never given twice. */
  nextId(): number {
    return Number(Atomics.add(this.cells.lastId, 0, 1n)) + 1;
  }

  /** Takes a place, if there is one. */
  take(): boolean {
    const { taken } = this.cells;
    // Counting comes before looking, so that two threads never take the last
    // place both. It can happen that neither gets it.
    Atomics.add(taken, this.index, 1);
    const { maxConnections } = this.limits;
    if (maxConnections === 0) return true;
    let sum = 0;
    for (let i = 0; i < taken.length; i++) sum += Atomics.load(taken, i);
    if (sum > maxConnections) this.free();
    return sum <= maxConnections;
  }

  free(): void {
    Atomics.sub(this.cells.taken, this.index, 1);
  }

  /** Takes one of an address's places, if there is one. */
  enter(ip: string): boolean | Promise<boolean> {
    return this.limits.maxConnectionsPerIp === 0 || this.addresses.enter(ip);
  }

  leave(ip: string): void {
    if (this.limits.maxConnectionsPerIp > 0) this.addresses.leave(ip);
  }
}
