/** What comes from a server frame by frame: its first frame, and streams. */

import type { Clock } from "../core/clock.ts";
import { decodeText, quote } from "../core/text.ts";
import { type Codec, errorOf } from "../framing/mod.ts";

export type Frame = Uint8Array<ArrayBuffer>;

/** How many bytes of a reply may wait before reading stops. */
const IN_HAND = 64 * 1024;

/** How many bytes of a reply are dropped before that is too much. */
const MOST_DROPPED = 1024 * 1024;

/** What a frame counts: more than 0, so that empty ones have a bound too. */
const size = (frame: Frame) => frame.length + 64;

/** What a caller's function says of a frame. A promise would always be true. */
export function checkAnswer(by: string, answer: boolean): boolean {
  if (typeof answer === "boolean") return answer;
  // Whatever else is no object is as true as in an `if`.
  if (Object(answer) !== answer) return Boolean(answer);
  Promise.resolve(answer).catch(() => {});
  throw new TypeError(`${by} gave ${quote(answer)}: expected true or false`);
}

/** Frames for whoever reads the stream; dropped once nobody does. */
export class Frames {
  readonly stream: ReadableStream<Frame>;
  readonly #isLast: ((frame: Frame) => boolean) | undefined;
  #to: ReadableStreamDefaultController<Frame> | undefined;
  #dropped = 0;

  /** Without `isLast` it is for pushes, which have no last one. */
  constructor({ bound = IN_HAND, isLast, onTaken, onLeft }: {
    bound?: number;
    isLast?: (frame: Frame) => boolean;
    /** Called when one was taken and there is room, and perhaps more often. */
    onTaken?: () => void;
    /** Called when nobody takes the rest. */
    onLeft?: () => void;
  }) {
    this.#isLast = isLast;
    this.stream = new ReadableStream({
      start: (to) => void (this.#to = to),
      pull: onTaken,
      cancel: () => {
        this.#to = undefined;
        onLeft?.();
      },
    }, { size, highWaterMark: bound + 1 });
  }

  /** Whether more wait than may. */
  get isFull(): boolean {
    return this.#to !== undefined && this.#to.desiredSize! <= 0;
  }

  /** Takes a frame; gives whether it is the last of a reply. */
  add(frame: Frame): boolean {
    const isLast = checkAnswer("isLast", this.#isLast?.(frame) ?? false);
    if (this.#to !== undefined) this.#to.enqueue(frame);
    else if (this.#isLast !== undefined) this.#dropped += size(frame);
    if (isLast || this.#dropped <= MOST_DROPPED) return isLast;
    throw new Error(`over ${MOST_DROPPED} bytes of a reply were left`);
  }

  /** Nothing more comes; with an error, what waits is forgotten. */
  end(error?: unknown): void {
    if (error === undefined) this.#to?.close();
    else this.#to?.error(error);
    this.#to = undefined;
  }
}

/**
 * How long a frame that may be a reply is held, in milliseconds. The end comes
 * right behind a refusal; if it is lost, TCP sends it again several times in that
 * time: after 200 ms, then after twice as long (`TCP_RTO_MIN`, RFC 6298).
 */
const HOLD = 3000;

/** How the texts of `replies.busy`, `busyIp` and `denied` begin. */
const REFUSALS = ["ERR busy:", "ERR denied:"];

/**
 * The first frame of a connection, which may be a reply, or the server refuses
 * the connection with it. If it reads like a refusal it is held back: if further
 * bytes come it was a reply, if the end comes it was a refusal.
 * All other frames are delivered in order.
 */
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
