/**
 * The histogram of durations as monitoring wants it: fewer buckets, cumulative
 * and in seconds.
 *
 * @module
 */

import type { Histogram } from "../events/metrics.ts";

/**
 * The upper bounds, in milliseconds: 1, 2.5 and 5 of each decade from 10 µs to
 * 10 s. Each is a bound of the fine histogram too, so nothing is estimated.
 */
export const coarseBounds: readonly number[] = [-2, -1, 0, 1, 2, 3]
  .flatMap((decade) =>
    [1, 2.5, 5].map((step) => Number((step * 10 ** decade).toPrecision(6)))
  ).concat(10_000);

/** How many values do not exceed a bound. */
export interface Bucket {
  /** The bound in seconds, as it stands in a label; `+Inf` is the last. */
  readonly le: string;
  /** The values up to it, those of the buckets below among them. */
  readonly count: number;
}

/** A bucket for each of {@linkcode coarseBounds}, and one for all values. */
export function cumulativeBuckets(
  { bounds, counts, count }: Histogram,
): Bucket[] {
  const buckets: Bucket[] = [];
  let sum = 0;
  for (const [i, ms] of bounds.entries()) {
    sum += counts[i];
    if (coarseBounds.includes(ms)) {
      // In seconds, without the dust of a binary division.
      buckets.push({ le: `${Number((ms / 1000).toPrecision(6))}`, count: sum });
    }
  }
  return [...buckets, { le: "+Inf", count }];
}
