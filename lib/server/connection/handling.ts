/**
 * Finds the requests that have come and has them handled, one at a time: the
 * handler's call, the wait for one that does not reply at once, and what becomes
 * of its errors.
 */

import type { Connection } from "../../net/connection.ts";
import { networkOf } from "../../core/address.ts";
import {
  EncodeError,
  FrameError,
  ReplyTooLargeError,
} from "../../core/errors.ts";
import type { TokenBuckets } from "../../core/rate_limit.ts";
import { quote } from "../../core/text.ts";
import { emit } from "../../events/events.ts";
import { type Codec, errorOf } from "../../framing/codec.ts";
import { CHUNK } from "../../net/buffers.ts";
import { startsTls } from "../../tls/record.ts";
import type { Reply } from "../handler.ts";
import { replies } from "../replies.ts";
import { BUDGET, LOOK, REQUEST_COST, WAIT_COST } from "../scheduler.ts";
import { Call, type Caller, RequestTimeout } from "./call.ts";
import type { SessionParts, SharedContext } from "./context.ts";
import { GUARDED_LINES, isHttp, OF_LINES } from "./http_guard.ts";
import { Info, type Wishes } from "./info.ts";
import type { Meter } from "./meter.ts";
import type { Stage } from "./stage.ts";

const encoder = new TextEncoder();

type Closing = "handler_closed" | "request_timeout" | "http_request" | "error";

/** See the module's text. */
export class Handling implements Wishes {
  /** No further request is to be handled. */
  stopped = false;
  /** Its turn was over before all were handled. */
  spent = false;
  /** What is wrong with the bytes behind those that were handled. */
  frameError: FrameError | undefined;
  /** Why, where it is not what is wrong with the bytes. */
  closing: [reason: Closing, error?: unknown] | undefined;
  pieces = 0;
  readonly #context: SharedContext;
  readonly #connection: Connection;
  readonly #stage: Stage;
  readonly #codec: Codec;
  readonly #meter: Meter;
  readonly #caller: Caller;
  readonly #id: number;
  readonly #info: Info;
  readonly #rate: TokenBuckets | undefined;
  /** What the rate goes by. */
  readonly #network: string = "";
  #call: Call | undefined;
  #controller: AbortController | undefined;
  #aborted = false;
  /** What it has used of its turn, and how much until the next look at the clock. */
  #used = 0;
  #look = 0;
  /** How many lines are still to be looked at for HTTP. */
  #guarded = 0;

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
    this.#info = new Info(parts, this);
    const { requestRate, config } = parts.context;
    const { httpGuard, framing } = config;
    if (httpGuard && OF_LINES.test(framing.name)) this.#guarded = GUARDED_LINES;
    this.#rate = requestRate;
    if (requestRate !== undefined) {
      this.#network = networkOf(parts.connection.remoteAddr, config.ipPrefix);
    }
  }

  /** Whether a handler may still read its request. */
  get atWork(): boolean {
    return this.#call?.atWork ?? false;
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#aborted) this.#controller.abort();
    return this.#controller.signal;
  }

  get isOverBudget(): boolean {
    return this.#used > BUDGET;
  }

  /** The next turn has come. */
  renew(): void {
    this.#used = this.#look = 0;
  }

  /** The connection ends after this reply. */
  close(reason: Closing, error?: unknown): void {
    this.stopped = true;
    this.closing ??= [reason, error];
  }

  /** The handler that is waited for has had its time. */
  expire(): void {
    this.#call?.interrupt(new RequestTimeout());
  }

  /** No reply is any use any more. */
  abort(): void {
    this.stopped = true;
    this.#abortSignal();
    this.#call?.interrupt(undefined);
  }

  /**
   * Handles the whole requests in the inbox, in order.
   *
   * @returns What to wait for before the next can be handled; or nothing once
   * all are, or `stopped`, `spent` or `frameError` says why not.
   */
  handleAll(): Promise<void> | undefined {
    const { inbox, eof } = this.#connection;
    const codec = this.#codec;
    // A receive buffer has its memory to itself. To ask for that costs a third
    // of what a view does, so it is asked for once.
    const { bytes } = inbox;
    const { buffer } = bytes;
    this.spent = false;
    if (this.#meter.requests === 0 && !this.#isPlain()) return;
    let used = this.#used;
    let look = this.#look;
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
      this.#caller.owing = true;
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

  /** Whether the first bytes are known not to begin a TLS handshake. */
  #isPlain(): boolean {
    if (!this.#codec.startsUnlikeTls) return true;
    const { inbox, eof } = this.#connection;
    const tls = startsTls(inbox);
    // A TLS client waits for our hello while we wait for a whole frame: refuse
    // now, or both wait until the idle timeout.
    if (tls) {
      const detail = "a TLS handshake, and this port does not speak TLS";
      this.frameError = new FrameError("malformed", detail);
    }
    return tls === false || (tls === undefined && eof);
  }

  /**
   * Has one request handled. Asynchronous only where the handler is.
   *
   * @returns What to wait for before the next one, if anything.
   */
  #handle(request: Uint8Array<ArrayBuffer>): Promise<void> | undefined {
    const { handler, config } = this.#context;
    if (this.#guarded > 0 && isHttp(request, this.#guarded--)) {
      this.close("http_request");
      return this.#caller.put(this.#own(replies.http), 0);
    }
    const rate = this.#rate;
    if (rate !== undefined && !rate.take(this.#network, this.#meter.began)) {
      this.#meter.busy(request.length);
      const busy = replies.busyRate("request", rate.rate);
      return this.#caller.put(this.#own(busy), 0);
    }
    this.#meter.handed();
    this.pieces = 0;
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
    this.#controller = undefined;
    this.#meter.answered(request.length);
    return this.#caller.put(payload, this.pieces);
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
      this.close("request_timeout");
      this.#abortSignal();
      this.pieces = 0;
      // The handler may still read its request.
      this.#connection.inbox.forsake();
      payload = this.#own(replies.requestTimeout(config.requestTimeout));
    }
    this.#controller = undefined;
    const now = clock.now();
    this.#meter.batch(now);
    this.#meter.late(status, length, now);
    await caller.put(payload, this.pieces);
  }

  /** Makes a reply of what a handler threw. */
  async #failed(
    call: Call,
    error: unknown,
  ): Promise<["error" | "timeout", Uint8Array | undefined]> {
    const { onError } = this.#context;
    this.pieces = 0;
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
    return ["error", this.#own(replies.failed(error), error)];
  }

  /** A text of the server's own; the connection ends where it has no frame. */
  #own(text: string, error?: unknown): Uint8Array | undefined {
    const said = errorOf(this.#codec, text);
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
