/**
 * A connection's first frame: the server may have turned the connection away
 * with it. One that reads like a refusal is held back until something else
 * tells: further bytes make it a reply, the end makes it a refusal.
 */

import type { Clock } from "../core/clock.ts";
import { type Codec, errorOf } from "../framing/mod.ts";

/**
 * How long a frame may be held that may be a reply, in milliseconds: the end is
 * sent right behind it, and TCP has time to send it anew several times, first
 * after 200 ms and then after twice as long (Linux's `TCP_RTO_MIN`, RFC 6298).
 */
const HOLD = 3000;

/** How the texts of `replies.busy`, `busyIp` and `denied` begin. */
const REFUSALS = ["ERR busy:", "ERR denied:"];

const decoder = new TextDecoder();

type Deliver = (frame: Uint8Array<ArrayBuffer>, asked: boolean) => void;

/** It delivers every frame that is no refusal, in order. */
export class FirstFrame {
  #isNext = true;
  #held: { frame: Uint8Array<ArrayBuffer>; asked: boolean } | undefined;
  #cancel: (() => void) | undefined;

  constructor(
    private readonly deliver: Deliver,
    private readonly codec: Codec,
    private readonly clock: Clock,
  ) {}

  /** What the server refused with, if its end comes now. */
  get refusal(): string | undefined {
    return this.#held && decoder.decode(this.#held.frame);
  }

  /**
   * Takes a frame; {@linkcode release} is called before. One for which no
   * request waits (`asked`) is no reply, and held for as long as it takes.
   */
  take(frame: Uint8Array<ArrayBuffer>, asked: boolean): void {
    const isFirst = this.#isNext;
    this.#isNext = false;
    if (!isFirst || !this.#readsLikeRefusal(frame)) {
      return this.deliver(frame, asked);
    }
    this.#held = { frame, asked };
    if (asked) this.#cancel = this.clock.after(HOLD, () => this.release());
  }

  release(): void {
    if (this.#held === undefined) return;
    const { frame, asked } = this.#held;
    this.forget();
    this.deliver(frame, asked);
  }

  /** Delivers what is held if it can be a reply: a request waits no longer. */
  releaseReply(): void {
    if (this.#held?.asked) this.release();
  }

  forget(): void {
    this.#held = undefined;
    this.#cancel?.();
  }

  #readsLikeRefusal(frame: Uint8Array): boolean {
    const start = decoder.decode(frame.subarray(0, 1024));
    return REFUSALS.some((words) => {
      const said = decoder.decode(errorOf(this.codec, words)).split(words);
      return said.length > 1 && start.startsWith(said[0] + words);
    });
  }
}
