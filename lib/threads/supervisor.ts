/**
 * {@linkcode serveThreads}: one server on several threads. Each thread is a
 * worker with an event loop and a listener of its own on the same port, and the
 * kernel spreads the connections over them (`SO_REUSEPORT`). This side starts
 * them, replaces those that die, adds up their numbers, and ends them.
 *
 * @module
 */

import { type Clock, systemClock } from "../clock.ts";
import { Descriptors } from "../descriptors.ts";
import { OptionError, ParleyError, received } from "../errors.ts";
import { emit, type EventListeners, type ServerEvent } from "../events.ts";
import { listen } from "../listen.ts";
import { Counters, settleLost } from "../metrics.ts";
import { Numbers } from "../numbers.ts";
import {
  checkNumber,
  resolveServeOptions,
  type ServeConfig,
  type ServeOptions,
} from "../options.ts";
import { checkKeyPair, type TlsKeyPair } from "../pem.ts";
import { AddressCounts } from "../places.ts";
import { limitsOf, type ParleyServer, type ServerLimits } from "../server.ts";
import type { ConnectionInfo } from "../session.ts";
import {
  type Order,
  type Report,
  share,
  type Shared,
  threadEvents,
} from "./messages.ts";

/** Options of {@linkcode serveThreads}. */
export interface ServeThreadsOptions extends Omit<ServeOptions, "onError"> {
  /** The module that the workers run; it calls `serveThread`. */
  worker: URL;
  /** How many; by default as many as the machine has processors. */
  threads?: number;
  /** What the workers are called: `self.name` in theirs. */
  name?: string;
  /** What the workers may do; by default what the program may. */
  permissions?: Deno.PermissionOptions;
  /**
   * Whether a worker, once it is bound, gives back the permission to use the
   * network, the storages of the web, and the means to start other workers.
   *
   * @default {false}
   */
  confine?: boolean;
}

/** A running server with threads. */
export type ThreadedServer = Omit<ParleyServer, "ref" | "unref">;

/**
 * How long to wait before a thread that died is replaced, in milliseconds:
 * doubled from the first to the last with each death, and the first again once
 * a thread has lived for as long as the last.
 */
const BACKOFF_FIRST = 100;
const BACKOFF_LAST = 10_000;

/**
 * How much longer than the drain timeout a thread may take to end, in
 * milliseconds. One that takes longer is held up by its handler, and given up:
 * its connections end with the process, for the runtime cannot stop a thread
 * that never comes back.
 */
const GRACE = 1000;

/** How long a thread may take to say what it is asked, in milliseconds. */
const ANSWER_LIMIT = 1000;

/**
 * Serves TCP connections on several threads. It needs Linux, whose kernel
 * spreads connections over listeners of one port, `"unstable": ["net",
 * "worker-options"]` in `deno.json`, and, under `deno run`, the permission to
 * read the worker's modules.
 *
 * Limits hold for all threads together. Events of all threads come to the
 * listeners here; errors in them are copies.
 *
 * @param options As for `serve`, and how many threads run what.
 * @returns The running server, bound already.
 * @throws {OptionError} An option has a value that is not allowed, or the
 * system cannot do it. Nothing has been bound then.
 * @throws {Deno.errors.AddrInUse} The port is taken.
 *
 * @example
 * ```ts ignore
 * import { serveThreads } from "@parley/parley";
 *
 * const server = await serveThreads({
 *   port: 7000,
 *   threads: 4,
 *   worker: new URL("./worker.ts", import.meta.url),
 * });
 * await server.finished;
 * ```
 */
export function serveThreads(
  options: ServeThreadsOptions,
): Promise<ThreadedServer> {
  return startThreads(options, systemClock);
}

/**
 * What `serveThreads` does, with a clock that a test may bring.
 *
 * @param options As for `serveThreads`.
 * @param clock The source of time on this side.
 */
export async function startThreads(
  options: ServeThreadsOptions,
  clock: Clock,
): Promise<ThreadedServer> {
  const { threads = navigator.hardwareConcurrency } = options;
  checkNumber("threads", threads);
  if (Deno.build.os !== "linux") {
    throw new OptionError(
      "threads",
      threads,
      `1 on ${Deno.build.os}: only Linux spreads connections over listeners`,
    );
  }
  if (options.path !== undefined) {
    throw new OptionError("path", options.path, "no path beside threads");
  }
  const config = resolveServeOptions(options);
  if (config.port !== 0) {
    // Listeners that share their port would share it with those of another
    // server too, whose it is already.
    listen({ ...config, reusePort: false }).close();
  }
  const server = new Supervisor(options, config, threads, clock);
  await server.start();
  const { signal } = options;
  if (signal?.aborted) server.shutdown();
  else if (signal !== undefined) {
    const shutdown = () => void server.shutdown();
    signal.addEventListener("abort", shutdown, { once: true });
    server.finished.finally(() =>
      signal.removeEventListener("abort", shutdown)
    );
  }
  return server;
}

/** One worker, and what this side knows of it. */
interface Thread {
  readonly index: number;
  readonly worker: Worker;
  /** When it was started. */
  readonly since: number;
  /** The places by address that it holds. */
  readonly entered: Map<string, number>;
  /** What it was asked and has not answered. */
  readonly calls: Map<number, (value: never) => void>;
  /** Ends the wait for it to be bound. */
  readonly bound: PromiseWithResolvers<void>;
  /** Whether it is. */
  accepts: boolean;
}

class Supervisor extends Numbers implements ThreadedServer {
  readonly framing: string;
  readonly limits: ServerLimits;
  readonly threads: number;
  threadsLost = 0;
  addr!: Deno.NetAddr;

  #options: ServeThreadsOptions;
  readonly #events: EventListeners;
  readonly #clock: Clock;
  readonly #shared: Shared;
  readonly #perIp: AddressCounts;
  readonly #descriptors: Descriptors;
  readonly #threads = new Map<number, Thread>();
  readonly #finished = Promise.withResolvers<void>();
  /** What takes back the replacement of a thread, by its index. */
  readonly #replacing = new Map<number, () => void>();
  readonly #backoff = new Map<number, number>();
  #calls = 0;
  #forced = 0;
  #cancelCut: (() => void) | undefined;
  #stage: "starting" | "serving" | "leaving" | "draining" | "ended" =
    "starting";

  constructor(
    options: ServeThreadsOptions,
    config: ServeConfig,
    threads: number,
    clock: Clock,
  ) {
    const shared = share(threads);
    const { cells } = shared;
    super(new Counters(cells[0], cells), clock, Date.now(), 0);
    this.framing = config.framing.name;
    this.limits = limitsOf(config);
    this.#options = options;
    this.#events = options.events ?? {};
    this.#clock = clock;
    this.threads = threads;
    this.#shared = shared;
    this.#descriptors = new Descriptors(clock, shared.descriptors);
    this.#perIp = new AddressCounts(options.maxConnectionsPerIp ?? 0);
  }

  get finished(): Promise<void> {
    return this.#finished.promise;
  }

  /** Ready is who has a thread that accepts, and is to go on with that. */
  get ready(): boolean {
    return this.#stage === "serving" &&
      this.#threads.values().some(({ accepts }) => accepts);
  }

  get draining(): boolean {
    return this.#stage !== "starting" && this.#stage !== "serving";
  }

  async connectionList(): Promise<ConnectionInfo[]> {
    const lists = await Promise.all(
      Array.from(
        this.#threads.values(),
        (thread) =>
          this.#ask<ConnectionInfo[]>(thread, [], (call) => ({
            type: "connections",
            call,
          })),
      ),
    );
    return lists.flat();
  }

  async disconnect(id: number): Promise<boolean> {
    const found = await Promise.all(
      Array.from(
        this.#threads.values(),
        (thread) =>
          this.#ask<boolean>(thread, false, (call) => ({
            type: "disconnect",
            call,
            id,
          })),
      ),
    );
    return found.includes(true);
  }

  reloadTls({ cert, key }: TlsKeyPair): void {
    if (this.#options.cert === undefined) {
      throw new ParleyError(
        "Cannot reload TLS: the server was started without cert and key",
      );
    }
    const pair = checkKeyPair(cert, key);
    // Those that take the place of others show it, too.
    this.#options = { ...this.#options, ...pair };
    for (const thread of this.#threads.values()) {
      this.#tell(thread, { type: "reload_tls", pair });
    }
  }

  /** Starts the threads: the first finds the port, the others join it. */
  async start(): Promise<void> {
    try {
      await this.#spawn(0, this.#options.port).bound.promise;
      const others = Array.from(
        { length: this.threads - 1 },
        (_, i) => this.#spawn(i + 1, this.addr.port).bound.promise,
      );
      await Promise.all(others);
      this.#stage = "serving";
      const { listening } = this.#events;
      if (listening !== undefined) {
        emit(listening, { type: "listening", addr: this.addr });
      }
      this.#options.onListen?.(this.addr);
    } catch (error) {
      this.#stage = "ended";
      for (const cancel of this.#replacing.values()) cancel();
      for (const { worker } of this.#threads.values()) worker.terminate();
      throw error;
    }
  }

  shutdown(): Promise<void> {
    if (this.#stage !== "serving") return this.finished;
    const { preDrainDelay: delay = 0 } = this.#options;
    this.#stage = "leaving";
    if (delay === 0) this.#drain();
    else {
      const { pre_drain } = this.#events;
      const { connections } = this;
      if (pre_drain !== undefined) {
        emit(pre_drain, { type: "pre_drain", connections, delay });
      }
      this.#clock.after(delay, () => this.#drain());
    }
    return this.finished;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown();
  }

  #drain(): void {
    this.#stage = "draining";
    for (const cancel of this.#replacing.values()) cancel();
    const { drain } = this.#events;
    const { connections } = this;
    if (drain !== undefined) emit(drain, { type: "drain", connections });
    for (const thread of this.#threads.values()) {
      this.#tell(thread, { type: "shutdown" });
    }
    const { drainTimeout } = resolveServeOptions(this.#options);
    if (drainTimeout > 0) {
      this.#cancelCut = this.#clock.after(drainTimeout + GRACE, () => {
        for (const thread of this.#threads.values()) {
          this.#lost(thread, new Error("Thread does not end: it is held up"));
        }
      });
    }
    this.#checkFinished();
  }

  #checkFinished(): void {
    if (this.#stage !== "draining" || this.#threads.size > 0) return;
    this.#stage = "ended";
    this.#cancelCut?.();
    const { finished } = this.#events;
    const forced = this.#forced;
    if (finished !== undefined) emit(finished, { type: "finished", forced });
    this.#finished.resolve();
  }

  #spawn(index: number, port: number | undefined): Thread {
    const {
      worker: url,
      threads: _threads,
      name,
      permissions,
      confine = false,
      // These stay on this side: functions cannot be sent.
      signal: _signal,
      onListen: _onListen,
      events: _events,
      ...options
    } = this.#options;
    const worker = new Worker(
      url,
      { type: "module", name, deno: { permissions } } as WorkerOptions,
    );
    const thread: Thread = {
      index,
      worker,
      since: this.#clock.now(),
      entered: new Map(),
      calls: new Map(),
      bound: Promise.withResolvers(),
      accepts: false,
    };
    // Nobody may be waiting when a replacement fails.
    thread.bound.promise.catch(() => {});
    this.#threads.set(index, thread);
    worker.onmessage = ({ data }) => this.#heard(thread, data);
    worker.onerror = (event) => {
      // Unprevented, the end of a worker is the end of the process.
      event.preventDefault();
      this.#lost(thread, new Error(event.message));
    };
    this.#tell(thread, {
      type: "start",
      options: {
        ...options,
        port,
        reusePort: true,
        // This side waits, for all of them.
        preDrainDelay: 0,
      },
      events: threadEvents.filter((type) => this.#events[type] !== undefined),
      index,
      shared: this.#shared,
      startedAt: this.startedAt,
      // Each thread's clock counts from a moment of its own.
      uptime: this.uptime,
      confine,
    });
    return thread;
  }

  #heard(thread: Thread, report: Report): void {
    switch (report.type) {
      case "listening":
        this.addr = report.addr;
        thread.accepts = true;
        thread.bound.resolve();
        // It was started before the drain began, and has not heard of it.
        if (this.#stage === "draining") {
          this.#tell(thread, { type: "shutdown" });
        }
        return;
      case "failed":
        return this.#lost(thread, received(report.error));
      case "event": {
        const { event } = report;
        const listener = this.#events[event.type];
        return emit(listener as (event: ServerEvent) => void, event);
      }
      case "enter": {
        const { call, ip } = report;
        const entered = this.#perIp.enter(ip);
        if (entered) {
          thread.entered.set(ip, (thread.entered.get(ip) ?? 0) + 1);
        }
        return this.#tell(thread, { type: "entered", call, entered });
      }
      case "leave": {
        const { ip } = report;
        const left = (thread.entered.get(ip) ?? 0) - 1;
        if (left > 0) thread.entered.set(ip, left);
        else thread.entered.delete(ip);
        return this.#perIp.leave(ip);
      }
      case "connections":
      case "disconnect":
        thread.calls.get(report.call)?.(report.value as never);
        return void thread.calls.delete(report.call);
      case "finished":
        this.#forced += report.forced;
        this.#bury(thread);
        return this.#checkFinished();
    }
  }

  /** A thread is gone: settles what it leaves behind, and replaces it. */
  #lost(thread: Thread, error: unknown): void {
    const { index } = thread;
    if (this.#threads.get(index) !== thread || this.#stage === "ended") return;
    this.#bury(thread);
    const { connections, requests } = settleLost(this.#shared.cells[index]);
    Atomics.store(this.#shared.taken, index, 0);
    Atomics.store(this.#shared.descriptors.open, index, 0);
    thread.bound.reject(error);
    if (this.#stage === "starting" && !thread.accepts) return;
    this.threadsLost++;
    const retryIn = this.#stage === "draining"
      ? undefined
      : this.#backoffOf(thread);
    const { thread_lost } = this.#events;
    if (thread_lost !== undefined) {
      emit(thread_lost, {
        type: "thread_lost",
        error,
        connections,
        requests,
        retryIn,
      });
    }
    if (retryIn === undefined) {
      this.#forced += connections;
      return this.#checkFinished();
    }
    this.#replace(index, retryIn);
  }

  #replace(index: number, retryIn: number): void {
    const cancel = this.#clock.after(retryIn, () => {
      // A worker takes seven descriptors, without which the runtime panics.
      if (this.#descriptors.crowded) return this.#replace(index, retryIn);
      this.#replacing.delete(index);
      this.#spawn(index, this.addr.port);
    });
    this.#replacing.set(index, cancel);
  }

  #backoffOf({ index, since }: Thread): number {
    const lived = this.#clock.now() - since;
    const last = lived >= BACKOFF_LAST ? undefined : this.#backoff.get(index);
    const next = last === undefined
      ? BACKOFF_FIRST
      : Math.min(last * 2, BACKOFF_LAST);
    this.#backoff.set(index, next);
    return next;
  }

  /** Nothing comes from a thread any more, and nobody waits for it. */
  #bury(thread: Thread): void {
    this.#threads.delete(thread.index);
    thread.worker.onmessage = thread.worker.onerror = null;
    thread.worker.terminate();
    for (const [ip, count] of thread.entered) this.#perIp.leave(ip, count);
    for (const answer of thread.calls.values()) answer(undefined as never);
  }

  #tell({ worker }: Thread, order: Order): void {
    worker.postMessage(order);
  }

  /** Asks a thread; one that gives no answer has `missing` to say. */
  async #ask<T>(
    thread: Thread,
    missing: T,
    order: (call: number) => Order,
  ): Promise<T> {
    const call = ++this.#calls;
    const { promise, resolve } = Promise.withResolvers<T | undefined>();
    thread.calls.set(call, resolve);
    this.#tell(thread, order(call));
    const cancel = this.#clock.after(ANSWER_LIMIT, () => {
      thread.calls.delete(call);
      resolve(undefined);
    });
    const answer = await promise;
    cancel();
    return answer ?? missing;
  }
}
