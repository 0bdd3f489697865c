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
 *
 * @module
 */

import type { Client } from "../client.ts";
import type { Clock } from "../clock.ts";
import {
  ClientClosedError,
  EncodeError,
  isErrReply,
  TimeoutError,
} from "../errors.ts";
import { Latencies } from "./latencies.ts";
import { Tally } from "./tally.ts";

/** How many connections are opened at the same time. */
const OPENING = 64;

/** How often a connection is tried again before it is given up. */
const TRIES = 5;

/** How many requests of each lane may take too long in a row. */
const LATE = 5;

/** How long it waits before the first of them, in milliseconds. */
const FIRST_WAIT = 100;

/** How often `onProgress` is called, in milliseconds. */
const PROGRESS_INTERVAL = 250;

/** Why a request has no reply whose connection we closed. */
const closedBecause = {
  complete: `Given up after ${LATE} timeouts in a row`,
  interrupted: "Interrupted before the reply",
  no_connection: `Given up after ${LATE} timeouts in a row`,
} as const;

/** What is to be measured. */
export interface BenchOptions {
  /** How many connections. */
  connections: number;
  /** How many requests may be in flight on each. */
  depth: number;
  /** How many requests in all; `Infinity` if `duration` ends the run. */
  requests: number;
  /** For how long requests are sent, in milliseconds; else `Infinity`. */
  duration: number;
  /** Requests that are due each second; without it, a closed loop. */
  rate: number | undefined;
  /** The request. */
  payload: Uint8Array;
  /** Connects; aborted if the run ends meanwhile. */
  connect: (signal: AbortSignal) => Promise<Client>;
  /** The source of time. */
  clock: Clock;
  /** Ends the run at once. */
  signal: AbortSignal;
  /** Told four times a second how far the run is. */
  onProgress?: (result: BenchResult) => void;
}

/** Why a run ended. */
export type BenchEnd = "complete" | "interrupted" | "no_connection";

/** What was measured; or, while it goes on, what has been so far. */
export interface BenchResult {
  /** Milliseconds since the first request; in the end, to the last reply. */
  elapsed: number;
  /** Requests handed to a connection; in the end, `done` and `failed`. */
  sent: number;
  /** Requests that have a reply. */
  done: number;
  /** Requests that got none. */
  failed: number;
  /** Requests of an open loop that were due, and no connection was free. */
  unsent: number;
  /** Bytes of all replies' payloads. */
  receivedBytes: number;
  /** Of each request that has a reply. */
  readonly latencies: Latencies;
  /** Why requests got no reply. */
  readonly errors: Tally;
  /** The replies that are errors. */
  readonly errReplies: Tally;
  /** Connections that ended during the run. */
  lost: number;
  /** How many were opened again. */
  reopened: number;
  /** How many were given up: not opened again, or without any reply. */
  givenUp: number;
  /** Why connections could not be opened again. */
  readonly connectErrors: Tally;
  /** Why the run ended. */
  end: BenchEnd;
}

/**
 * Measures a server.
 *
 * All connections are opened before the first request. One that is lost is
 * opened again after a wait that grows; after five times without a reply it is
 * given up, as is one whose requests take too long five times over. The run
 * ends with the last one.
 *
 * @param options What is to be measured.
 * @returns What was measured. Every request that was sent is either done or
 * failed in it, those among them that were in flight when it was interrupted.
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

function closeAll(clients: readonly (Client | undefined)[]): void {
  for (const client of clients) client?.close();
}

/** One measurement, from its first request on. */
class Run {
  /** Resolves with the result once nothing is in flight any more. */
  readonly finished: Promise<BenchResult>;
  readonly #options: BenchOptions;
  readonly #links: Link[];
  readonly #result: BenchResult = {
    elapsed: 0,
    sent: 0,
    done: 0,
    failed: 0,
    unsent: 0,
    receivedBytes: 0,
    latencies: new Latencies(),
    errors: new Tally(),
    errReplies: new Tally(),
    lost: 0,
    reopened: 0,
    givenUp: 0,
    connectErrors: new Tally(),
    end: "complete",
  };
  readonly #started: number;
  /** Milliseconds from one request that is due to the next; 0 if all are. */
  readonly #interval: number;
  /** Lanes of an open loop that wait for a request to be due. */
  readonly #free: Lane[] = [];
  /** Aborted when nothing more is sent. */
  readonly #over = new AbortController();
  readonly #resolve: (result: BenchResult) => void;
  readonly #reject: (error: unknown) => void;
  #cancelDue: (() => void) | undefined;
  #failure: unknown;

  constructor(options: BenchOptions, clients: Client[]) {
    this.#options = options;
    const { clock, rate, duration, depth, signal } = options;
    const { promise, resolve, reject } = Promise.withResolvers<BenchResult>();
    this.finished = promise;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#interval = rate === undefined ? 0 : 1000 / rate;
    this.#links = clients.map((client) => new Link(this, client, depth));
    this.#started = clock.now();
    if (duration < Infinity) this.after(duration, () => this.#stop("complete"));
    const interrupt = () => this.#interrupt();
    signal.addEventListener("abort", interrupt, { signal: this.#over.signal });
    this.#progress();
    // One lane of each before the second of any: a low rate keeps all in use.
    for (let i = 0; i < depth; i++) {
      for (const link of this.#links) this.next(link.lanes[i]);
    }
  }

  /** Calls back unless the run is over by then. */
  after(ms: number, tick: () => void): void {
    const cancel = this.#options.clock.after(ms, () => {
      this.#over.signal.removeEventListener("abort", cancel);
      tick();
    });
    this.#over.signal.addEventListener("abort", cancel, { once: true });
  }

  /** Opens a connection, unless the run ends meanwhile. */
  async connect(): Promise<Client> {
    const { signal } = this.#over;
    const client = await this.#options.connect(signal);
    if (signal.aborted) client.close();
    signal.throwIfAborted();
    return client;
  }

  /** Whether nothing more is sent. */
  get over(): boolean {
    return this.#over.signal.aborted;
  }

  /** Sends the next request on a lane that is free, as soon as it is due. */
  next(lane: Lane): void {
    if (this.over) return;
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

  /** A request has its reply. */
  replied(reply: Uint8Array, due: number): void {
    const result = this.#result;
    result.done++;
    result.receivedBytes += reply.length;
    result.latencies.add(this.#options.clock.now() - due);
    if (isErrReply(reply)) {
      result.errReplies.add(new TextDecoder().decode(reply));
    }
    if (this.over) this.#finishIfDone();
  }

  /** A request gets no reply. */
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
        ? closedBecause[result.end]
        : textOf(error),
    );
    if (this.over) this.#finishIfDone();
  }

  /** A connection has ended. */
  lost(link: Link): void {
    this.#result.lost++;
    if (!this.over) this.retry(link);
  }

  /** Opens a connection again, after a wait. */
  retry(link: Link): void {
    if (link.tries === TRIES) return this.givenUp();
    this.after(FIRST_WAIT * 2 ** link.tries++, () => link.reopen());
  }

  /** A connection is not opened again. */
  givenUp(): void {
    const result = this.#result;
    result.givenUp++;
    if (result.givenUp === this.#links.length) this.#stop("no_connection");
  }

  /** A connection is there again. */
  reopened(): void {
    this.#result.reopened++;
  }

  /** A connection could not be opened again. */
  unopened(link: Link, error: unknown): void {
    if (this.over) return;
    this.#result.connectErrors.add(textOf(error));
    this.retry(link);
  }

  #progress(): void {
    const { onProgress, clock } = this.#options;
    if (onProgress === undefined) return;
    this.after(PROGRESS_INTERVAL, () => {
      this.#result.elapsed = clock.now() - this.#started;
      onProgress(this.#result);
      this.#progress();
    });
  }

  #interrupt(): void {
    this.#stop("interrupted");
    // What is in flight fails by this, and is counted so.
    closeAll(this.#links.map(({ client }) => client));
  }

  /** Sends no more, and finishes once nothing is in flight. */
  #stop(end: BenchEnd): void {
    if (this.over) return;
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
    result.elapsed = this.#options.clock.now() - this.#started;
    closeAll(this.#links.map(({ client }) => client));
    if (this.#failure === undefined) this.#resolve(result);
    else this.#reject(this.#failure);
  }
}

/** One of the connections, over all of its lives. */
class Link {
  /** Undefined while there is none. */
  client: Client | undefined;
  readonly lanes: readonly Lane[];
  /** How often it was opened again since its last reply. */
  tries = 0;
  /** How many requests took too long since its last reply. */
  #late = 0;
  readonly #run: Run;

  constructor(run: Run, client: Client, depth: number) {
    this.#run = run;
    this.lanes = Array.from({ length: depth }, () => new Lane(run, this));
    this.#use(client);
  }

  async reopen(): Promise<void> {
    try {
      this.#use(await this.#run.connect());
    } catch (error) {
      this.#run.unopened(this, error);
      return;
    }
    this.#run.reopened();
    for (const lane of this.lanes) {
      if (lane.parked) lane.next();
    }
  }

  /** A request has its reply. */
  replied(): void {
    this.tries = 0;
    this.#late = 0;
  }

  /** A request took too long. A server that answers nothing is given up. */
  late(): void {
    if (++this.#late !== LATE * this.lanes.length) return;
    this.client?.close();
    this.client = undefined;
    this.#run.givenUp();
  }

  #use(client: Client): void {
    this.client = client;
    client.closed.then((error) => {
      this.client = undefined;
      // Closed by us, at the end of the run.
      if (error !== undefined) this.#run.lost(this);
    });
  }
}

/** A place on a connection for one request in flight. */
class Lane {
  /** Whether it waits for its connection to be there again. */
  parked = false;
  readonly #run: Run;
  readonly #link: Link;
  /** When its request was due. */
  #due = 0;

  constructor(run: Run, link: Link) {
    this.#run = run;
    this.#link = link;
  }

  /** Sends a request that was due at a certain moment. */
  send(payload: Uint8Array, due: number): void {
    this.#due = due;
    this.#link.client!.request(payload).then(this.#replied, this.#failed);
  }

  /** Sends the next request, unless there is no connection now. */
  next(): void {
    this.parked = this.#link.client === undefined;
    if (!this.parked) this.#run.next(this);
  }

  // Made once, for a closure for each request costs.
  readonly #replied = (reply: Uint8Array): void => {
    this.#link.replied();
    this.#run.replied(reply, this.#due);
    this.next();
  };

  readonly #failed = (error: unknown): void => {
    this.#run.failed(error);
    // The connection goes on after a request that took too long; any other
    // error has ended it, and it is for the link to go on.
    this.parked = !(error instanceof TimeoutError);
    if (this.parked) return;
    this.#link.late();
    this.next();
  };
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
