/** A server on one thread: it listens, serves, and ends in stages. */

import { type Clock, systemClock } from "../core/clock.ts";
import { Deadlines } from "../core/deadlines.ts";
import { ParleyError } from "../core/errors.ts";
import { type RateCells, TokenBuckets } from "../core/rate_limit.ts";
import type { Rate } from "../core/units.ts";
import { emit, type EventListeners } from "../events/events.ts";
import { Counters } from "../events/metrics.ts";
import { ServerStatsBase } from "../events/server_stats.ts";
import { type Acceptor, listen as listenAt } from "../net/listen.ts";
import { TlsIdentity, type TlsStatus } from "../tls/identity.ts";
import type { TlsFiles } from "../tls/settings.ts";
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
  ParleyServer,
  ServerLimits,
} from "./parley_server.ts";
import { Places } from "./places.ts";
import { Scheduler } from "./scheduler.ts";

/** Who serves the connections: a handler of requests, or a task for each. */
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

/** How often it is seen how late a timer is, in milliseconds. */
const DELAY_INTERVAL = 100;

/** The handler where tasks serve the connections. */
const nobody = () => {};

export class Server extends ServerStatsBase implements ParleyServer {
  readonly addr: Deno.Addr;
  readonly finished: Promise<void>;
  readonly framing: string;
  readonly limits: ServerLimits;
  readonly threads = 1;
  readonly threadsLost = 0;
  readonly #listener: Acceptor;
  readonly #context: SharedContext;
  readonly #accepting: AcceptLoop;
  readonly #admission: Admission;
  readonly #descriptors: Descriptors;
  #cancelDelay!: () => void;
  /** Who asked for the drain. */
  #by = "the listener, which failed";
  #stage: "serving" | "leaving" | "stopping" | "draining" = "serving";
  /** Takes back the end of the time before the drain. */
  #cancelLeaving: (() => void) | undefined;
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
      startedAt = Date.now(),
      uptime = 0,
    }: Surroundings,
  ) {
    super(counters, clock, startedAt, uptime);
    const listener = listen(config);
    const sessions = new Set<Session>();
    const scheduler = new Scheduler(clock);
    const { maxMemory, idleTimeout, requestTimeout, writeTimeout } = config;
    const timeouts = [idleTimeout, requestTimeout, writeTimeout];
    const deadlines = new Deadlines(
      Math.min(...timeouts.map((ms) => ms > 0 ? ms : Infinity)),
      clock,
    );
    const tls = openCertificate(config, clock, events);
    const bucketsFor = (rate: Rate | undefined, cells?: RateCells) =>
      rate && new TokenBuckets(rate, cells, uptime - clock.now());
    const context: SharedContext = {
      ...{ config, hooks, events, deadlines, clock, scheduler, counters, tls },
      handler: typeof service === "function" ? service : nobody,
      task: typeof service === "function" ? undefined : service.task,
      memory: new MemoryBound(maxMemory, counters, clock, scheduler, sessions),
      connectionRate: bucketsFor(config.maxConnectionRate, rates[0]),
      requestRate: bucketsFor(config.maxRequestRate, rates[1]),
      // A handler is given these numbers, and no server that it could end.
      stats: new ServerStatsBase(counters, clock, startedAt, uptime),
    };
    this.#context = context;
    this.#listener = listener;
    this.addr = listener.addr;
    this.#descriptors = descriptors;
    this.framing = config.framing.name;
    this.limits = config.limits;
    this.#admission = new Admission(
      context,
      sessions,
      places,
      descriptors,
      () => this.#ended(),
    );
    this.#accepting = new AcceptLoop({
      ...context,
      ...{ listener, descriptors, backlog: config.tcpBacklog },
      ready: tls?.proven,
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
    this.finished = this.#run();
  }

  get descriptors(): DescriptorCount {
    return this.#descriptors.count;
  }

  get ready(): boolean {
    return this.#stage === "serving";
  }

  get tls(): TlsStatus | undefined {
    return this.#context.tls?.status;
  }

  get draining(): boolean {
    return this.#stage !== "serving";
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

  shutdown(by = "shutdown()"): Promise<void> {
    if (this.#stage !== "serving") return this.finished;
    this.#by = by;
    const { clock, config: { preDrainDelay: delay }, events } = this.#context;
    if (delay === 0) this.#stop();
    else {
      this.#stage = "leaving";
      this.beginStage(true, delay);
      const connections = this.#admission.all.size;
      emit(events.pre_drain, { type: "pre_drain", connections, delay, by });
      this.#cancelLeaving = clock.after(delay, () => this.#stop());
    }
    return this.finished;
  }

  async reloadTls(files: TlsFiles | Promise<TlsFiles>): Promise<boolean> {
    return await needCertificate(this.#context.tls).reload(files) !== undefined;
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

  #watchDelay(): void {
    const { clock, counters } = this.#context;
    const due = clock.now() + DELAY_INTERVAL;
    this.#cancelDelay = clock.after(DELAY_INTERVAL, () => {
      counters.delayed(Math.max(0, clock.now() - due));
      this.#watchDelay();
    }, { background: true });
  }

  #stop(): void {
    this.#stage = "stopping";
    this.#accepting.stop();
  }

  async #run(): Promise<void> {
    const failure = await this.#accepting.run();
    this.#cancelLeaving?.();
    this.#stage = "draining";
    await this.#drain();
    const { events, memory, tls } = this.#context;
    memory.close();
    tls?.close();
    this.#cancelDelay();
    const { forced } = this.#admission;
    emit(events.finished, { type: "finished", forced });
    if (failure !== undefined) throw failure.error;
  }

  async #drain(): Promise<void> {
    const { all } = this.#admission;
    const { clock, config: { drainTimeout }, events } = this.#context;
    this.beginStage(false, drainTimeout);
    emit(events.drain, {
      ...{ type: "drain", connections: all.size, by: this.#by },
    });
    const cancel = drainTimeout > 0
      ? clock.after(drainTimeout, () => this.#admission.force())
      : undefined;
    for (const session of all) session.drain();
    if (this.#admission.size > 0) await this.#empty.promise;
    cancel?.();
  }

  #ended(): void {
    this.#accepting.retry();
    if (this.#stage !== "draining") return;
    if (this.#admission.size === 0) this.#empty.resolve();
  }
}

/** Opens the certificate of a server, if it has one. */
export function openCertificate(
  { tls }: ServeConfig,
  clock: Clock,
  { certificate_expiry: listener }: EventListeners,
): TlsIdentity | undefined {
  return tls && new TlsIdentity(
    tls,
    clock,
    listener && ((days, { subject, notAfter }) => {
      const type = "certificate_expiry";
      emit(listener, { type, days, subject, notAfter });
    }),
  );
}

/** @throws {ParleyError} There is none. */
export function needCertificate(tls: TlsIdentity | undefined): TlsIdentity {
  if (tls !== undefined) return tls;
  throw new ParleyError(
    "Cannot reload TLS: the server was started without cert and key",
  );
}
