/**
 * A reply that is not there at once, or is several frames: the wait for it, which
 * has a deadline and can be interrupted, and the reading ahead meanwhile.
 */

import type { Connection } from "../../net/connection.ts";
import type { Payload, Reply, ReplyLater } from "../handler.ts";
import type { Serving } from "./serving.ts";
import type { Stage } from "./stage.ts";

/** Ends the wait for a handler that takes too long. */
export class RequestTimeout extends Error {}

/**
 * How many turns of the microtask queue a handler's promise has to settle before
 * the replies in front of it go out by themselves. An asynchronous handler that
 * awaits nothing real is done by then, and its reply is in the same write.
 */
const MICROTASKS = 8;

/** What a handler's call needs of the exchange that it belongs to. */
export interface Caller
  extends Pick<Serving, "over" | "owing" | "buffered" | "push" | "lost"> {
  /**
   * Puts a reply behind those that wait.
   *
   * @returns What to wait for where there is no room for it.
   */
  put(
    payload: Uint8Array | undefined,
    pieces: number,
  ): Promise<void> | undefined;
  /** Writes the replies that wait; throws if the connection is lost. */
  flush(): Promise<void> | undefined;
  /** Bytes came in that have not been looked at, or the peer's end. */
  readAhead(): void;
}

export class Call {
  /** Whether a handler has not replied yet, waited for or not. */
  atWork = false;
  #interrupt: ((error: unknown) => void) | undefined;

  constructor(
    private readonly connection: Connection,
    private readonly stage: Stage,
    private readonly caller: Caller,
  ) {}

  /**
   * Waits for a handler. The wait ends with its reply or its error (throws), at
   * the request timeout (throws {@linkcode RequestTimeout}), when the peer is
   * gone (throws), or by `interrupt` (throws).
   */
  async wait<Given>(pending: Promise<Given>): Promise<Given> {
    this.atWork = true;
    const reply = new Promise<Given>((resolve, reject) => {
      this.#interrupt = reject;
      pending.finally(() => this.atWork = false).then(resolve, reject);
    });
    // It may be rejected while the flush below is awaited instead.
    reply.catch(() => {});
    try {
      for (let i = 0; i < MICROTASKS && this.atWork; i++) await undefined;
      if (this.atWork) {
        const flushing = this.caller.flush();
        if (flushing !== undefined) await flushing;
        this.stage.handle();
        this.#readAhead();
      }
      return await reply;
    } finally {
      this.#interrupt = undefined;
    }
  }

  interrupt(error: unknown): void {
    this.#interrupt?.(error);
  }

  /** Reads as far as there is room: a peer's reset shows in no other way. */
  #readAhead(): void {
    const connection = this.connection;
    if (connection.reading !== undefined || connection.eof) return;
    const tail = connection.inbox.tail();
    if (tail.length === 0) return;
    connection.read(tail).then(
      (n) => {
        connection.took(n);
        this.caller.readAhead();
        if (this.#interrupt !== undefined) this.#readAhead();
      },
      (error) => this.caller.lost(error),
    );
  }
}

/** Whether a reply is not there yet, or not all of it. */
export function isLater(
  reply: ReplyLater,
): reply is PromiseLike<Reply> | AsyncIterable<Payload> {
  if (typeof reply !== "object" || reply === null) return false;
  if (reply instanceof Uint8Array) return false;
  return "then" in reply || isSeveral(reply);
}

export function isSeveral(reply: ReplyLater): reply is AsyncIterable<Payload> {
  return typeof reply === "object" && reply !== null &&
    Symbol.asyncIterator in reply;
}

/** The items of such a reply, each waited for as a handler is. */
export class Items {
  /** How many there were. */
  count = 0;
  readonly #items: AsyncIterator<Payload>;
  #ended = false;

  constructor(reply: AsyncIterable<Payload>, private readonly call: Call) {
    this.#items = reply[Symbol.asyncIterator]();
  }

  async next(): Promise<IteratorResult<Payload>> {
    const next = await this.call.wait(this.#items.next());
    if (next.done) this.#ended = true;
    else this.count++;
    return next;
  }

  /**
   * Has what is behind the items let go of what it holds. Nobody waits for that:
   * it may be stuck.
   */
  async end(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    try {
      await this.#items.return?.();
    } catch {
      // The reply's own error has been told, or nobody is left to be told.
    }
  }
}
