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

/** What is awaited of a connection before it is open. */
export const openings = ["greeting", "handshaking", "admitting"] as const;

export type Opening = typeof openings[number];

/** Whose fault it is that accepting failed: see `faultOf` in `net/listen.ts`. */
export const acceptFaults = [
  ...["peer", "descriptors", "resources", "listener"] as const,
];

type AcceptFault = typeof acceptFaults[number];

// Where each number stands in the cells.
export const ACTIVE = 0;
export const ACCEPTED = 1;
export const REQUESTS = 2;
export const RECEIVED = 3;
export const SENT = 4;
const HELD = 5;
/** Open connections that have asked something. */
const ASKED = 6;
const STATUS = 7;
/** Up to here are those that were handed to the handler. */
const BUSY = STATUS + requestStatuses.indexOf("busy");
const CLOSED = STATUS + requestStatuses.length;
export const REJECTED = CLOSED + closeReasons.length;
export const OPENING = REJECTED + rejectReasons.length;
const ACCEPT_FAILED = OPENING + openings.length;
/** Histograms: their sum, and then their buckets. */
const DURATION = ACCEPT_FAILED + acceptFaults.length;
const QUEUE = DURATION + durationBounds.length + 2;
const DELAY = QUEUE + durationBounds.length + 2;

/** How many cells a thread's numbers take. */
export const METRIC_CELLS = DELAY + durationBounds.length + 2;

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
  /** How much of that they waited for their handler. */
  readonly queueing: Histogram;
  /** How late timers were: so long the event loop was at something else. */
  readonly loopDelays: Histogram;
  /** Bytes received. */
  readonly received: number;
  /** Bytes taken by the kernel. */
  readonly sent: number;
  /** Connections that have no place yet: their header, keys or place is awaited. */
  readonly opening: number;
  /** Those, by what is awaited; and `silent` ones, which have asked nothing yet. */
  readonly beforeRequest: Readonly<
    Record<"greeting" | "handshaking" | "admitting" | "silent", number>
  >;
  /** How often accepting failed, by whose fault it was. */
  readonly acceptFailures: Readonly<
    Record<"peer" | "descriptors" | "resources" | "listener", number>
  >;
  /** Memory that holds bytes not handled and replies not taken, in bytes. */
  readonly held: number;
  /** What each thread has of them; delays are in milliseconds. */
  readonly perThread: readonly {
    readonly active: number;
    readonly requests: number;
    readonly delays: Readonly<Pick<Histogram, "sum" | "count">>;
  }[];
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

  /** One has asked its first request, or, with -1, is no longer open. */
  asked(count: 1 | -1): void {
    this.cells[ASKED] += count;
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
    this.#add(DURATION, this.#bucket, ms, count);
  }

  queued(ms: number, count: number): void {
    this.#add(QUEUE, bucketOf(ms), ms, count);
  }

  delayed(ms: number): void {
    this.#add(DELAY, bucketOf(ms), ms, 1);
  }

  received(bytes: number): void {
    this.cells[RECEIVED] += bytes;
  }

  sent(bytes: number): void {
    this.cells[SENT] += bytes;
  }

  /** So many connections more are awaited for this. */
  opening(what: Opening, count: 1 | -1): void {
    this.cells[OPENING + openings.indexOf(what)] += count;
  }

  acceptFailed(fault: AcceptFault): void {
    this.cells[ACCEPT_FAILED + acceptFaults.indexOf(fault)]++;
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
    const durations = histogram(sums, DURATION);
    const queueing = histogram(sums, QUEUE);
    // Most wait for nothing, and are not counted there one by one.
    const count = Math.max(durations.count, queueing.count);
    queueing.counts[0] += count - queueing.count;
    const opening = named(openings, sums, OPENING);
    const silent = sums[ACTIVE] - sums[ASKED];
    return {
      active: sums[ACTIVE],
      accepted: sums[ACCEPTED],
      closed: named(closeReasons, sums, CLOSED),
      rejected: named(rejectReasons, sums, REJECTED),
      requests: named(requestStatuses, sums, STATUS),
      inFlight: sums[REQUESTS] - done,
      durations,
      queueing: { ...queueing, count },
      loopDelays: histogram(sums, DELAY),
      received: sums[RECEIVED],
      sent: sums[SENT],
      opening: Object.values(opening).reduce((a, b) => a + b),
      beforeRequest: { ...opening, silent },
      acceptFailures: named(acceptFaults, sums, ACCEPT_FAILED),
      held: sums[HELD],
      perThread: this.all.map((cells) => {
        const { sum, count } = histogram(cells, DELAY);
        const [active, requests] = [cells[ACTIVE], cells[REQUESTS]];
        return { active, requests, delays: { sum, count } };
      }),
    };
  }

  #add(histogram: number, bucket: number, ms: number, count: number): void {
    this.cells[histogram] += ms * count;
    this.cells[histogram + 1 + bucket] += count;
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
  cells[ACTIVE] = cells[ASKED] = cells[HELD] = 0;
  cells.fill(0, OPENING, ACCEPT_FAILED);
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

/** A histogram out of the cells from one on. */
function histogram(cells: Float64Array, from: number) {
  const end = from + durationBounds.length + 2;
  const counts = Array.from(cells.subarray(from + 1, end));
  const count = counts.reduce((a, b) => a + b);
  return { bounds: durationBounds, counts, sum: cells[from], count };
}

function named<Name extends string>(
  names: readonly Name[],
  cells: Float64Array,
  from: number,
) {
  const entries = names.map((name, i) => [name, cells[from + i]]);
  return Object.fromEntries(entries) as Record<Name, number>;
}
