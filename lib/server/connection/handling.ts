/**
 * Finds the requests that have come and has them handled, one at a time: the
 * handler's call, the wait for one that does not reply at once, and what becomes
 * of its errors.
 */

import type { Connection } from "../../net/connection.ts";
import { EncodeError, FrameError, TimeoutError } from "../../core/errors.ts";
import type { CloseReason } from "../../events/events.ts";
import { emit } from "../../events/events.ts";
import { type Codec, errorOf, type Framing } from "../../framing/codec.ts";
import { CHUNK } from "../../net/buffers.ts";
import type { Payload, Reply, ReplyLater } from "../handler.ts";
import { replies } from "../replies.ts";
import { BUDGET, LOOK, REQUEST_COST, WAIT_COST } from "../scheduler.ts";
import {
  Call,
  type Caller,
  isLater,
  isSeveral,
  Items,
  RequestTimeout,
} from "./call.ts";
import type { SessionParts, SharedContext } from "./context.ts";
import { Gate, isPlain } from "./gate.ts";
import { Info, payloadOf, type RequestWishes } from "./info.ts";
import type { Meter } from "./meter.ts";
import type { Waiter } from "./reply_writer.ts";
import type { Stage } from "./stage.ts";

type Closing = "handler_closed" | "request_timeout" | "http_request" | "error";
type Request = Uint8Array<ArrayBuffer>;

type Status = "ok" | "error_reply" | "error" | "timeout";

export class Handling implements RequestWishes {
  /** No further request is to be handled. */
  stopped = false;
  /** Its turn was over before all were handled. */
  spent = false;
  /** What is wrong with the bytes behind those that were handled. */
  frameError: FrameError | undefined;
  /** Why, where it is not what is wrong with the bytes. */
  closing: [reason: Closing, error?: unknown] | undefined;
  pieces = 0;
  failed = false;
  readonly #context: SharedContext;
  readonly #connection: Connection;
  readonly #stage: Stage;
  readonly framing: Framing;
  readonly #id: number;
  readonly #info: Info;
  readonly #gate: Gate;
  #call: Call | undefined;
  /** The reply of several frames that was begun last. */
  #items: Items | undefined;
  #controller: AbortController | undefined;
  #aborted = false;
  /** What it has used of its turn, and how much until the next look at the clock. */
  #used = 0;
  #look = 0;

  constructor(
    parts: SessionParts,
    readonly codec: Codec,
    private readonly meter: Meter,
    private readonly caller: Caller,
  ) {
    this.#context = parts.context;
    this.#connection = parts.connection;
    this.#stage = parts.stage;
    this.framing = parts.context.config.framing;
    this.#id = parts.id;
    this.#info = new Info(parts, this);
    this.#gate = new Gate(parts, meter);
  }

  get atWork(): boolean {
    return this.#call?.atWork ?? false;
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#aborted) this.#controller.abort();
    return this.#controller.signal;
  }

  get buffered(): number {
    return this.caller.buffered;
  }

  push(frame: Uint8Array, waiter?: Waiter): void {
    this.caller.push(frame, waiter);
  }

  get isOverBudget(): boolean {
    return this.#used > BUDGET;
  }

  renew(): void {
    this.#used = this.#look = 0;
  }

  /** The connection ends after this reply. */
  close(reason: Closing, error?: unknown): void {
    this.stopped = true;
    this.closing ??= [reason, error];
  }

  expire(): void {
    this.#call?.interrupt(new RequestTimeout());
  }

  /** No reply is any use any more. */
  abort(): void {
    this.stopped = true;
    this.#items?.end();
    this.#abortSignal();
    this.#call?.interrupt(undefined);
  }

  /**
   * Handles the whole requests in the inbox, in order.
   *
   * @param read Whether they were read in the batch under way.
   * @returns What to wait for before the next can be handled; or nothing once
   * all are, or `stopped`, `spent` or `frameError` says why not.
   */
  handleAll(read: boolean): Promise<void> | undefined {
    const { inbox, eof } = this.#connection;
    const { codec } = this;
    // A receive buffer has its memory to itself. To ask for that costs a third
    // of what a view does, so it is asked for once.
    const { bytes } = inbox;
    const { buffer } = bytes;
    this.spent = false;
    if (this.meter.requests === 0 && !this.#begins()) return;
    let used = this.#used;
    // A batch begins with a look at the clock by itself.
    let look = read ? Math.max(this.#look, Math.min(used, BUDGET)) : this.#look;
    let waiting;
    while (inbox.start < inbox.end && !this.stopped) {
      if (used > look) {
        if (used > BUDGET || this.#context.scheduler.isLateNow()) {
          this.spent = true;
          break;
        }
        // A turn's first requests show whether the handler computes for long.
        look = Math.min(2 * used, used + LOOK);
      }
      let next;
      try {
        next = codec.decode(bytes, inbox.start, inbox.end);
      } catch (error) {
        if (!(error instanceof FrameError)) throw error;
        this.frameError = error;
        break;
      }
      if (next === 0) {
        used += Math.min(inbox.length, CHUNK) + REQUEST_COST;
        // A peer that has finished will not complete this frame.
        const detail = `stream ended after ${inbox.length} bytes of a frame`;
        if (eof) this.frameError = new FrameError("malformed", detail);
        break;
      }
      used += next - inbox.start + REQUEST_COST;
      inbox.start = next;
      this.caller.owing = true;
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
    this.#used = used;
    this.#look = look;
    return waiting;
  }

  /** Whether the first bytes may be requests. */
  #begins(): boolean {
    try {
      return isPlain(this.#connection, this.codec);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.frameError = error;
      return false;
    }
  }

  /** Calls `onOpen`, whose reply may greet the peer. */
  async greet(onOpen: (info: Info) => ReplyLater): Promise<void> {
    const caller = this.caller;
    const call = this.#call ??= new Call(this.#connection, this.#stage, caller);
    let payload;
    try {
      const greeting = (async () => await onOpen(this.#info))();
      payload = this.#payload(await call.wait(greeting));
    } catch (error) {
      if (caller.over) return;
      [, payload] = await this.#failed(call, error, new Uint8Array());
      this.close("error", error);
    }
    if (!caller.over) await caller.put(payload, 0);
  }

  async left(reason: CloseReason): Promise<void> {
    const { onClose } = this.#context.hooks;
    if (onClose === undefined) return;
    try {
      await onClose(this.#info, reason);
    } catch (error) {
      this.#report(error);
    }
  }

  /**
   * Has one request handled. Asynchronous only where the handler is.
   *
   * @returns What to wait for before the next one, if anything.
   */
  #handle(request: Request): Promise<void> | undefined {
    const { handler, config } = this.#context;
    if (!this.#gate.open) {
      const refusal = this.#gate.refusal(request);
      if (refusal !== undefined) {
        if (refusal.closes) this.close(refusal.closes);
        return this.caller.put(this.#own(refusal.text), 0);
      }
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
      } else if (isLater(reply)) {
        return this.#handleLater(reply, request);
      } else payload = this.#payload(reply);
    } catch (error) {
      return this.#handleLater(Promise.reject(error), request);
    }
    this.#controller = undefined;
    this.meter.answered(request.length, this.failed);
    return this.caller.put(payload, this.pieces);
  }

  async #handleLater(
    given: PromiseLike<Reply> | AsyncIterable<Payload>,
    request: Request,
  ): Promise<void> {
    const pending = isSeveral(given) ? given : Promise.resolve(given);
    const { clock } = this.#context;
    const caller = this.caller;
    const { length } = request;
    this.meter.waiting();
    if (caller.over) {
      // The handler had its own connection closed.
      if (!isSeveral(pending)) pending.catch(() => {});
      return;
    }
    const call = this.#call ??= new Call(this.#connection, this.#stage, caller);
    let status: Status = "ok";
    let payload;
    try {
      const reply = isSeveral(pending) ? pending : await call.wait(pending);
      if (isSeveral(reply)) await this.#sendAll(call, reply);
      else payload = this.#payload(reply);
      if (this.failed) status = "error_reply";
    } catch (error) {
      if (caller.over) return;
      [status, payload] = await this.#failed(call, error, request);
    }
    // A listener may have had the connection closed meanwhile.
    if (caller.over) return;
    this.#controller = undefined;
    const now = clock.now();
    this.meter.batch(now);
    this.meter.late(status, length, now);
    await caller.put(payload, this.pieces);
  }

  async #sendAll(call: Call, reply: AsyncIterable<Payload>): Promise<void> {
    const caller = this.caller;
    const items = this.#items = new Items(reply, call);
    try {
      while (true) {
        const { done, value } = await items.next();
        if (done || caller.over) return;
        await caller.put(this.#payload(value), this.pieces);
        const { scheduler } = this.#context;
        if (scheduler.isLateNow()) await scheduler.turn();
      }
    } catch (error) {
      // The peer cannot know that the reply has ended here.
      if (items.count > 0 && !caller.over) this.close("error", error);
      throw error;
    } finally {
      void items.end();
    }
  }

  /** Makes a reply of what a handler threw. */
  async #failed(
    call: Call,
    error: unknown,
    request: Request,
  ): Promise<[Status, Uint8Array | undefined]> {
    const { hooks: { onError }, config: { requestTimeout } } = this.#context;
    let status: Status = "error";
    if (error instanceof RequestTimeout) {
      status = "timeout";
      error = this.#tooLate();
    } else this.#report(error);
    this.pieces = 0;
    if (onError !== undefined && !this.caller.over) {
      try {
        const reply = (async () => await onError(error, this.#info, request))();
        return [status, this.#payload(await call.wait(reply))];
      } catch (failure) {
        if (failure instanceof RequestTimeout) {
          status = "timeout";
          this.#tooLate();
        } else if (!this.caller.over) this.#report(failure);
        error = failure;
      }
    }
    const text = status === "timeout"
      ? replies.requestTimeout(requestTimeout)
      : replies.failed(error);
    return [status, this.#own(text, error)];
  }

  /** A handler has had its time. It may still read its request. */
  #tooLate(): TimeoutError {
    this.close("request_timeout");
    this.#abortSignal();
    this.#connection.inbox.forsake();
    const { requestTimeout } = this.#context.config;
    return new TimeoutError(`No reply within ${requestTimeout} ms`);
  }

  /** A text of the server's own; the connection ends where it has no frame. */
  #own(text: string, error?: unknown): Uint8Array | undefined {
    const said = errorOf(this.codec, text);
    if (said === undefined) this.close("error", error ?? new EncodeError(text));
    return said;
  }

  #abortSignal(): void {
    this.#aborted = true;
    this.#controller?.abort();
  }

  #report(error: unknown): void {
    const { handler_error } = this.#context.events;
    if (handler_error === undefined) return;
    emit(handler_error, { type: "handler_error", id: this.#id, error });
  }

  #payload(reply: Reply): Uint8Array | undefined {
    if (reply === undefined || reply === null) return undefined;
    const { maxReply } = this.#context.config;
    return payloadOf(reply as Payload, this.codec, maxReply);
  }
}
