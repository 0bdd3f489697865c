/**
 * The memory of connections: a small buffer for each while it is quiet, large
 * ones lent out while there is something to move.
 */

/** What a connection starts with, in bytes; an idle one costs as much. */
const FIRST = 512;

/**
 * What it keeps instead once a read has filled that: as much as one Ethernet
 * segment brings. Who sends so much at once is likely to do it again.
 */
const SMALL = 1536;

/**
 * The size of most reads: room for a payload of the default `maxFrame` and the
 * overhead of any framing. Larger buffers are for larger frames.
 */
export const CHUNK: number = 64 * 1024 + 64;

/** Sizes up to it: the first 600 bytes of a frame hold 2 KiB, and no chunk. */
const STEPS = [2048, 8192, CHUNK] as const;

/**
 * How many times larger a buffer gets that is too small. With 2, all bytes of a
 * frame of 1 MiB were copied as its buffer grew; with 4, a third of them are.
 */
const GROWTH = 4;

/** What a batch of short replies fits into, in bytes. */
export const SHORT = 4096;

/** The most bytes of idle buffers kept for reuse; V8 may collect the rest. */
const KEPT = 16 * 1024 * 1024;

/** How many short buffers are kept: as many as are written at once. */
const KEPT_SHORT = 1024;

export interface Holder {
  /** Memory was lent; or given back, if `bytes` is below 0. */
  hold(bytes: number): void;
}

type Buffer = Uint8Array<ArrayBuffer>;
/** Idle buffers, by where they begin in their memory, less their length. */
const idle = new Map<number, (Buffer | WeakRef<Buffer>)[]>();
let kept = 0;
/** Idle buffers of the length `SHORT`, which need no search. */
const short: Buffer[] = [];

/** Lends a buffer, with old content, that begins at `from` in its memory. */
export function lend(length: number = CHUNK, from = 0): Buffer {
  if (length === SHORT) return short.pop() ?? new Uint8Array(SHORT);
  const others = idle.get(from - length);
  for (let last; (last = others?.pop()) !== undefined;) {
    const bytes = last instanceof WeakRef ? last.deref() : last;
    if (bytes === last) kept -= length;
    if (bytes !== undefined) return bytes;
  }
  if (length < STEPS[1]) return new Uint8Array(length);
  // WebAssembly's memory goes back to the system when V8 collects it. Of other
  // memory the C library keeps what V8 frees.
  const initial = Math.ceil((from + length) / 65536);
  const { buffer } = new WebAssembly.Memory({ initial, maximum: initial });
  return new Uint8Array(buffer as ArrayBuffer, from, length);
}

/** Takes a lent buffer back, which nobody may read or write from then on. */
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
 * The buffer starts small, and grows by a step each time that a read fills it:
 * a header that announces many bytes gets no memory in advance. It is small
 * again as soon as all bytes are used up. The next time that it grows, it skips
 * the steps that were filled before, as each step costs a read.
 */
export class ReceiveBuffer {
  #small = new Uint8Array(FIRST);
  /** The memory; read between `start` and `end` only. */
  bytes: Uint8Array<ArrayBuffer> = this.#small;
  start = 0;
  end = 0;
  /** The step to grow to first: the one after the last that was filled. */
  #step = 0;

  constructor(
    private readonly limit: number,
    private readonly holder?: Holder,
  ) {}

  /** How much memory the next `space()` would take in addition, in bytes. */
  get growth(): number {
    const { bytes, end, start } = this;
    if (start === end || end < bytes.length) return 0;
    const lent = bytes === this.#small ? 0 : bytes.length;
    return Math.max(this.#next() - lent, 0);
  }

  get length(): number {
    return this.end - this.start;
  }

  /** Where the next read may put its bytes; ends older views, never empty. */
  space(): Uint8Array<ArrayBuffer> {
    const { length } = this.bytes;
    if (this.end === length && length === STEPS[this.#step]) {
      this.#step = Math.min(this.#step + 1, STEPS.length - 1);
    }
    if (this.end === FIRST && this.bytes.length === FIRST) {
      this.#small = new Uint8Array(SMALL);
    }
    if (this.start === this.end) {
      this.release();
      return this.bytes;
    }
    if (this.end === this.bytes.length) this.#makeRoom();
    return this.tail();
  }

  /** Where a read may put bytes while views stay valid; may be empty. */
  tail(): Uint8Array<ArrayBuffer> {
    return this.bytes.subarray(this.end);
  }

  /** Gives lent memory back; the buffer is empty and small then. */
  release(): void {
    this.start = this.end = 0;
    if (this.bytes !== this.#small) this.#replace(this.#small);
  }

  /** Leaves the memory to a handler that may still read it, and takes other. */
  forsake(): void {
    this.start = this.end = 0;
    if (this.bytes.length >= STEPS[0]) this.holder?.hold(-this.bytes.length);
    this.bytes = this.#small = new Uint8Array(this.#small.length);
  }

  #makeRoom(): void {
    const { bytes, length } = this;
    const next = this.#next();
    if (next > bytes.length) this.#replace(lend(next));
    // The unused bytes go to the front of the old memory or of the new.
    if (this.start > 0 || this.bytes !== bytes) {
      this.bytes.set(bytes.subarray(this.start, this.end));
      this.start = 0;
      this.end = length;
    }
  }

  /** How large the buffer must be to have room behind the unused bytes. */
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
