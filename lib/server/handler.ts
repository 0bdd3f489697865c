/** What a handler is given and what it gives back. */

import type { TlsInfo } from "../core/tls_info.ts";
import type { Framing, FramingName } from "../framing/mod.ts";
import type { ServerStats } from "../events/metrics.ts";

/** What goes into one frame: bytes, or text, which is sent as UTF-8. */
export type Payload = Uint8Array | string;

/**
 * A reply: a frame, or nothing where the protocol wants no reply; or several
 * frames, each of them an item of what is iterated over. An empty string or array
 * is a reply, an empty frame.
 *
 * The items of several are asked for as the peer takes them, so a reply may be
 * larger than memory. The request timeout counts for each item. Once nobody is
 * to get them any more, the iteration is ended (`finally` runs). The client must
 * know where the reply ends: the last item may say so.
 *
 * Nothing in a reply names its request: a client pairs them by their order. So
 * it must know which requests get nothing, or several frames. One that waits for
 * a reply to a request that gets none takes the next reply for it.
 */
export type Reply =
  | Payload
  | AsyncIterable<Payload>
  | undefined
  | void
  | null;

/** A reply, or a promise of one. */
export type ReplyLater = Reply | PromiseLike<Reply>;

/**
 * What a request handler and a connection's task both know of their connection,
 * and may ask of it.
 *
 * @typeParam State What is kept in `state`.
 * @typeParam Addr The kind of address: by TCP, or of a Unix socket.
 */
export interface PeerConnection<
  State = Record<string, unknown>,
  Addr = Deno.Addr,
> {
  /** The connection's number, from 1, never used twice by one server. */
  readonly id: number;
  /** The peer's address. */
  readonly remoteAddr: Addr;
  /** The server's own address on this connection. */
  readonly localAddr: Addr;
  /** What TLS knows of the peer; undefined without TLS. */
  readonly tls: TlsInfo | undefined;
  /** The framing's name. */
  readonly framing: string;
  /**
   * The maximum payload of a frame that is sent, in bytes: the server's
   * `maxReply`. A larger one is not sent, so look here before you make a reply as
   * large as you are asked for; {@linkcode ReplyTooLargeError} is what to throw.
   */
  readonly maxReply: number;
  /** The server's numbers. */
  readonly server: ServerStats;
  /** The connection's own state, made by the option `state`; empty without it. */
  state: State;
  /**
   * Aborts when what is sent is no use any more: the peer is gone, the request
   * has timed out, or the server is being forced down. It is made when it is
   * first read. A peer that only finished sending (half-close) is not gone.
   */
  readonly signal: AbortSignal;
  /** How many bytes wait that the kernel has not taken. */
  readonly buffered: number;
  /**
   * Sends a frame, at any time: behind what was given before, replies among it.
   * A peer that takes nothing is closed as `slow_consumer` once more than
   * `maxBuffered` bytes wait for it, so wait for the promise, or look at
   * `buffered`. Its rejection may be ignored.
   *
   * @param frame The payload; it must not change until it is taken.
   * @returns Resolves when the kernel has taken it; rejects with a
   * {@linkcode ConnectionLostError} once the connection has ended.
   * @throws {EncodeError} The framing cannot carry it.
   * @throws {ReplyTooLargeError} It is larger than `maxReply`.
   */
  send(frame: Payload): Promise<void>;
  /** Ends the connection once what was given before has been sent. */
  close(): void;
}

/**
 * What a handler may know of the connection it serves, and ask of it. There is
 * one for each connection; `signal`, `close`, `failed` and `replyInPieces` speak
 * of the request being handled.
 */
export interface RequestInfo<
  State = Record<string, unknown>,
  Addr = Deno.Addr,
> extends PeerConnection<State, Addr> {
  /**
   * Sends this request's reply in writes of at most `bytes` each, to exercise
   * the peer's reassembly.
   *
   * @param bytes A whole number from 1.
   */
  replyInPieces(bytes: number): void;
  /**
   * Counts this request as `error_reply` and not as `ok`: its reply says, in the
   * protocol's own words, that it could not be done. Nobody looks at the reply.
   */
  failed(): void;
}

/**
 * Answers one request.
 *
 * Requests of one connection are handled in order, one at a time. The request
 * is a view of the receive buffer: it is valid until the reply has been
 * given, so keep a copy (`request.slice()`) of what is needed for longer, or is
 * sent to a worker: its memory cannot be transferred. The reply may be that same
 * view, or a part of it.
 */
export type Handler<
  State = Record<string, unknown>,
  Addr = Deno.Addr,
> = (
  request: Uint8Array<ArrayBuffer>,
  info: RequestInfo<State, Addr>,
) => ReplyLater;

/**
 * A connection, as its task has it. It gives its frames one by one, as copies
 * that are safe to keep: `for await (const frame of connection)`, `read()` and
 * `frames` are three ways to the same. `readable` and `writable` carry bytes in
 * their place. What is used first is what it is used as.
 */
export interface ParleyConnection<
  State = Record<string, unknown>,
  Addr = Deno.Addr,
> extends PeerConnection<State, Addr>, AsyncIterable<Uint8Array<ArrayBuffer>> {
  /**
   * Reads the next frame.
   *
   * @returns Its payload; or null once the peer has finished sending, the server
   * drains and nothing is left to be read, or `close()` was called.
   * @throws {FrameError} The bytes do not follow the framing. If the task lets it
   * through, the peer is told so.
   * @throws {ConnectionLostError} The connection has ended.
   */
  read(): Promise<Uint8Array<ArrayBuffer> | null>;
  /** The frames to come. */
  readonly frames: ReadableStream<Uint8Array<ArrayBuffer>>;
  /** The bytes to come, in no framing. */
  readonly readable: ReadableStream<Uint8Array<ArrayBuffer>>;
  /** Takes bytes, in no framing; closing it ends this side of the connection. */
  readonly writable: WritableStream<Uint8Array>;
  /**
   * Agrees on TLS from here on, with the certificate of the option `startTls`;
   * bytes that came too early break the handshake. What was sent before goes out
   * as it is.
   *
   * @throws {TlsError} The handshake failed.
   * @throws {ConnectionLostError} The connection has ended.
   */
  startTls(): Promise<void>;
  /** Has frames in another form from here on, both ways. */
  setFraming(framing: FramingName | Framing): void;
}

/**
 * Serves one connection, which ends when the task does. One that throws closes
 * it as `error`, with an event `handler_error`, and says nothing to the peer.
 */
export type ConnectionTask<
  State = Record<string, unknown>,
  Addr = Deno.Addr,
> = (
  connection: ParleyConnection<State, Addr>,
) => void | PromiseLike<void>;
