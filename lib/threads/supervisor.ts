/**
 * The main thread of a server with several. The others are workers, each with a
 * listener on the same port, over which the kernel spreads the connections
 * (`SO_REUSEPORT`). This side starts, replaces and ends them.
 */

import { type Clock, within } from "../core/clock.ts";
import { emit, type ServerEvent } from "../events/events.ts";
import { Counters, settleLost } from "../events/metrics.ts";
import type { FramingName } from "../framing/mod.ts";
import { ServerBase } from "../server/server.ts";
import { Descriptors } from "../server/descriptors.ts";
import type { ServeConfig } from "../server/config.ts";
import type { Hooks, ServeOptions } from "../server/options.ts";
import { AddressCounts } from "../server/places.ts";
import type { ConnectionInfo, ParleyServer } from "../server/parley_server.ts";
import type { TlsFiles } from "../tls/settings.ts";
import {
  share,
  type Shared,
  type SupervisorProcedures,
  threadEvents,
  type ThreadProcedures,
} from "./messages.ts";
import { deserializeError, type SentError } from "./sent_error.ts";
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
 * The wait before a thread that died is replaced, in milliseconds: doubled with
 * each death, and the first again once one has lived for as long as the last.
 */
const BACKOFF_FIRST = 100;
const BACKOFF_LAST = 10_000;

/**
 * How much longer than the drain timeout a thread may take to end, in
 * milliseconds. One that takes longer is held up by its handler, and given up:
 * the runtime cannot stop it, so its connections end with the process.
 */
const GRACE = 1000;

const ANSWER_LIMIT = 1000;

/** What the program may, but its own to give up: else that would go for all. */
const INHERITED = Object.fromEntries(
  ["env", "ffi", "import", "net", "read", "run", "sys", "write"]
    .map((name) => [name, "inherit"]),
);

interface Thread {
  readonly index: number;
  readonly worker: Worker;
  readonly since: number;
  /** How long it was waited for after the one before it, in milliseconds. */
  readonly waited: number;
  readonly entered: AddressCounts;
  readonly calls: WorkerCalls<ThreadProcedures>;
  accepts: boolean;
}

/** Its certificate is what the threads show; it serves nobody itself. */
export class Supervisor extends ServerBase implements ThreadedServer {
  threadsLost = 0;
  addr!: Deno.NetAddr;

  #options: ServeThreadsOptions;
  readonly #shared: Shared;
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
    const lists = await this.#askAll((thread) => thread.call("connections"));
    return lists.flatMap((list) => list ?? []);
  }

  async disconnect(id: number): Promise<boolean> {
    const found = await this.#askAll((thread) => thread.call("disconnect", id));
    return found.includes(true);
  }

  async reloadTls(files: TlsFiles | Promise<TlsFiles>): Promise<boolean> {
    const shown = await this.reload(files);
    if (shown === undefined) return false;
    const { cert, key, clientCa } = shown;
    const those = { cert, key, clientCa };
    // Threads that take the place of others show them, too.
    this.#options = { ...this.#options, ...those };
    await this.#askAll((thread) => thread.call("reloadTls", those));
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
    for (const { calls } of this.#threads.values()) calls.tell("shutdown");
    const { drainTimeout } = this.config;
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
    const forced = this.#forced;
    emit(this.events.finished, { type: "finished", forced });
    this.#finished.resolve();
  }

  async #spawn(index: number, port?: number, waited = 0): Promise<void> {
    const {
      worker: url,
      threads: _threads,
      name,
      permissions = INHERITED,
      confine = false,
      // These stay on this side: functions cannot be sent.
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
        event: (event, error) => this.#passOn(event, error),
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
    const since = this.clock.now();
    const accepts = false;
    const thread = { index, worker, since, waited, entered, calls, accepts };
    this.#threads.set(index, thread);
    worker.onerror = (event) => {
      // Unprevented, the end of a worker is the end of the process.
      event.preventDefault();
      this.#lost(thread, new Error(event.message));
    };
    try {
      this.addr = await calls.call("start", {
        options: {
          ...options,
          port,
          // Its codecs cannot be sent: a thread has them of its own.
          framing: this.framing as FramingName,
          reusePort: true,
          // This side waits, for all of them.
          preDrainDelay: 0,
        },
        events: threadEvents.filter((type) => this.events[type] !== undefined),
        index,
        shared: this.#shared,
        startedAt: this.startedAt,
        // Each thread's clock counts from a moment of its own.
        uptime: this.uptime,
        confine,
      });
    } catch (error) {
      this.#lost(thread, error);
      throw error;
    }
    thread.accepts = true;
  }

  #passOn(event: ServerEvent, error: SentError | undefined): void {
    if (error) Object.assign(event, { error: deserializeError(error) });
    const listener = this.events[event.type];
    emit(listener as (event: ServerEvent) => void, event);
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
    const last = lived >= BACKOFF_LAST ? 0 : thread.waited;
    const retryIn = this.stage === "draining"
      ? undefined
      : Math.min(last * 2 || BACKOFF_FIRST, BACKOFF_LAST);
    const type = "thread_lost";
    const lost = { type, error, connections, requests, retryIn } as const;
    emit(this.events.thread_lost, lost);
    if (retryIn === undefined) {
      this.#forced += connections;
      return this.#checkFinished();
    }
    this.#replace(index, retryIn);
  }

  #replace(index: number, retryIn: number): void {
    const cancel = this.clock.after(retryIn, () => {
      // A worker takes seven descriptors, without which the runtime panics.
      if (this.sockets.left < 0) return this.#replace(index, retryIn);
      this.#replacing.delete(index);
      // Where it fails, that is the loss of another thread.
      this.#spawn(index, this.addr.port, retryIn).catch(() => {});
    });
    this.#replacing.set(index, cancel);
  }

  /** Nothing comes from a thread any more, and nobody waits for it. */
  #bury(thread: Thread, error: unknown): void {
    this.#threads.delete(thread.index);
    thread.worker.onerror = null;
    thread.worker.terminate();
    for (const [ip, count] of thread.entered) this.#perIp.leave(ip, count);
    thread.calls.end(error);
  }

  /** Asks all threads; one that gives no answer in time has none. */
  async #askAll<Answer>(
    ask: (thread: WorkerCalls<ThreadProcedures>) => Promise<Answer>,
  ): Promise<(Answer | undefined)[]> {
    const answers = this.#threads.values().map(({ calls }) => {
      const answer = ask(calls).catch(() => undefined);
      return within(this.clock, ANSWER_LIMIT, answer);
    });
    return await Promise.all(answers);
  }
}
