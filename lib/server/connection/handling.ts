/**
 * Has requests handled, one at a time: the handler's call, the wait for one that
 * does not reply at once, and what becomes of its errors.
 *
 * @module
 */

import type { Connection } from "../../net/connection.ts";
import { ReplyTooLargeError } from "../../core/errors.ts";
import { quote } from "../../core/text.ts";
import { emit } from "../../events/events.ts";
import type { Codec } from "../../framing/codec.ts";
import type { Reply } from "../handler.ts";
import { replies } from "../replies.ts";
import { Call, type Caller, RequestTimeout } from "./call.ts";
import type { SessionParts, SharedContext } from "./context.ts";
import { Info, Wishes } from "./info.ts";
import type { Meter } from "./meter.ts";
import type { Stage } from "./stage.ts";

const encoder = new TextEncoder();

/** See the module's text. */
export class Handling {
  readonly #context: SharedContext;
  readonly #connection: Connection;
  readonly #stage: Stage;
  readonly #codec: Codec;
  readonly #meter: Meter;
  readonly #caller: Caller;
  readonly #wishes = new Wishes();
  readonly #id: number;
  readonly #info: Info;
  #call: Call | undefined;
  #timedOut = false;

  constructor(
    parts: SessionParts,
    codec: Codec,
    meter: Meter,
    caller: Caller,
  ) {
    this.#context = parts.context;
    this.#connection = parts.connection;
    this.#stage = parts.stage;
    this.#codec = codec;
    this.#meter = meter;
    this.#caller = caller;
    this.#id = parts.id;
    this.#info = new Info(parts, this.#wishes);
  }

  /** Why no further request is to be handled, by the handler's doing. */
  get closing(): "handler_closed" | "request_timeout" | undefined {
    if (this.#wishes.close) return "handler_closed";
    return this.#timedOut ? "request_timeout" : undefined;
  }

  /** Whether a handler may still read its request. */
  get atWork(): boolean {
    return this.#call?.atWork ?? false;
  }

  /** The handler that is waited for has had its time. */
  expire(): void {
    this.#call?.interrupt(new RequestTimeout());
  }

  /** No reply is any use any more. */
  abort(): void {
    this.#wishes.abort();
    this.#call?.interrupt(undefined);
  }

  /**
   * Has one request handled. Asynchronous only where the handler is.
   *
   * @returns What to wait for before the next one, if anything.
   */
  handle(request: Uint8Array<ArrayBuffer>): Promise<void> | undefined {
    const { handler, config } = this.#context;
    this.#meter.handed();
    this.#wishes.pieces = 0;
    let payload;
    try {
      const reply = handler(request, this.#info);
      if (reply instanceof Promise) {
        return this.#handleLater(reply, request.length);
      }
      // An echoed request needs no check: this framing has just decoded it.
      payload = reply === request && request.length <= config.maxReply
        ? request
        : this.#payload(reply);
    } catch (error) {
      return this.#handleLater(Promise.reject(error), request.length);
    }
    this.#wishes.renew();
    this.#meter.answered(request.length);
    return this.#caller.put(payload, this.#wishes.pieces);
  }

  async #handleLater(pending: Promise<Reply>, length: number): Promise<void> {
    const { clock, config } = this.#context;
    const caller = this.#caller;
    this.#meter.waiting();
    if (caller.over) {
      // The handler had its own connection closed.
      pending.catch(() => {});
      return;
    }
    const call = this.#call ??= new Call(this.#connection, this.#stage, caller);
    let status: "ok" | "error" | "timeout" = "ok";
    let payload;
    try {
      payload = this.#payload(await call.wait(pending));
    } catch (error) {
      if (caller.over) return;
      if (error instanceof RequestTimeout) status = "timeout";
      else [status, payload] = await this.#failed(call, error);
    }
    // A listener may have had the connection closed meanwhile.
    if (caller.over) return;
    if (status === "timeout") {
      this.#timedOut = true;
      this.#wishes.abort();
      this.#wishes.pieces = 0;
      // The handler may still read its request.
      this.#connection.inbox.forsake();
      payload = encoder.encode(replies.requestTimeout(config.requestTimeout));
    }
    this.#wishes.renew();
    const now = clock.now();
    this.#meter.batch(now);
    this.#meter.late(status, length, now);
    await caller.put(payload, this.#wishes.pieces);
  }

  /** Makes a reply of what a handler threw. */
  async #failed(
    call: Call,
    error: unknown,
  ): Promise<["error" | "timeout", Uint8Array | undefined]> {
    const { onError } = this.#context;
    this.#wishes.pieces = 0;
    this.#report(error);
    if (onError !== undefined && !this.#caller.over) {
      try {
        const reply = (async () => await onError(error, this.#info))();
        return ["error", this.#payload(await call.wait(reply))];
      } catch (failure) {
        if (failure instanceof RequestTimeout) return ["timeout", undefined];
        if (!this.#caller.over) this.#report(failure);
        error = failure;
      }
    }
    return ["error", encoder.encode(replies.failed(error))];
  }

  #report(error: unknown): void {
    const { handler_error } = this.#context.events;
    if (handler_error === undefined) return;
    emit(handler_error, { type: "handler_error", id: this.#id, error });
  }

  /** The bytes of a reply; throws if they cannot be sent. */
  #payload(reply: Reply): Uint8Array | undefined {
    if (reply === undefined || reply === null) return undefined;
    const payload = typeof reply === "string" ? encoder.encode(reply) : reply;
    if (!(payload instanceof Uint8Array)) {
      throw new TypeError(
        `Cannot send ${
          quote(reply)
        }: expected a Uint8Array, a string or nothing`,
      );
    }
    const { maxReply } = this.#context.config;
    if (payload.length > maxReply) {
      throw new ReplyTooLargeError(payload.length, maxReply);
    }
    this.#codec.check(payload);
    return payload;
  }
}
