/**
 * Gives connections their places, or turns them away. Counts each when it begins
 * and ends, and makes its events.
 */

import { ipOf, networkOf } from "../core/address.ts";
import { emit } from "../events/events.ts";
import { Connection, type Transport } from "../net/connection.ts";
import type { Refusal } from "./connection/ending.ts";
import { Session, type SessionContext } from "./connection/session.ts";
import type { SharedContext } from "./connection/context.ts";
import type { Descriptors } from "./descriptors.ts";
import type { Places } from "./places.ts";
import { replies } from "./replies.ts";

/**
 * How many refused connections may stay until their peers have read why. Each
 * holds a descriptor. Any further one is closed without a word.
 */
const MAX_REFUSING = 256;

/** The most bytes of a frame beside its payload; see `Codec`. */
const MAX_OVERHEAD = 1024;

export class Admission {
  /** How many connections the drain timeout has cut. */
  forced = 0;
  readonly #refusing = new Set<Session>();
  readonly #context: SessionContext;

  /** @param all The connections that have a place, or wait for one. */
  constructor(
    shared: SharedContext,
    readonly all: Set<Session>,
    private readonly places: Places,
    private readonly descriptors: Descriptors,
    private readonly onEnded: () => void,
  ) {
    this.#context = {
      ...shared,
      admit: (session) => this.#admit(session),
      opened: (session) => this.#opened(session),
      turnAway: (session, refusal) => this.#turnAway(session, refusal),
      ended: (session) => this.#ended(session),
    };
  }

  /** How many connections are left, with those that are being refused. */
  get size(): number {
    return this.all.size + this.#refusing.size;
  }

  force(): void {
    for (const session of this.all) session.abort("forced");
    for (const session of this.#refusing) session.abort("forced");
  }

  welcome(transport: Transport): void {
    const { config: { frameLimit, proxy }, counters, task } = this.#context;
    // A task may change to a framing with more bytes beside its payloads.
    const limit = task === undefined ? frameLimit : frameLimit + MAX_OVERHEAD;
    const connection = new Connection(transport, limit, counters);
    this.descriptors.opened();
    // Behind a trusted proxy, the client's address comes later, in the header.
    const proxied = proxy?.trusted.matches(ipOf(connection.remoteAddr));
    const refusal = (proxied ? undefined : this.#unwelcome(connection)) ??
      this.#full();
    if (refusal !== undefined) return this.#refuse(connection, refusal);
    const id = this.places.nextId();
    const session = new Session(id, connection, this.#context, proxied);
    this.all.add(session);
    session.awaits("admitting");
    session.run();
  }

  /** Turns a connection away before it has a session. */
  #refuse(connection: Connection, refusal: Refusal): void {
    this.#rejected(connection, refusal);
    // With TLS it could be told only after a handshake, which costs too much.
    const { tls, config: { startTls } } = this.#context;
    const unheard = tls !== undefined && !startTls;
    if (unheard || this.#refusing.size >= MAX_REFUSING) {
      this.descriptors.closed();
      return connection.close();
    }
    const session = new Session(0, connection, this.#context);
    this.#refusing.add(session);
    session.run(refusal);
  }

  /** Why the address of a client may not connect, or not now. */
  #unwelcome({ remoteAddr }: Connection): Refusal | undefined {
    const { config: { allow, deny }, connectionRate, clock } = this.#context;
    const ip = ipOf(remoteAddr);
    if (allow?.matches(ip) === false || deny?.matches(ip)) {
      return { reason: "denied", text: replies.denied };
    }
    if (connectionRate === undefined) return undefined;
    const network = this.#networkOf(remoteAddr);
    if (connectionRate.take(network, clock.now())) return undefined;
    const text = replies.busyRate("connection", connectionRate.rate);
    return { reason: "busy_rate", text };
  }

  /** Why there is no room for a client. If there is, takes a place. */
  #full(): Refusal | undefined {
    const { config: { maxConnections }, memory } = this.#context;
    if (memory.over) return { reason: "overload", text: replies.overload };
    if (this.places.take()) return undefined;
    return { reason: "busy", text: replies.busy(maxConnections) };
  }

  /** Gives a session its place, now that its client's address is known. */
  #admit(session: Session): Refusal | undefined | Promise<Refusal | undefined> {
    const { connection, proxied } = session;
    const refusal = proxied ? this.#unwelcome(connection) : undefined;
    if (refusal !== undefined) return this.#turnAway(session, refusal);
    const network = this.#networkOf(connection.remoteAddr);
    const entered = this.places.enter(network);
    if (typeof entered === "boolean") return this.#entered(session, entered);
    return entered.then((entered) => {
      if (this.all.has(session)) return this.#entered(session, entered);
      if (entered) this.places.leave(network);
    });
  }

  #entered(session: Session, entered: boolean): Refusal | undefined {
    session.admitted = entered;
    if (entered) return undefined;
    const text = replies.busyIp(this.#context.config.maxConnectionsPerIp);
    return this.#turnAway(session, { reason: "busy_ip", text });
  }

  #networkOf(addr: Deno.Addr): string {
    return networkOf(addr, this.#context.config.ipPrefix);
  }

  #opened(session: Session): void {
    const { id, connection: { remoteAddr, tls } } = session;
    const { counters, events: { connection_open } } = this.#context;
    session.awaits();
    counters.opened();
    if (connection_open === undefined) return;
    emit(connection_open, { type: "connection_open", id, remoteAddr, tls });
  }

  /** Takes the place of a session back, which is then told why. */
  #turnAway(session: Session, refusal: Refusal): Refusal {
    const { admitted, connection } = session;
    this.all.delete(session);
    session.awaits();
    this.places.free();
    if (admitted) this.places.leave(this.#networkOf(connection.remoteAddr));
    this.#rejected(connection, refusal);
    const full = this.#refusing.size >= MAX_REFUSING;
    this.#refusing.add(session);
    if (full) session.abort("shutdown");
    return refusal;
  }

  #rejected({ remoteAddr }: Connection, { reason, error }: Refusal): void {
    const { counters, events: { connection_rejected } } = this.#context;
    counters.rejected(reason);
    if (connection_rejected === undefined) return;
    const type = "connection_rejected";
    emit(connection_rejected, { type, reason, remoteAddr, error });
  }

  #ended(session: Session): void {
    this.descriptors.closed();
    if (this.#refusing.delete(session)) return this.onEnded();
    const { id, opened, connection, refusal, exchange, ending } = session;
    const { remoteAddr, received, sent } = connection;
    const { clock, counters, events } = this.#context;
    this.all.delete(session);
    this.places.free();
    if (session.admitted) this.places.leave(this.#networkOf(remoteAddr));
    if (refusal !== undefined) {
      session.awaits();
      this.#rejected(connection, refusal);
      return this.onEnded();
    }
    // It had a place, but ended before it was served.
    if (!session.served) this.#opened(session);
    const { reason = "error", error } = ending;
    counters.closed(reason);
    const requests = exchange?.meter.requests ?? 0;
    if (requests > 0) counters.asked(-1);
    if (reason === "forced") this.forced++;
    if (events.connection_close !== undefined) {
      const duration = clock.now() - opened;
      const unanswered = exchange?.owing ?? false;
      emit(events.connection_close, {
        ...{ type: "connection_close", id, remoteAddr, reason, error },
        ...{ duration, requests, received, sent, unanswered },
      });
    }
    this.onEnded();
  }
}
