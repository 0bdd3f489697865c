/**
 * {@linkcode serve}: accept, give each connection a session of its own, and
 * end in stages.
 *
 * @module
 */

import { ipOf } from "../core/address.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import { Deadlines } from "../core/deadlines.ts";
import { OptionError, ParleyError } from "../core/errors.ts";
import { emit, type EventListeners } from "../events/events.ts";
import { Counters, type Metrics } from "../events/metrics.ts";
import { type ServerStats, ServerStatsBase } from "../events/server_stats.ts";
import { Connection, type Transport } from "../net/connection.ts";
import { type Acceptor, listen as listenAt } from "../net/listen.ts";
import { TlsIdentity } from "../tls/identity.ts";
import { checkKeyPair, type TlsKeyPair } from "../tls/pem.ts";
import type { Refusal } from "./connection/ending.ts";
import {
  Session,
  type SessionContext,
  type SessionEnd,
} from "./connection/session.ts";
import { faultOf } from "../net/accept_fault.ts";
import type { ConnectionInfo } from "./connection_info.ts";
import { Descriptors } from "./descriptors.ts";
import type { Handler } from "./handler.ts";
import {
  resolveServeOptions,
  type ServeConfig,
  type ServeOptions,
} from "./options.ts";
import { MemoryBound } from "./memory.ts";
import { LocalPlaces, type Places } from "./places.ts";
import { replies } from "./replies.ts";
import { Scheduler } from "./scheduler.ts";

/** A running server. */
export interface ParleyServer extends ServerStats, AsyncDisposable {
  /** The bound address, with the real port where 0 was asked for. */
  readonly addr: Deno.Addr;
  /**
   * Resolves when the server has ended: the listener is closed, and so is
   * every connection. Rejects when the listener failed; the connections were
   * drained first.
   */
  readonly finished: Promise<void>;
  /** The framing's name. */
  readonly framing: string;
  /** The limits that hold; 0 is none. */
  readonly limits: ServerLimits;
  /** How many threads serve. */
  readonly threads: number;
  /** How many threads have died and were replaced. */
  readonly threadsLost: number;
  /** Whether it accepts connections and is to go on with that. */
  readonly ready: boolean;
  /** Whether it is to end, from the first moment of a shutdown on. */
  readonly draining: boolean;
  /** All its numbers, at this moment. */
  metrics(): Metrics;
  /** The connections that are open. */
  connectionList(): Promise<ConnectionInfo[]>;
  /**
   * Closes a connection now, whatever it is owed.
   *
   * @param id The connection's number.
   * @returns Whether there was one of that number.
   */
  disconnect(id: number): Promise<boolean>;
  /**
   * Ends the server in stages: goes on for `preDrainDelay`, no longer `ready`;
   * stops accepting, lets every request that has arrived have its reply, closes
   * the idle connections, and forces the rest at the drain timeout.
   *
   * @returns Resolves with `finished`.
   */
  shutdown(): Promise<void>;
  /**
   * Shows another certificate from the next handshake on. Connections that are
   * open go on, nobody is refused, and what cannot be used changes nothing.
   *
   * @param pair The new certificate and key.
   * @throws {OptionError} One of them cannot be used.
   * @throws {ParleyError} The server was started without TLS.
   */
  reloadTls(pair: TlsKeyPair): void;
  /** Keeps the process alive while the server listens; so it is at first. */
  ref(): void;
  /** Lets the process end though the server listens. */
  unref(): void;
}

/** The limits of a server that its operator looks at. */
export interface ServerLimits {
  /** The most connections open at once, 0 for no limit. */
  readonly connections: number;
  /** The most connections open at once from one address, 0 for no limit. */
  readonly connectionsPerIp: number;
  /** The maximum payload of a request in bytes. */
  readonly maxFrame: number;
}

/** What a test may replace. */
export interface Surroundings {
  /** Makes the listener. */
  listen?: (config: ServeConfig) => Acceptor;
  /** The source of time. */
  clock?: Clock;
  /** Where to count. */
  counters?: Counters;
  /** Who gets a place. */
  places?: Places;
  /** How many connections there are descriptors for. */
  descriptors?: Descriptors;
  /** When the whole server started, in milliseconds since 1970. */
  startedAt?: number;
  /** How long the whole server has been up already, in milliseconds. */
  uptime?: number;
}

/**
 * How long to wait before accepting again after a failure, in milliseconds:
 * doubled from the first to the last with each failure in a row. At the
 * descriptor limit `accept` fails at once for as long as the limit is met.
 */
const BACKOFF_FIRST = 50;
const BACKOFF_LAST = 1000;

/**
 * How long a stopping server waits for the next of those who are queued at its
 * listener, in milliseconds. They are there already, so it is no wait at all.
 */
const LAST_CALL = 10;

/**
 * How long a stopping server goes on accepting at the most, in milliseconds,
 * should new clients keep coming.
 */
const QUEUE_LIMIT = 250;

/**
 * How many refused connections are waited for at once. Each holds a descriptor
 * until its peer has read why; more than this are closed without a word.
 */
const MAX_REFUSING = 256;

/**
 * Serves TCP connections with a handler.
 *
 * @param handler Answers one request.
 * @returns The running server, bound already.
 * @throws {Deno.errors.AddrInUse} The port is taken.
 *
 * @example
 * ```ts
 * import { connect, serve } from "../mod.ts";
 *
 * await using server = serve({ hostname: "127.0.0.1", port: 0 }, (request) => request);
 * await using client = await connect(server.addr as Deno.NetAddr);
 * console.log(new TextDecoder().decode(await client.request("hello")));
 * ```
 */
export function serve<State = Record<string, unknown>>(
  handler: Handler<State>,
): ParleyServer;
/**
 * Serves TCP connections with a handler and options.
 *
 * @param options Where to listen, and within which limits.
 * @param handler Answers one request.
 * @returns The running server, bound already.
 * @throws {OptionError} An option has a value that is not allowed. Nothing has
 * been bound then.
 * @throws {Deno.errors.AddrInUse} The port or the path is taken.
 * @throws {Deno.errors.AddrNotAvailable} The address is not this machine's.
 * @throws {Deno.errors.NotFound} There is no folder for the path.
 */
export function serve<State = Record<string, unknown>>(
  options: ServeOptions<State>,
  handler: Handler<State>,
): ParleyServer;
export function serve<State>(
  ...args: [Handler<State>] | [ServeOptions<State>, Handler<State>]
): ParleyServer {
  const [options, handler] = args.length === 1 ? [{}, args[0]] : args;
  return startServer(options, handler, {});
}

/**
 * What `serve` does, with surroundings that a test may replace.
 *
 * @param options As for `serve`.
 * @param handler As for `serve`.
 * @param surroundings The listener and the clock to use.
 */
export function startServer<State>(
  options: ServeOptions<State>,
  handler: Handler<State>,
  surroundings: Surroundings,
): ParleyServer {
  if (typeof handler !== "function") {
    throw new OptionError("handler", handler, "a function");
  }
  const config = resolveServeOptions(options);
  const server = new Server(
    config,
    // A connection's state starts as an empty record, whatever the handler
    // makes of it; from here on nobody but the handler looks at it.
    handler as Handler,
    options as ServeOptions,
    surroundings,
  );
  const { signal } = options;
  if (signal?.aborted) server.shutdown();
  else if (signal !== undefined) {
    const shutdown = () => void server.shutdown();
    signal.addEventListener("abort", shutdown, { once: true });
    server.finished.catch(() => {}).finally(() =>
      signal.removeEventListener("abort", shutdown)
    );
  }
  return server;
}

/**
 * Those of a configuration that an operator looks at.
 *
 * @param config The options, checked.
 */
export function limitsOf(config: ServeConfig): ServerLimits {
  return {
    connections: config.maxConnections,
    connectionsPerIp: config.maxConnectionsPerIp,
    maxFrame: config.maxFrame,
  };
}

class Server extends ServerStatsBase implements ParleyServer {
  readonly addr: Deno.Addr;
  readonly finished: Promise<void>;
  readonly framing: string;
  readonly limits: ServerLimits;
  readonly threads = 1;
  readonly threadsLost = 0;

  readonly #config: ServeConfig;
  readonly #listener: Acceptor;
  readonly #clock: Clock;
  readonly #events: EventListeners;
  readonly #tls: TlsIdentity | undefined;
  readonly #context: SessionContext;
  readonly #memory: MemoryBound;
  readonly #sessions = new Set<Session>();
  readonly #refusing = new Set<Session>();
  readonly #counters: Counters;
  readonly #places: Places;
  readonly #descriptors: Descriptors;
  #forced = 0;
  /** Takes back the end of the time before the drain; set while it runs. */
  #cancelPreDrain: (() => void) | undefined;
  #stopping = false;
  /** When a stopping server accepts no more, whoever is queued. */
  #closeBy = Infinity;
  /** Whether the listener is. */
  #closed = false;
  #cancelClose: (() => void) | undefined;
  /** Ends the wait between two tries to accept. */
  #wake: (() => void) | undefined;
  /** Resolves when the last connection has ended. */
  readonly #empty = Promise.withResolvers<void>();

  constructor(
    config: ServeConfig,
    handler: Handler,
    { onError, onListen, events = {} }: ServeOptions,
    {
      listen = listenAt,
      clock = systemClock,
      counters = new Counters(),
      places = new LocalPlaces(
        config.maxConnections,
        config.maxConnectionsPerIp,
      ),
      descriptors = new Descriptors(clock),
      startedAt = Date.now(),
      uptime = 0,
    }: Surroundings,
  ) {
    super(counters, clock, startedAt, uptime);
    const listener = listen(config);
    this.#config = config;
    this.#counters = counters;
    this.#places = places;
    this.#descriptors = descriptors;
    this.#listener = listener;
    this.#clock = clock;
    this.#events = events;
    this.addr = listener.addr;
    this.#tls = config.tls && new TlsIdentity(config.tls);
    this.framing = config.framing.name;
    this.limits = limitsOf(config);
    const scheduler = new Scheduler(clock);
    const memory = this.#memory = new MemoryBound(
      config.maxMemory,
      counters,
      clock,
      scheduler,
      this.#sessions,
    );
    const { idleTimeout, requestTimeout, writeTimeout } = config;
    const timeouts = [idleTimeout, requestTimeout, writeTimeout];
    this.#context = {
      config,
      handler,
      onError,
      events,
      deadlines: new Deadlines(
        Math.min(...timeouts.map((ms) => ms > 0 ? ms : Infinity)),
        clock,
      ),
      clock,
      scheduler,
      memory,
      counters,
      stats: this,
      tls: this.#tls,
      admit: (session) => this.#admit(session),
      refuse: (session, refusal) => this.#turnAway(session, refusal),
      ended: (session, end) => this.#ended(session, end),
    };
    if (events.listening !== undefined) {
      emit(events.listening, { type: "listening", addr: this.addr });
    }
    try {
      onListen?.(this.addr);
    } catch (error) {
      listener.close();
      throw error;
    }
    this.finished = this.#run();
  }

  get ready(): boolean {
    return !this.draining;
  }

  get draining(): boolean {
    return this.#stopping || this.#cancelPreDrain !== undefined;
  }

  connectionList(): Promise<ConnectionInfo[]> {
    return Promise.resolve(
      Array.from(this.#sessions, (session) => session.describe()),
    );
  }

  disconnect(id: number): Promise<boolean> {
    for (const session of this.#sessions) {
      if (session.id !== id) continue;
      session.abort("closed");
      return Promise.resolve(true);
    }
    return Promise.resolve(false);
  }

  shutdown(): Promise<void> {
    if (!this.ready) return this.finished;
    const { preDrainDelay: delay } = this.#config;
    if (delay === 0) this.#stop();
    else {
      if (this.#events.pre_drain !== undefined) {
        const connections = this.#sessions.size;
        emit(this.#events.pre_drain, { type: "pre_drain", connections, delay });
      }
      this.#cancelPreDrain = this.#clock.after(delay, () => this.#stop());
    }
    return this.finished;
  }

  reloadTls({ cert, key }: TlsKeyPair): void {
    if (this.#tls === undefined) {
      throw new ParleyError(
        "Cannot reload TLS: the server was started without cert and key",
      );
    }
    this.#tls.replace(checkKeyPair(cert, key));
  }

  ref(): void {
    this.#listener.ref?.();
  }

  unref(): void {
    this.#listener.unref?.();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown();
  }

  #stop(): void {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#closeBy = this.#clock.now() + QUEUE_LIMIT;
    this.#closeSoon();
    this.#wake?.();
  }

  async #run(): Promise<void> {
    const failure = await this.#accept();
    this.#stopping = true;
    this.#cancelPreDrain?.();
    await this.#drain();
    this.#memory.close();
    if (this.#events.finished !== undefined) {
      emit(this.#events.finished, { type: "finished", forced: this.#forced });
    }
    if (failure !== undefined) throw failure.error;
  }

  /**
   * Accepts until the listener is closed. An iterator over the listener would
   * end with the first peer that resets while it is queued; so this is a loop
   * that knows whose fault a failure is.
   *
   * @returns What broke the listener, unless `shutdown` closed it.
   */
  async #accept(): Promise<{ error: unknown } | undefined> {
    let backoff = BACKOFF_FIRST;
    /** What the kernel can hold in its queue, and may be left there. */
    let queued = this.#config.tcpBacklog;
    while (!this.#closed) {
      let transport;
      if (this.#descriptors.full) {
        // Who is queued gets no descriptor before the end.
        if (this.#stopping) return void this.#closeListener();
        await this.#sleep(BACKOFF_LAST);
        continue;
      }
      try {
        transport = await this.#listener.accept();
      } catch (error) {
        if (this.#closed) return;
        const fault = faultOf(error);
        if (fault === "listener") {
          this.#acceptError(error, 0, true);
          this.#closeListener();
          return { error };
        }
        const retryIn = fault === "peer" ? 0 : backoff;
        const limit = fault === "descriptors"
          ? this.#descriptors.met()
          : undefined;
        this.#acceptError(error, retryIn, false, limit);
        if (retryIn > 0) {
          // No time is left to wait for resources.
          if (this.#stopping) return void this.#closeListener();
          await this.#sleep(retryIn);
          backoff = Math.min(backoff * 2, BACKOFF_LAST);
        }
        continue;
      }
      backoff = BACKOFF_FIRST;
      if (this.#stopping) {
        if (--queued > 0 && this.#clock.now() < this.#closeBy) {
          this.#closeSoon();
        } else this.#closeListener();
      }
      try {
        this.#welcome(transport);
      } catch (error) {
        // A socket that is gone by now may refuse its options.
        this.#acceptError(error, 0, false);
        transport.close();
      }
    }
  }

  #acceptError(
    error: unknown,
    retryIn: number,
    fatal: boolean,
    limit?: number,
  ): void {
    if (this.#events.accept_error === undefined) return;
    emit(this.#events.accept_error, {
      type: "accept_error",
      error,
      retryIn,
      fatal,
      limit,
    });
  }

  #welcome(transport: Transport): void {
    const { maxConnections, maxFrame } = this.#config;
    const connection = new Connection(transport, maxFrame, this.#counters);
    this.#descriptors.opened();
    if (this.#memory.over) {
      const text = replies.overload;
      return this.#refuse(connection, { reason: "overload", text });
    }
    if (!this.#places.take()) {
      return this.#refuse(connection, {
        reason: "busy",
        text: replies.busy(maxConnections),
      });
    }
    const session = new Session(
      this.#places.nextId(),
      connection,
      this.#context,
    );
    this.#sessions.add(session);
    this.#counters.opening(1);
    session.run();
  }

  /** Turns a connection away that has not become a session. */
  #refuse(connection: Connection, refusal: Refusal): void {
    this.#rejected(connection, refusal);
    if (this.#refusing.size >= MAX_REFUSING) {
      this.#descriptors.closed();
      return connection.close();
    }
    const session = new Session(0, connection, this.#context);
    this.#refusing.add(session);
    session.run(refusal);
  }

  /** Gives a session its place, now that its client's address is known. */
  #admit(
    session: Session,
  ): Refusal | undefined | Promise<Refusal | undefined> {
    const { allow, deny } = this.#config;
    const ip = ipOf(session.connection.remoteAddr);
    if (allow?.matches(ip) === false || deny?.matches(ip)) {
      return this.#turnAway(session, {
        reason: "denied",
        text: replies.denied,
      });
    }
    const entered = this.#places.enter(ip);
    if (typeof entered === "boolean") return this.#entered(session, entered);
    return entered.then((entered) => {
      if (!session.over) return this.#entered(session, entered);
      if (entered) this.#places.leave(ip);
    });
  }

  #entered(session: Session, entered: boolean): Refusal | undefined {
    if (!entered) {
      const { maxConnectionsPerIp } = this.#config;
      return this.#turnAway(session, {
        reason: "busy_ip",
        text: replies.busyIp(maxConnectionsPerIp),
      });
    }
    session.admitted();
    this.#opened(session);
  }

  #opened({ id, connection: { remoteAddr } }: Session): void {
    this.#counters.opening(-1);
    this.#counters.opened();
    if (this.#events.connection_open !== undefined) {
      emit(this.#events.connection_open, {
        type: "connection_open",
        id,
        remoteAddr,
      });
    }
  }

  /** A refused session has no place any more while it is told so. */
  #turnAway(session: Session, refusal: Refusal): Refusal {
    this.#rejected(session.connection, refusal);
    this.#sessions.delete(session);
    this.#counters.opening(-1);
    this.#places.free();
    const full = this.#refusing.size >= MAX_REFUSING;
    this.#refusing.add(session);
    if (full) session.abort("shutdown");
    return refusal;
  }

  #rejected({ remoteAddr }: Connection, { reason, error }: Refusal): void {
    this.#counters.rejected(reason);
    if (this.#events.connection_rejected === undefined) return;
    emit(this.#events.connection_rejected, {
      type: "connection_rejected",
      reason,
      remoteAddr,
      error,
    });
  }

  #ended(session: Session, end: SessionEnd): void {
    this.#descriptors.closed();
    this.#wake?.();
    if (this.#refusing.delete(session)) return this.#checkEmpty();
    const { id, opened, connection: { remoteAddr, received, sent } } = session;
    this.#sessions.delete(session);
    this.#places.free();
    if (end.refusal !== undefined) {
      this.#counters.opening(-1);
      this.#rejected(session.connection, end.refusal);
      return this.#checkEmpty();
    }
    if (end.admitted) this.#places.leave(ipOf(remoteAddr));
    // It had a place, and ended before it was known whether it may keep it.
    else this.#opened(session);
    this.#counters.closed(end.reason);
    if (end.reason === "forced") this.#forced++;
    if (this.#events.connection_close !== undefined) {
      emit(this.#events.connection_close, {
        type: "connection_close",
        id,
        remoteAddr,
        reason: end.reason,
        error: end.error,
        duration: this.#clock.now() - opened,
        requests: end.requests,
        received,
        sent,
        unanswered: end.unanswered,
      });
    }
    this.#checkEmpty();
  }

  #checkEmpty(): void {
    if (!this.#stopping) return;
    if (this.#sessions.size + this.#refusing.size === 0) this.#empty.resolve();
  }

  async #drain(): Promise<void> {
    if (this.#events.drain !== undefined) {
      const connections = this.#sessions.size;
      emit(this.#events.drain, { type: "drain", connections });
    }
    const { drainTimeout } = this.#config;
    const cancel = drainTimeout > 0
      ? this.#clock.after(drainTimeout, () => this.#force())
      : undefined;
    for (const session of this.#sessions) session.drain();
    this.#checkEmpty();
    await this.#empty.promise;
    cancel?.();
  }

  #force(): void {
    for (const session of this.#sessions) session.abort("forced");
    for (const session of this.#refusing) session.abort("forced");
  }

  /**
   * Closes the listener once nobody is queued there any more: closing it on
   * those whom the kernel has welcomed already would reset them.
   */
  #closeSoon(): void {
    this.#cancelClose?.();
    this.#cancelClose = this.#clock.after(
      LAST_CALL,
      () => this.#closeListener(),
    );
  }

  #closeListener(): void {
    this.#closed = true;
    this.#cancelClose?.();
    try {
      this.#listener.close();
    } catch (error) {
      // A listener that failed may be closed already.
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    }
    this.#wake?.();
  }

  async #sleep(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = this.#clock.after(ms, resolve);
    this.#wake = resolve;
    await promise;
    this.#wake = undefined;
    cancel();
  }
}
