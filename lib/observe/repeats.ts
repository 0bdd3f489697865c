/**
 * Many alike told as one: what keeps a flood of events from becoming a flood
 * of log lines.
 */

import type { Clock } from "../core/clock.ts";

/** For how long repeats are gathered, in milliseconds. */
const GATHER = 1000;

/**
 * Reports the first item of a kind at once, and those of the second after it
 * together at its end; so on, second by second, while they keep coming.
 *
 * It holds one entry for each kind: kinds must be few, and none that a peer
 * can make up.
 *
 * @param report Called with the last item, and for how many it stands.
 */
export function gatherRepeats<Item>(
  report: (last: Item, count: number) => void,
  clock: Clock,
) {
  /** What has come of each kind since its last report. */
  const kinds = new Map<
    string,
    { count: number; last?: Item; cancel: () => void }
  >();
  const gather = (kind: string) => {
    const cancel = clock.after(GATHER, () => {
      const { count, last } = kinds.get(kind)!;
      if (count === 0) return void kinds.delete(kind);
      gather(kind);
      report(last!, count);
    });
    kinds.set(kind, { count: 0, cancel });
  };
  return {
    /**
     * Takes an item.
     *
     * @param kind What it is alike in.
     * @returns Whether it was reported on its own.
     */
    add(kind: string, item: Item): boolean {
      const gathered = kinds.get(kind);
      if (gathered === undefined) {
        gather(kind);
        report(item, 1);
        return true;
      }
      gathered.count++;
      gathered.last = item;
      return false;
    },
    /** Reports all that was gathered, and forgets what it has seen. */
    flush(): void {
      for (const { count, last, cancel } of kinds.values()) {
        cancel();
        if (count > 0) report(last!, count);
      }
      kinds.clear();
    },
  };
}
