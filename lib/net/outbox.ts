/**
 * Frames that wait to go out together, in one write. Memory is lent while there
 * are any, one chunk at the most: a quiet connection holds none.
 */

import type { Codec } from "../framing/codec.ts";
import { CHUNK, giveBack, type Holder, lend, SHORT } from "./buffers.ts";

/**
 * Where a chunk begins in its memory. A copy takes ten times as long if its
 * target is a little behind its source in a page of memory.
 */
const FROM = 2048;

export class Outbox {
  #bytes: Uint8Array<ArrayBuffer> | undefined;
  #end = 0;
  /** The memory of what is being written. */
  #taken: Uint8Array<ArrayBuffer> | undefined;

  constructor(private readonly holder?: Holder) {}

  get length(): number {
    return this.#end;
  }

  /**
   * Adds a frame, copying its payload.
   *
   * @returns Whether there was room. If not, send what waits; a payload that
   * has no room even then goes out by itself, between `addStart` and
   * `addTrailer`.
   */
  add(codec: Codec, payload: Uint8Array): boolean {
    const { length } = payload;
    const bytes = this.#room(this.#end + length + codec.overhead);
    if (bytes === undefined) return false;
    const at = codec.writeHeader(bytes, this.#end, payload);
    // For a short payload a loop is cheaper than the call of `set`.
    if (length < 64) {
      for (let i = 0; i < length; i++) bytes[at + i] = payload[i];
    } else {
      bytes.set(payload, at);
    }
    this.#end = codec.writeTrailer(bytes, at + length, payload);
    return true;
  }

  /**
   * Adds the start of a frame: what stands before its payload, and as much of
   * that as there is room for, so that no write carries a header alone.
   *
   * @returns How many bytes of the payload are in.
   */
  addStart(codec: Codec, payload: Uint8Array): number {
    const bytes = this.#room(CHUNK)!;
    const at = codec.writeHeader(bytes, this.#end, payload);
    const part = payload.subarray(0, bytes.length - at);
    bytes.set(part, at);
    this.#end = at + part.length;
    return part.length;
  }

  addTrailer(codec: Codec, payload: Uint8Array): void {
    this.#end = codec.writeTrailer(this.#room(SHORT)!, this.#end, payload);
  }

  /** Adds a frame that is encoded already; gives whether there was room. */
  addFrame(frame: Uint8Array): boolean {
    const bytes = this.#room(this.#end + frame.length);
    if (bytes === undefined) return false;
    bytes.set(frame, this.#end);
    this.#end += frame.length;
    return true;
  }

  /** Takes what waits, to be written; it is valid until `done`. */
  take(): Uint8Array {
    const bytes = this.#taken = this.#bytes;
    this.#bytes = undefined;
    const end = this.#end;
    this.#end = 0;
    // The constructor is cheaper than `subarray`, which looks up a species.
    return bytes === undefined
      ? new Uint8Array()
      : new Uint8Array(bytes.buffer, bytes.byteOffset, end);
  }

  /** Gives the memory back of what was taken. */
  done(): void {
    this.#giveBack(this.#taken);
    this.#taken = undefined;
  }

  /** Forgets what waits, and gives all memory back. */
  clear(): void {
    this.done();
    this.#giveBack(this.#bytes);
    this.#bytes = undefined;
    this.#end = 0;
  }

  #giveBack(bytes: Uint8Array<ArrayBuffer> | undefined): void {
    if (bytes === undefined) return;
    this.holder?.hold(-bytes.length);
    giveBack(bytes);
  }

  /** The memory, with room for so many bytes; nothing where that is too much. */
  #room(length: number): Uint8Array<ArrayBuffer> | undefined {
    const bytes = this.#bytes;
    if (bytes !== undefined && length <= bytes.length) return bytes;
    if (length > CHUNK) return undefined;
    const larger = length <= SHORT ? lend(SHORT) : lend(CHUNK, FROM);
    if (bytes !== undefined) {
      larger.set(bytes.subarray(0, this.#end));
      giveBack(bytes);
    }
    this.holder?.hold(larger.length - (bytes?.length ?? 0));
    return this.#bytes = larger;
  }
}
