/**
 * What a handler or a task sees of its connection, and what it may ask of it, and
 * which replies have several frames. The
 * object that serves the connection is private, so user code cannot reach it.
 */

import type { TlsInfo } from "../../core/tls_info.ts";
import type { ServerStats } from "../../events/metrics.ts";
import { frameOf } from "../../framing/codec.ts";
import type { Payload, PeerConnection, RequestInfo } from "../handler.ts";
import { payloadOf } from "./reply_writer.ts";
import type { Serving } from "./serving.ts";

/** What serves a connection, for the core: no handler can reach it. */
export let servingOf: <Served extends Serving>(peer: Peer<Served>) => Served;

export class Peer<Served extends Serving = Serving> implements PeerConnection {
  static {
    servingOf = (peer) => peer.#serving;
  }

  readonly id: number;
  readonly maxReply: number;
  readonly server: ServerStats;
  readonly #serving: Served;
  /** Once it is made, which may have given undefined. */
  #state: { made: Record<string, unknown> } | undefined;

  constructor(serving: Served) {
    const { id, context: { config, stats } } = serving;
    this.id = id;
    this.maxReply = config.maxReply;
    this.server = stats;
    this.#serving = serving;
  }

  get state(): Record<string, unknown> {
    const { hooks } = this.#serving.context;
    this.#state ??= { made: hooks.state ? hooks.state(this) : {} };
    return this.#state.made;
  }

  set state(made: Record<string, unknown>) {
    this.#state = { made };
  }

  get remoteAddr(): Deno.Addr {
    return this.#serving.connection.remoteAddr;
  }

  get localAddr(): Deno.Addr {
    return this.#serving.connection.localAddr;
  }

  get tls(): TlsInfo | undefined {
    return this.#serving.connection.tls;
  }

  get framing(): string {
    return this.#serving.framing.name;
  }

  get signal(): AbortSignal {
    return this.#serving.signal;
  }

  get buffered(): number {
    return this.#serving.writer.buffered;
  }

  send(frame: Payload): Promise<void> {
    const { writer, context: { config } } = this.#serving;
    const payload = payloadOf(frame, writer.codec, config.maxReply);
    const { promise, ...waiter } = Promise.withResolvers<void>();
    // A rejection that nobody handles would end the program.
    promise.catch(() => {});
    writer.push(frameOf(writer.codec, payload), waiter);
    return promise;
  }

  close(): void {
    this.#serving.close("handler_closed");
  }
}

/** `Handling` says what these are. */
type Replying = Serving & { pieces: number; failed: boolean };

export class Info extends Peer<Replying> implements RequestInfo {
  replyInPieces(bytes: number): void {
    if (!Number.isInteger(bytes) || bytes < 1) {
      throw new RangeError(
        `Cannot reply in pieces of ${bytes}: expected a whole number from 1`,
      );
    }
    servingOf(this).pieces = bytes;
  }

  failed(): void {
    servingOf(this).failed = true;
  }
}

/** Ends a reply of several frames that comes too late for the peer. */
export async function drop(given: unknown): Promise<void> {
  try {
    const reply = await given;
    if (isSeveral(reply)) await reply[Symbol.asyncIterator]().return?.();
  } catch {
    // Nobody is left to be told.
  }
}

export function isSeveral(reply: unknown): reply is AsyncIterable<Payload> {
  return typeof reply === "object" && reply !== null &&
    Symbol.asyncIterator in reply;
}
