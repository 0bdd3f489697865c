/** Streams of frames: pushes, and replies of several frames. */

export type Frame = Uint8Array<ArrayBuffer>;

/** How many bytes of a reply may wait before reading stops. */
const IN_HAND = 64 * 1024;

/** How many bytes of a reply are dropped before that is too much. */
const MOST_DROPPED = 1024 * 1024;

/** What a frame counts: more than 0, so that empty ones have a bound too. */
const size = (frame: Frame) => frame.length + 64;

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
    const isLast = this.#isLast?.(frame) ?? false;
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
