/** A connection, as its task sees it. */

import type { Framing, FramingName } from "../../framing/mod.ts";
import type { ParleyConnection } from "../handler.ts";
import { Peer, type Wishes } from "./info.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What a task may ask of its connection in addition. */
export interface TaskWishes extends Wishes {
  /** Reads the next frame. */
  readFrame(): Promise<Bytes | null>;
  /** Reads what there is, in no framing. */
  readBytes(): Promise<Bytes | null>;
  /** Ends this side of the connection once what was sent is out. */
  closeWrite(): Promise<void>;
  startTls(): Promise<void>;
  setFraming(framing: FramingName | Framing): void;
}

type Way = "frames" | "stream of frames" | "bytes";

/** See {@linkcode ParleyConnection}. */
export class TaskConnection extends Peer<TaskWishes>
  implements ParleyConnection {
  /** What it is read as, once it is. */
  #readAs: Way | undefined;
  #frames: ReadableStream<Bytes> | undefined;
  #readable: ReadableStream<Bytes> | undefined;
  #writable: WritableStream<Uint8Array> | undefined;

  read(): Promise<Bytes | null> {
    this.#use("frames");
    const frame = Peer.wishesOf(this).readFrame();
    // One that nobody waits for is not to end the program.
    frame.catch(() => {});
    return frame;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Bytes, void> {
    let frame;
    while ((frame = await this.read()) !== null) yield frame;
  }

  get frames(): ReadableStream<Bytes> {
    this.#use("stream of frames");
    const run = Peer.wishesOf(this);
    return this.#frames ??= streamOf(() => run.readFrame());
  }

  get readable(): ReadableStream<Bytes> {
    this.#use("bytes");
    const run = Peer.wishesOf(this);
    return this.#readable ??= streamOf(() => run.readBytes());
  }

  get writable(): WritableStream<Uint8Array> {
    const run = Peer.wishesOf(this);
    return this.#writable ??= new WritableStream({
      write: (bytes) =>
        new Promise((resolve, reject) => {
          run.push(bytes, { resolve: () => resolve(), reject });
        }),
      close: () => run.closeWrite(),
      abort: () => run.close("handler_closed"),
    });
  }

  override send(frame: Uint8Array | string): Promise<void> {
    if (this.#writable?.locked) {
      throw new TypeError("Cannot send a frame: writable is in use");
    }
    return super.send(frame);
  }

  startTls(): Promise<void> {
    return Peer.wishesOf(this).startTls();
  }

  setFraming(framing: FramingName | Framing): void {
    Peer.wishesOf(this).setFraming(framing);
  }

  #use(as: Way): void {
    this.#readAs ??= as;
    if (this.#readAs === as) return;
    throw new TypeError(`Cannot read ${as}: it is read as ${this.#readAs}`);
  }
}

/** A stream that asks for what it gives, and for nothing in advance. */
function streamOf(read: () => Promise<Bytes | null>): ReadableStream<Bytes> {
  return new ReadableStream({
    async pull(controller) {
      const bytes = await read();
      if (bytes === null) controller.close();
      else controller.enqueue(bytes);
    },
  }, { highWaterMark: 0 });
}
