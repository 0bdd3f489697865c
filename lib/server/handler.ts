/** What a handler is given and what it gives back. */

import type { TlsInfo } from "../core/tls_info.ts";
import type { Framing, FramingName } from "../framing/mod.ts";
import type { ServerStats } from "../events/metrics.ts";

/** What goes into one frame: bytes, or text, which is sent as UTF-8. */
export type Payload = Uint8Array | string;

/**
 * A reply: one frame, nothing if the protocol wants no reply, or several frames,
 * which are the items of an iteration. An empty string or array is an empty frame.
 *
 * The next item is asked for when the peer has taken the one before, so a reply
 * may be larger than memory. The request timeout counts for each item. The
 * iteration is ended (`finally` runs) when nobody can get its items any more. The
 * client must know where the reply ends: the last item may say so.
 *
 * Clients pair replies with requests by their order. So a client must know which
 * requests get no reply or several frames: if it waits for a reply that does not
 * come, it takes the next one for it.
 */
export type Reply = Payload | AsyncIterable<Payload> | undefined | void | null;

/** A reply, or a promise of one. */
export type ReplyLater = Reply | PromiseLike<Reply>;

/**
 * What a request handler and a connection's task both see of their connection, and
 * can do with it.
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
   * `maxReply`. Where a request says how large its reply is to be, compare that
   * first, and throw a {@linkcode ReplyTooLargeError}.
   */
  readonly maxReply: number;
  /** The server's numbers. */
  readonly server: ServerStats;
  /** The connection's own state, made by the option `state`; empty without it. */
  state: State;
  /**
   * Aborts when a reply is of no use any more: the peer is gone, the request has
   * timed out, or the drain timeout has passed. It is made when it is first read.
   * A peer that has only finished sending (half-close) is not gone.
   */
  readonly signal: AbortSignal;
  /** How many bytes wait for the kernel to take them. */
  readonly buffered: number;
  /**
   * Sends a frame, at any time, after all frames and replies given before. A peer
   * that takes nothing is closed as `slow_consumer` once more than `maxBuffered`
   * bytes wait for it, so wait for the promise, or look at `buffered`. Its
   * rejection may be ignored.
   *
   * @param frame The payload; it must not change until the promise settles.
   * @returns Resolves when the kernel has taken it; rejects with a
   * {@linkcode ConnectionLostError} once the connection has ended.
   * @throws {EncodeError} The framing cannot carry it.
   * @throws {ReplyTooLargeError} It is larger than `maxReply`.
   */
  send(frame: Payload): Promise<void>;
  /**
   * Ends the connection, after all frames given before have been sent. A request
   * that is being handled still gets its reply.
   */
  close(): void;
}

/**
 * What a handler sees of its connection, and can do with it. There is one for each
 * connection; `signal`, `failed` and `replyInPieces` are about the current
 * request.
 */
export interface RequestInfo<State = Record<string, unknown>, Addr = Deno.Addr>
  extends PeerConnection<State, Addr> {
  /**
   * Sends this request's reply in writes of at most `bytes` each, to test how the
   * peer puts them together.
   *
   * @param bytes A whole number from 1.
   */
  replyInPieces(bytes: number): void;
  /**
   * Counts this request as `error_reply` and not as `ok`: its reply says, in the
   * protocol's own words, that it failed. The server does not look at replies.
   */
  failed(): void;
}

/**
 * Answers one request.
 *
 * Requests of one connection are handled in order, one at a time. The request is a
 * view of the receive buffer, valid until the reply is given. Make a copy
 * (`request.slice()`) of what you need for longer, or send to a worker, as the
 * memory of the buffer cannot be transferred. The reply may be that same view, or
 * a part of it.
 */
export type Handler<State = Record<string, unknown>, Addr = Deno.Addr> = (
  request: Uint8Array<ArrayBuffer>,
  info: RequestInfo<State, Addr>,
) => ReplyLater;

/**
 * A connection, as its task has it. It gives its frames one by one, as copies that
 * are safe to keep: by `for await (const frame of connection)`, `read()` or
 * `frames`. `readable` and `writable` carry bytes without framing. The first way
 * that is used is the only one from then on.
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
   * @throws {FrameError} The bytes do not follow the framing. If the task does not
   * catch it, the peer is told so.
   * @throws {ConnectionLostError} The connection has ended.
   */
  read(): Promise<Uint8Array<ArrayBuffer> | null>;
  /** The next frames, as a stream. */
  readonly frames: ReadableStream<Uint8Array<ArrayBuffer>>;
  /** The next bytes, without framing. */
  readonly readable: ReadableStream<Uint8Array<ArrayBuffer>>;
  /** Takes bytes, without framing. To close it ends our side of the connection. */
  readonly writable: WritableStream<Uint8Array>;
  /**
   * Begins TLS, with the certificate of the server, which has the option
   * `startTls`. Frames sent before stay plain. Bytes that the peer sent too early
   * break the handshake.
   *
   * @throws {TlsError} The handshake failed.
   * @throws {ConnectionLostError} The connection has ended.
   */
  startTls(): Promise<void>;
  /** Changes the framing of all later frames, in both directions. */
  setFraming(framing: FramingName | Framing): void;
}

/**
 * Serves one connection, which ends when the task does. If the task throws, the
 * connection is closed as `error` with an event `handler_error`, and the peer is
 * told nothing.
 */
export type ConnectionTask<State = Record<string, unknown>, Addr = Deno.Addr> =
  (
    connection: ParleyConnection<State, Addr>,
  ) => void | PromiseLike<void>;
