/**
 * What both ways to serve a connection share, `exchange.ts` and `task.ts`: how it
 * is read from, paused for want of memory and drained, and what is let go of
 * when it ends.
 */

import type { CloseReason } from "../../events/events.ts";
import type { Framing } from "../../framing/codec.ts";
import type { Connection } from "../../net/connection.ts";
import type { Task } from "../scheduler.ts";
import type { SessionParts, SharedContext } from "./context.ts";
import { type Ending, LastCall } from "./ending.ts";
import { Gate } from "./gate.ts";
import { Meter } from "./meter.ts";
import { ReplyWriter } from "./reply_writer.ts";
import type { Stage } from "./stage.ts";

export abstract class Serving implements Task, SessionParts {
  /**
   * Resolves when all that was to be said has been written, and the farewell is
   * left; rejects when the connection is lost or cut.
   */
  readonly done: PromiseWithResolvers<void> = Promise.withResolvers();
  /** A request has come in whole, and its reply is not out yet. */
  owing = false;
  /** No request is handled any more, and no reply is any use. */
  over = false;
  readonly id: number;
  readonly connection: Connection;
  readonly stage: Stage;
  readonly ending: Ending;
  readonly context: SharedContext;
  readonly writer: ReplyWriter;
  readonly meter: Meter;
  /** The framing from now on. */
  framing: Framing;
  protected readonly gate: Gate;
  /** What it has used of its turn. */
  protected used = 0;
  /** Whether a handler may still read its request. */
  protected atWork = false;
  protected lastCall: LastCall | undefined;
  /** Nothing is read until there is memory again. */
  #waitsForMemory = false;
  protected readonly onError = (error: unknown): void => this.lost(error);

  constructor(parts: SessionParts) {
    const { framing, maxFrame } = parts.context.config;
    this.id = parts.id;
    this.connection = parts.connection;
    this.stage = parts.stage;
    this.ending = parts.ending;
    this.context = parts.context;
    this.framing = framing;
    this.writer = new ReplyWriter(this, framing.codec(maxFrame), this.onError);
    this.meter = new Meter(this);
    this.gate = new Gate(this, this.meter);
  }

  abstract start(): void;
  abstract resume(): void;
  abstract writeReplies(now: number): void;
  protected abstract readonly onRead: (n: number | null) => void;
  /** Aborts once nothing that is sent is any use. */
  abstract get signal(): AbortSignal;
  /** The connection ends after what was given before. */
  abstract close(reason: "handler_closed"): void;
  /** Whether nothing is owed, and more is waited for. */
  protected abstract get isIdle(): boolean;
  /** Ends an idle connection. */
  protected abstract endIdle(): void;
  /** Tells whoever is at work that nothing is any use any more. */
  protected abstract abort(): void;

  /** A handler has had its time; a task has no deadline of its own. */
  expire(): void {}

  /** Tells whoever serves the connection that it has ended. */
  left(_reason: CloseReason): void {}

  startRead(): void {
    const { held, inbox, reading } = this.connection;
    if (this.over || reading !== undefined) return;
    const { growth } = inbox;
    if (growth > 0 && !this.context.memory.allows(held + growth)) {
      this.#waitsForMemory = true;
      return this.stage.pause();
    }
    try {
      this.connection.read(inbox.space()).then(this.onRead, this.onError);
    } catch (error) {
      this.onError(error);
    }
  }

  /** Memory is short: if the rest of a frame is awaited, that is paused. */
  pause(): void {
    if (this.connection.inbox.length > 0) this.stage.pause();
  }

  /** Memory is no longer short. */
  unpause(): void {
    this.stage.unpause();
    if (!this.#waitsForMemory) return;
    this.#waitsForMemory = false;
    this.startRead();
  }

  /**
   * Ends once nothing is owed. Requests that have arrived by now, also those
   * that the kernel still holds, get their replies first.
   */
  drain(): void {
    const { connection } = this;
    const { inbox } = connection;
    // Only a read from now on tells that the kernel holds no more.
    connection.emptied = false;
    this.lastCall ??= new LastCall(this.context.clock, connection, (silent) => {
      // A frame under way is in flight too; the drain timeout may end it.
      if (!this.isIdle || inbox.length > 0 || connection.eof) return;
      if (silent) this.endIdle();
      else this.lastCall!.begin();
    });
    if (this.isIdle) this.lastCall.begin();
  }

  /** The connection is lost: no reply is any use. */
  lost(error: unknown): void {
    this.ending.lost(error);
    this.#letGo();
    this.done.reject(error);
  }

  /**
   * Lets go of everything; the connection has ended or is closed right after.
   * May be called more than once.
   */
  end(): void {
    this.#letGo();
    this.meter.end(this.context.clock.now());
    if (!this.atWork) this.writer.letGo();
    this.done.reject(undefined);
  }

  #letGo(): void {
    this.over = true;
    this.lastCall?.cancel();
    this.abort();
    this.writer.lose();
  }

  /** Nothing is left to be done but the farewell. */
  protected finish(reason: CloseReason, error?: unknown): void {
    this.ending.name(reason, error);
    this.over = true;
    this.writer.lose();
    this.done.resolve();
  }
}
