/**
 * The life of one connection on the server's side, an asynchronous task that
 * reads from top to bottom: it is opened, by a proxy's header, a place and TLS;
 * requests and replies are exchanged; and it ends with a farewell, which sees
 * that the peer gets what was sent to it. What it is doing, and until when it
 * may, is its stage; why it ends is its ending.
 */

import { networkOf } from "../../core/address.ts";
import {
  ClientCertificateError,
  ProxyHeaderError,
  TimeoutError,
} from "../../core/errors.ts";
import { type CloseReason, emit } from "../../events/events.ts";
import type { Opening } from "../../events/metrics.ts";
import { errorOf } from "../../framing/codec.ts";
import type { Connection } from "../../net/connection.ts";
import { parseProxyHeader } from "../../net/proxy_protocol.ts";
import type { ConnectionInfo } from "../parley_server.ts";
import { replies } from "../replies.ts";
import type { SessionParts, SharedContext } from "./context.ts";
import { Ending, LastCall, type Refusal } from "./ending.ts";
import { Exchange } from "./exchange.ts";
import { payloadOf, ReplyWriter } from "./reply_writer.ts";
import type { Serving } from "./serving.ts";
import { type Phase, PHASE_LIMITS, Stage } from "./stage.ts";
import { TaskRun } from "./task.ts";

/** What all sessions of one server share, and whom they tell of themselves. */
export interface SessionContext extends SharedContext {
  /**
   * Called once the client's address is known, before TLS: gives it its place,
   * or says why it gets none.
   */
  readonly admit: (
    session: Session,
  ) => Refusal | undefined | Promise<Refusal | undefined>;
  /** Counts a session as refused, which is told why; returns the refusal. */
  readonly turnAway: (session: Session, refusal: Refusal) => Refusal;
  readonly opened: (session: Session) => void;
  /** Called once, when the session has ended and its connection is closed. */
  readonly ended: (session: Session) => void;
}

/** The reasons of a refusal after a header or a handshake that failed. */
const FAILURES = { greeting: "proxy_error", handshaking: "tls_error" } as const;

export class Session implements SessionParts {
  readonly opened: number;
  readonly stage: Stage;
  readonly ending = new Ending();
  exchange: Serving | undefined;
  /** Whether it has got its place. */
  admitted = false;
  served = false;
  #awaited: Opening | undefined;
  refusal: Refusal | undefined;
  /** The wait for a first byte, once it drains before it is served. */
  #lastCall: LastCall | undefined;
  /** Ends the wait for a place. */
  #giveUp: ((refusal: Refusal) => void) | undefined;
  /** It has ended, though a read or write of it may still be under way. */
  #settled = false;

  /** @param proxied Whether a proxy's header comes first, and names the client. */
  constructor(
    readonly id: number,
    readonly connection: Connection,
    readonly context: SessionContext,
    readonly proxied = false,
  ) {
    const { clock, config, deadlines } = context;
    this.opened = connection.heardAt = clock.now();
    this.stage = new Stage(deadlines, config, this);
  }

  /** Serves the connection until it ends. Never rejects. */
  async run(refusal?: Refusal): Promise<void> {
    try {
      await this.#life(refusal);
    } catch (error) {
      this.ending.lost(error);
    }
    this.#settle();
  }

  async #life(known: Refusal | undefined): Promise<void> {
    const { ending, context } = this;
    const tls = context.config.startTls ? undefined : context.tls;
    if (this.proxied) await this.#prepare("greeting");
    if (this.refusal !== undefined || ending.reason !== undefined) return;
    const refusal = known ?? await this.#admit();
    if (this.#settled) return;
    if (refusal !== undefined) {
      this.refusal = refusal;
      ending.name("shutdown");
      // The peer could read it only after a handshake, which costs us more.
      if (tls !== undefined || refusal.text === undefined) return;
      return await this.#tellWhy(refusal);
    }
    if (tls !== undefined) await this.#prepare("handshaking");
    if (ending.reason !== undefined) return;
    const failed = this.refusal as Refusal | undefined;
    if (failed !== undefined) {
      if (failed.text === undefined) return;
      context.turnAway(this, failed);
      return await this.#tellWhy(failed);
    }
    this.served = true;
    context.opened(this);
    if (this.#settled) return;
    await this.#begin().done.promise;
    await this.#farewell();
  }

  /** Ends once nothing is owed; a peer that has sent no byte is owed nothing. */
  drain(): void {
    if (this.exchange !== undefined) return this.exchange.drain();
    this.#lastCall = new LastCall(this.context.clock, this.connection, () => {
      if (this.connection.silent) this.abort("shutdown");
    });
    this.#lastCall.begin();
  }

  /** Counts what it waits for until it is open. */
  awaits(what?: Opening): void {
    const { counters } = this.context;
    if (this.#awaited !== undefined) counters.opening(this.#awaited, -1);
    if (what !== undefined) counters.opening(what, 1);
    this.#awaited = what;
  }

  /** Ends now, whatever is owed. */
  abort(reason: CloseReason): void {
    this.ending.name(reason);
    this.connection.close();
    // Before Deno 2.9.5 `close()` does not end a blocked write: nobody may wait
    // for one here.
    this.#settle();
  }

  /** Memory is short: its wait for the rest of a frame is paused. */
  squeeze(share: number): void {
    const { held, inbox } = this.connection;
    if (held > share && inbox.length > 0) this.stage.pause();
  }

  unsqueeze(): void {
    this.exchange?.unpause();
  }

  describe(): ConnectionInfo {
    const now = this.context.clock.now();
    const { heardAt, inbox, received, sent, remoteAddr } = this.connection;
    const { phase } = this.stage;
    return {
      id: this.id,
      remoteAddr,
      network: networkOf(remoteAddr, this.context.config.ipPrefix),
      age: now - this.opened,
      idle: now - heardAt,
      state: phase === "reading" && inbox.length === 0 ? "idle" : phase,
      requests: this.exchange?.meter.requests ?? 0,
      received,
      sent,
    };
  }

  expire(phase: Phase): void {
    switch (phase) {
      case "greeting":
      case "handshaking":
      case "admitting":
        return this.#tooLate(phase);
      case "reading":
        return this.abort("idle_timeout");
      case "writing":
        return this.abort("write_timeout");
      case "paused":
        return this.abort("overload");
      case "handling":
        return this.exchange?.expire();
      case "lingering":
        return this.abort("shutdown");
    }
  }

  /**
   * Reads the header of a trusted proxy, or agrees on TLS. A peer that leaves
   * before its first byte, by its end or by a reset (throws), did nothing wrong,
   * for TCP checks do so: that is no refusal.
   */
  async #prepare(phase: "greeting" | "handshaking"): Promise<void> {
    const { connection, context } = this;
    this.awaits(phase);
    this.stage.enter(phase);
    if (connection.inbox.length === 0) {
      await hear(connection);
      if (connection.eof) return this.ending.name("peer_closed");
    }
    try {
      if (phase === "greeting") await this.#greet();
      else await context.tls!.secure(connection);
      connection.heardAt = context.clock.now();
    } catch (error) {
      // A broken header does not come from our proxy: close without a reply.
      const text = error instanceof ClientCertificateError
        ? replies.certificate(error.reason)
        : undefined;
      this.refusal ??= { reason: FAILURES[phase], text, error };
    }
  }

  /** Reads a proxy's header, which names the client. */
  async #greet(): Promise<void> {
    const { connection, context: { config } } = this;
    const { inbox } = connection;
    const { version } = config.proxy!;
    let header;
    while (true) {
      const { bytes, start, end } = inbox;
      header = parseProxyHeader(bytes, start, end, version);
      if (header !== undefined) break;
      if (connection.eof) {
        throw new ProxyHeaderError(`stream ended after ${inbox.length} bytes`);
      }
      await hear(connection);
    }
    const { source, destination, length } = header;
    inbox.start += length;
    connection.remoteAddr = Object.freeze(source ?? connection.remoteAddr);
    connection.localAddr = Object.freeze(destination ?? connection.localAddr);
  }

  /** Asks for a place, and waits for the answer if another thread gives it. */
  async #admit(): Promise<Refusal | undefined> {
    const answer = this.context.admit(this);
    if (!(answer instanceof Promise)) return answer;
    this.stage.enter("admitting");
    this.awaits("admitting");
    const late = new Promise<Refusal>((resolve) => this.#giveUp = resolve);
    try {
      return await Promise.race([answer, late]);
    } finally {
      this.#giveUp = undefined;
    }
  }

  #begin(): Serving {
    this.#lastCall?.cancel();
    const { task } = this.context;
    const exchange = new (task === undefined ? Exchange : TaskRun)(this);
    // A hook, a handler or a task that is called at once may end it.
    this.exchange = exchange;
    exchange.start();
    if (this.#lastCall !== undefined) exchange.drain();
    return exchange;
  }

  /** Tells the peer why it gets no place. */
  async #tellWhy({ reason, text = "" }: Refusal): Promise<void> {
    const { config, events: { handler_error }, hooks: { onRefuse } } =
      this.context;
    const codec = config.framing.codec(config.maxFrame);
    const writer = new ReplyWriter(this, codec);
    let payload = errorOf(codec, text);
    if (onRefuse !== undefined) {
      this.stage.enter("lingering");
      try {
        const words = await onRefuse(reason, text);
        payload = words === undefined
          ? undefined
          : payloadOf(words, codec, config.maxReply);
      } catch (error) {
        emit(handler_error, { type: "handler_error", id: this.id, error });
      }
    }
    if (payload !== undefined) await writer.send(payload, 0);
    await writer.flush();
    await this.#farewell();
  }

  #tooLate(phase: "greeting" | "handshaking" | "admitting"): void {
    const limit = PHASE_LIMITS[phase];
    if (phase === "admitting") {
      const error = new TimeoutError(`No answer about a place in ${limit} ms`);
      const busy: Refusal = { reason: "busy", text: replies.noAnswer, error };
      return this.#giveUp?.(this.context.turnAway(this, busy));
    }
    const what = phase === "greeting" ? "PROXY header" : "TLS handshake";
    const error = new TimeoutError(`No ${what} within ${limit} ms`);
    if (this.served) this.ending.name("error", error);
    else this.refusal = { reason: FAILURES[phase], error };
    this.abort("shutdown");
  }

  /**
   * Closes our side and waits for the peer to close its own, dropping what it
   * still sends. It may take as long as the phase `lingering` lasts.
   */
  async #farewell(): Promise<void> {
    const { connection } = this;
    // If the peer has ended, a TCP close is enough; TLS wants our end as well.
    if (connection.eof && connection.tls === undefined) return;
    this.stage.enter("lingering");
    await connection.closeWrite();
    await connection.discard(this.context.scheduler);
  }

  /** Lets go of everything, once. */
  #settle(): void {
    if (this.#settled) return;
    this.#settled = true;
    this.stage.leave();
    this.#lastCall?.cancel();
    const { exchange } = this;
    if (exchange === undefined) void this.connection.letGo();
    else exchange.end();
    this.connection.close();
    this.ending.name("error");
    exchange?.left(this.ending.reason!);
    this.context.ended(this);
  }
}

/** Reads once. */
async function hear(connection: Connection): Promise<void> {
  connection.took(await connection.read(connection.inbox.space()));
}
