/**
 * What a handler sees of its connection, and what it may ask of it. The fields
 * that the core goes by are in {@linkcode Wishes}, which no handler can reach.
 *
 * @module
 */

import type { Connection } from "../../net/connection.ts";
import type { ServerStats } from "../../events/server_stats.ts";
import type { RequestInfo } from "../handler.ts";
import type { SessionParts } from "./context.ts";

/** What a handler has asked for, and the signal of its request. */
export class Wishes {
  /** The connection ends after this reply. */
  close = false;
  /** The size of the writes for this reply; 0 for the usual way. */
  pieces = 0;
  #controller: AbortController | undefined;
  #aborted = false;

  /** The signal of the request under way, made when it is first asked for. */
  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#aborted) this.#controller.abort();
    return this.#controller.signal;
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

  get signal(): AbortSignal {
    return this.#wishes.signal;
  }

  close(): void {
    this.#wishes.close = true;
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
