/**
 * Finds the requests among the received bytes and calls the handler for them, one
 * at a time. It also waits for a handler that does not reply at once, and turns
 * an error of the handler into a reply. `exchange.ts`, on top of it, reads and
 * writes.
 */

import { EncodeError, TimeoutError } from "../../core/errors.ts";
import type { CloseReason } from "../../events/events.ts";
import { errorOf, malformed } from "../../framing/codec.ts";
import { CHUNK } from "../../net/buffers.ts";
import type { Payload, Reply, ReplyLater } from "../handler.ts";
import { replies } from "../replies.ts";
import { BUDGET, LOOK, REQUEST_COST, WAIT_COST } from "../scheduler.ts";
import { isPlain } from "./gate.ts";
import { drop, Info, isSeveral } from "./info.ts";
import { payloadOf } from "./reply_writer.ts";
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
  /** Once set, no further request is handled, and the connection ends so. */
  protected closing: [reason: CloseReason, error?: unknown] | undefined;
  /** Bytes, or the peer's end, have come that nobody has looked at yet. */
  protected unread = false;
  /** The most bytes of a write of this reply; 0 if it is written as usual. */
  pieces = 0;
  /** Whether the handler has called this request failed. */
  failed = false;
  readonly #info = new Info(this);
  /** At how much of `used` it looks at the clock next. */
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
    if (this.closing !== undefined) return;
    this.closing = [reason, error];
    // A request that is being handled goes on to the end by itself.
    if (this.owing) return;
    this.context.scheduler.turn().then(() => this.isIdle && this.endIdle());
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
   * @returns What to wait for before the next can be handled. Nothing if all are
   * handled, or if `closing`, `over` or `unread` forbids the next for now.
   * @throws {FrameError} The bytes behind the last request are not a request.
   */
  protected handleAll(read: boolean): Promise<void> | undefined {
    const { inbox, eof } = this.connection;
    const { codec } = this.writer;
    // A receive buffer begins where its memory does. To ask for that costs a third
    // of what a view costs, so it is done once.
    const { bytes } = inbox;
    const { buffer } = bytes;
    if (!this.plain && !(this.plain = isPlain(this, codec))) return;
    let { used } = this;
    // The scheduler has looked at the clock when the batch began.
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
        // It looks early and then less often: the first requests of a turn show
        // whether the handler is slow.
        look = Math.min(2 * used, used + LOOK);
      }
      const next = codec.decode(bytes, inbox.start, inbox.end);
      if (next === 0) {
        used += Math.min(inbox.length, CHUNK) + REQUEST_COST;
        // A peer that has finished will not complete this frame.
        if (eof) {
          malformed(`stream ended after ${inbox.length} bytes of a frame`);
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
      payload = await this.#take(await this.#wait(greeting));
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
      this.report(error);
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
        reply === undefined || reply === null || typeof reply === "string" ||
        reply instanceof Uint8Array
      ) {
        payload = this.#payload(reply);
      } else return this.#handleLater(reply, request);
    } catch (error) {
      return this.#handleLater(Promise.reject(error), request);
    }
    this.#controller = undefined;
    this.meter.answered(request.length, this.failed);
    return this.#put(payload, this.pieces);
  }

  async #handleLater(given: ReplyLater, request: Request): Promise<void> {
    this.meter.waiting();
    if (this.over) {
      // The handler has ended its own connection, and may still read its request.
      this.connection.inbox.forsake();
      return void drop(given);
    }
    let status: Status = "ok";
    let payload;
    try {
      payload = await this.#take(await this.#wait(given));
      if (this.failed) status = "error_reply";
    } catch (error) {
      if (this.over) return;
      [status, payload] = await this.#failed(error, request);
    }
    // A listener of the error may have closed the connection.
    if (this.over) return;
    this.#controller = undefined;
    const now = this.context.clock.now();
    this.meter.batch(now);
    this.meter.late(status, request.length, now);
    await this.#put(payload, this.pieces);
  }

  /** Sends a reply that has several frames; gives the payload of another. */
  #take(reply: Reply): Promise<undefined> | Uint8Array | undefined {
    return isSeveral(reply) ? this.#sendAll(reply) : this.#payload(reply);
  }

  async #sendAll(reply: AsyncIterable<Payload>): Promise<undefined> {
    const { scheduler } = this.context;
    // It is not idle, even where its items come in the turns of others.
    this.stage.enter("handling");
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
      // The peer waits for the rest of this reply, so only an end can follow.
      if (begun && !this.over && error !== TOO_LATE) this.close("error", error);
      throw error;
    } finally {
      void this.#endItems();
    }
  }

  /** Ends the iterator of a reply. Nobody waits for that: it may never finish. */
  async #endItems(): Promise<void> {
    const items = this.#items;
    this.#items = undefined;
    try {
      await items?.return?.();
    } catch {
      // An error of the reply itself was reported already.
    }
  }

  /**
   * Waits for a handler. The wait ends with its reply or its error (throws), at
   * the request timeout (throws {@linkcode TOO_LATE}), or when the connection is
   * lost (throws).
   */
  async #wait<Given>(given: Given): Promise<Awaited<Given>> {
    // A handler that was given up may settle while this waits for another.
    let pending = this.atWork = true;
    // Once, as a thenable may do its work anew each time.
    const settled = Promise.resolve(given);
    const reply = new Promise<Awaited<Given>>((resolve, reject) => {
      this.#interrupt = reject;
      settled.finally(() => pending = this.atWork = false)
        .then(resolve, reject);
    });
    // It may reject while this waits for the write below: that is no error that
    // nobody handles.
    reply.catch(() => {});
    try {
      for (let i = 0; i < MICROTASKS && pending; i++) await undefined;
      if (pending) {
        this.meter.batch(this.context.clock.now());
        if (this.writer.length > 0 && !this.over) {
          await this.#written(this.writer.flush());
        }
        this.stage.enter("handling");
        this.#readAhead();
      }
      return await reply;
    } catch (error) {
      void drop(settled);
      throw error;
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
    // A handler may close its own connection and still reply.
    if (payload === undefined || this.over) return undefined;
    if (pieces === 0 && this.writer.add(payload)) return undefined;
    return this.#send(payload, pieces);
  }

  /** Has a reply written that there is no room for. */
  #send(payload: Uint8Array, pieces: number): Promise<void> | undefined {
    // The durations end here: the time that the peer takes is not the handler's.
    this.meter.batch(this.context.clock.now());
    if (this.over) return undefined;
    // The kernel takes long to copy megabytes, which counts as work of the batch.
    this.context.scheduler.isLateNow();
    return this.#written(this.writer.send(payload, pieces));
  }

  /** Waits for a write. If it fails, the connection is lost: no handler's error. */
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
        return [status, await this.#take(await this.#wait(reply))];
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

  /** Reports a handler's error, or ends a handler that takes too long. */
  #blame(error: unknown): unknown {
    if (error !== TOO_LATE) {
      this.report(error);
      return error;
    }
    this.close("request_timeout");
    this.#abortSignal();
    // The handler may still read its request.
    this.connection.inbox.forsake();
    const { requestTimeout } = this.context.config;
    return new TimeoutError(`No reply within ${requestTimeout} ms`);
  }

  /** The payload of a text of the server's; without one, the connection ends. */
  #own(text: string, error?: unknown): Uint8Array | undefined {
    const said = errorOf(this.writer.codec, text);
    if (said === undefined) this.close("error", error ?? new EncodeError(text));
    return said;
  }

  #abortSignal(): void {
    this.#aborted = true;
    this.#controller?.abort();
  }

  #payload(reply: Reply): Uint8Array | undefined {
    if (reply === undefined || reply === null) return undefined;
    const { maxReply } = this.context.config;
    return payloadOf(reply as Payload, this.writer.codec, maxReply);
  }
}
