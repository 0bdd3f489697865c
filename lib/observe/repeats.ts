/**
 * Many alike told as one: what keeps a flood of events from becoming a flood
 * of log lines.
 *
 * @module
 */

import { type Clock, systemClock } from "../core/clock.ts";

/** For how long repeats are gathered, in milliseconds. */
const GATHER = 1000;

/** What has come of one kind since its last report. */
interface Gathered<Item> {
  count: number;
  last: Item | undefined;
  cancel: () => void;
}

/**
 * Reports the first item of a kind at once, and those of the second after it
 * together at its end; so on, second by second, while they keep coming.
 *
 * It holds one entry for each kind: kinds must be few, and none that a peer
 * can make up.
 */
export class Repeats<Item> {
  readonly #report: (last: Item, count: number) => void;
  readonly #clock: Clock;
  readonly #kinds = new Map<string, Gathered<Item>>();

  /** @param report Called with the last item, and for how many it stands. */
  constructor(
    report: (last: Item, count: number) => void,
    clock: Clock = systemClock,
  ) {
    this.#report = report;
    this.#clock = clock;
  }

  /**
   * Takes an item.
   *
   * @param kind What it is alike in.
   * @returns Whether it was reported on its own.
   */
  add(kind: string, item: Item): boolean {
    const gathered = this.#kinds.get(kind);
    if (gathered === undefined) {
      this.#gather(kind);
      this.#report(item, 1);
      return true;
    }
    gathered.count++;
    gathered.last = item;
    return false;
  }

  /** Reports all that was gathered, and forgets what it has seen. */
  flush(): void {
    for (const { count, last, cancel } of this.#kinds.values()) {
      cancel();
      if (count > 0) this.#report(last!, count);
    }
    this.#kinds.clear();
  }

  #gather(kind: string): void {
    const cancel = this.#clock.after(GATHER, () => {
      const { count, last } = this.#kinds.get(kind)!;
      if (count === 0) return void this.#kinds.delete(kind);
      this.#gather(kind);
      this.#report(last!, count);
    });
    this.#kinds.set(kind, { count: 0, last: undefined, cancel });
  }
}
