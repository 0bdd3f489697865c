/**
 * The life of one connection on the server's side: read, find the frames,
 * have each handled, write the replies, and end for a reason that has a name.
 *
 * A session is always in one of six phases, and each has its deadline:
 *
 * | phase | waits for | ends at its deadline as |
 * | --- | --- | --- |
 * | `greeting` | a trusted proxy's header | rejected: `proxy_error` |
 * | `handshaking` | the keys of TLS to be agreed on | rejected: `tls_error` |
 * | `reading` | a whole request | `idle_timeout` |
 * | `handling` | the handler's reply | `request_timeout` |
 * | `writing` | the kernel to take the replies | `write_timeout` |
 * | `lingering` | the peer to close after we have | what ended it before |
 *
 * @module
 */

import { ipOf } from "../../core/address.ts";
import type { Clock } from "../../core/clock.ts";
import type { Deadlines, Expirable } from "../../core/deadlines.ts";
import {
  FrameError,
  ProxyHeaderError,
  ReplyTooLargeError,
  TimeoutError,
} from "../../core/errors.ts";
import { quote } from "../../core/text.ts";
import {
  type CloseReason,
  emit,
  type EventListeners,
  type RejectReason,
  type RequestEvent,
} from "../../events/events.ts";
import type { Counters } from "../../events/metrics.ts";
import type { ServerStats } from "../../events/server_stats.ts";
import { type Codec, MAX_OVERHEAD } from "../../framing/codec.ts";
import type { Connection } from "../../net/connection.ts";
import { Outbox } from "../../net/outbox.ts";
import {
  parseProxyHeader,
  type ProxyVersion,
} from "../../net/proxy_protocol/mod.ts";
import type { TlsIdentity } from "../../tls/identity.ts";
import { startsTls } from "../../tls/record.ts";
import type { ConnectionInfo, ConnectionState } from "../connection_info.ts";
import type { ErrorHandler, Handler, Reply, RequestInfo } from "../handler.ts";
import type { ServeConfig } from "../options.ts";
import { replies } from "../replies.ts";
import type { Flushable, Turns } from "../turns.ts";

/** What all sessions of one server share. */
export interface SessionContext {
  readonly config: ServeConfig;
  readonly handler: Handler;
  readonly onError: ErrorHandler | undefined;
  readonly events: EventListeners;
  readonly deadlines: Deadlines;
  readonly clock: Clock;
  readonly turns: Turns;
  readonly stats: ServerStats;
  /** What the server shows its peers, if it speaks TLS. */
  readonly tls: TlsIdentity | undefined;
  /**
   * Called once the client's address is known: gives it its place, or says
   * why it gets none.
   */
  readonly admit: (
    session: Session,
  ) => Refusal | undefined | Promise<Refusal | undefined>;
  /** Called once, when the session has ended and its connection is closed. */
  readonly ended: (session: Session, end: SessionEnd) => void;
  readonly counters: Counters;
}

/** Why a connection gets no place. */
export interface Refusal {
  /** For the events. */
  readonly reason: RejectReason;
  /** For the peer, starting with `ERR `; nothing where it would not read it. */
  readonly text?: string;
  /** The error behind the reason. */
  readonly error?: unknown;
}

/** What a session is doing; see the module's text. */
type Phase = Exclude<ConnectionState, "idle">;

/** How a session ended. */
export interface SessionEnd {
  /** Its name. */
  readonly reason: CloseReason;
  /** Whether it had a place. */
  readonly admitted: boolean;
  /** Why it got none. */
  readonly refusal: Refusal | undefined;
  /** The error behind the reason, or `undefined`. */
  readonly error: unknown;
  /** Requests handed to the handler. */
  readonly requests: number;
  /** Whether a request was handed to the handler whose reply is not out. */
  readonly unanswered: boolean;
}

/**
 * How long a peer may take to close its side after we have closed ours, in
 * milliseconds. Closing at once would reset the connection if the peer is still
 * sending, and the reset could overtake our last reply.
 */
const LINGER = 2000;

const encoder = new TextEncoder();

/**
 * How long a draining session waits for a request that the kernel may already
 * hold, in milliseconds.
 */
const LAST_CALL = 10;

/**
 * How long a draining session waits for a peer from which bytes keep coming, at
 * the most, in milliseconds.
 */
const LAST_CALL_LIMIT = 250;

/** A timer that never fires in the turn of the event loop that set it, in ms. */
const ONE_TURN = 2;

/**
 * How many turns of the microtask queue a handler's promise has to settle
 * before the replies in front of it go out by themselves. An asynchronous
 * handler that awaits nothing real is done by then, and its reply is in the
 * same write as the others.
 */
const TURNS = 8;

/**
 * How long a trusted peer may take for its PROXY header, in milliseconds. The
 * specification asks for 3 s at least, one lost segment sent again.
 */
const PROXY_TIMEOUT = 5000;

/**
 * How long a peer may take for the handshake of TLS, in milliseconds. It needs
 * one or two round trips, and a peer that does not want to make any is none.
 */
const HANDSHAKE_TIMEOUT = 10_000;

/** Ends the wait for a handler that takes too long. */
class RequestTimeout extends Error {}

/** See the module's text. */
export class Session implements Expirable, Flushable {
  /** The connection's number. */
  readonly id: number;
  /** The connection. */
  readonly connection: Connection;
  /** When it began, by the server's clock. */
  readonly opened: number;
  deadline = Infinity;

  readonly #context: SessionContext;
  readonly #codec: Codec;
  readonly #outbox = new Outbox();
  readonly #info: Info;
  #phase: Phase = "reading";
  /** Whether it speaks TLS. */
  #secured = false;
  #admitted = false;
  #refusal: Refusal | undefined;
  #reason: CloseReason | undefined;
  #error: unknown;
  #frameError: FrameError | undefined;
  #requests = 0;
  /** A request has come in whole, and its reply is not out yet. */
  #owing = false;
  /** When the turn of the request being handled came, by the clock. */
  #turn: number;
  /** Requests answered since then whose batch is not out. */
  #answered = 0;
  /** Their lengths, if anybody listens for requests. */
  readonly #lengths: number[] | undefined;
  /** A handler is at work that did not reply at once. */
  #pending = false;
  /** Until when a peer that still sends is waited for; 0 before a drain. */
  #drainingUntil = 0;
  /** It has ended, though a read or write of it may still be under way. */
  #settled = false;
  /** Takes back the last call that is under way. */
  #cancelLastCall: (() => void) | undefined;
  /** The read that goes on while a handler takes its time. */
  #ahead: Promise<void> | undefined;
  /** What it has brought has not been looked at. */
  #unread = false;
  /** Ends the wait for the handler. */
  #interrupt: ((error: unknown) => void) | undefined;

  // What is called back for each request is made once for each connection.
  readonly #onRead = (n: number | null) => {
    this.connection.took(n);
    this.#heard();
  };
  readonly #onHeard = () => this.#heard();
  readonly #onAnswered = () => this.#proceed();
  readonly #onWrote = (n: number) => this.#wrote(n);
  readonly #onRest = () => this.#rest();
  readonly #onError = (error: unknown) => {
    this.#lost(error);
    this.#settle();
  };

  /**
   * @param id The connection's number.
   * @param connection The connection.
   * @param context What all sessions share.
   */
  constructor(id: number, connection: Connection, context: SessionContext) {
    const { framing, maxFrame, maxReply } = context.config;
    this.id = id;
    this.connection = connection;
    this.opened = context.clock.now();
    this.#turn = this.opened;
    this.#context = context;
    this.#codec = framing.codec(maxFrame);
    if (context.events.request !== undefined) this.#lengths = [];
    this.#info = new Info(
      id,
      connection,
      framing.name,
      maxReply,
      context.stats,
    );
  }

  /** Serves the connection until it ends. Never throws. */
  run(): void {
    this.#context.deadlines.add(this);
    this.#enter().then(
      (entered) => entered ? this.#rest() : this.#settle(),
      this.#onError,
    );
  }

  /**
   * Tells the peer why it gets no place, and ends. Never throws.
   *
   * @param refusal Why.
   */
  refuse(refusal: Refusal): void {
    this.#context.deadlines.add(this);
    this.#conclude(this.#turnAway(refusal));
  }

  /**
   * Ends once nothing is owed. Requests that have arrived by now, also those
   * that the kernel still holds, get their replies first.
   */
  drain(): void {
    this.#drainingUntil = this.#context.clock.now() + LAST_CALL_LIMIT;
    // Only a read from now on tells that the kernel holds no more.
    this.connection.emptied = false;
    // Who waits for a place yet has not been read from at all.
    if (this.#phase === "reading" && this.#admitted) this.#lastCall();
  }

  /**
   * Ends now, whatever is owed.
   *
   * @param reason How the session ends; an earlier reason stands.
   */
  abort(reason: CloseReason): void {
    this.#end(reason);
    this.connection.close();
    this.#interrupt?.(undefined);
    // Before Deno 2.9.5 a blocked write is not ended by `close()`: what is cut
    // must not wait for it.
    this.#settle();
  }

  /** Called when it has got its place. */
  admitted(): void {
    this.#admitted = true;
  }

  /** Whether its end has been named. */
  get over(): boolean {
    return this.#reason !== undefined;
  }

  /** What an operator may know of it. */
  describe(): ConnectionInfo {
    const now = this.#context.clock.now();
    const { inbox, received, sent, remoteAddr } = this.connection;
    const idle = this.#phase === "reading" && inbox.length === 0;
    return {
      id: this.id,
      remoteAddr,
      age: now - this.opened,
      idle: now - this.#turn,
      state: idle ? "idle" : this.#phase,
      requests: this.#requests,
      received,
      sent,
    };
  }

  /** A peer that takes something, however slowly, is not stuck. */
  progress(): void {
    this.deadline = this.#context.deadlines.in(
      this.#context.config.writeTimeout,
    );
  }

  /** See {@linkcode Expirable}. */
  expire(): void {
    this.deadline = Infinity;
    switch (this.#phase) {
      case "greeting":
        this.#refusal = {
          reason: "proxy_error",
          error: new TimeoutError(
            `No PROXY header within ${PROXY_TIMEOUT} ms`,
          ),
        };
        return this.abort("shutdown");
      case "handshaking":
        this.#refusal = {
          reason: "tls_error",
          error: new TimeoutError(
            `No TLS handshake within ${HANDSHAKE_TIMEOUT} ms`,
          ),
        };
        return this.abort("shutdown");
      case "reading":
        return this.abort("idle_timeout");
      case "writing":
        return this.abort("write_timeout");
      case "handling":
        return this.#interrupt?.(new RequestTimeout());
      case "lingering":
        return this.abort("shutdown");
    }
  }

  /** What is left to do before it has ended. */
  #conclude(rest: Promise<void>): void {
    rest.then(() => this.#settle(), this.#onError);
  }

  /** Lets go of everything, once. */
  #settle(): void {
    if (this.#settled) return;
    this.#settled = true;
    const { deadlines, counters, ended } = this.#context;
    deadlines.delete(this);
    this.#cancelLastCall?.();
    if (this.#pending) counters.finished("abandoned", 1);
    this.#pending = false;
    if (this.#answered > 0) this.#count(this.#context.clock.now());
    this.#info.abort();
    if (
      !this.connection.closed && this.#ahead === undefined &&
      this.#interrupt === undefined
    ) {
      // No read, write or handler is pending that could still use this memory.
      this.connection.inbox.release();
      this.#outbox.clear();
    }
    this.connection.close();
    ended(this, {
      admitted: this.#admitted,
      refusal: this.#refusal,
      reason: this.#reason ?? "error",
      error: this.#error,
      requests: this.#requests,
      unanswered: this.#owing,
    });
  }

  /**
   * Gets a place, after what comes before it.
   *
   * @returns Whether it has one; if not, nothing is left to do.
   */
  async #enter(): Promise<boolean> {
    const { deadlines, config, tls, admit } = this.#context;
    if (config.proxy !== undefined || tls !== undefined) {
      if (!await this.#begin()) return false;
    }
    if (this.#settled) return false;
    let refusal = admit(this);
    if (refusal instanceof Promise) refusal = await refusal;
    if (this.#settled) return false;
    if (refusal !== undefined) {
      await this.#refuse(refusal);
      return false;
    }
    this.deadline = deadlines.in(config.idleTimeout);
    // A header may have brought the first requests with it. Where it has not,
    // that says nothing of those to come: a drain waits for them as ever.
    this.#unread = this.connection.inbox.length > 0;
    this.connection.emptied = false;
    return !this.over;
  }

  // From here on one calls the other, round and round: read, #heard, #proceed,
  // flush, #wrote, #rest, read. They are callbacks and no loop that awaits,
  // because that took a promise and an asynchronous frame more per request,
  // and memory for as long as the connection is idle.

  /** Bytes have come in, or the peer has finished. */
  #heard(): void {
    // The last call came while we waited, and the peer has been told.
    if (this.#reason !== undefined) {
      return this.#conclude(this.connection.discard());
    }
    this.#turn = this.#context.turns.began;
    this.#proceed();
  }

  /** Answers what is there, and has the replies written. */
  #proceed(): void {
    try {
      const answering = this.#answerSome();
      if (answering !== undefined) {
        answering.then(this.#onAnswered, this.#onError);
        return;
      }
    } catch (error) {
      return this.#onError(error);
    }
    this.#unread = false;
    if (this.#frameError !== undefined) {
      const error = this.#frameError;
      return this.#conclude(
        this.#finish("frame_error", error, replies.frame(error)),
      );
    }
    const { closing } = this.#info;
    if (closing !== undefined) return this.#conclude(this.#finish(closing));
    if (this.#outbox.length > 0) this.#context.turns.add(this);
    else this.#rest();
  }

  /** See {@linkcode Flushable}. */
  flush(now: number): void {
    if (this.#answered > 0) this.#count(now);
    // Its own handler, or another's, may have had it closed.
    if (this.#settled) return this.#outbox.clear();
    this.#phase = "writing";
    this.progress();
    try {
      this.connection.send(this.#outbox.view()).then(
        this.#onWrote,
        this.#onError,
      );
    } catch (error) {
      // Nobody catches it behind us, and others wait for the same turn's end.
      this.#onError(error);
    }
  }

  #wrote(n: number): void {
    const rest = this.connection.wrote(n, this);
    if (rest === undefined) this.#rest();
    else rest.then(this.#onRest, this.#onError);
  }

  /** Nothing is owed: waits for more, unless there will be no more. */
  #rest(): void {
    const { connection } = this;
    const { deadlines, clock, config } = this.#context;
    if (this.#answered > 0) this.#count(clock.now());
    this.#outbox.clear();
    if (this.#settled) return;
    if (this.#owing) {
      // Only a whole request moves this deadline: dribbling does not.
      this.#owing = false;
      this.deadline = deadlines.in(config.idleTimeout);
    }
    this.#phase = "reading";
    // The read ahead may have ended while we wrote.
    if (this.#unread) return this.#heard();
    if (connection.eof) {
      this.#end("peer_closed");
      return this.#conclude(this.#sayEnd());
    }
    if (this.#drainingUntil > 0) {
      if (connection.emptied && connection.inbox.length === 0) {
        return this.#conclude(this.#finish("shutdown"));
      }
      this.#lastCall();
    }
    if (this.#ahead !== undefined) {
      this.#ahead.then(this.#onHeard, this.#onError);
      return;
    }
    try {
      connection.read(connection.inbox.space()).then(
        this.#onRead,
        this.#onError,
      );
    } catch (error) {
      // A read that fails at once, where others give a promise that rejects.
      this.#onError(error);
    }
  }

  /**
   * Does what comes before the first request: a proxy's header, then TLS.
   *
   * @returns Whether it went well.
   */
  async #begin(): Promise<boolean> {
    const { config: { proxy }, tls } = this.#context;
    if (proxy?.trusted.matches(ipOf(this.connection.remoteAddr))) {
      if (!await this.#greet(proxy.version)) return false;
    }
    return tls === undefined || await this.#handshake(tls);
  }

  async #handshake(tls: TlsIdentity): Promise<boolean> {
    this.#phase = "handshaking";
    this.deadline = this.#context.deadlines.in(HANDSHAKE_TIMEOUT);
    if (!await this.#hear()) return false;
    try {
      await this.connection.layer((below, received) =>
        tls.secure(below, received)
      ).handshake();
    } catch (error) {
      this.#refusal ??= { reason: "tls_error", error };
      return false;
    }
    this.#secured = true;
    this.#phase = "reading";
    return true;
  }

  /**
   * Reads the header of a trusted proxy, which names the client.
   *
   * @returns Whether it came, whole and right.
   */
  async #greet(version: ProxyVersion): Promise<boolean> {
    const { connection } = this;
    const { inbox } = connection;
    this.#phase = "greeting";
    this.deadline = this.#context.deadlines.in(PROXY_TIMEOUT);
    if (!await this.#hear()) return false;
    try {
      while (true) {
        const { bytes, start, end } = inbox;
        const header = parseProxyHeader(bytes, start, end, version);
        if (header !== undefined) {
          inbox.start += header.length;
          connection.remoteAddr = header.source ?? connection.remoteAddr;
          connection.localAddr = header.destination ?? connection.localAddr;
          this.#phase = "reading";
          return true;
        }
        if (connection.eof) {
          throw new ProxyHeaderError(
            `stream ended after ${inbox.length} bytes`,
          );
        }
        connection.took(await connection.read(inbox.space()));
      }
    } catch (error) {
      // Whoever speaks so is no proxy of ours, and waits for no reply.
      this.#refusal ??= { reason: "proxy_error", error };
      return false;
    }
  }

  /**
   * Waits for bytes before the first request. A peer that leaves without any,
   * by its end or by a reset (throws), did nothing wrong: so do TCP checks.
   *
   * @returns Whether some came.
   */
  async #hear(): Promise<boolean> {
    const { connection } = this;
    const { inbox } = connection;
    if (inbox.length > 0) return true;
    connection.took(await connection.read(inbox.space()));
    if (connection.eof) this.#end("peer_closed");
    return !connection.eof;
  }

  async #turnAway(refusal: Refusal): Promise<void> {
    // Without the keys there is no way to tell the peer.
    if (this.#context.tls !== undefined && !await this.#begin()) return;
    await this.#refuse(refusal);
  }

  async #refuse(refusal: Refusal): Promise<void> {
    this.#refusal = refusal;
    this.#end("shutdown");
    await this.#finish("shutdown", undefined, refusal.text);
  }

  /**
   * Answers the whole requests in the inbox, in order.
   *
   * @returns What to wait for before the next can be answered; or nothing once
   * all are, the session is to close, or `#frameError` says what is wrong with
   * the bytes behind them.
   */
  #answerSome(): Promise<void> | undefined {
    const { inbox, eof } = this.connection;
    const codec = this.#codec;
    // A receive buffer has its memory to itself. To ask for that costs a third
    // of what a view does, so it is asked for once.
    const { bytes } = inbox;
    const { buffer } = bytes;
    if (this.#requests === 0) {
      const tls = startsTls(inbox);
      // No frame is looked for before this is known.
      if (tls === undefined && !eof) return;
      // A TLS client waits for our hello while we wait for the rest of a frame.
      if (tls) {
        this.#frameError = new FrameError(
          "malformed",
          "a TLS handshake, and this port does not speak TLS",
        );
        return;
      }
    }
    while (
      inbox.length > 0 && this.#info.closing === undefined && !this.#settled
    ) {
      let next;
      try {
        next = codec.decode(bytes, inbox.start, inbox.end);
      } catch (error) {
        if (!(error instanceof FrameError)) throw error;
        this.#frameError = error;
        return;
      }
      if (next === 0) {
        // A peer that has finished will not complete this frame.
        if (eof) {
          this.#frameError = new FrameError(
            "malformed",
            `stream ended after ${inbox.length} bytes of a frame`,
          );
        }
        return;
      }
      inbox.start = next;
      this.#owing = true;
      // The view stays valid: nothing moves in the inbox until the next read.
      const { payloadStart } = codec;
      const answering = this.#answer(
        new Uint8Array(buffer, payloadStart, codec.payloadEnd - payloadStart),
      );
      if (answering !== undefined) return answering;
    }
  }

  /**
   * Has one request handled, and puts its reply into the outbox. Asynchronous
   * only where it must be: a promise from the handler, or a full outbox.
   */
  #answer(request: Uint8Array<ArrayBuffer>): Promise<void> | undefined {
    const { handler, counters, config } = this.#context;
    this.#requests++;
    this.#info.pieces = 0;
    counters.requested();
    let payload;
    try {
      const reply = handler(request, this.#info);
      if (reply instanceof Promise) {
        return this.#answerLater(reply, request.length);
      }
      // What came in this framing can go out in it.
      payload = reply === request && request.length <= config.maxReply
        ? request
        : this.#payload(reply);
    } catch (error) {
      return this.#answerLater(Promise.reject(error), request.length);
    }
    this.#info.renew();
    this.#answered++;
    this.#lengths?.push(request.length);
    return this.#send(payload);
  }

  async #answerLater(
    pending: Promise<Reply>,
    length: number,
  ): Promise<void> {
    const { clock, counters, onError } = this.#context;
    let status: RequestEvent["status"] = "ok";
    let payload;
    if (this.#settled) {
      // The handler had its own connection closed.
      pending.catch(() => {});
      counters.finished("abandoned", 1);
      return;
    }
    this.#pending = true;
    try {
      payload = this.#payload(await this.#wait(pending));
    } catch (error) {
      status = this.#failed(error);
      this.#info.pieces = 0;
      payload = encoder.encode(replies.failed(error));
      if (status === "error" && onError !== undefined) {
        try {
          const reply = await this.#wait((async () => {
            return await onError(error, this.#info);
          })());
          payload = this.#payload(reply);
        } catch (error) {
          status = this.#failed(error);
          payload = encoder.encode(replies.failed(error));
        }
      }
    }
    // A listener may have had it closed meanwhile.
    if (this.#settled) return;
    if (status === "timeout") {
      this.#info.closing = "request_timeout";
      this.#info.abort();
      this.connection.inbox.forsake();
      payload = encoder.encode(
        replies.requestTimeout(this.#context.config.requestTimeout),
      );
    }
    this.#info.renew();
    this.#pending = false;
    const now = clock.now();
    const duration = now - this.#turn;
    this.#turn = now;
    counters.finished(status, 1);
    counters.took(duration, 1);
    this.#report(status, duration, length);
    await this.#send(payload);
  }

  /**
   * Waits for a handler. What was answered before it goes out first, unless it
   * is done at once. The wait ends with the reply or the handler's
   * error, at the request timeout, when the peer is gone, or by `abort()`.
   */
  async #wait(pending: Promise<Reply>): Promise<Reply> {
    let settled = false;
    const reply = new Promise<Reply>((resolve, reject) => {
      this.#interrupt = reject;
      pending.finally(() => settled = true).then(resolve, reject);
    });
    // It may be rejected while the flush below is awaited instead.
    reply.catch(() => {});
    for (let turn = 0; turn < TURNS && !settled; turn++) await undefined;
    if (this.#answered > 0) this.#count(this.#context.clock.now());
    if (!settled) {
      if (this.#outbox.length > 0) {
        try {
          await this.#flush();
        } catch (error) {
          // The peer's doing, which must not pass for the handler's.
          this.#lost(error);
          throw error;
        }
      }
      this.#phase = "handling";
      this.deadline = this.#context.deadlines.in(
        this.#context.config.requestTimeout,
      );
      this.#readAhead();
    }
    try {
      return await reply;
    } finally {
      this.#interrupt = undefined;
    }
  }

  /**
   * Reads on while a handler takes its time, as far as there is room: the
   * reset of a peer shows in no other way.
   */
  #readAhead(): void {
    if (this.#ahead !== undefined || this.connection.eof) return;
    const tail = this.connection.inbox.tail();
    if (tail.length === 0) return;
    this.#ahead = this.connection.read(tail).then(
      (n) => {
        this.connection.took(n);
        this.#ahead = undefined;
        this.#unread = true;
        if (this.#interrupt !== undefined) this.#readAhead();
      },
      (error) => {
        this.#lost(error);
        this.#info.abort();
        this.#interrupt?.(error);
        throw error;
      },
    );
    // Whoever awaits it gets the error; it may be that nobody does.
    this.#ahead.catch(() => {});
  }

  /** Sorts what ended a wait; throws on if it ended the session. */
  #failed(error: unknown): "error" | "timeout" {
    if (this.#reason !== undefined) throw error;
    if (error instanceof RequestTimeout) return "timeout";
    const { events } = this.#context;
    if (events.handler_error !== undefined) {
      emit(events.handler_error, { type: "handler_error", id: this.id, error });
    }
    return "error";
  }

  #report(
    status: RequestEvent["status"],
    duration: number,
    requestBytes: number,
  ): void {
    const { request } = this.#context.events;
    if (request === undefined) return;
    const { id } = this;
    emit(request, { type: "request", id, status, duration, requestBytes });
  }

  /**
   * Counts a batch of requests that were answered at once.
   *
   * @param now The time, by the clock.
   */
  #count(now: number): void {
    const { counters } = this.#context;
    const duration = now - this.#turn;
    counters.finished("ok", this.#answered);
    counters.took(duration, this.#answered);
    this.#answered = 0;
    if (this.#lengths === undefined) return;
    for (const length of this.#lengths) this.#report("ok", duration, length);
    this.#lengths.length = 0;
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

  #send(payload: Uint8Array | undefined): Promise<void> | undefined {
    // A handler that had its own connection closed may still have replied: a
    // write would fail here, and its request would never be counted.
    if (payload === undefined || this.#settled) return undefined;
    const cut = this.#info.pieces > 0;
    if (!cut && this.#outbox.add(this.#codec, payload)) return undefined;
    // It goes out now; how long the peer takes for it is not the handler's.
    if (this.#answered > 0) {
      this.#count(this.#context.clock.now());
      // A listener may have had it closed.
      if (this.#settled) return undefined;
    }
    return cut ? this.#sendPieces(payload) : this.#sendLarge(payload);
  }

  /** Sends what the outbox has no room for. */
  async #sendLarge(payload: Uint8Array): Promise<void> {
    if (this.#outbox.length > 0) await this.#flush();
    if (this.#outbox.add(this.#codec, payload)) return;
    const sent = this.#outbox.addStart(this.#codec, payload);
    await this.#flush();
    if (sent < payload.length) await this.#write(payload.subarray(sent));
    this.#outbox.addTrailer(this.#codec);
  }

  async #sendPieces(payload: Uint8Array): Promise<void> {
    const { pieces } = this.#info;
    this.#info.pieces = 0;
    if (this.#outbox.length > 0) await this.#flush();
    const frame = new Uint8Array(payload.length + MAX_OVERHEAD);
    const at = this.#codec.writeHeader(frame, 0, payload.length);
    frame.set(payload, at);
    const end = this.#codec.writeTrailer(frame, at + payload.length);
    for (let from = 0; from < end; from += pieces) {
      await this.#write(frame.subarray(from, Math.min(from + pieces, end)));
    }
  }

  async #flush(): Promise<void> {
    await this.#write(this.#outbox.view());
    this.#outbox.clear();
  }

  #write(bytes: Uint8Array): Promise<void> {
    this.#phase = "writing";
    this.progress();
    return this.connection.write(bytes, this);
  }

  /** Closes an idle session of a draining server, a moment from now. */
  #lastCall(): void {
    const { clock } = this.#context;
    // An event loop that was held up runs its timers before it looks at its
    // sockets; the second timer comes after such a look.
    const { received } = this.connection;
    this.#cancelLastCall ??= clock.after(LAST_CALL, () => {
      this.#cancelLastCall = clock.after(
        ONE_TURN,
        () => this.#lastCalled(received),
      );
    });
  }

  /** @param before The bytes received when the call was made. */
  #lastCalled(before: number): void {
    this.#cancelLastCall = undefined;
    const { inbox, eof, received } = this.connection;
    // A frame under way is in flight too; `forced` may end it.
    if (this.#phase !== "reading" || inbox.length > 0 || eof) return;
    // Where a read does not tell, as with TLS, what comes in may not be all.
    if (received > before && this.#context.clock.now() < this.#drainingUntil) {
      return this.#lastCall();
    }
    this.#end("shutdown");
    this.#linger().catch(() => this.connection.close());
  }

  /** Ends in good order: the replies go out, then the end, then we wait. */
  async #finish(
    reason: CloseReason,
    error?: unknown,
    text?: string,
  ): Promise<void> {
    if (this.#answered > 0) this.#count(this.#context.clock.now());
    if (text !== undefined) {
      this.#end(reason, error);
      await this.#send(encoder.encode(text));
    }
    if (this.#outbox.length > 0) await this.#flush();
    this.#owing = false;
    this.#end(reason, error);
    if (this.connection.eof) return await this.#sayEnd();
    await this.#linger();
    await this.#ahead;
    await this.connection.discard();
  }

  /** Ends after the peer has: TLS wants that said, TCP does so by itself. */
  async #sayEnd(): Promise<void> {
    if (this.#secured) await this.#linger();
  }

  async #linger(): Promise<void> {
    this.#phase = "lingering";
    this.deadline = this.#context.deadlines.in(LINGER);
    await this.connection.closeWrite();
  }

  #lost(error: unknown): void {
    this.#end(isGone(error) ? "peer_reset" : "error", error);
  }

  /** Names the end, once. */
  #end(reason: CloseReason, error?: unknown): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    this.#error = error;
  }
}

/** See {@linkcode RequestInfo}. */
class Info implements RequestInfo {
  readonly id: number;
  readonly framing: string;
  readonly maxReply: number;
  readonly server: ServerStats;
  /** Why the session ends after this reply, if it does. */
  closing: CloseReason | undefined;
  /** The size of the writes for this reply; 0 for the usual way. */
  pieces = 0;
  readonly #connection: Connection;
  #state: Record<string, unknown> | undefined;
  #controller: AbortController | undefined;
  #aborted = false;

  constructor(
    id: number,
    connection: Connection,
    framing: string,
    maxReply: number,
    server: ServerStats,
  ) {
    this.id = id;
    this.#connection = connection;
    this.framing = framing;
    this.maxReply = maxReply;
    this.server = server;
  }

  get state(): Record<string, unknown> {
    return this.#state ??= {};
  }

  set state(state: Record<string, unknown>) {
    this.#state = state;
  }

  get remoteAddr(): Deno.Addr {
    return this.#connection.remoteAddr;
  }

  get localAddr(): Deno.Addr {
    return this.#connection.localAddr;
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#aborted) this.#controller.abort();
    return this.#controller.signal;
  }

  close(): void {
    this.closing ??= "handler_closed";
  }

  replyInPieces(bytes: number): void {
    if (!Number.isInteger(bytes) || bytes < 1) {
      throw new RangeError(
        `Cannot reply in pieces of ${bytes}: expected a whole number from 1`,
      );
    }
    this.pieces = bytes;
  }

  /** A reply is no use any more. */
  abort(): void {
    this.#aborted = true;
    this.#controller?.abort();
  }

  /** The request is over; the next one gets a signal of its own. */
  renew(): void {
    this.#controller = undefined;
  }
}

/** Whether an error of a read or write says that the peer is gone. */
function isGone(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset ||
    error instanceof Deno.errors.BrokenPipe ||
    error instanceof Deno.errors.NotConnected ||
    error instanceof Deno.errors.ConnectionAborted ||
    error instanceof Deno.errors.TimedOut;
}
