/**
 * A connection's first frame, as the client takes it: the server may have
 * turned the connection away with it.
 *
 * A server that is full, or does not serve this address, sends one frame and
 * its end. The frame alone could be a handler's reply, so one that reads like a
 * refusal is held back until something else tells: further bytes make it a
 * reply, the end makes it a refusal. Any other frame is delivered at once.
 */

import type { Clock } from "../core/clock.ts";
import { type Codec, errorOf } from "../framing/mod.ts";

/**
 * How long a frame may be held that is the reply to a request if it is no
 * refusal, in milliseconds. A server that refuses sends its end right behind
 * the frame; this is time for TCP to send a lost segment several times, the
 * first time after 200 ms and then after twice as long each (Linux's
 * `TCP_RTO_MIN`, RFC 6298).
 */
const HOLD = 3000;

/** How the texts of `replies.busy`, `busyIp` and `denied` begin. */
const REFUSALS = ["ERR busy:", "ERR denied:"];

const decoder = new TextDecoder();

type Deliver = (frame: Uint8Array<ArrayBuffer>, asked: boolean) => void;

/** It delivers every frame that is no refusal, in order. */
export class FirstFrame {
  readonly #deliver: Deliver;
  readonly #codec: Codec;
  readonly #clock: Clock;
  #isNext = true;
  #held: { frame: Uint8Array<ArrayBuffer>; asked: boolean } | undefined;
  #cancel: (() => void) | undefined;

  constructor(deliver: Deliver, codec: Codec, clock: Clock) {
    this.#deliver = deliver;
    this.#codec = codec;
    this.#clock = clock;
  }

  /** What the server refused with, if its end comes now. */
  get refusal(): string | undefined {
    return this.#held && decoder.decode(this.#held.frame);
  }

  /**
   * Takes a frame. Call {@linkcode release} before, as soon as there are bytes
   * of it. One for which no request waits (`asked`) is no reply, and held for as
   * long as it takes.
   */
  take(frame: Uint8Array<ArrayBuffer>, asked: boolean): void {
    const isFirst = this.#isNext;
    this.#isNext = false;
    if (!isFirst || !this.#readsLikeRefusal(frame)) {
      return this.#deliver(frame, asked);
    }
    this.#held = { frame, asked };
    if (asked) this.#cancel = this.#clock.after(HOLD, () => this.release());
  }

  /** Delivers what is held: it was no refusal. */
  release(): void {
    if (this.#held === undefined) return;
    const { frame, asked } = this.#held;
    this.forget();
    this.#deliver(frame, asked);
  }

  /** Delivers what is held if it can be a reply: a request waits no longer. */
  releaseReply(): void {
    if (this.#held?.asked) this.release();
  }

  /** Forgets what is held: the connection has ended. */
  forget(): void {
    this.#held = undefined;
    this.#cancel?.();
  }

  #readsLikeRefusal(frame: Uint8Array): boolean {
    const start = decoder.decode(frame.subarray(0, 1024));
    return REFUSALS.some((words) => {
      const said = decoder.decode(errorOf(this.#codec, words)).split(words);
      return said.length > 1 && start.startsWith(said[0] + words);
    });
  }
}
