/** Replies that are not there at once, or are several frames. */

import type { Payload, Reply, ReplyLater } from "../handler.ts";
import type { Call } from "./call.ts";

/** Whether a reply is not there yet, or not all of it. */
export function isLater(
  reply: ReplyLater,
): reply is PromiseLike<Reply> | AsyncIterable<Payload> {
  if (typeof reply !== "object" || reply === null) return false;
  if (reply instanceof Uint8Array) return false;
  return "then" in reply || isSeveral(reply);
}

/** Whether a reply is several frames. */
export function isSeveral(
  reply: ReplyLater,
): reply is AsyncIterable<Payload> {
  return typeof reply === "object" && reply !== null &&
    Symbol.asyncIterator in reply;
}

/**
 * The items of such a reply, each waited for as a handler is. Where the wait ends
 * by anything else than an item, the iteration is ended, and nobody waits for
 * that: what makes the items may be stuck.
 */
export class Items implements AsyncIterableIterator<Payload, undefined> {
  /** How many there were. */
  count = 0;
  readonly #items: AsyncIterator<Payload>;
  readonly #call: Call;
  #ended = false;

  constructor(reply: AsyncIterable<Payload>, call: Call) {
    this.#items = reply[Symbol.asyncIterator]();
    this.#call = call;
  }

  async next(): Promise<IteratorResult<Payload, undefined>> {
    try {
      const next = await this.#call.wait(this.#items.next());
      if (next.done) this.#ended = true;
      else this.count++;
      return next;
    } catch (error) {
      this.#end();
      throw error;
    }
  }

  return(): Promise<IteratorResult<Payload, undefined>> {
    this.#end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** What is behind the items lets go of what it holds. */
  async #end(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    try {
      await this.#items.return?.();
    } catch {
      // The reply's own error has been told, or nobody is left to be told.
    }
  }
}
