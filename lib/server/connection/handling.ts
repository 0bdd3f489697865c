/**
 * Finds the requests that have come and has them handled, one at a time: the
 * handler's call, the wait for one that does not reply at once, and what becomes
 * of its errors. `exchange.ts`, on top of it, reads and writes.
 */

import { EncodeError, TimeoutError } from "../../core/errors.ts";
import { type CloseReason, emit } from "../../events/events.ts";
import { errorOf, malformed } from "../../framing/codec.ts";
import { CHUNK } from "../../net/buffers.ts";
import type { Payload, Reply, ReplyLater } from "../handler.ts";
import { replies } from "../replies.ts";
import { BUDGET, LOOK, REQUEST_COST, WAIT_COST } from "../scheduler.ts";
import { isPlain } from "./gate.ts";
import { Info, payloadOf } from "./info.ts";
import { Serving } from "./serving.ts";

/**
 * How many turns of the microtask queue a handler's promise has to settle before
 * the replies in front of it go out by themselves. An asynchronous handler that
 * awaits nothing real is done by then, and its reply is in the same write.
 */
const MICROTASKS = 8;

/** What the wait for a handler that takes too long ends with. */
const TOO_LATE = Symbol();

type Closing = "handler_closed" | "request_timeout" | "http_request" | "error";
type Request = Uint8Array<ArrayBuffer>;
type Status = "ok" | "error_reply" | "error" | "timeout";

export abstract class Handling extends Serving {
  /** Why no further request is handled, and the connection is to end. */
  protected closing: [reason: Closing, error?: unknown] | undefined;
  /** The inbox has bytes, or the peer's end, that were not looked at. */
  protected unread = false;
  /** The size of the writes for this reply; 0 for the usual way. */
  pieces = 0;
  /** Whether the reply says that the request could not be done. */
  failed = false;
  readonly #info = new Info(this);
  /** How much of its turn it uses until the next look at the clock. */
  protected look = 0;
  /** Ends the wait for a handler. */
  #interrupt: ((error: unknown) => void) | undefined;
  /** The reply of several frames that is under way. */
  #items: AsyncIterator<Payload> | undefined;
  #controller: AbortController | undefined;
  #aborted = false;

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#aborted) this.#controller.abort();
    return this.#controller.signal;
  }

  close(reason: Closing, error?: unknown): void {
    this.closing ??= [reason, error];
  }

  override expire(): void {
    this.#interrupt?.(TOO_LATE);
  }

  protected abort(): void {
    void this.#endItems();
    this.#abortSignal();
    this.#interrupt?.(undefined);
  }

  /**
   * Handles the whole requests in the inbox, in order.
   *
   * @param read Whether they were read in the batch under way.
   * @returns What to wait for before the next can be handled; or nothing once
   * all are, or `closing`, `over` or `unread` says why not.
   * @throws {FrameError} What is behind the last of them is no request.
   */
  protected handleAll(read: boolean): Promise<void> | undefined {
    const { inbox, eof } = this.connection;
    const { codec } = this.writer;
    // A receive buffer has its memory to itself. To ask for that costs a third
    // of what a view does, so it is asked for once.
    const { bytes } = inbox;
    const { buffer } = bytes;
    if (this.meter.requests === 0 && !isPlain(this.connection, codec)) return;
    let { used } = this;
    // A batch begins with a look at the clock by itself.
    let look = read ? Math.max(this.look, Math.min(used, BUDGET)) : this.look;
    let waiting;
    while (
      inbox.start < inbox.end && !this.over && this.closing === undefined
    ) {
      if (used > look) {
        if (used > BUDGET || this.context.scheduler.isLateNow()) {
          this.unread = true;
          break;
        }
        // A turn's first requests show whether the handler computes for long.
        look = Math.min(2 * used, used + LOOK);
      }
      const next = codec.decode(bytes, inbox.start, inbox.end);
      if (next === 0) {
        used += Math.min(inbox.length, CHUNK) + REQUEST_COST;
        // A peer that has finished will not complete this frame.
        if (eof) {
          malformed(
            `stream ended after ${inbox.length} bytes of a frame`,
          );
        }
        break;
      }
      used += next - inbox.start + REQUEST_COST;
      inbox.start = next;
      this.owing = true;
      // The view stays valid: nothing moves in the inbox until the next read.
      const { payloadStart } = codec;
      waiting = this.#handle(
        new Uint8Array(buffer, payloadStart, codec.payloadEnd - payloadStart),
      );
      if (waiting !== undefined) {
        used += WAIT_COST;
        break;
      }
    }
    this.used = used;
    this.look = look;
    return waiting;
  }

  /** Calls `onOpen`, whose reply may greet the peer. */
  protected async greet(onOpen: (info: Info) => ReplyLater): Promise<void> {
    let payload;
    try {
      const greeting = (async () => await onOpen(this.#info))();
      payload = this.#payload(await this.#wait(greeting));
    } catch (error) {
      if (this.over) return;
      [, payload] = await this.#failed(error, new Uint8Array());
      this.close("error", error);
    }
    await this.#put(payload, 0);
  }

  override async left(reason: CloseReason): Promise<void> {
    const { onClose } = this.context.hooks;
    if (onClose === undefined) return;
    try {
      await onClose(this.#info, reason);
    } catch (error) {
      this.#report(error);
    }
  }

  /** Has a request handled; gives what to wait for before the next, if anything. */
  #handle(request: Request): Promise<void> | undefined {
    const { handler, config } = this.context;
    const refusal = this.gate.open ? undefined : this.gate.refusal(request);
    if (refusal !== undefined) {
      if (refusal.closes) this.close(refusal.closes);
      return this.#put(this.#own(refusal.text), 0);
    }
    this.meter.handed();
    this.pieces = 0;
    this.failed = false;
    let payload;
    try {
      const reply = handler(request, this.#info);
      // An echoed request needs no check: this framing has just decoded it.
      if (reply === request && request.length <= config.maxReply) {
        payload = request;
      } else if (
        typeof reply === "object" && reply !== null &&
        !(reply instanceof Uint8Array)
      ) {
        return this.#handleLater(reply, request);
      } else payload = this.#payload(reply);
    } catch (error) {
      return this.#handleLater(Promise.reject(error), request);
    }
    this.#controller = undefined;
    this.meter.answered(request.length, this.failed);
    return this.#put(payload, this.pieces);
  }

  async #handleLater(
    given: PromiseLike<Reply> | AsyncIterable<Payload>,
    request: Request,
  ): Promise<void> {
    this.meter.waiting();
    if (this.over) {
      // The handler had its own connection closed.
      if (!isSeveral(given)) Promise.resolve(given).catch(() => {});
      return;
    }
    let status: Status = "ok";
    let payload;
    try {
      const reply = isSeveral(given)
        ? given
        : await this.#wait(Promise.resolve(given));
      if (isSeveral(reply)) await this.#sendAll(reply);
      else payload = this.#payload(reply);
      if (this.failed) status = "error_reply";
    } catch (error) {
      if (this.over) return;
      [status, payload] = await this.#failed(error, request);
    }
    // A listener may have had the connection closed meanwhile.
    if (this.over) return;
    this.#controller = undefined;
    const now = this.context.clock.now();
    this.meter.batch(now);
    this.meter.late(status, request.length, now);
    await this.#put(payload, this.pieces);
  }

  async #sendAll(reply: AsyncIterable<Payload>): Promise<void> {
    const { scheduler } = this.context;
    const items = this.#items = reply[Symbol.asyncIterator]();
    let begun = false;
    try {
      while (true) {
        const { done, value } = await this.#wait(items.next());
        if (done) this.#items = undefined;
        if (done || this.over) return;
        begun = true;
        await this.#put(this.#payload(value), this.pieces);
        if (scheduler.isLateNow()) await scheduler.turn();
      }
    } catch (error) {
      // The peer cannot know that the reply has ended here.
      if (begun && !this.over) this.close("error", error);
      throw error;
    } finally {
      void this.#endItems();
    }
  }

  /**
   * Has what is behind the items let go of what it holds. Nobody waits for that:
   * it may be stuck.
   */
  async #endItems(): Promise<void> {
    const items = this.#items;
    this.#items = undefined;
    try {
      await items?.return?.();
    } catch {
      // The reply's own error has been told, or nobody is left to be told.
    }
  }

  /**
   * Waits for a handler. The wait ends with its reply or its error (throws), at
   * the request timeout (throws {@linkcode TOO_LATE}), or when the connection is
   * lost (throws).
   */
  async #wait<Given>(pending: Promise<Given>): Promise<Given> {
    this.atWork = true;
    const reply = new Promise<Given>((resolve, reject) => {
      this.#interrupt = reject;
      pending.finally(() => this.atWork = false).then(resolve, reject);
    });
    // It may be rejected while the flush below is awaited instead.
    reply.catch(() => {});
    try {
      for (let i = 0; i < MICROTASKS && this.atWork; i++) await undefined;
      if (this.atWork) {
        this.meter.batch(this.context.clock.now());
        if (this.writer.length > 0 && !this.over) {
          await this.#written(this.writer.flush());
        }
        this.stage.enter("handling");
        this.#readAhead();
      }
      return await reply;
    } finally {
      this.#interrupt = undefined;
    }
  }

  /** Reads as far as there is room: a peer's reset shows in no other way. */
  #readAhead(): void {
    const { connection } = this;
    if (connection.reading !== undefined || connection.eof) return;
    const tail = connection.inbox.tail();
    if (tail.length === 0) return;
    connection.read(tail).then((n) => {
      connection.took(n);
      this.unread = true;
      connection.heardAt = this.context.scheduler.began;
      if (connection.eof && !this.context.config.halfOpen) {
        this.ending.name("peer_closed");
        this.lost(undefined);
      } else if (this.#interrupt !== undefined) this.#readAhead();
    }, this.onError);
  }

  /** Puts a reply behind those that wait; gives what to wait for, if anything. */
  #put(
    payload: Uint8Array | undefined,
    pieces: number,
  ): Promise<void> | undefined {
    // A handler that had its own connection closed may still have replied.
    if (payload === undefined || this.over) return undefined;
    if (pieces === 0 && this.writer.add(payload)) return undefined;
    return this.#send(payload, pieces);
  }

  /** Has a reply written that there is no room for. */
  #send(payload: Uint8Array, pieces: number): Promise<void> | undefined {
    // It goes out now; how long the peer takes for it is not the handler's.
    this.meter.batch(this.context.clock.now());
    if (this.over) return undefined;
    // The kernel copies megabytes at once: others may have waited long enough.
    this.context.scheduler.isLateNow();
    return this.#written(this.writer.send(payload, pieces));
  }

  /** Waits for a write, whose failure must not pass for the handler's. */
  async #written(write: Promise<void>): Promise<void> {
    try {
      await write;
    } catch (error) {
      this.lost(error);
      throw error;
    }
  }

  /** Makes a reply of what a handler threw. */
  async #failed(
    error: unknown,
    request: Request,
  ): Promise<[Status, Uint8Array | undefined]> {
    const { hooks: { onError }, config: { requestTimeout } } = this.context;
    let status: Status = error === TOO_LATE ? "timeout" : "error";
    error = this.#blame(error);
    this.pieces = 0;
    if (onError !== undefined && !this.over) {
      try {
        const reply = (async () => await onError(error, this.#info, request))();
        return [status, this.#payload(await this.#wait(reply))];
      } catch (failure) {
        if (failure === TOO_LATE) status = "timeout";
        if (!this.over) error = this.#blame(failure);
      }
    }
    const text = status === "timeout"
      ? replies.requestTimeout(requestTimeout)
      : replies.failed(error);
    return [status, this.#own(text, error)];
  }

  /** Deals with what the wait for a handler threw; gives the error behind it. */
  #blame(error: unknown): unknown {
    if (error !== TOO_LATE) {
      this.#report(error);
      return error;
    }
    this.close("request_timeout");
    this.#abortSignal();
    // The handler may still read its request.
    this.connection.inbox.forsake();
    const { requestTimeout } = this.context.config;
    return new TimeoutError(`No reply within ${requestTimeout} ms`);
  }

  /** A text of the server's own; the connection ends where it has no frame. */
  #own(text: string, error?: unknown): Uint8Array | undefined {
    const said = errorOf(this.writer.codec, text);
    if (said === undefined) this.close("error", error ?? new EncodeError(text));
    return said;
  }

  #abortSignal(): void {
    this.#aborted = true;
    this.#controller?.abort();
  }

  #report(error: unknown): void {
    const { handler_error } = this.context.events;
    emit(handler_error, { type: "handler_error", id: this.id, error });
  }

  #payload(reply: Reply): Uint8Array | undefined {
    if (reply === undefined || reply === null) return undefined;
    const { maxReply } = this.context.config;
    return payloadOf(reply as Payload, this.writer.codec, maxReply);
  }
}

function isSeveral(reply: ReplyLater): reply is AsyncIterable<Payload> {
  return typeof reply === "object" && reply !== null &&
    Symbol.asyncIterator in reply;
}
