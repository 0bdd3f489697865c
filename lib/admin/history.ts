/** An hour of a server's numbers, so that the page's charts begin full. */

import type { Clock } from "../core/clock.ts";
import { SERIES, valuesBetween } from "./page/numbers.js";
import type { Stats } from "./stats.ts";

/** Seconds from one sample to the next, and how many samples are kept. */
const PERIOD = 5;
const KEPT = 720;

/** What `/history.json` says, and how the sampling ends. */
export type History = ReturnType<typeof keepHistory>;

export function keepHistory(read: () => Stats, clock: Clock) {
  /** A time in seconds since 1970, then the values; the oldest row is first. */
  const rows: number[][] = [];
  let before = read();
  let latest: ReturnType<typeof valuesBetween> = {};
  let cancel = wait();

  function wait(): () => void {
    return clock.after(PERIOD * 1000, () => {
      sample();
      cancel = wait();
    }, { background: true });
  }

  function sample(): void {
    const stats = read();
    latest = valuesBetween(before, stats);
    // The date was set back: no chart can draw the old samples.
    if (stats.now < before.now) rows.length = 0;
    before = stats;
    // Five digits are more than a chart shows; JSON says NaN as null.
    const row = SERIES.map((name) =>
      Number((latest[name] ?? NaN).toPrecision(5))
    );
    rows.push([stats.now / 1000, ...row]);
    if (rows.length > KEPT) rows.shift();
  }

  return {
    /** The values of the newest sample. */
    latest: () => latest,
    after: (time: number) => ({
      period: PERIOD,
      columns: ["time", ...SERIES],
      // Not `>`: a `time` that is no number is after none of them.
      rows: rows.filter(([at]) => !(at <= time)),
    }),
    close: () => cancel(),
  };
}
