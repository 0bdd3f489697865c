/**
 * The memory of connections: a small buffer for each while it is quiet, large
 * ones lent out while there is something to move.
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
 * A read's worth, with room for a payload of the default `maxFrame` and the
 * overhead of any framing. Larger buffers are for larger frames.
 */
export const CHUNK: number = 64 * 1024 + 64;

/**
 * The steps on the way there: a peer that has sent 600 bytes of a frame holds
 * 2 KiB, and not a chunk.
 */
const STEPS = [2048, 8192, CHUNK] as const;

/**
 * How much larger a buffer gets that is too small. By two, a frame of 1 MiB was
 * copied whole on its way there; by four, a third of it is.
 */
const GROWTH = 4;

/** What a batch of short replies fits into, in bytes. */
export const SHORT = 4096;

/** The most bytes of idle buffers kept for reuse; V8 may collect the rest. */
const KEPT = 16 * 1024 * 1024;

/** How many of the short ones are kept: as many as replies are written at once. */
const KEPT_SHORT = 1024;

export interface Holder {
  /** Memory was lent, or given back: then `bytes` is below 0. */
  hold(bytes: number): void;
}

type Buffer = Uint8Array<ArrayBuffer>;
/** Idle buffers, by their place and length. */
const idle = new Map<number, (Buffer | WeakRef<Buffer>)[]>();
let kept = 0;
/** Those that batches of short replies use, without a search. */
const short: Buffer[] = [];

/** Lends a buffer, its content left over; it begins at `from` in its memory. */
export function lend(length: number = CHUNK, from = 0): Buffer {
  if (length === SHORT) return short.pop() ?? new Uint8Array(SHORT);
  const others = idle.get(from - length);
  for (let last; (last = others?.pop()) !== undefined;) {
    const bytes = last instanceof WeakRef ? last.deref() : last;
    if (bytes === last) kept -= length;
    if (bytes !== undefined) return bytes;
  }
  if (length < STEPS[1]) return new Uint8Array(length);
  // Other memory stays resident: the C library keeps what V8 frees of it.
  const initial = Math.ceil((from + length) / 65536);
  const { buffer } = new WebAssembly.Memory({ initial, maximum: initial });
  return new Uint8Array(buffer as ArrayBuffer, from, length);
}

/** Takes a lent buffer back. Nobody may read or write it any more. */
export function giveBack(bytes: Buffer): void {
  const { byteOffset, length } = bytes;
  if (length === SHORT) {
    if (short.length < KEPT_SHORT) short.push(bytes);
    return;
  }
  let others = idle.get(byteOffset - length);
  if (others === undefined) idle.set(byteOffset - length, others = []);
  const keeps = kept + length <= KEPT;
  if (keeps) kept += length;
  others.push(keeps ? bytes : new WeakRef(bytes));
}

/**
 * The bytes received and not yet used up, `bytes.subarray(start, end)`.
 *
 * The buffer starts small. Once a read fills it, it grows step by step with the
 * bytes that really came: a header that announces much gets nothing in advance.
 * As soon as all is used up it is small again; a connection that has filled a
 * step begins with the next one when it outgrows the small one again, for each
 * step costs a read.
 */
export class ReceiveBuffer {
  #small = new Uint8Array(FIRST);
  /** The memory; read between `start` and `end` only. */
  bytes: Uint8Array<ArrayBuffer> = this.#small;
  start = 0;
  end = 0;
  /** Which of the steps comes first: the one after that which was filled last. */
  #step = 0;

  constructor(
    private readonly limit: number,
    private readonly holder?: Holder,
  ) {}

  /** How much memory the next `space()` would take in addition, in bytes. */
  get growth(): number {
    const { bytes, end, start } = this;
    if (start === end || end < bytes.length) return 0;
    return Math.max(
      this.#next() - (bytes === this.#small ? 0 : bytes.length),
      0,
    );
  }

  get length(): number {
    return this.end - this.start;
  }

  /**
   * Where the next read may put its bytes; never empty. Views handed out
   * before are no longer valid.
   */
  space(): Uint8Array<ArrayBuffer> {
    const { length } = this.bytes;
    if (this.end === length && length === STEPS[this.#step]) {
      this.#step = Math.min(this.#step + 1, STEPS.length - 1);
    }
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
    if (this.bytes.length >= STEPS[0]) this.holder?.hold(-this.bytes.length);
    this.bytes = this.#small = new Uint8Array(this.#small.length);
  }

  #makeRoom(): void {
    const { bytes, length } = this;
    const next = this.#next();
    if (next > bytes.length) this.#replace(lend(next));
    // The unused bytes go to the front, of the old memory or of the new.
    if (this.start > 0 || this.bytes !== bytes) {
      this.bytes.set(bytes.subarray(this.start, this.end));
      this.start = 0;
      this.end = length;
    }
  }

  /** How large a buffer must be that has room behind what is unused. */
  #next(): number {
    const { length } = this.bytes;
    if (length < CHUNK) {
      return Math.max(STEPS[this.#step], STEPS.find((step) => step > length)!);
    }
    return this.length > length / 2 && length < this.limit
      ? Math.min(length * GROWTH, this.limit)
      : length;
  }

  #replace(bytes: Uint8Array<ArrayBuffer>): void {
    if (this.bytes.length >= STEPS[0]) {
      this.holder?.hold(-this.bytes.length);
      giveBack(this.bytes);
    }
    this.bytes = bytes;
    if (bytes.length >= STEPS[0]) this.holder?.hold(bytes.length);
  }
}
