/**
 * Writes replies as frames: small ones wait in the outbox for their batch, large
 * ones go out behind it.
 */

import type { Connection, Writer } from "../../net/connection.ts";
import { type Codec, errorOf, frameOf } from "../../framing/codec.ts";
import { Outbox } from "../../net/outbox.ts";
import type { Scheduler } from "../scheduler.ts";
import type { Stage } from "./stage.ts";

/** Writes of a large reply after which others have the event loop. */
const WRITES_PER_TURN = 4;

/** See the module's text. */
export class ReplyWriter implements Writer {
  readonly #connection: Connection;
  readonly #codec: Codec;
  readonly #stage: Stage;
  readonly #scheduler: Scheduler;
  readonly #outbox: Outbox;
  #writes = 0;

  constructor(
    connection: Connection,
    codec: Codec,
    stage: Stage,
    scheduler: Scheduler,
  ) {
    this.#connection = connection;
    this.#codec = codec;
    this.#stage = stage;
    this.#scheduler = scheduler;
    this.#outbox = new Outbox(connection);
  }

  /** How many bytes wait to be written. */
  get length(): number {
    return this.#outbox.length;
  }

  /**
   * Puts a reply behind those that wait, if there is room.
   *
   * @returns Whether there was; if not, use {@linkcode send}.
   */
  add(payload: Uint8Array): boolean {
    return this.#outbox.add(this.#codec, payload);
  }

  /**
   * Begins to write what waits. Hand the result to `connection.wrote`, then call
   * {@linkcode clear}.
   */
  begin(): Promise<number> {
    this.#stage.write();
    return this.#connection.send(this.#outbox.view());
  }

  /** Forgets what waits, written or not, and gives its memory back. */
  clear(): void {
    this.#outbox.clear();
  }

  /** Writes what waits. */
  async flush(): Promise<void> {
    await this.#write(this.#outbox.view());
    this.#outbox.clear();
  }

  /** Writes a reply for which there is no room, behind those that wait. */
  async send(payload: Uint8Array, pieces: number): Promise<void> {
    if (this.length > 0) await this.flush();
    if (pieces > 0) return await this.#sendPieces(payload, pieces);
    if (this.add(payload)) return;
    const sent = this.#outbox.addStart(this.#codec, payload);
    this.#connection.hold(payload.length);
    await this.flush();
    if (sent < payload.length) await this.#write(payload.subarray(sent));
    this.#connection.hold(-payload.length);
    this.#outbox.addTrailer(this.#codec, payload);
  }

  /** Writes what waits, and a text of the server's own behind it. */
  async say(text: string): Promise<void> {
    const payload = errorOf(this.#codec, text);
    if (payload !== undefined) await this.send(payload, 0);
    if (this.length > 0) await this.flush();
  }

  /** See {@linkcode Writer}: a peer that takes something is not stuck. */
  progress(): Promise<void> | void {
    this.#stage.progress();
    // Over TLS each write takes a record at once, for as long as the kernel has
    // room: others would wait for the whole reply.
    if (++this.#writes % WRITES_PER_TURN === 0) return this.#scheduler.turn();
  }

  async #sendPieces(payload: Uint8Array, pieces: number): Promise<void> {
    const frame = frameOf(this.#codec, payload);
    this.#connection.hold(frame.length);
    for (let from = 0; from < frame.length; from += pieces) {
      await this.#write(frame.subarray(from, from + pieces));
      const pause = this.progress();
      if (pause !== undefined) await pause;
    }
    this.#connection.hold(-frame.length);
  }

  #write(bytes: Uint8Array): Promise<void> {
    this.#stage.write();
    return this.#connection.write(bytes, this);
  }
}
