/**
 * Latencies, counted as they come: memory stays the same however many they are,
 * and a percentile is right to a thousandth of itself.
 */

import { Float64Histogram } from "hdr-histogram-js";

/** The histogram counts whole numbers of these, a microsecond each. */
const STEPS_PER_MS = 1000;

/** What is above counts as this: some 24 days, which no timeout exceeds. */
const MOST_STEPS = 2 ** 31 * STEPS_PER_MS;

const DIGITS = 3;

/** Where bars begin within a decade. */
const BAR_STEPS = [1, 1.5, 2, 3, 5, 7];

export class Latencies {
  /** The shortest, in milliseconds; `Infinity` if there is none. */
  min = Infinity;
  /** The longest, in milliseconds; 0 if there is none. */
  max = 0;
  count = 0;
  #sum = 0;
  readonly #histogram = new Float64Histogram(1, MOST_STEPS, DIGITS);

  add(ms: number): void {
    this.count++;
    this.#sum += ms;
    if (ms < this.min) this.min = ms;
    if (ms > this.max) this.max = ms;
    const steps = Math.ceil(ms * STEPS_PER_MS);
    this.#histogram.recordValue(steps < MOST_STEPS ? steps : MOST_STEPS);
  }

  /** The mean in milliseconds; `NaN` if there is none. */
  get mean(): number {
    return this.#sum / this.count;
  }

  /**
   * The latency that so many per cent do not exceed, in milliseconds: rounded up
   * to three digits at least, and never outside of what came; `NaN` if there is
   * none.
   */
  percentile(percent: number): number {
    if (this.count === 0) return NaN;
    const ms = this.#histogram.getValueAtPercentile(percent) / STEPS_PER_MS;
    return Math.min(Math.max(ms, this.min), this.max);
  }

  /**
   * The latencies by size: six bars to a decade, for they may differ by several
   * decades, from the bar of the shortest to that of the longest. What is
   * `above` exactly belongs to the bar below.
   */
  bars() {
    const bars: { above: number; upTo: number; count: number }[] = [];
    let bound = 0;
    for (let i = 0; i < this.#histogram.countsArrayLength; i++) {
      const count = this.#histogram.getCountAtIndex(i);
      if (count === 0) continue;
      const ms = this.#histogram.valueFromIndex(i) / STEPS_PER_MS;
      while (bars.length === 0 || ms > bars[bars.length - 1].upTo) {
        const upTo = barBound(bound++);
        // Nothing is drawn below the shortest.
        if (bars.length === 0 && ms > upTo) continue;
        bars.push({ above: barBound(bound - 2), upTo, count: 0 });
      }
      bars[bars.length - 1].count += count;
    }
    return bars;
  }
}

/** The bound with this number in milliseconds, from a microsecond on. */
function barBound(number: number): number {
  if (number < 0) return 0;
  const decade = Math.floor(number / BAR_STEPS.length) - 3;
  const step = BAR_STEPS[number % BAR_STEPS.length];
  // Without the dust of a binary multiplication.
  return Number((step * 10 ** decade).toPrecision(3));
}
