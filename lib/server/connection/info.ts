/**
 * What a handler or a task sees of its connection, and what it may ask of it. The
 * object that serves the connection is private, so user code cannot reach it.
 */

import type { TlsInfo } from "../../core/tls_info.ts";
import type { ServerStats } from "../../events/metrics.ts";
import { frameOf } from "../../framing/codec.ts";
import type { Payload, PeerConnection, RequestInfo } from "../handler.ts";
import { payloadOf } from "./reply_writer.ts";
import type { Serving } from "./serving.ts";

export class Peer<Served extends Serving = Serving> implements PeerConnection {
  readonly id: number;
  readonly maxReply: number;
  readonly server: ServerStats;
  readonly #serving: Served;
  #state: Record<string, unknown> | undefined;

  constructor(serving: Served) {
    const { id, context: { config, stats } } = serving;
    this.id = id;
    this.maxReply = config.maxReply;
    this.server = stats;
    this.#serving = serving;
  }

  /** What serves the connection, for the core: no handler can reach it. */
  static servingOf<Served extends Serving>(peer: Peer<Served>): Served {
    return peer.#serving;
  }

  get state(): Record<string, unknown> {
    return this.#state ??= this.#serving.context.hooks.state?.(this) ?? {};
  }

  set state(state: Record<string, unknown>) {
    this.#state = state;
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
    const { writer } = this.#serving;
    const payload = payloadOf(frame, writer.codec, this.maxReply);
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
    Peer.servingOf(this).pieces = bytes;
  }

  failed(): void {
    Peer.servingOf(this).failed = true;
  }
}
