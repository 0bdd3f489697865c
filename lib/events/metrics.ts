/**
 * The numbers of a server: counters in one flat array, which may be in shared
 * memory, so that counting is an addition and several threads' are sums.
 */

import {
  type CloseReason,
  closeReasons,
  type RejectReason,
  rejectReasons,
  type RequestStatus,
  requestStatuses,
} from "./events.ts";

/**
 * The upper bounds of the histogram's buckets, in milliseconds: 20 to a
 * decade, from 1 µs to 10 s, so that a quantile is at most a seventh too high.
 * 1, 2, 2.5 and 5 are among them; one more bucket has no bound.
 */
export const durationBounds: readonly number[] = [-3, -2, -1, 0, 1, 2, 3]
  .flatMap((decade) =>
    [
      ...[1, 1.12, 1.25, 1.4, 1.6, 1.8, 2, 2.25, 2.5, 2.8],
      ...[3.2, 3.6, 4, 4.5, 5, 5.6, 6.3, 7.1, 8, 9],
    ].map((step) => Number((step * 10 ** decade).toPrecision(6)))
  ).concat(10_000);

// Where each number stands in the cells.
export const ACTIVE = 0;
export const ACCEPTED = 1;
export const REQUESTS = 2;
export const RECEIVED = 3;
export const SENT = 4;
const DURATION_SUM = 5;
const HELD = 6;
const OPENING = 7;
const STATUS = 8;
/** Up to here are those that were handed to the handler. */
const BUSY = STATUS + requestStatuses.indexOf("busy");
const CLOSED = STATUS + requestStatuses.length;
export const REJECTED = CLOSED + closeReasons.length;
export const DURATION = REJECTED + rejectReasons.length;

/** How many cells a thread's numbers take. */
export const METRIC_CELLS = DURATION + durationBounds.length + 1;

/** Where a status stands, without a search for each batch. */
const statusCells = Object.fromEntries(
  requestStatuses.map((status, i) => [status, STATUS + i]),
) as Record<RequestStatus, number>;

/** A histogram of durations. */
export interface Histogram {
  /** Upper bounds of the buckets in milliseconds; one more has no bound. */
  readonly bounds: readonly number[];
  /** Values in each bucket, and in the last those above all bounds. */
  readonly counts: readonly number[];
  /** All values together, in milliseconds. */
  readonly sum: number;
  /** How many values. */
  readonly count: number;
}

/** The numbers of a server at one moment; totals since its start. */
export interface Metrics {
  /** Connections open now. */
  readonly active: number;
  /** Connections that were given a place. */
  readonly accepted: number;
  /** Connections that ended, by reason. */
  readonly closed: Readonly<Record<CloseReason, number>>;
  /** Connections turned away, by reason. */
  readonly rejected: Readonly<Record<RejectReason, number>>;
  /** Requests that are done with, by how they went. */
  readonly requests: Readonly<Record<RequestStatus, number>>;
  /** Requests whose replies are not out. */
  readonly inFlight: number;
  /**
   * How long requests took: from when they were read, or the wait for the one
   * before them ended, until their batch of replies was about to go out.
   */
  readonly durations: Histogram;
  /** Bytes received. */
  readonly received: number;
  /** Bytes taken by the kernel. */
  readonly sent: number;
  /** Connections that have no place yet: their header, keys or place is awaited. */
  readonly opening: number;
  /** Memory that holds bytes not handled and replies not taken, in bytes. */
  readonly held: number;
}

export class Counters {
  /** Above so many bytes held here, {@linkcode onHeld} is called. */
  alarm = Infinity;
  onHeld: () => void = () => {};
  #bucket = 0;

  /** Only this thread writes its cells; `all` are those of all threads. */
  constructor(
    readonly cells: Float64Array = new Float64Array(METRIC_CELLS),
    private readonly all: readonly Float64Array[] = [cells],
  ) {}

  opened(): void {
    this.cells[ACTIVE]++;
    this.cells[ACCEPTED]++;
  }

  closed(reason: CloseReason): void {
    this.cells[ACTIVE]--;
    this.cells[CLOSED + closeReasons.indexOf(reason)]++;
  }

  rejected(reason: RejectReason): void {
    this.cells[REJECTED + rejectReasons.indexOf(reason)]++;
  }

  requested(): void {
    this.cells[REQUESTS]++;
  }

  finished(status: RequestStatus, count: number): void {
    this.cells[statusCells[status]] += count;
  }

  took(ms: number, count: number): void {
    const bucket = this.#bucket;
    // Connections of one batch have the same duration.
    if (!(ms <= durationBounds[bucket] && ms > durationBounds[bucket - 1])) {
      this.#bucket = bucketOf(ms);
    }
    this.cells[DURATION + this.#bucket] += count;
    this.cells[DURATION_SUM] += ms * count;
  }

  received(bytes: number): void {
    this.cells[RECEIVED] += bytes;
  }

  sent(bytes: number): void {
    this.cells[SENT] += bytes;
  }

  /** Connections wait for their place, or no longer. */
  opening(count: number): void {
    this.cells[OPENING] += count;
  }

  hold(bytes: number): void {
    const held = this.cells[HELD] += bytes;
    if (held > this.alarm) this.onHeld();
  }

  /** The memory held by this thread alone, in bytes. */
  get heldHere(): number {
    return this.cells[HELD];
  }

  get threads(): number {
    return this.all.length;
  }

  // From here on, over all threads.

  get held(): number {
    return this.sum(HELD);
  }

  read(): Metrics {
    const sums = Float64Array.from(this.cells, (_, i) => this.sum(i));
    const done = sums.subarray(STATUS, BUSY).reduce((a, b) => a + b);
    const counts = Array.from(sums.subarray(DURATION));
    return {
      active: sums[ACTIVE],
      accepted: sums[ACCEPTED],
      closed: named(closeReasons, sums, CLOSED),
      rejected: named(rejectReasons, sums, REJECTED),
      requests: named(requestStatuses, sums, STATUS),
      inFlight: sums[REQUESTS] - done,
      durations: {
        bounds: durationBounds,
        counts,
        sum: sums[DURATION_SUM],
        count: counts.reduce((a, b) => a + b, 0),
      },
      received: sums[RECEIVED],
      sent: sums[SENT],
      opening: sums[OPENING],
      held: sums[HELD],
    };
  }

  /** The sum of a cell, or of those up to another. */
  sum(cell: number, to = cell + 1): number {
    let sum = 0;
    for (const cells of this.all) {
      for (let i = cell; i < to; i++) sum += cells[i];
    }
    return sum;
  }
}

/** Settles the numbers of a thread that is gone, and says what was lost. */
export function settleLost(cells: Float64Array) {
  const connections = cells[ACTIVE];
  let requests = cells[REQUESTS];
  for (let i = STATUS; i < BUSY; i++) requests -= cells[i];
  cells[ACTIVE] = cells[OPENING] = cells[HELD] = 0;
  cells[CLOSED + closeReasons.indexOf("error")] += connections;
  cells[STATUS + requestStatuses.indexOf("abandoned")] += requests;
  return { connections, requests };
}

/**
 * Reads a quantile off a histogram.
 *
 * @returns The bound, in milliseconds, of the bucket that it falls into;
 * `Infinity` above the last, `undefined` where there are no values.
 */
export function quantileOf(
  { bounds, counts, count }: Histogram,
  quantile: number,
): number | undefined {
  if (count === 0) return undefined;
  let left = Math.max(1, Math.ceil(count * quantile));
  for (let i = 0; i < bounds.length; i++) {
    left -= counts[i];
    if (left <= 0) return bounds[i];
  }
  return Infinity;
}

function bucketOf(ms: number): number {
  let low = 0;
  let high = durationBounds.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ms <= durationBounds[middle]) high = middle;
    else low = middle + 1;
  }
  return low;
}

function named<Name extends string>(
  names: readonly Name[],
  cells: Float64Array,
  from: number,
) {
  const entries = names.map((name, i) => [name, cells[from + i]]);
  return Object.fromEntries(entries) as Record<Name, number>;
}
