/**
 * Many requests over many connections, and how fast their replies come: what
 * `client bench` measures.
 *
 * A connection has as many lanes as requests may be in flight on it. A lane is
 * a loop that has one request in flight at a time. In a closed loop it sends
 * the next as soon as the reply is there. In an open loop (`rate`) each request
 * is due at a moment of its own, whatever the server does, and goes out on a
 * lane that is free then; if none is, it waits, and its latency has the wait in
 * it. So a server that stands still makes all the requests late that were due
 * meanwhile, not only those few that were in flight (no coordinated omission).
 */

import process from "node:process";

import type { Client as AnyClient } from "../../client/api.ts";
import type { Clock } from "../../core/clock.ts";
import {
  ClientClosedError,
  EncodeError,
  RefusedError,
  TimeoutError,
} from "../../core/errors.ts";
import { decodeText } from "../../core/text.ts";
import { isErrReply, reasonOf } from "../client/shown.ts";
import { type BenchEnd, BenchResult } from "./result.ts";

/** How many connections are opened at the same time. */
const OPENING = 64;

/** How often a lost one is opened again, and the first wait for it, in ms. */
const TRIES = 5;
const FIRST_WAIT = 100;

/** How often `onProgress` is called, in milliseconds. */
const PROGRESS_INTERVAL = 250;

/** How many requests of each lane may take too long in a row. */
const LATE = 5;

/** What a measurement needs of its connections. */
export type Client =
  & Pick<AnyClient, "sent" | "close" | "closed">
  & { request(payload: Uint8Array): Promise<Uint8Array> };

export interface BenchOptions {
  connections: number;
  /** How many requests may be in flight on each. */
  depth: number;
  /** How many requests in all; `Infinity` if `duration` ends the run. */
  requests: number;
  /** For how long requests are sent, in milliseconds; else `Infinity`. */
  duration: number;
  /** Requests that are due each second; null in a closed loop. */
  rate: number | null;
  /** What is sent, in turn. */
  payloads: readonly Uint8Array[];
  /** Whether each request has a connection of its own; then `depth` is 1. */
  reconnect?: boolean;
  connect: (signal: AbortSignal) => Promise<Client>;
  clock: Clock;
  signal: AbortSignal;
  onProgress?: (result: BenchResult) => void;
}

/** A connection that is opened again where it is lost. */
interface Link {
  client?: Client;
  /** Resolves when it is open again, or the run is over. */
  back: PromiseWithResolvers<void>;
  /** How often it was to be opened again since its last reply. */
  tries: number;
  /** How many requests took too long since then. */
  late: number;
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
  const { connections, depth, requests, duration, reconnect } = options;
  const { payloads, clock, signal } = options;
  const result = new BenchResult();
  const connect = async (signal: AbortSignal) => {
    const asked = clock.now();
    const client = await options.connect(signal);
    result.connects.add(clock.now() - asked);
    return client;
  };
  const opened = await openAll(reconnect ? 1 : connections, connect, signal);
  // It has shown that there is a server.
  if (reconnect) opened.pop()?.close();
  const links = Array.from({ length: connections }, (_, i): Link => (
    { client: opened[i], back: Promise.withResolvers(), tries: 0, late: 0 }
  ));
  const started = clock.now();
  const atFirst = process.cpuUsage();
  /** Milliseconds from one request that is due to the next; 0 if all are. */
  const interval = options.rate === null ? 0 : 1000 / options.rate;
  /** The wait of the lane that asked last for a request that is due. */
  let queue = Promise.resolve(0);
  let open = links.length;
  /** When the last open connection was lost. */
  let lostAll = 0;
  /** For how long there was no connection, in milliseconds. */
  let unserved = 0;
  /** What was elapsed at the last reply. */
  let served: number | undefined;
  /** What ends each pause before its time. */
  const pauses = new Set<() => void>();
  const over = new AbortController();
  /** That it is aborted, which takes longer to ask than a request may. */
  let isOver = false;
  let cancelProgress = () => {};

  function elapsed(): number {
    return (open > 0 ? clock.now() : lostAll) - started - unserved;
  }

  function progress(): void {
    cancelProgress = clock.after(PROGRESS_INTERVAL, () => {
      result.elapsed = elapsed();
      options.onProgress?.(result);
      result.series.add(result);
      progress();
    });
  }

  /** Waits for a while, or until the run is over. */
  async function pause(ms: number): Promise<void> {
    if (isOver) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = clock.after(ms, resolve);
    pauses.add(resolve);
    await promise;
    pauses.delete(resolve);
    cancel();
  }

  /** Opens a connection again each time it is lost, until it is given up. */
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
      await pause(FIRST_WAIT * 2 ** link.tries++);
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
    link.back.resolve();
    link.back = Promise.withResolvers();
  }

  function giveUp(): void {
    if (++result.givenUp === links.length) stop("no_connection");
  }

  /**
   * Waits until a request is due, behind the lanes that asked before, and says
   * when that was. Each of them has sent its own, and so counted it, before the
   * next is worked out; one whose connection is lost leaves it to the next.
   */
  function nextDue(): Promise<number> {
    return queue = queue.then(async () => {
      const due = started + result.sent * interval;
      const wait = due - clock.now();
      if (wait > 0) await pause(wait);
      return due;
    });
  }

  /** Sends one request after the other until the run is over. */
  async function runLane(link: Link): Promise<void> {
    // The clock is asked once for each request.
    let now = clock.now();
    while (true) {
      const due = interval === 0 ? now : await nextDue();
      // A timer may be late: what is due after the end is not sent before it.
      if (isOver || result.sent * interval >= duration) return;
      const { client } = link;
      if (client === undefined && !reconnect) {
        await link.back.promise;
        now = clock.now();
        continue;
      }
      const payload = payloads[result.sent++ % payloads.length];
      if (result.sent === requests) stop("complete");
      try {
        const reply =
          await (client?.request(payload) ?? askAnew(link, payload));
        now = clock.now();
        served = now - started - unserved;
        result.latencies.add(now - due);
        result.done++;
        result.receivedBytes += reply.length;
        if (isErrReply(reply)) result.errReplies.add(decodeText(reply));
        link.tries = 0;
        link.late = 0;
      } catch (error) {
        // A request that cannot be sent is the mistake of the user: it ends the run.
        if (error instanceof EncodeError) throw error;
        await failed(link, error);
        now = clock.now();
      }
    }
  }

  /** Sends a request on a connection of its own. */
  async function askAnew(link: Link, payload: Uint8Array): Promise<Uint8Array> {
    const client = await connect(signal);
    link.client = client;
    try {
      return await client.request(payload);
    } finally {
      close(link);
      result.takenBytes += client.sent;
    }
  }

  /** Counts a failed request, and waits until its connection is there again. */
  async function failed(link: Link, error: unknown): Promise<void> {
    result.failed++;
    const why = result.end === "interrupted"
      ? "Interrupted before the reply"
      : error instanceof ClientClosedError
      ? `Given up after ${LATE} failures in a row`
      : reasonOf(error);
    result.errors.add(why);
    // The connection goes on after a request that took too long; any other
    // error has ended it, and it is to be opened again.
    if (reconnect || error instanceof TimeoutError) {
      if (++link.late !== LATE * depth) return;
      // A server that answers nothing is given up.
      close(link);
      giveUp();
    }
    await link.back.promise;
  }

  /** Sends no more; the run ends once nothing is in flight. */
  function stop(end: BenchEnd): void {
    if (isOver) return;
    result.end = end;
    if (interval > 0) {
      const span = Math.min(clock.now() - started, duration);
      const due = Math.min(Math.ceil(span / interval), requests);
      result.unsent = Math.max(due - result.sent, 0);
    }
    isOver = true;
    over.abort();
    for (const end of pauses) end();
    for (const { back } of links) back.resolve();
  }

  /** Also ends the wait for the last replies, when nothing more is sent. */
  function interrupt(): void {
    stop("interrupted");
    result.end = "interrupted";
    // What is in flight fails by this, and is counted so.
    links.forEach(close);
  }

  signal.addEventListener("abort", interrupt);
  if (duration < Infinity) pause(duration).then(() => stop("complete"));
  progress();
  const kept = links.map(keep);
  try {
    // One lane of each before the second of any: a low rate keeps all in use.
    const lanes = Array.from({ length: depth }, () => links.map(runLane));
    await Promise.all(lanes.flat());
    const last = result.end === "complete" ? served : undefined;
    result.elapsed = last ?? elapsed();
    // The rest of an interval is no measure of a rate, if it is short.
    const since = result.elapsed -
      (result.series.moments.at(-1)?.elapsed ?? -Infinity);
    if (since > PROGRESS_INTERVAL / 2) result.series.add(result);
    const { user, system } = process.cpuUsage(atFirst);
    result.load = (user + system) / 1000 / (clock.now() - started);
    return result;
  } finally {
    stop("complete");
    cancelProgress();
    signal.removeEventListener("abort", interrupt);
    links.forEach(close);
    await Promise.all(kept);
  }
}

/** Closes a connection, if it is open. What is in flight on it fails. */
function close(link: Link): void {
  link.client?.close();
  link.client = undefined;
}

/** @throws One cannot be opened, or the signal came; none stays open then. */
async function openAll(
  count: number,
  connect: BenchOptions["connect"],
  signal: AbortSignal,
): Promise<Client[]> {
  // The first one alone: a server that is not there is asked once.
  const clients = [await connect(signal)];
  try {
    while (clients.length < count) {
      const length = Math.min(count - clients.length, OPENING);
      const opened = await Promise.allSettled(
        Array.from({ length }, async () => {
          clients.push(await connect(signal));
        }),
      );
      const failure = opened.find((one) => one.status === "rejected");
      if (failure !== undefined) throw failure.reason;
    }
    signal.throwIfAborted();
    return clients;
  } catch (error) {
    for (const client of clients) client.close();
    throw error;
  }
}
