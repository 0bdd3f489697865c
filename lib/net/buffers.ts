/**
 * The memory of connections: a small buffer for each while it is quiet, large
 * ones lent out while there is something to move.
 *
 * @module
 */

/**
 * What a connection starts with, in bytes. A read is pending on it for as long
 * as nothing comes, so this is what an idle connection costs.
 */
const FIRST = 512;

/**
 * What it keeps instead once a read has filled that: as much as one Ethernet
 * segment brings, for whoever sends so much at once will do it again.
 */
const SMALL = 1536;

/**
 * The size of the smallest buffer that is lent out: a read's worth, with room
 * for a payload of the default `maxFrame` and the overhead of any framing.
 */
export const CHUNK: number = 64 * 1024 + 64;

/**
 * How much larger a buffer gets that is too small. By two, a frame of 1 MiB was
 * copied whole on its way there; by four, a third of it is.
 */
const GROWTH = 4;

/** The most bytes of idle buffers kept for reuse; the rest is garbage. */
const KEPT = 32 * 1024 * 1024;

/** Idle buffers, by their length. */
const idle = new Map<number, Uint8Array<ArrayBuffer>[]>();
let kept = 0;

/**
 * Lends a buffer, its content left over from an earlier use.
 *
 * @param length How many bytes it holds, from a small choice of lengths.
 */
export function lend(length: number = CHUNK): Uint8Array<ArrayBuffer> {
  const bytes = idle.get(length)?.pop();
  if (bytes === undefined) return new Uint8Array(length);
  kept -= length;
  return bytes;
}

/**
 * Takes a lent buffer back. Nobody may read or write it any more.
 *
 * @param bytes What {@linkcode lend} gave.
 */
export function giveBack(bytes: Uint8Array<ArrayBuffer>): void {
  const { length } = bytes;
  if (kept + length > KEPT) return;
  kept += length;
  const others = idle.get(length);
  if (others === undefined) idle.set(length, [bytes]);
  else others.push(bytes);
}

/**
 * The bytes received and not yet used up, `bytes.subarray(start, end)`.
 *
 * The buffer starts small. Once a read fills it, it grows to a lent one, and
 * for a larger frame it grows with the bytes that really came: a header that
 * announces much gets nothing in advance. As soon as all is used up it is small
 * again.
 */
export class ReceiveBuffer {
  /** The memory; read between `start` and `end` only. */
  bytes: Uint8Array<ArrayBuffer>;
  /** Where the unused bytes start. */
  start = 0;
  /** Where they end. */
  end = 0;
  #small = new Uint8Array(FIRST);
  readonly #limit: number;

  /** @param limit The most bytes one frame takes, overhead included. */
  constructor(limit: number) {
    this.bytes = this.#small;
    this.#limit = limit;
  }

  /** How many bytes are unused. */
  get length(): number {
    return this.end - this.start;
  }

  /**
   * Where the next read may put its bytes; never empty. Views handed out
   * before are no longer valid.
   */
  space(): Uint8Array<ArrayBuffer> {
    if (this.end === FIRST && this.bytes.length === FIRST) {
      this.#small = new Uint8Array(SMALL);
    }
    if (this.start === this.end) {
      this.start = this.end = 0;
      if (this.bytes !== this.#small) this.#replace(this.#small);
      return this.bytes;
    }
    if (this.end === this.bytes.length) this.#makeRoom();
    return this.bytes.subarray(this.end);
  }

  /** Where a read may put bytes while views stay valid; may be empty. */
  tail(): Uint8Array<ArrayBuffer> {
    return this.bytes.subarray(this.end);
  }

  /** Gives lent memory back. The buffer is empty and small from then on. */
  release(): void {
    this.start = this.end = 0;
    if (this.bytes !== this.#small) this.#replace(this.#small);
  }

  /** Starts anew with memory of its own: a handler may still read the old. */
  forsake(): void {
    this.start = this.end = 0;
    this.bytes = this.#small = new Uint8Array(this.#small.length);
  }

  #makeRoom(): void {
    const { bytes, length } = this;
    if (bytes.length < CHUNK) {
      this.#replace(lend());
    } else if (length > bytes.length / 2 && bytes.length < this.#limit) {
      this.#replace(lend(Math.min(bytes.length * GROWTH, this.#limit)));
    }
    // The unused bytes go to the front, of the old memory or of the new.
    if (this.start > 0 || this.bytes !== bytes) {
      this.bytes.set(bytes.subarray(this.start, this.end));
      this.start = 0;
      this.end = length;
    }
  }

  #replace(bytes: Uint8Array<ArrayBuffer>): void {
    if (this.bytes.length >= CHUNK) giveBack(this.bytes);
    this.bytes = bytes;
  }
}
