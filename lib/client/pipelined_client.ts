/** A connection to a server: requests, pipelined, each with its own reply. */

import { formatAddr } from "../core/address.ts";
import { checkNumber } from "../core/checks.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import { Deadlines, type Expirable } from "../core/deadlines.ts";
import * as errors from "../core/errors.ts";
import { Queue } from "../core/queue.ts";
import { bytesOf, decodeText, quote } from "../core/text.ts";
import { type Codec, type Framing, guessFraming } from "../framing/mod.ts";
import { Connection, isGone, type Transport } from "../net/connection.ts";
import { isTlsAlert } from "../tls/record.ts";
import type { Client, RequestOptions, StreamOptions } from "./api.ts";
import { reasonOf } from "./dial.ts";
import { checkAnswer, FirstFrame, type Frame, Frames } from "./frames.ts";
import { type Outgoing, requestWriter } from "./request_writer.ts";

/** What one connection of several tells those who hold it. */
export interface Hooks {
  /** It has ended, with so many requests in flight. */
  onEnd?: (error: Error, pending: number) => void;
  /** A request is in flight no more. */
  onRoom?: () => void;
}

interface Settings extends Hooks {
  framing: Framing;
  maxFrame: number;
  timeout: number;
  keepAfterTimeout?: boolean;
  maxBuffered?: number;
  isPush?: (frame: Frame) => boolean;
}

interface Pending extends Outgoing {
  /** When it was asked, and how long the reply may take; 0 means no limit. */
  readonly asked: number;
  readonly timeout: number;
  readonly resolve: (reply: Frame) => void;
  readonly reject: (error: unknown) => void;
  /** Where the frames of a streamed reply go. */
  readonly frames: Frames | undefined;
  settled: boolean;
}

/** How long what the server said is read after a failed write, in milliseconds. */
const READ_OUT = 1000;

export class PipelinedClient implements Client, Expirable {
  readonly remoteAddr: Deno.Addr;
  readonly localAddr: Deno.Addr;
  deadline = Infinity;

  readonly #connection: Connection;
  readonly #encoder: Codec;
  readonly #decoder: Codec;
  readonly #settings: Settings;
  readonly #clock: Clock;
  readonly #deadlines: Deadlines;
  readonly #writer: ReturnType<typeof requestWriter>;
  readonly #pending = new Queue<Pending>();
  readonly #firstFrame: FirstFrame;
  /** The last frame that answers no request: the server may say why it ends. */
  #unasked: Uint8Array | undefined;
  readonly #pushes: Frames | undefined;
  /** Reading waits for this, while frames of a streamed reply wait. */
  #paused: PromiseWithResolvers<void> | undefined;
  /** When a frame of a streamed reply came last. */
  #streamed = 0;
  #cancelReadOut: (() => void) | undefined;
  #end: Error | undefined;
  readonly #ended = Promise.withResolvers<Error | undefined>();

  constructor(
    transport: Transport,
    settings: Settings,
    clock: Clock = systemClock,
  ) {
    const { framing, maxFrame, timeout, isPush } = settings;
    const { maxBuffered = 1024 * 1024 } = settings;
    this.#settings = settings;
    this.#encoder = framing.codec(maxFrame);
    const { overhead } = this.#decoder = framing.codec(maxFrame);
    this.#connection = new Connection(transport, maxFrame + overhead);
    this.remoteAddr = transport.remoteAddr;
    this.localAddr = transport.localAddr;
    // The server may have said why: it is read before the client gives up.
    const onError = (error: unknown) => {
      if (this.#end !== undefined) return;
      this.#cancelReadOut = clock.after(READ_OUT, () => this.#lose(error));
    };
    this.#writer = requestWriter(
      this.#connection,
      this.#encoder,
      maxBuffered,
      onError,
    );
    this.#pushes = isPush && new Frames({ bound: maxBuffered });
    this.#clock = clock;
    this.#firstFrame = new FirstFrame(
      (frame, asked) => this.#settle(frame, asked),
      this.#decoder,
      clock,
    );
    this.#deadlines = new Deadlines(timeout || Infinity, clock);
    this.#deadlines.add(this);
    this.#receive();
  }

  get closed(): Promise<Error | undefined> {
    return this.#ended.promise;
  }

  get pending(): number {
    return this.#pending.length;
  }

  get sent(): number {
    return this.#connection.sent;
  }

  get received(): number {
    return this.#connection.received;
  }

  get buffered(): number {
    return this.#end === undefined ? this.#writer.buffered() : 0;
  }

  get ready(): Promise<void> {
    return this.#end === undefined ? this.#writer.ready() : Promise.resolve();
  }

  get pushes(): ReadableStream<Frame> {
    if (this.#pushes !== undefined) return this.#pushes.stream;
    throw new TypeError("Cannot tell pushes: connect with the option isPush");
  }

  async request(
    data: Uint8Array | string,
    { signal, timeout = this.#settings.timeout }: RequestOptions = {},
    frames?: Frames,
  ): Promise<Frame> {
    if (this.#end !== undefined) throw this.#end;
    signal?.throwIfAborted();
    const payload = this.#payloadOf(data);
    if (timeout !== this.#settings.timeout) {
      this.#deadlines.refine(checkNumber("timeout", timeout));
    }
    const { promise, resolve, reject } = Promise.withResolvers<Frame>();
    const asked = this.#deadlines.now;
    const pending: Pending = {
      payload,
      asked,
      timeout,
      resolve,
      reject,
      frames,
      sent: false,
      settled: false,
    };
    this.#pending.push(pending);
    if (timeout > 0 && asked + timeout < this.deadline) {
      this.deadline = asked + timeout;
    }
    this.#writer.add(pending);
    if (signal === undefined) return promise;
    const abort = () => this.#giveUp(pending, signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    return await promise.finally(() =>
      signal.removeEventListener("abort", abort)
    );
  }

  send(data: Uint8Array | string): Promise<void> {
    const payload = this.#payloadOf(data);
    const { promise, ...taken } = Promise.withResolvers<void>();
    // Nobody need wait for it, and an unhandled rejection ends the program.
    promise.catch(() => {});
    if (this.#end !== undefined) taken.reject(this.#end);
    else this.#writer.add({ payload, sent: false, taken });
    return promise;
  }

  stream(
    data: Uint8Array | string,
    { isLast, signal, timeout }: StreamOptions,
  ): ReadableStream<Frame> {
    if (typeof isLast !== "function") {
      throw new errors.OptionError("isLast", isLast, "a function of a frame");
    }
    const left = new AbortController();
    const onTaken = () => this.#paused?.resolve();
    const onLeft = () => left.abort();
    const frames = new Frames({ isLast, onTaken, onLeft });
    const signals = AbortSignal.any([left.signal, signal ?? left.signal]);
    this.request(data, { timeout, signal: signals }, frames)
      .then(() => frames.end(), (error) => frames.end(error)).then(onTaken);
    return frames.stream;
  }

  close(): void {
    this.#finish(new errors.ClientClosedError("Client is closed"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.closed;
  }

  expire(): void {
    const now = this.deadline;
    this.deadline = Infinity;
    this.#firstFrame.releaseReply();
    let pairingLost: unknown;
    const guess = guessFraming(this.#decoder, this.#connection.inbox);
    // A copy, because giving up takes the unsent ones out.
    for (const pending of [...this.#pending]) {
      if (pending.settled) continue;
      const { asked, timeout } = pending;
      // A streamed reply that the caller does not take is not late. The time of
      // those behind it begins anew with each of its frames.
      const halts = this.#paused && pending === this.#pending.first;
      const due = timeout === 0 || halts
        ? Infinity
        : Math.max(asked, this.#streamed) + timeout;
      if (due > now) {
        if (due < this.deadline) this.deadline = due;
        continue;
      }
      const error = this.#refused() ??
        new errors.TimeoutError(`No reply within ${timeout} ms${guess}`);
      if (pending.sent) pairingLost ??= error;
      this.#giveUp(pending, error);
    }
    // If its reply never comes, the next one would be taken for it.
    if (pairingLost && !this.#settings.keepAfterTimeout) {
      this.#lose(pairingLost);
    }
  }

  #payloadOf(data: Uint8Array | string): Uint8Array {
    const payload = bytesOf(data);
    this.#encoder.check(payload);
    return payload;
  }

  #giveUp(pending: Pending, error: unknown): void {
    if (pending.settled) return;
    pending.settled = true;
    pending.reject(error);
    // Once sent it keeps its place, so that its reply is not given to the next.
    if (pending.sent) return;
    this.#writer.delete(pending);
    this.#pending.delete(pending);
    this.#settings.onRoom?.();
  }

  async #receive(): Promise<void> {
    const connection = this.#connection;
    const { inbox } = connection;
    try {
      while (true) {
        connection.took(await connection.read(inbox.space()));
        if (
          this.#decoder.startsUnlikeTls &&
          connection.received === inbox.length && isTlsAlert(inbox)
        ) {
          inbox.release();
          throw new errors.TlsError(
            "it speaks TLS, and this client does not (option tls)",
          );
        }
        while (inbox.length > 0 && this.#end === undefined) {
          this.#firstFrame.release();
          const { bytes, start, end } = inbox;
          const next = this.#decoder.decode(bytes, start, end);
          if (next === 0) break;
          inbox.start = next;
          const { payloadStart, payloadEnd } = this.#decoder;
          const frame = bytes.slice(payloadStart, payloadEnd);
          this.#firstFrame.take(frame, this.#pending.first?.sent === true);
          if (this.#paused !== undefined) {
            await this.#paused.promise;
            this.#paused = undefined;
            // The time of the pause does not count for the deadline.
            this.deadline = this.#streamed = this.#deadlines.now;
          }
        }
        if (connection.eof) break;
      }
      this.#lose(undefined);
    } catch (error) {
      this.#lose(error);
    }
    inbox.release();
  }

  #settle(frame: Frame, asked: boolean): void {
    try {
      const { isPush } = this.#settings;
      if (isPush && checkAnswer("isPush", isPush(frame))) {
        if (this.#pushes!.isFull) throw new Error("nobody takes the pushes");
        this.#pushes!.add(frame);
        return;
      }
      const pending = asked ? this.#pending.first : undefined;
      if (pending === undefined) {
        this.#unasked = frame;
        return;
      }
      const { frames } = pending;
      if (frames !== undefined) {
        this.#streamed = this.#deadlines.now;
        const isLast = frames.add(frame);
        if (frames.isFull && !isLast) this.#paused = Promise.withResolvers();
        if (!isLast) return;
      }
      this.#pending.shift();
      if (this.#pending.length === 0) this.deadline = Infinity;
      this.#settings.onRoom?.();
      // If it was given up, this changes nothing: the reply is dropped.
      pending.settled = true;
      pending.resolve(frame);
    } catch (error) {
      const place = formatAddr(this.remoteAddr);
      const text = `Connection to ${place} given up: ${reasonOf(error)}`;
      this.#finish(new errors.ConnectionLostError(text, { cause: error }));
    }
  }

  /** The connection has ended from the other side. */
  #lose(error: unknown): void {
    if (this.#end !== undefined) return;
    const { inbox } = this.#connection;
    const guess = guessFraming(this.#decoder, inbox);
    if (error instanceof errors.FrameError) error.message += guess;
    if (
      error instanceof errors.FrameError || error instanceof errors.RefusedError
    ) {
      return this.#finish(error);
    }
    const refused = this.#refused(error);
    if (refused !== undefined) return this.#finish(refused);
    const place = formatAddr(this.remoteAddr);
    let message = error === undefined
      ? `Connection closed by ${place}`
      : isGone(error)
      ? `Connection reset by ${place}`
      : `Connection to ${place} failed: ${reasonOf(error)}`;
    const { length } = inbox;
    if (length > 0) message += ` after ${length} bytes of a reply${guess}`;
    const words = this.#unasked && quote(decodeText(this.#unasked));
    if (words !== undefined) message += `, which said ${words}`;
    this.#finish(new errors.ConnectionLostError(message, { cause: error }));
  }

  /** What is thrown if all that the server ever said was a refusal. */
  #refused(cause?: unknown): errors.RefusedError | undefined {
    const { refusal } = this.#firstFrame;
    return refusal === undefined
      ? undefined
      : new errors.RefusedError(formatAddr(this.remoteAddr), refusal, {
        cause,
      });
  }

  #finish(end: Error): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    this.#settings.onEnd?.(end, this.#pending.length);
    this.#firstFrame.forget();
    this.#cancelReadOut?.();
    this.#deadlines.delete(this);
    this.#connection.close();
    for (const pending of this.#pending) {
      pending.settled = true;
      pending.reject(end);
    }
    this.#pending.clear();
    this.#writer.end(end);
    this.#pushes?.end();
    this.#ended.resolve(
      end instanceof errors.ClientClosedError ? undefined : end,
    );
  }
}
