/**
 * What a handler sees of its connection, and what it may ask of it. It can reach
 * nothing that the core goes by.
 */

import type { TlsInfo } from "../../core/tls_info.ts";
import type { Connection } from "../../net/connection.ts";
import type { ServerStats } from "../../events/server_stats.ts";
import type { RequestInfo } from "../handler.ts";
import type { SessionParts } from "./context.ts";

/** What a handler may ask of its connection; no handler can reach it. */
export interface Wishes {
  /** The size of the writes for this reply; 0 for the usual way. */
  pieces: number;
  /** The signal of the request under way. */
  readonly signal: AbortSignal;
  /** The connection ends after this reply. */
  close(reason: "handler_closed"): void;
}

/** See {@linkcode RequestInfo}. */
export class Info implements RequestInfo {
  readonly id: number;
  readonly framing: string;
  readonly maxReply: number;
  readonly server: ServerStats;
  readonly #connection: Connection;
  readonly #wishes: Wishes;
  #state: Record<string, unknown> | undefined;

  constructor(
    { id, connection, context: { config, stats } }: SessionParts,
    wishes: Wishes,
  ) {
    this.id = id;
    this.framing = config.framing.name;
    this.maxReply = config.maxReply;
    this.server = stats;
    this.#connection = connection;
    this.#wishes = wishes;
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

  get tls(): TlsInfo | undefined {
    return this.#connection.tls;
  }

  get signal(): AbortSignal {
    return this.#wishes.signal;
  }

  close(): void {
    this.#wishes.close("handler_closed");
  }

  replyInPieces(bytes: number): void {
    if (!Number.isInteger(bytes) || bytes < 1) {
      throw new RangeError(
        `Cannot reply in pieces of ${bytes}: expected a whole number from 1`,
      );
    }
    this.#wishes.pieces = bytes;
  }
}
