/**
 * What `exchange.ts` and `task.ts` have in common: how a connection is read from,
 * paused while memory is short, and drained, and what its end gives back.
 */

import { type CloseReason, emit } from "../../events/events.ts";
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
   * Resolves when everything is written and only the farewell is left; rejects
   * when the connection is lost or cut.
   */
  readonly done: PromiseWithResolvers<void> = Promise.withResolvers();
  /** Its first bytes are known not to begin a handshake of TLS. */
  protected plain = false;
  /** A request has come in whole, and its reply is not out yet. */
  owing = false;
  /** It has ended: no request is handled, and no reply is sent any more. */
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
  /** Aborts once nothing can be sent any more. */
  abstract get signal(): AbortSignal;
  /** The connection ends after what was given before. */
  abstract close(reason: "handler_closed"): void;
  /** Whether it waits for the peer, and no request waits for a reply. */
  protected abstract get isIdle(): boolean;
  /** Ends an idle connection. */
  protected abstract endIdle(): void;
  /** Tells the handler or task at work that nothing can be sent any more. */
  protected abstract abort(): void;

  /** Ends a handler that takes too long; a task has no such deadline. */
  expire(): void {}

  /** Calls `onClose`. */
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
    // Only a later read can show that the kernel holds no request any more.
    connection.emptied = false;
    this.lastCall ??= new LastCall(this.context.clock, connection, (silent) => {
      // A frame that has begun is waited for, until the drain timeout.
      if (!this.isIdle || inbox.length > 0 || connection.eof) return;
      if (silent) this.endIdle();
      else this.lastCall!.begin();
    });
    if (this.isIdle) this.lastCall.begin();
  }

  /** Tells of an error of the handler or the task. */
  protected report(error: unknown): void {
    const { handler_error } = this.context.events;
    emit(handler_error, { type: "handler_error", id: this.id, error });
  }

  /** Writes what waits, and the server's last words; whether that was done. */
  protected async writeLast(words: string | undefined): Promise<boolean> {
    try {
      if (words !== undefined) await this.writer.say(words);
      else if (this.writer.buffered > 0) await this.writer.flush();
    } catch (error) {
      this.lost(error);
    }
    return !this.over;
  }

  /** The connection is lost. */
  lost(error: unknown): void {
    this.ending.lost(error);
    this.#letGo();
    this.done.reject(error);
  }

  /**
   * Gives everything back; the connection has ended or is closed right after.
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
