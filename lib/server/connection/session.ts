/**
 * The life of one connection on the server's side, an asynchronous task that
 * reads from top to bottom: it is opened, requests and replies are exchanged,
 * and it ends with a farewell. What it is doing, and until when it may, is its
 * stage; why it ends is its ending.
 */

import { networkOf } from "../../core/address.ts";
import type { Connection } from "../../net/connection.ts";
import { TimeoutError } from "../../core/errors.ts";
import type { CloseReason } from "../../events/events.ts";
import type { Opening } from "../../events/metrics.ts";
import { replies } from "../replies.ts";
import type { ConnectionInfo } from "../parley_server.ts";
import type { SessionParts, SharedContext } from "./context.ts";
import { Ending, farewell, type Refusal } from "./ending.ts";
import { Exchange } from "./exchange.ts";
import { LastCall } from "./last_call.ts";
import { prepare } from "./opening.ts";
import { ReplyWriter } from "./reply_writer.ts";
import { payloadOf } from "./info.ts";
import type { Serving } from "./serving.ts";
import { TaskRun } from "./task.ts";
import { type Phase, PHASE_LIMITS, Stage } from "./stage.ts";

/** What all sessions of one server share, and whom they tell of themselves. */
export interface SessionContext extends SharedContext {
  /**
   * Called once the client's address is known, before TLS: gives it its place,
   * or says why it gets none.
   */
  readonly admit: (
    session: Session,
  ) => Refusal | undefined | Promise<Refusal | undefined>;
  /** Called for one that is to be told why it gets no place; gives it back. */
  readonly refuse: (session: Session, refusal: Refusal) => Refusal;
  readonly opened: (session: Session) => void;
  /** Called once, when the session has ended and its connection is closed. */
  readonly ended: (session: Session) => void;
}

export class Session implements SessionParts {
  readonly opened: number;
  readonly stage: Stage;
  readonly ending = new Ending();
  exchange: Serving | undefined;
  /** Whether it has got its place. */
  admitted = false;
  #awaited: Opening | undefined;
  served = false;
  /** Why it is turned away. */
  refusal: Refusal | undefined;
  #draining = false;
  /** The wait of a draining session for a first byte. */
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
    const { connection } = this;
    const { scheduler, config } = this.context;
    const tls = config.startTls ? undefined : this.context.tls;
    if (this.proxied) await this.#prepare("greeting");
    if (this.refusal !== undefined || this.over) return;
    const refusal = known ?? await this.#admit();
    if (this.#settled) return;
    if (refusal !== undefined) {
      this.refusal = refusal;
      this.ending.name("shutdown");
      // To be told it would have to agree on TLS first, which costs us more.
      if (tls !== undefined || refusal.text === undefined) return;
      await this.#say(refusal);
    } else {
      if (tls !== undefined) await this.#prepare("handshaking");
      if (this.over) return;
      if (this.refusal !== undefined) {
        const failed: Refusal = this.refusal;
        if (failed.text === undefined) return;
        this.context.refuse(this, failed);
        await this.#say(failed);
        return await farewell(connection, this.stage, scheduler);
      }
      this.served = true;
      this.context.opened(this);
      if (this.#settled) return;
      this.exchange = this.#begin();
      await this.exchange.done.promise;
    }
    await farewell(connection, this.stage, scheduler);
  }

  /** Ends once nothing is owed; a peer that has sent no byte is owed nothing. */
  drain(): void {
    this.#draining = true;
    if (this.exchange !== undefined) return this.exchange.drain();
    const { clock } = this.context;
    this.#lastCall = new LastCall(clock, this.connection, () => {
      if (this.connection.silent) this.abort("shutdown");
    });
    this.#lastCall.begin();
  }

  /** Counts what is awaited of it until it is open. */
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
    // Before Deno 2.9.5 a blocked write is not ended by `close()`: what is cut
    // must not wait for it.
    this.#settle();
  }

  /** Memory is short: whoever holds more than its share is paused. */
  squeeze(share: number): void {
    if (this.connection.held > share) this.exchange?.pause();
  }

  unsqueeze(): void {
    this.exchange?.unpause();
  }

  get over(): boolean {
    return this.ending.reason !== undefined;
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

  async #prepare(phase: "greeting" | "handshaking"): Promise<void> {
    if (!this.served) this.awaits(phase);
    const failed = await prepare(this, phase);
    this.refusal ??= failed;
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
    exchange.start();
    if (this.#draining) exchange.drain();
    return exchange;
  }

  async #say({ reason, text = "" }: Refusal): Promise<void> {
    const { config, hooks: { onRefuse } } = this.context;
    const codec = config.framing.codec(config.maxFrame);
    const writer = new ReplyWriter(this, codec);
    if (onRefuse === undefined) return await writer.say(text);
    const words = onRefuse(reason, text);
    if (words === undefined) return;
    await writer.send(payloadOf(words, codec, config.maxReply), 0);
    await writer.flush();
  }

  #tooLate(phase: "greeting" | "handshaking" | "admitting"): void {
    const limit = PHASE_LIMITS[phase];
    if (phase === "admitting") {
      const error = new TimeoutError(`No answer about a place in ${limit} ms`);
      const busy: Refusal = { reason: "busy", text: replies.noAnswer, error };
      return this.#giveUp?.(this.context.refuse(this, busy));
    }
    if (this.served) {
      this.ending.name("error", new TimeoutError(`No TLS within ${limit} ms`));
      return this.abort("error");
    }
    const [reason, what] = phase === "greeting"
      ? ["proxy_error", "PROXY header"] as const
      : ["tls_error", "TLS handshake"] as const;
    const error = new TimeoutError(`No ${what} within ${limit} ms`);
    this.refusal = { reason, error };
    this.abort("shutdown");
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
