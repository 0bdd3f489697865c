/**
 * The first frame of a connection, which may be a reply, or the server refuses
 * the connection with it. If it reads like a refusal it is held back: if further
 * bytes come it was a reply, if the end comes it was a refusal.
 */

import type { Clock } from "../core/clock.ts";
import { decodeText } from "../core/text.ts";
import { type Codec, errorOf } from "../framing/mod.ts";
import type { Frame } from "./frames.ts";

/**
 * How long a frame that may be a reply is held, in milliseconds. The end comes
 * right behind a refusal; if it is lost, TCP sends it again several times in that
 * time: after 200 ms, then after twice as long (`TCP_RTO_MIN`, RFC 6298).
 */
const HOLD = 3000;

/** How the texts of `replies.busy`, `busyIp` and `denied` begin. */
const REFUSALS = ["ERR busy:", "ERR denied:"];

/** Delivers every frame that is no refusal, in order. */
export class FirstFrame {
  #isNext = true;
  #held: { frame: Frame; asked: boolean } | undefined;
  #cancel: (() => void) | undefined;

  constructor(
    private readonly deliver: (frame: Frame, asked: boolean) => void,
    private readonly codec: Codec,
    private readonly clock: Clock,
  ) {}

  /** What the server refused with, if its end comes now. */
  get refusal(): string | undefined {
    return this.#held && decodeText(this.#held.frame);
  }

  /**
   * Takes a frame; call {@linkcode release} before. If no request waits for it
   * (`asked`), it is no reply, and is held without a limit of time.
   */
  take(frame: Frame, asked: boolean): void {
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

  /** Delivers what is held if a request waits for it. */
  releaseReply(): void {
    if (this.#held?.asked) this.release();
  }

  forget(): void {
    this.#held = undefined;
    this.#cancel?.();
  }

  #readsLikeRefusal(frame: Uint8Array): boolean {
    const start = decodeText(frame.subarray(0, 1024));
    return REFUSALS.some((words) => {
      const said = errorOf(this.codec, words);
      const [head, tail] = said ? decodeText(said).split(words) : [];
      return tail !== undefined && start.startsWith(head + words);
    });
  }
}
