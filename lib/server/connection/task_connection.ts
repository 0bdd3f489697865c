/** A connection, as its task sees it. */

import type { Framing, FramingName } from "../../framing/mod.ts";
import type { ParleyConnection } from "../handler.ts";
import type { SessionParts } from "./context.ts";
import { Peer } from "./info.ts";
import type { TaskRun } from "./task.ts";

type Bytes = Uint8Array<ArrayBuffer>;

type Way = "frames" | "stream of frames" | "bytes";

/** See {@linkcode ParleyConnection}. */
export class TaskConnection extends Peer<TaskRun> implements ParleyConnection {
  /** What it is read as, once it is. */
  #readAs: Way | undefined;
  #frames: ReadableStream<Bytes> | undefined;
  #readable: ReadableStream<Bytes> | undefined;
  #writable: WritableStream<Uint8Array> | undefined;

  constructor(parts: SessionParts, run: TaskRun) {
    super(parts, run);
  }

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
      abort: () => run.close(),
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
