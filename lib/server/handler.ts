/** What a handler is given and what it gives back. */

import type { TlsInfo } from "../core/tls_info.ts";
import type { ServerStats } from "../events/server_stats.ts";

/**
 * A reply: bytes, text (sent as UTF-8), or nothing where the protocol wants no
 * reply. An empty string or array is a reply, an empty frame.
 *
 * Nothing in a reply names its request: a client pairs them by their order. So
 * it must know which requests get nothing. One that waits for a reply to such a
 * request takes the next reply for it, and each later one for the request
 * before its own. The client of `connect` waits for a reply to every request:
 * send those that get none over a connection of their own, with `timeout: 0`,
 * and do not await them. They stay pending until that connection is closed.
 */
export type Reply = Uint8Array | string | undefined | void | null;

/**
 * What a handler may know of the connection it serves, and ask of it. There is
 * one for each connection; `signal`, `close` and `replyInPieces` speak of the
 * request being handled.
 *
 * @typeParam State What the handler keeps in `state`.
 */
export interface RequestInfo<State = Record<string, unknown>> {
  /** The connection's number, from 1, never used twice by one server. */
  readonly id: number;
  /** The peer's address. */
  readonly remoteAddr: Deno.Addr;
  /** The server's own address on this connection. */
  readonly localAddr: Deno.Addr;
  /** What TLS knows of the peer; undefined without TLS. */
  readonly tls: TlsInfo | undefined;
  /** The framing's name. */
  readonly framing: string;
  /**
   * The maximum payload of a reply in bytes, the server's `maxReply`. A larger
   * one is not sent, so look here before you make a reply as large as you are
   * asked for; {@linkcode ReplyTooLargeError} is what to throw.
   */
  readonly maxReply: number;
  /** The server's numbers. */
  readonly server: ServerStats;
  /** The connection's own state: empty at first, and only the handler's. */
  state: State;
  /**
   * Aborts when a reply is no use any more: the peer is gone, the request has
   * timed out, or the server is being forced down. It is made when it is first
   * read. A peer that only finished sending (half-close) is not gone.
   */
  readonly signal: AbortSignal;
  /** Ends the connection after this request's reply has been sent. */
  close(): void;
  /**
   * Sends this request's reply in writes of at most `bytes` each, to exercise
   * the peer's reassembly.
   *
   * @param bytes A whole number from 1.
   */
  replyInPieces(bytes: number): void;
}

/**
 * Answers one request.
 *
 * Requests of one connection are handled in order, one at a time. The request
 * is a view of the receive buffer: it is valid until the reply has been
 * given, so keep a copy (`request.slice()`) of what is needed for longer. The
 * reply may be that same view, or a part of it.
 *
 * @typeParam State What the handler keeps in `info.state`.
 */
export type Handler<State = Record<string, unknown>> = (
  request: Uint8Array<ArrayBuffer>,
  info: RequestInfo<State>,
) => Reply | Promise<Reply>;

/**
 * Turns what a handler threw into a reply.
 *
 * @typeParam State What the handler keeps in `info.state`.
 */
export type ErrorHandler<State = Record<string, unknown>> = (
  error: unknown,
  info: RequestInfo<State>,
) => Reply | Promise<Reply>;
