/**
 * {@linkcode serveThreads}: one server on several threads. Its main thread, the
 * supervisor, starts, replaces and ends the others, which are workers. Each
 * listens on the same port, and the kernel spreads the connections over them
 * (`SO_REUSEPORT`).
 */

import { checkNumber, refuse } from "../core/checks.ts";
import { type Clock, systemClock, within } from "../core/clock.ts";
import { OptionError, ParleyError } from "../core/errors.ts";
import { emit, type ServerEvent } from "../events/events.ts";
import { Counters, settleLost } from "../events/metrics.ts";
import type { FramingName } from "../framing/mod.ts";
import { listen } from "../net/listen.ts";
import {
  hookOptions,
  resolveServeOptions,
  type ServeConfig,
} from "../server/config.ts";
import { Descriptors } from "../server/descriptors.ts";
import type { Hooks, ServeOptions } from "../server/options.ts";
import type { ConnectionInfo, ParleyServer } from "../server/parley_server.ts";
import { AddressCounts } from "../server/places.ts";
import { shutdownAt } from "../server/serve.ts";
import { ServerBase } from "../server/server.ts";
import type { TlsFiles } from "../tls/settings.ts";
import {
  share,
  type SupervisorProcedures,
  threadEvents,
  type ThreadProcedures,
} from "./messages.ts";
import { deserializeError } from "./sent_error.ts";
import { WorkerCalls } from "./worker_calls.ts";

/** Options of {@linkcode serveThreads}. */
export interface ServeThreadsOptions
  extends Omit<ServeOptions<unknown, Deno.NetAddr>, keyof Hooks> {
  /** The module that the workers run; it calls `serveThread`. */
  worker: URL;
  /** How many; by default as many as the machine has processors. */
  threads?: number;
  /** As for `serveConnections`, where the workers serve by tasks. */
  startTls?: boolean;
  /** What the workers are called: `self.name` in theirs. */
  name?: string;
  /** What the workers may do; by default what the program may. */
  permissions?: Deno.PermissionOptions;
  /**
   * Whether a worker, once it is bound, gives back the permission to use the
   * network, the storages of the web, and the means to start others (false).
   */
  confine?: boolean;
}

/** A running server with threads. */
export type ThreadedServer = Omit<ParleyServer<Deno.NetAddr>, "ref" | "unref">;

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
 * import { serveThreads } from "@parley/parley/threads";
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

/** What `serveThreads` does, with a clock that a test may bring. */
export async function startThreads(
  options: ServeThreadsOptions,
  clock: Clock,
): Promise<ThreadedServer> {
  const { threads = navigator.hardwareConcurrency } = options;
  checkNumber("threads", threads);
  const { os } = Deno.build;
  if (os !== "linux") {
    const one = `1 on ${os}: only Linux spreads connections over listeners`;
    throw new OptionError("threads", threads, one);
  }
  if (options.path !== undefined) {
    throw new OptionError("path", options.path, "no path beside threads");
  }
  const config = resolveServeOptions(options, {
    ...{ worker: URL, threads: 0, name: "string", permissions: 0 } as const,
    ...{ confine: "boolean", startTls: "boolean" } as const,
  });
  refuse(options, Object.keys(hookOptions), "here, but for serveThread");
  // Listeners that share a port would also share it with another server that
  // has it already.
  if (config.port !== 0) listen({ ...config, reusePort: false }).close();
  const server = new Supervisor(options, config, threads, clock);
  await server.start();
  shutdownAt(options.signal, server);
  return server;
}

/**
 * The waits before a thread that died is replaced, in milliseconds. The wait
 * doubles with each death, and is the shortest again after a thread that has
 * lived for as long as the longest.
 */
const SHORTEST_WAIT = 100;
const LONGEST_WAIT = 10_000;

/**
 * How much longer than the drain timeout a thread may take to end, in
 * milliseconds. A handler holds up one that takes longer. The runtime cannot stop
 * such a thread, so its connections end with the process.
 */
const GRACE = 1000;

const ANSWER_LIMIT = 1000;

/** How long a worker may load its modules, in milliseconds. */
const START_LIMIT = 60_000;

/**
 * All that the program may do. With `"inherit"` for the whole, a thread that
 * gives a permission up would take it from all threads.
 */
const INHERITED = Object.fromEntries(
  ["env", "ffi", "import", "net", "read", "run", "sys", "write"]
    .map((name) => [name, "inherit"]),
);

interface Thread {
  readonly index: number;
  readonly worker: Worker;
  readonly since: number;
  /** The wait before it replaced another, in milliseconds. */
  readonly waited: number;
  readonly entered: AddressCounts;
  readonly calls: WorkerCalls<ThreadProcedures>;
  accepts: boolean;
}

/** Its certificate is the one that the threads show; no client is served here. */
class Supervisor extends ServerBase implements ThreadedServer {
  threadsLost = 0;
  addr!: Deno.NetAddr;

  #options: ServeThreadsOptions;
  readonly #shared: ReturnType<typeof share>;
  readonly #perIp: AddressCounts;
  readonly #threads = new Map<number, Thread>();
  readonly #finished = Promise.withResolvers<void>();
  /** What takes back the replacement of a thread, by its index. */
  readonly #replacing = new Map<number, () => void>();
  #forced = 0;
  #cancelCut: (() => void) | undefined;

  constructor(
    options: ServeThreadsOptions,
    config: ServeConfig,
    readonly threads: number,
    clock: Clock,
  ) {
    const shared = share(threads);
    const { cells } = shared;
    const descriptors = new Descriptors(clock, shared.descriptors);
    const counters = new Counters(cells[0], cells);
    super(config, options.events ?? {}, clock, descriptors, counters);
    this.#options = options;
    this.#shared = shared;
    this.#perIp = new AddressCounts(config.maxConnectionsPerIp);
  }

  get finished(): Promise<void> {
    return this.#finished.promise;
  }

  get ready(): boolean {
    return this.stage === "serving" &&
      this.#threads.values().some(({ accepts }) => accepts);
  }

  async connectionList(): Promise<ConnectionInfo[]> {
    const lists = await this.#askAll("connectionList");
    return lists.flatMap((list) => list ?? []);
  }

  async disconnect(id: number): Promise<boolean> {
    return (await this.#askAll("disconnect", id)).includes(true);
  }

  async reloadTls(files: TlsFiles | Promise<TlsFiles>): Promise<boolean> {
    const shown = await this.reload(files);
    if (shown === undefined) return false;
    const { cert, key, clientCa } = shown;
    const those = { cert, key, clientCa };
    // For the threads that will replace others.
    this.#options = { ...this.#options, ...those };
    await this.#askAll("reloadTls", those);
    return true;
  }

  /** Starts the threads: the first finds the port, the others join it. */
  async start(): Promise<void> {
    try {
      await this.certificate?.proven;
      await this.#spawn(0, this.#options.port);
      const others = Array.from({ length: this.threads - 1 }, (_, i) => i + 1);
      await Promise.all(others.map((i) => this.#spawn(i, this.addr.port)));
      this.stage = "serving";
      emit(this.events.listening, { type: "listening", addr: this.addr });
      this.certificate?.watch();
      this.#options.onListen?.(this.addr);
    } catch (error) {
      this.stage = "ended";
      this.certificate?.close();
      for (const cancel of this.#replacing.values()) cancel();
      for (const { worker } of this.#threads.values()) worker.terminate();
      throw error;
    }
  }

  protected stopAccepting(): void {
    for (const cancel of this.#replacing.values()) cancel();
    this.beginDrain();
    const drainTimeout = this.limits.timeouts.drain;
    for (const { calls } of this.#threads.values()) calls.tell("shutdown");
    if (drainTimeout > 0) {
      this.#cancelCut = this.clock.after(drainTimeout + GRACE, () => {
        for (const thread of this.#threads.values()) {
          this.#lost(thread, new Error("Thread does not end: it is held up"));
        }
      });
    }
    this.#checkFinished();
  }

  #checkFinished(): void {
    if (this.stage !== "draining" || this.#threads.size > 0) return;
    this.stage = "ended";
    this.#cancelCut?.();
    this.certificate?.close();
    emit(this.events.finished, { type: "finished", forced: this.#forced });
    this.#finished.resolve();
  }

  async #spawn(index: number, port?: number, waited = 0): Promise<void> {
    const {
      worker: url,
      threads: _threads,
      name,
      permissions = INHERITED,
      confine = false,
      // Functions cannot be sent.
      signal: _signal,
      onListen: _onListen,
      events: _events,
      ...options
    } = this.#options;
    const setup = { type: "module", name, deno: { permissions } } as const;
    const worker = new Worker(url, setup as WorkerOptions);
    const entered = new AddressCounts(Infinity);
    const calls = new WorkerCalls<ThreadProcedures>(
      worker,
      {
        event: (event, error) => {
          if (error) Object.assign(event, { error: deserializeError(error) });
          const listener = this.events[event.type];
          emit(listener as (event: ServerEvent) => void, event);
        },
        enter: (ip) => this.#perIp.enter(ip) && entered.enter(ip),
        leave: (ip) => {
          entered.leave(ip);
          this.#perIp.leave(ip);
        },
        finished: (forced) => {
          this.#forced += forced;
          this.#bury(thread, new Error("Thread has finished"));
          this.#checkFinished();
        },
      } satisfies SupervisorProcedures,
    );
    const thread: Thread = {
      ...{ index, worker, waited, entered, calls, accepts: false },
      since: this.clock.now(),
    };
    this.#threads.set(index, thread);
    worker.onerror = (event) => {
      // Without this, a worker's failure is the end of the program.
      event.preventDefault();
      this.#lost(thread, new Error(event.message));
    };
    try {
      const started = calls.call("start", {
        options: {
          ...options,
          port,
          // Codecs cannot be sent, so a thread is given its own.
          framing: this.framing as FramingName,
          reusePort: true,
          // The wait is here, for all of them.
          preDrainDelay: 0,
        },
        events: threadEvents.filter((type) => this.events[type] !== undefined),
        index,
        shared: this.#shared,
        startedAt: this.startedAt,
        // The clocks of threads do not count from the same moment.
        uptime: this.uptime,
        confine,
      });
      const addr = await within(this.clock, START_LIMIT, started);
      if (addr === undefined) {
        const limit = `within ${START_LIMIT / 1000} s`;
        throw new ParleyError(`Worker ${url} calls no serveThread ${limit}`);
      }
      this.addr = addr;
    } catch (error) {
      this.#lost(thread, error);
      throw error;
    }
    thread.accepts = true;
  }

  #lost(thread: Thread, error: unknown): void {
    const { index } = thread;
    if (this.#threads.get(index) !== thread || this.stage === "ended") return;
    this.#bury(thread, error);
    const { connections, requests } = settleLost(this.#shared.cells[index]);
    Atomics.store(this.#shared.taken, index, 0);
    Atomics.store(this.#shared.descriptors.open, index, 0);
    if (this.stage === "starting" && !thread.accepts) return;
    this.threadsLost++;
    const lived = this.clock.now() - thread.since;
    const last = lived >= LONGEST_WAIT ? 0 : thread.waited;
    const retryIn = this.stage === "draining"
      ? undefined
      : Math.min(last * 2 || SHORTEST_WAIT, LONGEST_WAIT);
    const type = "thread_lost";
    const lost = { type, error, connections, requests, retryIn } as const;
    emit(this.events.thread_lost, lost);
    if (retryIn !== undefined) return this.#replace(index, retryIn);
    this.#forced += connections;
    this.#checkFinished();
  }

  #replace(index: number, retryIn: number): void {
    const cancel = this.clock.after(retryIn, () => {
      // The runtime panics if it has not the seven descriptors of a worker.
      if (this.sockets.left < 0) return this.#replace(index, retryIn);
      this.#replacing.delete(index);
      // If it fails, `#lost` has seen to it.
      this.#spawn(index, this.addr.port, retryIn).catch(() => {});
    });
    this.#replacing.set(index, cancel);
  }

  /** Ends a thread: nothing comes from it any more, and nobody waits for it. */
  #bury(thread: Thread, error: unknown): void {
    this.#threads.delete(thread.index);
    thread.worker.onerror = null;
    thread.worker.terminate();
    for (const [ip, count] of thread.entered) this.#perIp.leave(ip, count);
    thread.calls.end(error);
  }

  /** Asks all threads; the answer of one that is late or fails is undefined. */
  async #askAll<Name extends "connectionList" | "disconnect" | "reloadTls">(
    name: Name,
    ...args: Parameters<ThreadProcedures[Name]>
  ) {
    return await Promise.all(
      this.#threads.values().map(({ calls }) => {
        const answer = calls.call(name, ...args).catch(() => undefined);
        return within(this.clock, ANSWER_LIMIT, answer);
      }),
    );
  }
}
