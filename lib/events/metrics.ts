/**
 * The numbers of a server. They stand in one flat array for each thread, which
 * may be shared memory: to count is an addition, and the numbers of a server are
 * sums over its threads.
 */

import type { Clock } from "../core/clock.ts";
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

/** What a connection may wait for before it is open. */
export const openings = ["greeting", "handshaking", "admitting"] as const;

export type Opening = typeof openings[number];

/** Whose fault it is that accepting failed: see `faultOf` in `net/listen.ts`. */
export const acceptFaults = [
  ...["peer", "descriptors", "resources", "listener"] as const,
];

// Where each number stands in the cells.
const ACTIVE = 0;
const ACCEPTED = 1;
const REQUESTS = 2;
const RECEIVED = 3;
const SENT = 4;
const HELD = 5;
/** Open connections that have sent a request. */
const ASKED = 6;
const STATUS = 7;
/** Before this one are the statuses of requests that a handler has got. */
const BUSY = STATUS + requestStatuses.indexOf("busy");
const CLOSED = STATUS + requestStatuses.length;
const REJECTED = CLOSED + closeReasons.length;
const OPENING = REJECTED + rejectReasons.length;
const ACCEPT_FAILED = OPENING + openings.length;
/** Each histogram is its sum, and then its buckets. */
const DURATION = ACCEPT_FAILED + acceptFaults.length;
const QUEUE = DURATION + durationBounds.length + 2;
const DELAY = QUEUE + durationBounds.length + 2;

/** How many cells the numbers of a thread take. */
export const METRIC_CELLS = DELAY + durationBounds.length + 2;

/** Where each status stands, so that no batch has to search for it. */
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
  /** Requests that have ended, by their status. */
  readonly requests: Readonly<Record<RequestStatus, number>>;
  /** Requests whose replies are not out. */
  readonly inFlight: number;
  /**
   * How long requests took: from when they were read, or the wait for the one
   * before them ended, until their batch of replies was about to go out.
   */
  readonly durations: Histogram;
  /** The part of that in which they waited for their handler. */
  readonly queueing: Histogram;
  /** How late timers were, as the event loop was busy for so long. */
  readonly loopDelays: Histogram;
  /** Bytes received. */
  readonly received: number;
  /** Bytes taken by the kernel. */
  readonly sent: number;
  /** Connections that wait for their PROXY header, their TLS or their place. */
  readonly opening: number;
  /** Those by what they wait for; and open ones without a request, as `silent`. */
  readonly beforeRequest: Readonly<
    Record<"greeting" | "handshaking" | "admitting" | "silent", number>
  >;
  /** How often accepting failed, by whose fault it was. */
  readonly acceptFailures: Readonly<
    Record<"peer" | "descriptors" | "resources" | "listener", number>
  >;
  /** The bytes of requests not handled and of replies not taken. */
  readonly held: number;
  /** The part of each thread; delays are in milliseconds. */
  readonly perThread: readonly {
    readonly active: number;
    readonly requests: number;
    readonly delays: Readonly<Pick<Histogram, "sum" | "count">>;
  }[];
}

export class Counters {
  /** If this thread holds more bytes than this, {@linkcode onHeld} is called. */
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

  /** A connection has sent its first request, or, with -1, has ended. */
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
    // Requests of one batch have the same duration, and so the same bucket.
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

  /** A connection begins to wait, or, with -1, waits no more. */
  opening(what: Opening, count: 1 | -1): void {
    this.cells[OPENING + openings.indexOf(what)] += count;
  }

  acceptFailed(fault: typeof acceptFaults[number]): void {
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

  /** The memory held by all threads, in bytes. */
  get held(): number {
    return this.sum(HELD);
  }

  read(): Metrics {
    const sums = Float64Array.from(this.cells, (_, i) => this.sum(i));
    const done = sums.subarray(STATUS, BUSY).reduce((a, b) => a + b);
    const durations = histogram(sums, DURATION);
    const queueing = histogram(sums, QUEUE);
    // Requests that did not wait were not counted in `queueing`.
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

  /** The sum over all threads of a cell, or of several up to another. */
  sum(cell: number, to = cell + 1): number {
    let sum = 0;
    for (const cells of this.all) {
      for (let i = cell; i < to; i++) sum += cells[i];
    }
    return sum;
  }
}

/** Numbers of a running server. Each is read when the property is. */
export interface ServerStats {
  /** When the server started, in milliseconds since 1970. */
  readonly startedAt: number;
  /**
   * How long the server has been up, in milliseconds. A change of the system's
   * date does not change it.
   */
  readonly uptime: number;
  /** Connections open now. */
  readonly connections: number;
  /** Connections accepted since the start, without the refused ones. */
  readonly connectionsTotal: number;
  /** Connections refused since the start. */
  readonly connectionsRejected: number;
  /** Requests handed to the handler since the start. */
  readonly requests: number;
  /** Bytes received since the start. */
  readonly received: number;
  /** Bytes sent since the start. */
  readonly sent: number;
}

/** Reads the numbers from the counters, and gives no way to change them. */
export class ServerStatsBase implements ServerStats {
  readonly #counters: Counters;
  readonly #clock: Clock;
  /** When the server started, by this clock. */
  readonly #started: number;

  /** @param uptime How long the server is up already, in milliseconds. */
  constructor(
    counters: Counters,
    clock: Clock,
    readonly startedAt: number,
    uptime: number,
  ) {
    this.#counters = counters;
    this.#clock = clock;
    this.#started = clock.now() - uptime;
  }

  get uptime(): number {
    return this.#clock.now() - this.#started;
  }

  get connections(): number {
    return this.#counters.sum(ACTIVE);
  }

  get connectionsTotal(): number {
    return this.#counters.sum(ACCEPTED);
  }

  get connectionsRejected(): number {
    return this.#counters.sum(REJECTED, OPENING);
  }

  get requests(): number {
    return this.#counters.sum(REQUESTS);
  }

  get received(): number {
    return this.#counters.sum(RECEIVED);
  }

  get sent(): number {
    return this.#counters.sum(SENT);
  }
}

/** Ends what a lost thread had open, in its numbers; returns how much it was. */
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

/** Reads a histogram from the cells. */
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
