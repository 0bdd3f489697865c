/**
 * Many requests over many connections, and how fast their replies come: what
 * `client --bench` measures.
 *
 * A connection has as many lanes as requests may be in flight on it, and a lane
 * has one request in flight at a time. In a closed loop a reply sends the
 * lane's next request. In an open loop each request is due at a moment of its
 * own, whatever the server does, and goes out on a lane that is free then; if
 * none is, it waits, and its latency has the wait in it. So a server that
 * stands still makes all the requests late that were due meanwhile, not only
 * those few that were in flight (no coordinated omission).
 */

import type { Client } from "../../client/client.ts";
import type { Clock } from "../../core/clock.ts";
import {
  ClientClosedError,
  EncodeError,
  RefusedError,
} from "../../core/errors.ts";
import { messageOf } from "../../core/text.ts";
import { isErrReply } from "../../server/replies.ts";
import { Latencies } from "./latencies.ts";
import { type Dispatcher, type Lane, LATE, Link } from "./link.ts";
import { Tally } from "./tally.ts";

const OPENING = 64;

const TRIES = 5;

/** How long it waits before the first of them, in milliseconds. */
const FIRST_WAIT = 100;

/** How often `onProgress` is called, in milliseconds. */
const PROGRESS_INTERVAL = 250;

/** Why a request has no reply that was in flight at an interrupt. */
const INTERRUPTED = "Interrupted before the reply";

/** Why one has none on a connection that is given up, as others were late. */
const GIVEN_UP = `Given up after ${LATE} timeouts in a row`;

export interface BenchOptions {
  connections: number;
  depth: number;
  /** How many requests in all; `Infinity` if `duration` ends the run. */
  requests: number;
  /** For how long requests are sent, in milliseconds; else `Infinity`. */
  duration: number;
  /** Requests that are due each second; without it, a closed loop. */
  rate: number | undefined;
  payload: Uint8Array;
  /** Connects; aborted if the run ends meanwhile. */
  connect: (signal: AbortSignal) => Promise<Client>;
  clock: Clock;
  signal: AbortSignal;
  /** Told four times a second how far the run is. */
  onProgress?: (result: BenchResult) => void;
}

export type BenchEnd = "complete" | "interrupted" | "no_connection";

/** What was measured; or, while it goes on, what has been so far. */
export class BenchResult {
  /**
   * Milliseconds since the first request, less those without any connection;
   * in the end, to the last reply.
   */
  elapsed = 0;
  /** Requests handed to a connection; in the end, `done` and `failed`. */
  sent = 0;
  done = 0;
  failed = 0;
  /** Requests of an open loop that were due, and no connection was free. */
  unsent = 0;
  /** Bytes that the system took of all requests, the framing's included. */
  takenBytes = 0;
  receivedBytes = 0;
  /** Of each request that has a reply. */
  readonly latencies = new Latencies();
  readonly errors = new Tally();
  readonly errReplies = new Tally();
  /** Connections that ended during the run. */
  lost = 0;
  /** How many of them the server turned away. */
  refused = 0;
  reopened = 0;
  /** How many were given up: not opened again, or without any reply. */
  givenUp = 0;
  /** Why connections were turned away, or could not be opened again. */
  readonly connectErrors = new Tally();
  end: BenchEnd = "complete";
}

/**
 * Measures a server.
 *
 * All connections are opened before the first request. One that is lost is
 * opened again after a wait that grows; after five times without a reply it is
 * given up, as is one whose requests take too long five times over. The run
 * ends with the last one. Every request that was sent is either done or failed
 * in the result, also those that were in flight when it was interrupted.
 *
 * @throws {ConnectError} A connection cannot be opened to begin with; as for
 * `connect`.
 * @throws {EncodeError} The framing cannot carry the request.
 * @throws The signal's reason, if it comes before the first request.
 */
export async function runBench(options: BenchOptions): Promise<BenchResult> {
  const clients = await openAll(options);
  if (options.signal.aborted) closeAll(clients);
  options.signal.throwIfAborted();
  return await new Run(options, clients).finished;
}

async function openAll(
  { connections, connect, signal }: BenchOptions,
): Promise<Client[]> {
  // The first one alone: a server that is not there is asked once.
  const clients = [await connect(signal)];
  while (clients.length < connections) {
    const count = Math.min(connections - clients.length, OPENING);
    const opened = await Promise.allSettled(
      Array.from({ length: count }, () => connect(signal)),
    );
    let failure: PromiseRejectedResult | undefined;
    for (const result of opened) {
      if (result.status === "fulfilled") clients.push(result.value);
      else failure ??= result;
    }
    if (failure !== undefined) {
      closeAll(clients);
      throw failure.reason;
    }
  }
  return clients;
}

function closeAll(clients: readonly Client[]): void {
  for (const client of clients) client.close();
}

class Run implements Dispatcher {
  /** Resolves with the result once nothing is in flight any more. */
  get finished(): Promise<BenchResult> {
    return this.#ending.promise;
  }
  readonly #options: BenchOptions;
  readonly #links: Link[];
  readonly #result = new BenchResult();
  readonly #started: number;
  /** It stands still while no connection is open. */
  readonly #served: Stopwatch;
  #open: number;
  /** Milliseconds from one request that is due to the next; 0 if all are. */
  readonly #interval: number;
  /** Lanes of an open loop that wait for a request to be due. */
  readonly #free: Lane[] = [];
  readonly #over = new AbortController();
  readonly #ending = Promise.withResolvers<BenchResult>();
  #cancelDue: (() => void) | undefined;
  #cancelProgress: (() => void) | undefined;
  #failure: unknown;

  constructor(options: BenchOptions, clients: Client[]) {
    this.#options = options;
    const { clock, rate, duration, depth, signal } = options;
    this.#interval = rate === undefined ? 0 : 1000 / rate;
    this.#links = clients.map((client) => new Link(this, client, depth));
    this.#open = clients.length;
    this.#served = new Stopwatch(clock);
    this.#started = clock.now();
    if (duration < Infinity) {
      this.#after(duration, () => this.#stop("complete"));
    }
    signal.addEventListener("abort", this.#interrupt);
    this.#progress();
    // One lane of each before the second of any: a low rate keeps all in use.
    for (let i = 0; i < depth; i++) {
      for (const link of this.#links) this.next(link.lanes[i]);
    }
  }

  /** Calls back unless the run is over by then. */
  #after(ms: number, tick: () => void): void {
    const cancel = this.#options.clock.after(ms, () => {
      this.#over.signal.removeEventListener("abort", cancel);
      tick();
    });
    this.#over.signal.addEventListener("abort", cancel, { once: true });
  }

  async connect(): Promise<Client> {
    const { signal } = this.#over;
    const client = await this.#options.connect(signal);
    if (signal.aborted) client.close();
    signal.throwIfAborted();
    return client;
  }

  get #isOver(): boolean {
    return this.#over.signal.aborted;
  }

  next(lane: Lane): void {
    if (this.#isOver) return;
    const due = this.#due();
    if (due === undefined) {
      this.#free.push(lane);
      return;
    }
    const result = this.#result;
    result.sent++;
    lane.send(this.#options.payload, due);
    if (result.sent === this.#options.requests) this.#stop("complete");
  }

  /**
   * When the next request was due: in a closed loop now. If it is not due yet,
   * there will be a call for it, unless the run ends before.
   */
  #due(): number | undefined {
    const { clock, duration } = this.#options;
    const now = clock.now();
    if (this.#interval === 0) return now;
    const after = this.#result.sent * this.#interval;
    // A timer may be late: what is due after the end is not sent before it.
    if (after >= duration) return undefined;
    const due = this.#started + after;
    if (due <= now) return due;
    this.#cancelDue ??= clock.after(due - now, () => this.#sendDue());
  }

  #sendDue(): void {
    this.#cancelDue = undefined;
    while (this.#free.length > 0 && this.#due() !== undefined) {
      this.#free.shift()?.next();
    }
  }

  replied(reply: Uint8Array, due: number): void {
    const result = this.#result;
    result.done++;
    result.receivedBytes += reply.length;
    result.latencies.add(this.#options.clock.now() - due);
    if (isErrReply(reply)) {
      result.errReplies.add(new TextDecoder().decode(reply));
    }
    if (this.#isOver) this.#finishIfDone();
  }

  failed(error: unknown): void {
    // All requests are the same: the first one ends it.
    if (error instanceof EncodeError) {
      this.#failure = error;
      this.#stop("complete");
    }
    const result = this.#result;
    result.failed++;
    result.errors.add(
      error instanceof ClientClosedError
        ? result.end === "interrupted" ? INTERRUPTED : GIVEN_UP
        : messageOf(error),
    );
    if (this.#isOver) this.#finishIfDone();
  }

  parted(sentBytes: number): void {
    this.#result.takenBytes += sentBytes;
    if (--this.#open === 0) this.#served.pause();
  }

  lost(link: Link, error: Error): void {
    const result = this.#result;
    result.lost++;
    if (error instanceof RefusedError) {
      result.refused++;
      result.connectErrors.add(error.message);
    }
    if (!this.#isOver) this.#retry(link);
  }

  #retry(link: Link): void {
    if (link.tries === TRIES) return this.givenUp();
    this.#after(FIRST_WAIT * 2 ** link.tries++, () => link.reopen());
  }

  givenUp(): void {
    const result = this.#result;
    result.givenUp++;
    if (result.givenUp === this.#links.length) this.#stop("no_connection");
  }

  reopened(): void {
    this.#result.reopened++;
    if (this.#open++ === 0) this.#served.resume();
  }

  unopened(link: Link, error: unknown): void {
    if (this.#isOver) return;
    this.#result.connectErrors.add(messageOf(error));
    this.#retry(link);
  }

  #progress(): void {
    const { onProgress, clock } = this.#options;
    if (onProgress === undefined) return;
    this.#cancelProgress = clock.after(PROGRESS_INTERVAL, () => {
      this.#result.elapsed = this.#served.elapsed;
      onProgress(this.#result);
      this.#progress();
    });
  }

  /** Also ends the wait for the last replies, when nothing more is sent. */
  readonly #interrupt = (): void => {
    this.#stop("interrupted");
    this.#result.end = "interrupted";
    // What is in flight fails by this, and is counted so.
    for (const link of this.#links) link.close();
  };

  /** Sends no more, and finishes once nothing is in flight. */
  #stop(end: BenchEnd): void {
    if (this.#isOver) return;
    const result = this.#result;
    const { clock, requests, duration } = this.#options;
    result.end = end;
    if (this.#interval > 0) {
      const span = Math.min(clock.now() - this.#started, duration);
      const due = Math.min(Math.ceil(span / this.#interval), requests);
      result.unsent = Math.max(due - result.sent, 0);
    }
    this.#cancelDue?.();
    this.#over.abort();
    this.#finishIfDone();
  }

  #finishIfDone(): void {
    const result = this.#result;
    if (result.done + result.failed < result.sent) return;
    result.elapsed = this.#served.elapsed;
    this.#cancelProgress?.();
    this.#options.signal.removeEventListener("abort", this.#interrupt);
    for (const link of this.#links) link.close();
    if (this.#failure === undefined) this.#ending.resolve(result);
    else this.#ending.reject(this.#failure);
  }
}

/** Time that passes only while something goes on; it does from the start. */
class Stopwatch {
  readonly #clock: Clock;
  /** When it would have started without its pauses. */
  #started: number;
  #pausedAt: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#started = clock.now();
  }

  /** For how long it has run, in milliseconds. */
  get elapsed(): number {
    return (this.#pausedAt ?? this.#clock.now()) - this.#started;
  }

  pause(): void {
    this.#pausedAt ??= this.#clock.now();
  }

  resume(): void {
    if (this.#pausedAt === undefined) return;
    this.#started += this.#clock.now() - this.#pausedAt;
    this.#pausedAt = undefined;
  }
}
