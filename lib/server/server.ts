/** Servers: what all have in common, and the server on one thread. */

import { type Clock, systemClock } from "../core/clock.ts";
import { Deadlines } from "../core/deadlines.ts";
import { ParleyError } from "../core/errors.ts";
import { type RateCells, TokenBuckets } from "../core/rate_limit.ts";
import type { Rate } from "../core/units.ts";
import { emit, type EventListeners } from "../events/events.ts";
import { Counters, type Metrics, ServerStatsBase } from "../events/metrics.ts";
import { type Acceptor, listen as listenAt } from "../net/listen.ts";
import { TlsIdentity, type TlsStatus } from "../tls/identity.ts";
import type { TlsFiles, TlsSettings } from "../tls/settings.ts";
import { AcceptLoop } from "./accept_loop.ts";
import { Admission } from "./admission.ts";
import type { SharedContext } from "./connection/context.ts";
import type { Session } from "./connection/session.ts";
import { Descriptors } from "./descriptors.ts";
import type { ConnectionTask, Handler } from "./handler.ts";
import { MemoryBound } from "./memory.ts";
import type { ServeConfig } from "./config.ts";
import type { AnyOptions } from "./options.ts";
import type {
  ConnectionInfo,
  DescriptorCount,
  DrainStatus,
  ParleyServer,
  ServerLimits,
} from "./parley_server.ts";
import { Places } from "./places.ts";
import { Scheduler } from "./scheduler.ts";

/** What serves the connections: a handler of requests, or a task for each. */
export type Service = Handler | { readonly task: ConnectionTask };

/** What a test may replace. */
export interface Surroundings {
  listen?: (config: ServeConfig) => Acceptor;
  clock?: Clock;
  counters?: Counters;
  places?: Places;
  /** The buckets of addresses, for connections and for requests. */
  rates?: readonly RateCells[];
  /** How many connections there are descriptors for. */
  descriptors?: Descriptors;
  /** When the whole server started, in milliseconds since 1970. */
  startedAt?: number;
  /** How long the whole server has been up already, in milliseconds. */
  uptime?: number;
}

/** How often the lateness of a timer is measured, in milliseconds. */
const DELAY_INTERVAL = 100;

/** The handler where tasks serve the connections. */
const nobody = () => {};

/** A server on one thread or several: its certificate, and how it ends. */
export abstract class ServerBase extends ServerStatsBase {
  abstract readonly finished: Promise<void>;
  readonly framing: string;
  readonly limits: ServerLimits;
  protected readonly certificate: TlsIdentity | undefined;
  protected stage: "starting" | "serving" | "leaving" | "draining" | "ended" =
    "starting";
  /** Private for good: the private key of the certificate is in it. */
  readonly #config: ServeConfig;
  readonly #counters: Counters;
  /** Who asked for the drain. */
  #by = "the listener, which failed";
  /** Takes back the end of the time before the drain. */
  #cancelLeaving: (() => void) | undefined;
  /** What is known of the drain, or the time before it. */
  #drain: { readonly accepting: boolean; readonly until: number } | undefined;

  constructor(
    config: ServeConfig,
    protected readonly events: EventListeners,
    protected readonly clock: Clock,
    protected readonly sockets: Descriptors,
    counters: Counters,
    startedAt = Date.now(),
    uptime = 0,
  ) {
    super(counters, clock, startedAt, uptime);
    this.#config = config;
    this.#counters = counters;
    this.framing = config.framing.name;
    this.limits = config.limits;
    const { certificate_expiry: listener } = events;
    this.certificate = config.tls && new TlsIdentity(
      config.tls,
      clock,
      listener && ((days, { subject, notAfter }, notBefore) => {
        const type = "certificate_expiry";
        const early = notBefore && { notBefore };
        emit(listener, { type, days, subject, notAfter, ...early });
      }),
    );
    // They are not for a program that logs its server.
    for (const name of ["events", "clock", "sockets", "certificate", "stage"]) {
      Object.defineProperty(this, name, { enumerable: false });
    }
  }

  get descriptors(): DescriptorCount {
    return this.sockets.count;
  }

  get tls(): TlsStatus | undefined {
    return this.certificate?.status;
  }

  get draining(): boolean {
    return this.stage !== "starting" && this.stage !== "serving";
  }

  get drain(): DrainStatus | undefined {
    if (this.#drain === undefined) return undefined;
    const { accepting, until } = this.#drain;
    return { accepting, left: Math.max(0, until - this.clock.now()) };
  }

  metrics(): Metrics {
    return this.#counters.read();
  }

  shutdown(by = "shutdown()"): Promise<void> {
    if (this.stage !== "serving") return this.finished;
    this.stage = "leaving";
    this.#by = by;
    const { preDrainDelay: delay } = this.#config;
    if (delay === 0) this.stopAccepting();
    else {
      this.#begin(true, delay);
      const connections = this.#count();
      const type = "pre_drain";
      emit(this.events.pre_drain, { type, connections, delay, by });
      this.#cancelLeaving = this.clock.after(delay, () => this.stopAccepting());
    }
    return this.finished;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown();
  }

  /** Is called once, before the drain. */
  protected abstract stopAccepting(): void;

  protected beginDrain(): void {
    this.#cancelLeaving?.();
    this.stage = "draining";
    this.#begin(false, this.#config.drainTimeout);
    const connections = this.#count();
    emit(this.events.drain, { type: "drain", connections, by: this.#by });
  }

  /** Those that a drain waits for, also before they are open. */
  #count(): number {
    return this.connections + this.metrics().opening;
  }

  /** @throws {ParleyError} The server has no certificate. */
  protected async reload(
    files: TlsFiles | Promise<TlsFiles>,
  ): Promise<TlsSettings | undefined> {
    if (this.certificate !== undefined) {
      return await this.certificate.reload(files);
    }
    throw new ParleyError(
      "Cannot reload TLS: the server was started without cert and key",
    );
  }

  /** Begins a stage of the shutdown; 0 milliseconds are no limit. */
  #begin(accepting: boolean, ms: number): void {
    this.#drain = { accepting, until: this.clock.now() + (ms || Infinity) };
  }
}

export class Server extends ServerBase implements ParleyServer {
  readonly addr: Deno.Addr;
  readonly finished: Promise<void>;
  readonly threads = 1;
  readonly threadsLost = 0;
  readonly #listener: Acceptor;
  readonly #context: SharedContext;
  readonly #accepting: AcceptLoop;
  readonly #admission: Admission;
  #cancelDelay!: () => void;
  readonly #empty = Promise.withResolvers<void>();

  constructor(
    config: ServeConfig,
    service: Service,
    { onListen, events = {}, ...hooks }: AnyOptions,
    {
      listen = listenAt,
      clock = systemClock,
      counters = new Counters(),
      places = new Places(config),
      rates = [],
      descriptors = new Descriptors(clock),
      startedAt,
      uptime = 0,
    }: Surroundings,
  ) {
    const listener = listen(config);
    super(config, events, clock, descriptors, counters, startedAt, uptime);
    const sessions = new Set<Session>();
    const scheduler = new Scheduler(clock, config.tls !== undefined);
    const { maxMemory, idleTimeout, requestTimeout, writeTimeout } = config;
    const timeouts = [idleTimeout, requestTimeout, writeTimeout];
    const deadlines = new Deadlines(
      Math.min(...timeouts.map((ms) => ms > 0 ? ms : Infinity)),
      clock,
    );
    const tls = this.certificate;
    const bucketsFor = (rate: Rate | undefined, cells?: RateCells) =>
      rate && new TokenBuckets(rate, cells, uptime - clock.now());
    const context: SharedContext = {
      ...{ config, hooks, events, deadlines, clock, scheduler, counters, tls },
      handler: typeof service === "function" ? service : nobody,
      task: typeof service === "function" ? undefined : service.task,
      memory: new MemoryBound(maxMemory, counters, clock, scheduler, sessions),
      connectionRate: bucketsFor(config.maxConnectionRate, rates[0]),
      requestRate: bucketsFor(config.maxRequestRate, rates[1]),
      // A handler is given these numbers alone: it must not end the server.
      stats: Object.freeze(
        new ServerStatsBase(counters, clock, this.startedAt, uptime),
      ),
    };
    this.#context = context;
    this.#listener = listener;
    this.addr = listener.addr;
    this.#admission = new Admission(
      context,
      sessions,
      places,
      descriptors,
      () => this.#ended(),
    );
    this.#accepting = new AcceptLoop({
      ...{ ...context, listener, descriptors },
      welcome: (transport) => this.#admission.welcome(transport),
    });
    emit(events.listening, { type: "listening", addr: this.addr });
    tls?.watch();
    try {
      onListen?.(this.addr);
    } catch (error) {
      tls?.close();
      listener.close();
      throw error;
    }
    this.#watchDelay();
    this.stage = "serving";
    this.finished = this.#run();
  }

  get ready(): boolean {
    return this.stage === "serving";
  }

  connectionList(): Promise<ConnectionInfo[]> {
    return Promise.resolve(
      Array.from(this.#admission.all, (session) => session.describe()),
    );
  }

  disconnect(id: number): Promise<boolean> {
    const { all } = this.#admission;
    const session = all.values().find((session) => session.id === id);
    session?.abort("closed");
    return Promise.resolve(session !== undefined);
  }

  async reloadTls(files: TlsFiles | Promise<TlsFiles>): Promise<boolean> {
    return await this.reload(files) !== undefined;
  }

  ref(): void {
    this.#listener.ref?.();
  }

  unref(): void {
    this.#listener.unref?.();
  }

  protected stopAccepting(): void {
    this.#accepting.stop();
  }

  #watchDelay(): void {
    const { clock, counters } = this.#context;
    const due = clock.now() + DELAY_INTERVAL;
    this.#cancelDelay = clock.after(DELAY_INTERVAL, () => {
      counters.delayed(Math.max(0, clock.now() - due));
      this.#watchDelay();
    }, { background: true });
  }

  async #run(): Promise<void> {
    try {
      await this.#accepting.run();
    } finally {
      this.beginDrain();
      const { clock, config: { drainTimeout }, events, memory } = this.#context;
      const cancel = drainTimeout > 0
        ? clock.after(drainTimeout, () => this.#admission.force())
        : undefined;
      for (const session of this.#admission.all) session.drain();
      if (this.#admission.size > 0) await this.#empty.promise;
      cancel?.();
      memory.close();
      this.certificate?.close();
      this.#cancelDelay();
      const { forced } = this.#admission;
      emit(events.finished, { type: "finished", forced });
    }
  }

  #ended(): void {
    this.#accepting.retry();
    if (this.stage !== "draining") return;
    if (this.#admission.size === 0) this.#empty.resolve();
  }
}
