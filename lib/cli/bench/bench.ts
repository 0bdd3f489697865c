/**
 * Many requests over many connections, and how fast their replies come: what
 * `client bench` measures.
 *
 * A connection has as many lanes as requests may be in flight on it, and a lane
 * has one request in flight at a time. In a closed loop a reply sends the
 * lane's next request. In an open loop each request is due at a moment of its
 * own, whatever the server does, and goes out on a lane that is free then; if
 * none is, it waits, and its latency has the wait in it. So a server that
 * stands still makes all the requests late that were due meanwhile, not only
 * those few that were in flight (no coordinated omission).
 */

import process from "node:process";

import type { Clock } from "../../core/clock.ts";
import {
  ClientClosedError,
  EncodeError,
  RefusedError,
  TimeoutError,
} from "../../core/errors.ts";
import { isErrReply } from "../../server/replies.ts";
import { reasonOf } from "../client/shown.ts";
import { type Client, OneByOne } from "./one_by_one.ts";
import { type BenchEnd, BenchResult } from "./result.ts";

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
  /** What is sent, in turn. */
  payloads: readonly Uint8Array[];
  /** Whether each request has a connection of its own. */
  reconnect?: boolean;
  connect: (signal: AbortSignal) => Promise<Client>;
  clock: Clock;
  signal: AbortSignal;
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
  const { clock, signal, payloads, requests, duration } = options;
  const result = new BenchResult();
  const connect = async (signal: AbortSignal) => {
    const asked = clock.now();
    const client = await options.connect(signal);
    result.connects.add(clock.now() - asked);
    return client;
  };
  // A server that is not there is said at once.
  if (options.reconnect) (await connect(signal)).close();
  const clients = options.reconnect
    ? Array.from({ length: options.connections }, () => new OneByOne(connect))
    : await openAll(options, connect);
  if (signal.aborted) closeAll(clients);
  signal.throwIfAborted();

  const started = clock.now();
  let open = clients.length;
  let lostAll = 0;
  /** For how long there was no connection, in milliseconds. */
  let unserved = 0;
  /** What was elapsed at the last reply. */
  let served: number | undefined;
  const atFirst = process.cpuUsage();
  /** Milliseconds from one request that is due to the next; 0 if all are. */
  const interval = options.rate === undefined ? 0 : 1000 / options.rate;
  /** Lanes of an open loop that wait for a request to be due. */
  const free: Lane[] = [];
  let cancelDue: (() => void) | undefined;
  let cancelProgress = () => {};
  const over = new AbortController();
  /** That it is aborted, which takes longer to ask than a request may. */
  let isOver = false;
  const settled = Promise.withResolvers<void>();
  let failure: unknown;

  function elapsed(): number {
    return (open > 0 ? clock.now() : lostAll) - started - unserved;
  }

  const moment = () => ({ elapsed: result.elapsed, done: result.done });

  /** Calls back after a while, or as soon as the run is over. */
  function after(ms: number, tick: () => void): void {
    const call = () => {
      cancel();
      over.signal.removeEventListener("abort", call);
      tick();
    };
    const cancel = clock.after(ms, call);
    over.signal.addEventListener("abort", call);
  }

  function progress(): void {
    cancelProgress = clock.after(PROGRESS_INTERVAL, () => {
      result.elapsed = elapsed();
      options.onProgress?.(result);
      result.series.add(moment());
      progress();
    });
  }

  /** Sees to a connection until it is closed by us or given up. */
  async function keep(link: Link): Promise<void> {
    for (let { client } = link; client !== undefined; client = link.client) {
      const error = await client.closed;
      link.client = undefined;
      result.takenBytes += client.sent;
      if (--open === 0) lostAll = clock.now();
      if (error === undefined) return;
      result.lost++;
      if (error instanceof RefusedError) {
        result.refused++;
        result.connectErrors.add(reasonOf(error));
      }
      await reopen(link);
    }
  }

  async function reopen(link: Link): Promise<void> {
    while (link.client === undefined) {
      if (isOver) return;
      if (link.tries === TRIES) return giveUp();
      const wait = FIRST_WAIT * 2 ** link.tries++;
      await new Promise<void>((resolve) => after(wait, resolve));
      if (isOver) return;
      try {
        link.client = await connect(over.signal);
      } catch (error) {
        if (!isOver) result.connectErrors.add(reasonOf(error));
      }
    }
    if (isOver) return close(link);
    result.reopened++;
    if (open++ === 0) unserved += clock.now() - lostAll;
    for (const lane of link.parked.splice(0)) next(lane);
  }

  function giveUp(): void {
    if (++result.givenUp === clients.length) stop("no_connection");
  }

  /** Sends the next request on a lane that is free, as soon as it is due. */
  function next(lane: Lane, now = clock.now()): void {
    const { client, parked } = lane.link;
    if (isOver) return;
    if (client === undefined) return void parked.push(lane);
    const due = nextDue(now);
    if (due === undefined) return void free.push(lane);
    lane.due = due;
    const payload = payloads[result.sent++ % payloads.length];
    client.request(payload).then(lane.onReply, lane.onError);
    if (result.sent === requests) stop("complete");
  }

  /**
   * When the next request was due: in a closed loop now. If it is not due yet,
   * there will be a call for it, unless the run ends before.
   */
  function nextDue(now = clock.now()): number | undefined {
    if (interval === 0) return now;
    const offset = result.sent * interval;
    // A timer may be late: what is due after the end is not sent before it.
    if (offset >= duration) return undefined;
    const due = started + offset;
    if (due <= now) return due;
    cancelDue ??= clock.after(due - now, () => {
      cancelDue = undefined;
      while (free.length > 0 && nextDue() !== undefined) next(free.shift()!);
    });
  }

  function replied(lane: Lane, reply: Uint8Array): void {
    const { link, due } = lane;
    link.tries = 0;
    link.late = 0;
    result.done++;
    result.receivedBytes += reply.length;
    const now = clock.now();
    served = now - started - unserved;
    result.latencies.add(now - due);
    if (isErrReply(reply)) {
      result.errReplies.add(new TextDecoder().decode(reply));
    }
    settleIfDone();
    next(lane, now);
  }

  function failed(lane: Lane, error: unknown): void {
    // Whoever asks for what cannot be sent is told at once.
    if (error instanceof EncodeError) {
      failure = error;
      stop("complete");
    }
    result.failed++;
    const why = !(error instanceof ClientClosedError)
      ? reasonOf(error)
      : result.end === "interrupted"
      ? "Interrupted before the reply"
      : `Given up after ${LATE} failures in a row`;
    result.errors.add(why);
    settleIfDone();
    // The connection goes on after a request that took too long; any other
    // error has ended it, and it is to be opened again.
    const { link } = lane;
    if (!options.reconnect && !(error instanceof TimeoutError)) {
      return void link.parked.push(lane);
    }
    // A server that answers nothing is given up.
    if (++link.late === LATE * link.lanes.length) {
      close(link);
      giveUp();
    }
    next(lane);
  }

  /** Also ends the wait for the last replies, when nothing more is sent. */
  function interrupt(): void {
    stop("interrupted");
    result.end = "interrupted";
    // What is in flight fails by this, and is counted so.
    links.forEach(close);
  }

  /** Sends no more, and finishes once nothing is in flight. */
  function stop(end: BenchEnd): void {
    if (isOver) return;
    result.end = end;
    if (interval > 0) {
      const span = Math.min(clock.now() - started, duration);
      const due = Math.min(Math.ceil(span / interval), requests);
      result.unsent = Math.max(due - result.sent, 0);
    }
    cancelDue?.();
    isOver = true;
    over.abort();
    settleIfDone();
  }

  function settleIfDone(): void {
    const { sent, done, failed } = result;
    if (isOver && done + failed === sent) settled.resolve();
  }

  const links = clients.map((client) => {
    const link: Link = { client, lanes: [], parked: [], tries: 0, late: 0 };
    for (let i = 0; i < options.depth; i++) {
      const lane: Lane = {
        link,
        due: 0,
        onReply: (reply) => replied(lane, reply),
        onError: (error) => failed(lane, error),
      };
      link.lanes.push(lane);
    }
    return link;
  });
  signal.addEventListener("abort", interrupt);
  if (duration < Infinity) after(duration, () => stop("complete"));
  progress();
  const kept = links.map(keep);
  // One lane of each before the second of any: a low rate keeps all in use.
  for (let i = 0; i < options.depth; i++) {
    for (const link of links) next(link.lanes[i]);
  }
  await settled.promise;
  const ended = elapsed();
  const isCut = result.end !== "complete" || served === undefined;
  result.elapsed = isCut ? ended : served!;
  // The rest of an interval is no measure of a rate, if it is short.
  const since = result.elapsed -
    (result.series.moments.at(-1)?.elapsed ?? -1e9);
  if (since > PROGRESS_INTERVAL / 2) result.series.add(moment());
  const { user, system } = process.cpuUsage(atFirst);
  result.load = (user + system) / 1000 / (clock.now() - started);
  cancelProgress();
  signal.removeEventListener("abort", interrupt);
  links.forEach(close);
  await Promise.all(kept);
  if (failure !== undefined) throw failure;
  return result;
}

async function openAll(
  { connections, signal }: BenchOptions,
  connect: BenchOptions["connect"],
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

interface Lane {
  readonly link: Link;
  /** When its request was due: its latency counts from then. */
  due: number;
  // Made once, for a closure for each request costs.
  readonly onReply: (reply: Uint8Array) => void;
  readonly onError: (error: unknown) => void;
}

/** Closes a connection, if it is open. What is in flight on it fails. */
function close(link: Link): void {
  link.client?.close();
  link.client = undefined;
}
