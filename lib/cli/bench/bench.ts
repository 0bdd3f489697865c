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

import type { Client } from "../../client/pipelined_client.ts";
import type { Clock } from "../../core/clock.ts";
import {
  ClientClosedError,
  EncodeError,
  RefusedError,
  TimeoutError,
} from "../../core/errors.ts";
import { messageOf } from "../../core/text.ts";
import { isErrReply } from "../../server/replies.ts";
import { type BenchEnd, BenchResult } from "./result.ts";

/** How many connections are opened at once. */
const OPENING = 64;

/** How often a lost one is opened again, and the first wait for it, in ms. */
const TRIES = 5;
const FIRST_WAIT = 100;

/** How often `onProgress` is called, in milliseconds. */
const PROGRESS_INTERVAL = 250;

/** How many requests of each lane may take too long in a row. */
const LATE = 5;

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

/**
 * Measures a server.
 *
 * All connections are opened before the first request, or it throws. One that
 * is lost is opened again after a wait that grows; after five times without a
 * reply it is given up, as is one whose requests take too long five times over.
 * The run ends with the last one. Every request that was sent is either done or
 * failed in the result, also those in flight when it was interrupted.
 *
 * @throws The signal's reason, if it comes before the first request.
 */
export async function runBench(options: BenchOptions): Promise<BenchResult> {
  const clients = await openAll(options);
  if (options.signal.aborted) closeAll(clients);
  options.signal.throwIfAborted();
  return await new Run(options, clients).finish();
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
    for (const result of opened) {
      if (result.status === "fulfilled") clients.push(result.value);
    }
    const failure = opened.find((result) => result.status === "rejected");
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

/** A connection that is opened again where it is lost. */
interface Link {
  client?: Client;
  readonly lanes: Lane[];
  /** Those that wait for it to be there again. */
  readonly parked: Lane[];
  /** How often it was to be opened again since its last reply. */
  tries: number;
  /** How many requests took too long since then. */
  late: number;
}

/** A place for a request on a connection. */
interface Lane {
  readonly link: Link;
  /** When its request was due: its latency counts from then. */
  due: number;
  // Made once, for a closure for each request costs.
  readonly onReply: (reply: Uint8Array) => void;
  readonly onError: (error: unknown) => void;
}

class Run {
  readonly #options: BenchOptions;
  readonly #links: readonly Link[];
  readonly #result = new BenchResult();
  readonly #started: number;
  #open: number;
  /** When the last connection that was open ended. */
  #lostAll = 0;
  /** For how long there was no connection, in milliseconds. */
  #unserved = 0;
  /** Milliseconds from one request that is due to the next; 0 if all are. */
  readonly #interval: number;
  /** Lanes of an open loop that wait for a request to be due. */
  readonly #free: Lane[] = [];
  #cancelDue: (() => void) | undefined;
  #cancelProgress: (() => void) | undefined;
  /** Aborted when no more is sent. */
  readonly #over = new AbortController();
  /** Resolves when nothing is in flight either. */
  readonly #settled = Promise.withResolvers<void>();
  #failure: unknown;

  constructor(options: BenchOptions, clients: readonly Client[]) {
    this.#options = options;
    this.#started = options.clock.now();
    this.#interval = options.rate === undefined ? 0 : 1000 / options.rate;
    this.#open = clients.length;
    this.#links = clients.map((client) => {
      const link: Link = { client, lanes: [], parked: [], tries: 0, late: 0 };
      for (let i = 0; i < options.depth; i++) {
        const lane: Lane = {
          link,
          due: 0,
          onReply: (reply) => this.#replied(lane, reply),
          onError: (error) => this.#failed(lane, error),
        };
        link.lanes.push(lane);
      }
      return link;
    });
  }

  /** Measures, until nothing is in flight any more. */
  async finish(): Promise<BenchResult> {
    const { duration, depth, signal } = this.#options;
    const result = this.#result;
    signal.addEventListener("abort", this.#interrupt);
    if (duration < Infinity) {
      this.#after(duration, () => this.#stop("complete"));
    }
    this.#progress();
    const kept = this.#links.map((link) => this.#keep(link));
    // One lane of each before the second of any: a low rate keeps all in use.
    for (let i = 0; i < depth; i++) {
      for (const link of this.#links) this.#next(link.lanes[i]);
    }
    await this.#settled.promise;
    result.elapsed = this.#elapsed;
    this.#cancelProgress?.();
    signal.removeEventListener("abort", this.#interrupt);
    for (const link of this.#links) close(link);
    await Promise.all(kept);
    if (this.#failure !== undefined) throw this.#failure;
    return result;
  }

  get #isOver(): boolean {
    return this.#over.signal.aborted;
  }

  /** Milliseconds with a connection, so far. */
  get #elapsed(): number {
    const now = this.#open > 0 ? this.#options.clock.now() : this.#lostAll;
    return now - this.#started - this.#unserved;
  }

  /** Calls back after a while, or as soon as the run is over. */
  #after(ms: number, tick: () => void): void {
    const { signal } = this.#over;
    const call = () => {
      cancel();
      signal.removeEventListener("abort", call);
      tick();
    };
    const cancel = this.#options.clock.after(ms, call);
    signal.addEventListener("abort", call);
  }

  #progress(): void {
    this.#cancelProgress = this.#options.clock.after(PROGRESS_INTERVAL, () => {
      this.#result.elapsed = this.#elapsed;
      this.#options.onProgress?.(this.#result);
      this.#progress();
    });
  }

  /** Sees to a connection until it is closed by us or given up. */
  async #keep(link: Link): Promise<void> {
    const result = this.#result;
    for (let { client } = link; client !== undefined; client = link.client) {
      const error = await client.closed;
      link.client = undefined;
      result.takenBytes += client.sent;
      if (--this.#open === 0) this.#lostAll = this.#options.clock.now();
      if (error === undefined) return;
      result.lost++;
      if (error instanceof RefusedError) {
        result.refused++;
        result.connectErrors.add(error.message);
      }
      await this.#reopen(link);
    }
  }

  async #reopen(link: Link): Promise<void> {
    const { clock, connect } = this.#options;
    const result = this.#result;
    while (link.client === undefined) {
      if (this.#isOver) return;
      if (link.tries === TRIES) return this.#giveUp();
      const wait = FIRST_WAIT * 2 ** link.tries++;
      await new Promise<void>((resolve) => this.#after(wait, resolve));
      if (this.#isOver) return;
      try {
        link.client = await connect(this.#over.signal);
      } catch (error) {
        if (!this.#isOver) {
          result.connectErrors.add(messageOf(error));
        }
      }
    }
    if (this.#isOver) return close(link);
    result.reopened++;
    if (this.#open++ === 0) this.#unserved += clock.now() - this.#lostAll;
    for (const lane of link.parked.splice(0)) this.#next(lane);
  }

  #giveUp(): void {
    this.#result.givenUp++;
    if (this.#result.givenUp === this.#links.length) {
      this.#stop("no_connection");
    }
  }

  /** Sends the next request on a lane that is free, as soon as it is due. */
  #next(lane: Lane): void {
    const { client, parked } = lane.link;
    if (this.#isOver) return;
    if (client === undefined) return void parked.push(lane);
    const due = this.#due();
    if (due === undefined) return void this.#free.push(lane);
    const { payload, requests } = this.#options;
    lane.due = due;
    this.#result.sent++;
    client.request(payload).then(lane.onReply, lane.onError);
    if (this.#result.sent === requests) this.#stop("complete");
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
    this.#cancelDue ??= clock.after(due - now, () => {
      this.#cancelDue = undefined;
      while (this.#free.length > 0 && this.#due() !== undefined) {
        this.#next(this.#free.shift()!);
      }
    });
  }

  #replied(lane: Lane, reply: Uint8Array): void {
    const { link, due } = lane;
    link.tries = 0;
    link.late = 0;
    const result = this.#result;
    result.done++;
    result.receivedBytes += reply.length;
    result.latencies.add(this.#options.clock.now() - due);
    if (isErrReply(reply)) {
      result.errReplies.add(new TextDecoder().decode(reply));
    }
    this.#settleIfDone();
    this.#next(lane);
  }

  #failed(lane: Lane, error: unknown): void {
    // All requests are the same: the first one ends it.
    if (error instanceof EncodeError) {
      this.#failure = error;
      this.#stop("complete");
    }
    const result = this.#result;
    result.failed++;
    const why = !(error instanceof ClientClosedError)
      ? messageOf(error)
      : result.end === "interrupted"
      ? "Interrupted before the reply"
      : `Given up after ${LATE} timeouts in a row`;
    result.errors.add(why);
    this.#settleIfDone();
    // The connection goes on after a request that took too long; any other
    // error has ended it, and it is to be opened again.
    const { link } = lane;
    if (!(error instanceof TimeoutError)) return void link.parked.push(lane);
    // A server that answers nothing is given up.
    if (++link.late === LATE * link.lanes.length) {
      close(link);
      this.#giveUp();
    }
    this.#next(lane);
  }

  /** Also ends the wait for the last replies, when nothing more is sent. */
  readonly #interrupt = (): void => {
    this.#stop("interrupted");
    this.#result.end = "interrupted";
    // What is in flight fails by this, and is counted so.
    for (const link of this.#links) close(link);
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
    this.#settleIfDone();
  }

  #settleIfDone(): void {
    const { sent, done, failed } = this.#result;
    if (this.#isOver && done + failed === sent) {
      this.#settled.resolve();
    }
  }
}

/** Closes a connection, if it is open. What is in flight on it fails. */
function close(link: Link): void {
  link.client?.close();
  link.client = undefined;
}
