/**
 * What a handler or a task sees of its connection, and what it may ask of it. It
 * can reach nothing that the core goes by.
 */

import type { TlsInfo } from "../../core/tls_info.ts";
import type { ServerStats } from "../../events/server_stats.ts";
import { type Codec, frameOf, type Framing } from "../../framing/codec.ts";
import type { Connection } from "../../net/connection.ts";
import type { Payload, PeerConnection, RequestInfo } from "../handler.ts";
import type { Hooks } from "../hooks.ts";
import type { SessionParts } from "./context.ts";
import { payloadOf } from "./payload.ts";
import type { Waiter } from "./reply_writer.ts";

/** What may be asked of a connection; no handler can reach it. */
export interface Wishes {
  /** The framing from now on, and its codec for this connection. */
  readonly framing: Framing;
  readonly codec: Codec;
  /** Aborts when what is sent is no use any more. */
  readonly signal: AbortSignal;
  /** How many bytes wait that the kernel has not taken. */
  readonly buffered: number;
  /** Has a frame written behind all that waits. */
  push(frame: Uint8Array, waiter?: Waiter): void;
  /** The connection ends after what was given before. */
  close(reason: "handler_closed"): void;
}

/** What a handler may ask of its connection in addition. */
export interface RequestWishes extends Wishes {
  /** The size of the writes for this reply; 0 for the usual way. */
  pieces: number;
}

/** See {@linkcode PeerConnection}. */
export class Peer<Asked extends Wishes = Wishes> implements PeerConnection {
  readonly id: number;
  readonly maxReply: number;
  readonly server: ServerStats;
  readonly #connection: Connection;
  readonly #wishes: Asked;
  readonly #makeState: Hooks["state"];
  #state: Record<string, unknown> | undefined;

  constructor({ id, connection, context }: SessionParts, wishes: Asked) {
    this.id = id;
    this.maxReply = context.config.maxReply;
    this.server = context.stats;
    this.#makeState = context.hooks.state;
    this.#connection = connection;
    this.#wishes = wishes;
  }

  /** What may be asked of a connection, for the core. */
  static wishesOf<Asked extends Wishes>(peer: Peer<Asked>): Asked {
    return peer.#wishes;
  }

  get state(): Record<string, unknown> {
    return this.#state ??= this.#makeState?.(this) ?? {};
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

  get tls(): TlsInfo | undefined {
    return this.#connection.tls;
  }

  get framing(): string {
    return this.#wishes.framing.name;
  }

  get signal(): AbortSignal {
    return this.#wishes.signal;
  }

  get buffered(): number {
    return this.#wishes.buffered;
  }

  send(frame: Payload): Promise<void> {
    const { codec } = this.#wishes;
    const payload = payloadOf(frame, codec, this.maxReply);
    const { promise, ...waiter } = Promise.withResolvers<void>();
    // Whoever does not wait is not to end the program by it.
    promise.catch(() => {});
    this.#wishes.push(frameOf(codec, payload), waiter);
    return promise;
  }

  close(): void {
    this.#wishes.close("handler_closed");
  }
}

/** See {@linkcode RequestInfo}. */
export class Info extends Peer<RequestWishes> implements RequestInfo {
  replyInPieces(bytes: number): void {
    if (!Number.isInteger(bytes) || bytes < 1) {
      throw new RangeError(
        `Cannot reply in pieces of ${bytes}: expected a whole number from 1`,
      );
    }
    Peer.wishesOf(this).pieces = bytes;
  }
}
