/** An hour of a server's numbers: the page's charts are full when it is opened. */

import type { Clock } from "../core/clock.ts";
import { SERIES, valuesBetween } from "./page/numbers.js";
import type { Stats } from "./stats.ts";

/** Seconds from one sample to the next, and how many samples are kept. */
const PERIOD = 5;
const KEPT = 720;

/** A sample's time and values. */
const COLUMNS: readonly string[] = ["time", ...SERIES];

export class History {
  /** The values of the newest sample. */
  latest: ReturnType<typeof valuesBetween> = {};
  /** The samples, one after another; a new one takes the place of the oldest. */
  readonly #cells = new Float64Array(KEPT * COLUMNS.length);
  /** How many samples there have been. */
  #count = 0;
  #before: Stats;
  #cancel!: () => void;

  constructor(
    private readonly read: () => Stats,
    private readonly clock: Clock,
  ) {
    this.#before = read();
    this.#wait();
  }

  close(): void {
    this.#cancel();
  }

  /** The samples after a time in seconds since 1970, the oldest first. */
  after(time: number) {
    const rows: number[][] = [];
    const width = COLUMNS.length;
    for (let i = Math.max(0, this.#count - KEPT); i < this.#count; i++) {
      const at = (i % KEPT) * width;
      if (this.#cells[at] <= time) continue;
      // What has no value is not a number, which JSON says as null.
      rows.push(Array.from(this.#cells.subarray(at, at + width)));
    }
    return { period: PERIOD, columns: COLUMNS, rows };
  }

  #wait(): void {
    this.#cancel = this.clock.after(PERIOD * 1000, () => {
      this.#sample();
      this.#wait();
    }, { background: true });
  }

  #sample(): void {
    const after = this.read();
    const values = this.latest = valuesBetween(this.#before, after);
    // A date set back: the old samples are of no time that can be drawn.
    if (after.now < this.#before.now) this.#count = 0;
    this.#before = after;
    // Five digits are more than a chart shows.
    const row = SERIES.map((name) =>
      Number((values[name] ?? NaN).toPrecision(5))
    );
    this.#cells.set(
      [after.now / 1000, ...row],
      (this.#count++ % KEPT) * COLUMNS.length,
    );
  }
}
