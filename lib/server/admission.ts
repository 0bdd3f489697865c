/**
 * Who is connected: gives connections their places, turns others away, and counts
 * and tells of each when it begins and ends.
 */

import { ipOf } from "../core/address.ts";
import { emit } from "../events/events.ts";
import { Connection, type Transport } from "../net/connection.ts";
import type { Refusal } from "./connection/ending.ts";
import {
  Session,
  type SessionContext,
  type SessionEnd,
} from "./connection/session.ts";
import type { SharedContext } from "./connection/context.ts";
import type { Descriptors } from "./descriptors.ts";
import type { Places } from "./places.ts";
import { replies } from "./replies.ts";

/**
 * How many refused connections are waited for at once. Each holds a descriptor
 * until its peer has read why; more than this are closed without a word.
 */
const MAX_REFUSING = 256;

export class Admission {
  /** Connections that have a place, or wait for it. */
  readonly all: Set<Session>;
  /** How many the drain timeout has cut. */
  forced = 0;
  readonly #refusing = new Set<Session>();
  readonly #context: SessionContext;
  readonly #places: Places;
  readonly #descriptors: Descriptors;
  readonly #onEnded: () => void;

  constructor(
    shared: SharedContext,
    sessions: Set<Session>,
    places: Places,
    descriptors: Descriptors,
    onEnded: () => void,
  ) {
    this.all = sessions;
    this.#context = {
      ...shared,
      admit: (session) => this.#admit(session),
      refuse: (session, refusal) => this.#turnAway(session, refusal),
      ended: (session, end) => this.#ended(session, end),
    };
    this.#places = places;
    this.#descriptors = descriptors;
    this.#onEnded = onEnded;
  }

  /** How many connections are left, with those that are told of a refusal. */
  get size(): number {
    return this.all.size + this.#refusing.size;
  }

  /** Ends all, whatever they are owed. */
  force(): void {
    for (const session of this.all) session.abort("forced");
    for (const session of this.#refusing) session.abort("forced");
  }

  /** Takes a connection that was accepted. */
  welcome(transport: Transport): void {
    const { maxConnections, maxFrame } = this.#context.config;
    const connection = new Connection(
      transport,
      maxFrame,
      this.#context.counters,
    );
    this.#descriptors.opened();
    if (this.#context.memory.over) {
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
    this.all.add(session);
    this.#context.counters.opening(1);
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
    const { allow, deny } = this.#context.config;
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
      if (this.all.has(session)) return this.#entered(session, entered);
      if (entered) this.#places.leave(ip);
    });
  }

  #entered(session: Session, entered: boolean): Refusal | undefined {
    if (!entered) {
      const { maxConnectionsPerIp } = this.#context.config;
      return this.#turnAway(session, {
        reason: "busy_ip",
        text: replies.busyIp(maxConnectionsPerIp),
      });
    }
    session.admitted();
    this.#opened(session);
  }

  #opened({ id, connection: { remoteAddr } }: Session): void {
    this.#context.counters.opening(-1);
    this.#context.counters.opened();
    if (this.#context.events.connection_open !== undefined) {
      emit(this.#context.events.connection_open, {
        type: "connection_open",
        id,
        remoteAddr,
      });
    }
  }

  /** A refused session has no place any more while it is told so. */
  #turnAway(session: Session, refusal: Refusal): Refusal {
    this.#rejected(session.connection, refusal);
    this.all.delete(session);
    this.#context.counters.opening(-1);
    this.#places.free();
    const full = this.#refusing.size >= MAX_REFUSING;
    this.#refusing.add(session);
    if (full) session.abort("shutdown");
    return refusal;
  }

  #rejected({ remoteAddr }: Connection, { reason, error }: Refusal): void {
    this.#context.counters.rejected(reason);
    if (this.#context.events.connection_rejected === undefined) return;
    emit(this.#context.events.connection_rejected, {
      type: "connection_rejected",
      reason,
      remoteAddr,
      error,
    });
  }

  #ended(session: Session, end: SessionEnd): void {
    this.#descriptors.closed();
    if (this.#refusing.delete(session)) return this.#onEnded();
    const { id, opened, connection: { remoteAddr, received, sent } } = session;
    this.all.delete(session);
    this.#places.free();
    if (end.refusal !== undefined) {
      this.#context.counters.opening(-1);
      this.#rejected(session.connection, end.refusal);
      return this.#onEnded();
    }
    if (end.admitted) this.#places.leave(ipOf(remoteAddr));
    // It had a place, and ended before it was known whether it may keep it.
    else this.#opened(session);
    this.#context.counters.closed(end.reason);
    if (end.reason === "forced") this.forced++;
    if (this.#context.events.connection_close !== undefined) {
      emit(this.#context.events.connection_close, {
        type: "connection_close",
        id,
        remoteAddr,
        reason: end.reason,
        error: end.error,
        duration: this.#context.clock.now() - opened,
        requests: end.requests,
        received,
        sent,
        unanswered: end.unanswered,
      });
    }
    this.#onEnded();
  }
}
