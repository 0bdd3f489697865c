/** What comes frame by frame: pushes, and replies of several frames. */

export type Frame = Uint8Array<ArrayBuffer>;

/** What a frame counts; empty ones have a bound too. */
const size = (frame: Frame) => frame.length + 64;

/** Frames on their way to who takes them; dropped once nobody does. */
export class Frames {
  readonly stream: ReadableStream<Frame>;
  /** How much was dropped, in bytes. */
  dropped = 0;
  #to: ReadableStreamDefaultController<Frame> | undefined;

  /**
   * @param bound How many bytes may wait before it is full.
   * @param isLast Whether nothing comes behind a frame.
   * @param onTaken Called when it is not full, each time one was taken.
   * @param onLeft Called when nobody takes the rest.
   */
  constructor(
    bound: number,
    readonly isLast: (frame: Frame) => boolean = () => false,
    onTaken?: () => void,
    onLeft?: () => void,
  ) {
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

  add(frame: Frame): void {
    if (this.#to === undefined) this.dropped += size(frame);
    else this.#to.enqueue(frame);
  }

  /** Nothing more comes, and with an error what waits is forgotten. */
  end(error?: unknown): void {
    if (error === undefined) this.#to?.close();
    else this.#to?.error(error);
    this.#to = undefined;
  }
}
