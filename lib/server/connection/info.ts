/**
 * What a handler or a task sees of its connection, and what it may ask of it. It
 * can reach nothing that the core goes by.
 */

import { ReplyTooLargeError } from "../../core/errors.ts";
import { encodeText, quote } from "../../core/text.ts";
import type { TlsInfo } from "../../core/tls_info.ts";
import type { ServerStats } from "../../events/metrics.ts";
import { type Codec, frameOf, type Framing } from "../../framing/codec.ts";
import type { Connection } from "../../net/connection.ts";
import type { FramingName } from "../../framing/mod.ts";
import type {
  ParleyConnection,
  Payload,
  PeerConnection,
  RequestInfo,
} from "../handler.ts";
import type { Hooks } from "../options.ts";
import type { SessionParts } from "./context.ts";
import type { Waiter } from "./reply_writer.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What may be asked of a connection; no handler can reach it. */
export interface Wishes {
  /** The framing from now on, and its codec for this connection. */
  readonly framing: Framing;
  readonly codec: Codec;
  readonly signal: AbortSignal;
  readonly buffered: number;
  /** Has a frame written behind all that waits. */
  push(frame: Uint8Array, waiter?: Waiter): void;
  /** The connection ends after what was given before. */
  close(reason: "handler_closed"): void;
}

/** What a handler may ask of its connection in addition. */
export interface RequestWishes extends Wishes {
  /** The size of the writes for this reply; 0 for the usual way. */
  pieces: number;
  /** Whether the reply says that the request could not be done. */
  failed: boolean;
}

export class Peer<Asked extends Wishes = Wishes> implements PeerConnection {
  readonly id: number;
  readonly maxReply: number;
  readonly server: ServerStats;
  readonly #connection: Connection;
  readonly #wishes: Asked;
  readonly #makeState: Hooks["state"];
  #state: Record<string, unknown> | undefined;

  constructor({ id, connection, context }: SessionParts, wishes: Asked) {
    this.id = id;
    this.maxReply = context.config.maxReply;
    this.server = context.stats;
    this.#makeState = context.hooks.state;
    this.#connection = connection;
    this.#wishes = wishes;
  }

  /** What may be asked of a connection, for the core. */
  static wishesOf<Asked extends Wishes>(peer: Peer<Asked>): Asked {
    return peer.#wishes;
  }

  get state(): Record<string, unknown> {
    return this.#state ??= this.#makeState?.(this) ?? {};
  }

  set state(state: Record<string, unknown>) {
    this.#state = state;
  }

  get remoteAddr(): Deno.Addr {
    return this.#connection.remoteAddr;
  }

  get localAddr(): Deno.Addr {
    return this.#connection.localAddr;
  }

  get tls(): TlsInfo | undefined {
    return this.#connection.tls;
  }

  get framing(): string {
    return this.#wishes.framing.name;
  }

  get signal(): AbortSignal {
    return this.#wishes.signal;
  }

  get buffered(): number {
    return this.#wishes.buffered;
  }

  send(frame: Payload): Promise<void> {
    const { codec } = this.#wishes;
    const payload = payloadOf(frame, codec, this.maxReply);
    const { promise, ...waiter } = Promise.withResolvers<void>();
    // Whoever does not wait is not to end the program by it.
    promise.catch(() => {});
    this.#wishes.push(frameOf(codec, payload), waiter);
    return promise;
  }

  close(): void {
    this.#wishes.close("handler_closed");
  }
}

export class Info extends Peer<RequestWishes> implements RequestInfo {
  replyInPieces(bytes: number): void {
    if (!Number.isInteger(bytes) || bytes < 1) {
      throw new RangeError(
        `Cannot reply in pieces of ${bytes}: expected a whole number from 1`,
      );
    }
    Peer.wishesOf(this).pieces = bytes;
  }

  failed(): void {
    Peer.wishesOf(this).failed = true;
  }
}

/** What a task may ask of its connection in addition. */
export interface TaskWishes extends Wishes {
  readFrame(): Promise<Bytes | null>;
  /** Reads what there is, in no framing. */
  readBytes(): Promise<Bytes | null>;
  /** Ends this side of the connection once what was sent is out. */
  closeWrite(): Promise<void>;
  startTls(): Promise<void>;
  setFraming(framing: FramingName | Framing): void;
}

type Way = "frames" | "stream of frames" | "bytes";

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

/**
 * What is given to be sent, as the bytes of one frame's payload.
 *
 * @throws {TypeError} It is neither bytes nor text.
 * @throws {ReplyTooLargeError} It is over the maximum.
 * @throws {EncodeError} The framing cannot carry it.
 */
export function payloadOf(
  given: Payload,
  codec: Codec,
  maxReply: number,
): Uint8Array {
  const payload = typeof given === "string" ? encodeText(given) : given;
  if (!(payload instanceof Uint8Array)) {
    throw new TypeError(
      `Cannot send ${
        quote(payload)
      }: expected a Uint8Array, a string or nothing`,
    );
  }
  if (payload.length > maxReply) {
    throw new ReplyTooLargeError(payload.length, maxReply);
  }
  codec.check(payload);
  return payload;
}
