/** A connection to a server: requests, pipelined, each with its own reply. */

import { formatAddr } from "../core/address.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import { Deadlines, type Expirable } from "../core/deadlines.ts";
import {
  ClientClosedError,
  ConnectionLostError,
  FrameError,
  RefusedError,
  TimeoutError,
  TlsError,
} from "../core/errors.ts";
import { Queue } from "../core/queue.ts";
import { quote } from "../core/text.ts";
import type { Codec, Framing } from "../framing/mod.ts";
import { Connection, isGone, type Transport } from "../net/connection.ts";
import { isTlsAlert } from "../tls/record.ts";
import { reasonOf } from "./dial.ts";
import { FirstFrame } from "./first_frame.ts";
import {
  type Outgoing,
  type RequestWriter,
  requestWriter,
} from "./request_writer.ts";

/** Options of {@linkcode Client.request}. */
export interface RequestOptions {
  /**
   * Gives up waiting. A request already sent cannot be taken back: its reply
   * is dropped when it comes, and the replies of others stay their own.
   */
  signal?: AbortSignal;
}

/** A connection to a server; `connect` makes it. */
export interface Client extends AsyncDisposable {
  /** The server's address. */
  readonly remoteAddr: Deno.Addr;
  /** This side's address. */
  readonly localAddr: Deno.Addr;
  /**
   * Resolves when the connection has ended: with the error that ended it, or
   * with nothing after `close()`. Never rejects.
   */
  readonly closed: Promise<Error | undefined>;
  /** How many requests wait for a reply. */
  readonly pending: number;
  /** Bytes that the system has taken so far, the framing's included. */
  readonly sent: number;

  /**
   * Sends a request and waits for its reply. It does not wait for the replies
   * of earlier requests: call it again at once to pipeline.
   *
   * @param data The payload; text is sent as UTF-8. Bytes must not change
   * before the reply is there.
   * @param options A signal to give up by.
   * @returns The reply's payload, the caller's to keep.
   * @throws {EncodeError} The framing cannot carry the payload. It is not sent.
   * @throws {TimeoutError} No reply within `timeout`. The connection is closed,
   * unless `keepAfterTimeout` keeps it.
   * @throws {RefusedError} The server turned the connection away.
   * @throws {ConnectionLostError} The connection ended before the reply.
   * @throws {FrameError} The server's bytes are no reply, or one that is larger
   * than `maxFrame`. The connection is closed.
   * @throws {ClientClosedError} `close()` was called.
   */
  request(
    data: Uint8Array | string,
    options?: RequestOptions,
  ): Promise<Uint8Array<ArrayBuffer>>;

  /**
   * Closes the connection now. Requests without a reply reject with
   * {@linkcode ClientClosedError}. May be called more than once.
   */
  close(): void;
}

interface Pending extends Outgoing {
  readonly deadline: number;
  readonly resolve: (reply: Uint8Array<ArrayBuffer>) => void;
  readonly reject: (error: unknown) => void;
  settled: boolean;
}

/** How long what the server said is read after a failed write, in milliseconds. */
const READ_OUT = 1000;

const encoder = new TextEncoder();

export class PipelinedClient implements Client, Expirable {
  readonly remoteAddr: Deno.Addr;
  readonly localAddr: Deno.Addr;
  deadline = Infinity;

  readonly #connection: Connection;
  readonly #encoder: Codec;
  readonly #decoder: Codec;
  readonly #timeout: number;
  readonly #keepAfterTimeout: boolean;
  readonly #deadlines: Deadlines;
  readonly #writer: RequestWriter;
  readonly #pending = new Queue<Pending>();
  readonly #firstFrame: FirstFrame;
  /** A frame that came without being asked for: the server's last words. */
  #unasked: Uint8Array | undefined;
  #cancelReadOut: (() => void) | undefined;
  #end: Error | undefined;
  readonly #ended = Promise.withResolvers<Error | undefined>();

  constructor(
    transport: Transport,
    { framing, maxFrame, timeout, keepAfterTimeout = false }: {
      framing: Framing;
      maxFrame: number;
      timeout: number;
      keepAfterTimeout?: boolean;
    },
    clock: Clock = systemClock,
  ) {
    this.#encoder = framing.codec(maxFrame);
    const { overhead } = this.#decoder = framing.codec(maxFrame);
    this.#connection = new Connection(transport, maxFrame + overhead);
    this.remoteAddr = transport.remoteAddr;
    this.localAddr = transport.localAddr;
    // The server may have said why: the reader comes to that, and to the end.
    this.#writer = requestWriter(this.#connection, this.#encoder, (error) => {
      if (this.#end !== undefined) return;
      this.#cancelReadOut = clock.after(READ_OUT, () => this.#lose(error));
    });
    this.#timeout = timeout;
    this.#keepAfterTimeout = keepAfterTimeout;
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

  async request(
    data: Uint8Array | string,
    { signal }: RequestOptions = {},
  ): Promise<Uint8Array<ArrayBuffer>> {
    if (this.#end !== undefined) throw this.#end;
    signal?.throwIfAborted();
    const payload = typeof data === "string" ? encoder.encode(data) : data;
    this.#encoder.check(payload);
    const { promise, resolve, reject } = Promise.withResolvers<
      Uint8Array<ArrayBuffer>
    >();
    const deadline = this.#deadlines.in(this.#timeout);
    const state = { sent: false, settled: false };
    const pending = { payload, deadline, resolve, reject, ...state };
    this.#pending.push(pending);
    if (deadline < this.deadline) this.deadline = deadline;
    this.#writer.add(pending);
    if (signal === undefined) return promise;
    const abort = () => this.#giveUp(pending, signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    return await promise.finally(() =>
      signal.removeEventListener("abort", abort)
    );
  }

  close(): void {
    this.#finish(new ClientClosedError("Client is closed"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.closed;
  }

  expire(): void {
    const now = this.deadline;
    this.deadline = Infinity;
    this.#firstFrame.releaseReply();
    const error = this.#refused() ??
      new TimeoutError(`No reply within ${this.#timeout} ms`);
    let pairingLost = false;
    // A copy, because giving up takes the unsent ones out.
    for (const pending of [...this.#pending]) {
      if (pending.settled) continue;
      if (pending.deadline > now) {
        // They are in order: nobody behind it is late either.
        this.deadline = pending.deadline;
        break;
      }
      pairingLost ||= pending.sent;
      this.#giveUp(pending, error);
    }
    // Its reply may never come, and the next one would be taken for it.
    if (pairingLost && !this.#keepAfterTimeout) this.#lose(error);
  }

  #giveUp(pending: Pending, error: unknown): void {
    if (pending.settled) return;
    pending.settled = true;
    pending.reject(error);
    // Once sent, it keeps its place: the reply that comes for it is its own.
    if (pending.sent) return;
    this.#writer.delete(pending);
    this.#pending.delete(pending);
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
          throw new TlsError("it speaks TLS, and this client does not (--tls)");
        }
        while (inbox.length > 0) {
          this.#firstFrame.release();
          const { bytes, start, end } = inbox;
          const next = this.#decoder.decode(bytes, start, end);
          if (next === 0) break;
          inbox.start = next;
          const { payloadStart, payloadEnd } = this.#decoder;
          const frame = bytes.slice(payloadStart, payloadEnd);
          this.#firstFrame.take(frame, this.#pending.first?.sent === true);
        }
        if (connection.eof) break;
      }
      this.#lose(undefined);
    } catch (error) {
      this.#lose(error);
    }
    inbox.release();
  }

  #settle(reply: Uint8Array<ArrayBuffer>, asked: boolean): void {
    const pending = asked ? this.#pending.shift() : undefined;
    if (pending === undefined) this.#unasked = reply;
    if (pending === undefined || pending.settled) return;
    pending.settled = true;
    pending.resolve(reply);
    if (this.#pending.length === 0) this.deadline = Infinity;
  }

  /** The connection has ended from the other side. */
  #lose(error: unknown): void {
    if (this.#end !== undefined) return;
    if (error instanceof FrameError || error instanceof RefusedError) {
      return this.#finish(error);
    }
    const refused = this.#refused(error);
    if (refused !== undefined) return this.#finish(refused);
    const place = formatAddr(this.remoteAddr);
    const { inbox } = this.#connection;
    const how = error === undefined
      ? `Connection closed by ${place}`
      : isGone(error)
      ? `Connection reset by ${place}`
      : `Connection to ${place} failed: ${reasonOf(error)}`;
    const { length } = inbox;
    const where = length > 0 ? ` after ${length} bytes of a reply` : "";
    const said = this.#unasked === undefined
      ? ""
      : `, which said ${quote(new TextDecoder().decode(this.#unasked))}`;
    const message = `${how}${where}${said}`;
    this.#finish(new ConnectionLostError(message, { cause: error }));
  }

  /** What is thrown if all that the server ever said was a refusal. */
  #refused(cause?: unknown): RefusedError | undefined {
    const { refusal } = this.#firstFrame;
    return refusal === undefined
      ? undefined
      : new RefusedError(formatAddr(this.remoteAddr), refusal, { cause });
  }

  #finish(end: Error): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    this.#firstFrame.forget();
    this.#cancelReadOut?.();
    this.#deadlines.delete(this);
    this.#connection.close();
    for (const pending of this.#pending) {
      if (pending.settled) continue;
      pending.settled = true;
      pending.reject(end);
    }
    this.#pending.clear();
    this.#writer.end();
    this.#ended.resolve(end instanceof ClientClosedError ? undefined : end);
  }
}
