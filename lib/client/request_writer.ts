/**
 * How a client's requests get onto its connection: those of one turn of the
 * event loop in one write, and a large one by itself.
 */

import { Queue } from "../core/queue.ts";
import type { Codec } from "../framing/mod.ts";
import type { Connection } from "../net/connection.ts";
import { Outbox } from "../net/outbox.ts";

export interface Outgoing {
  readonly payload: Uint8Array;
  /** Whether any of it may be on its way. */
  sent: boolean;
}

/** `onError` is called once, when a write has failed: there is no other. */
export class RequestWriter<Request extends Outgoing> {
  readonly #connection: Connection;
  readonly #codec: Codec;
  readonly #onError: (error: unknown) => void;
  readonly #outbox = new Outbox();
  readonly #unsent = new Queue<Request>();
  /** A write is under way, or has failed. */
  #writing = false;

  constructor(
    connection: Connection,
    codec: Codec,
    onError: (error: unknown) => void,
  ) {
    this.#connection = connection;
    this.#codec = codec;
    this.#onError = onError;
  }

  /** Has a request written, behind those that wait for it already. */
  add(request: Request): void {
    this.#unsent.push(request);
    if (!this.#writing) this.#write();
  }

  /** Takes back a request that is not sent yet. */
  delete(request: Request): void {
    this.#unsent.delete(request);
  }

  /** Lets go of everything: the connection has ended. */
  end(): void {
    this.#unsent.clear();
    // A write that is still pending goes on using this memory: leave it then.
    if (!this.#writing) this.#outbox.clear();
  }

  async #write(): Promise<void> {
    this.#writing = true;
    try {
      // What is asked for in the same turn goes out in the same write.
      await undefined;
      while (this.#unsent.length > 0) {
        for (const request of this.#unsent) {
          if (!this.#outbox.add(this.#codec, request.payload)) break;
          request.sent = true;
          this.#unsent.shift();
        }
        if (this.#outbox.length === 0) await this.#writeLarge();
        else await this.#flush();
      }
      this.#writing = false;
    } catch (error) {
      this.#onError(error);
    }
  }

  /** Writes the next request by itself, since the outbox has no room for it. */
  async #writeLarge(): Promise<void> {
    const request = this.#unsent.shift();
    if (request === undefined) return;
    request.sent = true;
    const { payload } = request;
    const sent = this.#outbox.addStart(this.#codec, payload);
    await this.#flush();
    if (sent < payload.length) {
      await this.#connection.write(payload.subarray(sent));
    }
    this.#outbox.addTrailer(this.#codec);
    await this.#flush();
  }

  async #flush(): Promise<void> {
    if (this.#outbox.length > 0) {
      await this.#connection.write(this.#outbox.view());
    }
    this.#outbox.clear();
  }
}
