/**
 * A connection that is served by a task: what the task sees of it, its reads, each
 * of them asked for, and its end. The counterpart of `exchange.ts`, with the same
 * server around it.
 *
 * One read is made ahead, so that a peer that resets is noticed while the task
 * does something else. No more comes in until that is used up.
 */

import {
  ConnectionLostError,
  EncodeError,
  FrameError,
  TlsError,
} from "../../core/errors.ts";
import { bytesOf } from "../../core/text.ts";
import type { Framing } from "../../framing/codec.ts";
import { type FramingName, framingOf } from "../../framing/mod.ts";
import type { ConnectionTask, ParleyConnection } from "../handler.ts";
import { replies } from "../replies.ts";
import { BUDGET, REQUEST_COST } from "../scheduler.ts";
import { isPlain } from "./gate.ts";
import { Peer, servingOf } from "./info.ts";
import { Serving } from "./serving.ts";

type Bytes = Uint8Array<ArrayBuffer>;

export class TaskRun extends Serving {
  readonly #controller = new AbortController();
  /** Goes on with the read that the task waits for. */
  #wake: (() => void) | undefined;
  /** Whether the task waits for something to read. */
  #asked = false;
  /** Whether TLS is being started. */
  #securing = false;
  /** Whether its read waits for its turn. */
  #parked = false;
  /** Nothing more is given to the task. */
  #ended = false;
  /** What the peer did wrong: if the task throws it on, it is not its own error. */
  #fault: FrameError | TlsError | undefined;

  protected readonly onRead = (n: number | null) => {
    this.connection.took(n);
    this.connection.heardAt = this.context.scheduler.completed();
    this.#wake?.();
  };

  start(): void {
    this.stage.enter("handling");
    void this.#run(this.context.task!);
  }

  async #run(task: ConnectionTask): Promise<void> {
    let words: string | undefined;
    try {
      await task(new TaskConnection(this));
    } catch (error) {
      const fault = this.#fault;
      if (fault !== undefined && error === fault) {
        const isFrame = fault instanceof FrameError;
        if (isFrame) words = replies.frame(fault);
        this.ending.name(isFrame ? "frame_error" : "error", error);
      } else if (!(this.over && error instanceof ConnectionLostError)) {
        this.report(error);
        this.ending.name("error", error);
      }
    }
    await this.#conclude(words);
  }

  async #conclude(words: string | undefined): Promise<void> {
    if (this.over) return;
    this.#ended = true;
    if (!await this.writeLast(words)) return;
    const { eof, inbox } = this.connection;
    const left = this.lastCall === undefined ? "handler_closed" : "shutdown";
    this.finish(eof && inbox.length === 0 ? "peer_closed" : left);
    this.abort();
  }

  protected get isIdle(): boolean {
    return this.#asked;
  }

  protected endIdle(): void {
    this.close();
  }

  protected abort(): void {
    this.#controller.abort();
    this.#wake?.();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Reads give null from now on. The connection ends when the task returns. */
  close(): void {
    this.#ended = true;
    this.#wake?.();
  }

  /** Ends this side of the connection once what was sent is out. */
  async closeWrite(): Promise<void> {
    await this.writer.flush();
    if (this.#asked) this.stage.read(false);
    else if (!this.over) this.stage.enter("handling");
    await this.connection.closeWrite();
  }

  readFrame(): Promise<Bytes | null> {
    return this.#read(() => this.#takeFrame());
  }

  /** Reads what there is, in no framing. */
  readBytes(): Promise<Bytes | null> {
    return this.#read(() => {
      const { inbox } = this.connection;
      const bytes = inbox.bytes.slice(inbox.start, inbox.end);
      inbox.start = inbox.end;
      this.used += bytes.length;
      return bytes;
    });
  }

  setFraming(given: FramingName | Framing): void {
    const framing = framingOf(given);
    this.writer.codec = framing.codec(this.context.config.maxFrame);
    this.framing = framing;
  }

  async startTls(): Promise<void> {
    const { connection, context: { config, tls } } = this;
    if (!config.startTls || this.#securing || connection.tls !== undefined) {
      throw new TypeError(
        "Cannot start TLS: it needs the option startTls, once",
      );
    }
    if (this.#asked) throw new TypeError("Cannot start TLS: a read is pending");
    this.#securing = true;
    try {
      await this.writer.flush();
      this.stage.enter("handshaking");
      // A read is pending already: it brings the first bytes of the handshake.
      while (connection.reading !== undefined && !this.over) {
        await this.#woken();
      }
      if (this.over) throw this.#lostError();
      await tls!.secure(connection);
    } catch (error) {
      if (error instanceof TlsError) this.#fault = error;
      else this.lost(error);
      throw this.over ? this.#lostError() : error;
    } finally {
      this.#securing = false;
      if (!this.over) this.stage.enter("handling");
    }
  }

  override startRead(): void {
    this.#parked = false;
    super.startRead();
  }

  /** The next turn has come, or there is something to read. */
  resume(): void {
    this.used = 0;
    this.#wake?.();
  }

  writeReplies(): void {}

  /**
   * Waits until `take` gives something, or nothing more can come (null). It gives
   * null for a frame that is refused.
   */
  async #read(take: () => Bytes | null | undefined): Promise<Bytes | null> {
    if (this.#asked || this.#securing) {
      const pending = this.#asked ? "another read" : "startTls()";
      throw new TypeError(`Cannot read: ${pending} is pending`);
    }
    const { memory, scheduler } = this.context;
    const { inbox } = this.connection;
    this.#asked = true;
    this.stage.read(true);
    try {
      while (true) {
        if (this.over) throw this.#lostError();
        if (this.used > BUDGET || memory.over || scheduler.isLateNow()) {
          scheduler.later(this);
          await this.#woken();
          continue;
        }
        const taken = !this.#ended && inbox.length > 0 ? take() : undefined;
        if (taken === null) continue;
        if (taken !== undefined) return taken;
        if (this.#ended) return null;
        const { eof, emptied } = this.connection;
        if (eof) {
          const { length } = inbox;
          if (length === 0) return null;
          const detail = `stream ended after ${length} bytes of a frame`;
          throw this.#fault = new FrameError("malformed", detail);
        }
        if (this.lastCall !== undefined) {
          if (emptied && inbox.length === 0) return null;
          this.lastCall.begin();
        }
        const woken = this.#woken();
        this.#park();
        await woken;
      }
    } finally {
      this.#asked = false;
      if (!this.over) {
        this.stage.enter("handling");
        if (inbox.length === 0 && !this.connection.eof) this.#park();
      }
    }
  }

  /** Has a read begun in its turn, unless one is under way. */
  #park(): void {
    if (this.#parked || this.connection.reading !== undefined) return;
    this.#parked = true;
    this.context.scheduler.read(this);
  }

  #woken(): Promise<void> {
    return new Promise((resolve) => this.#wake = resolve);
  }

  #takeFrame(): Bytes | null | undefined {
    const { connection: { inbox }, writer: { codec } } = this;
    try {
      if (!this.plain && !(this.plain = isPlain(this, codec))) return undefined;
      const next = codec.decode(inbox.bytes, inbox.start, inbox.end);
      if (next === 0) return undefined;
      this.used += next - inbox.start + REQUEST_COST;
      const { payloadStart, payloadEnd } = codec;
      const frame = inbox.bytes.slice(payloadStart, payloadEnd);
      inbox.start = next;
      if (!this.#isAllowed(frame)) return null;
      this.meter.read(frame.length);
      return frame;
    } catch (error) {
      if (error instanceof FrameError) this.#fault = error;
      throw error;
    }
  }

  /** Whether a frame is the task's; if not, the peer is told why. */
  #isAllowed(frame: Bytes): boolean {
    if (this.gate.open) return true;
    this.meter.began = this.context.clock.now();
    const refusal = this.gate.refusal(frame);
    if (refusal === undefined) return true;
    const { text, closes } = refusal;
    const error = this.writer.pushText(text)
      ? undefined
      : new EncodeError(text);
    if (closes ?? error) {
      this.ending.name(closes ?? "error", error);
      this.#ended = true;
    }
    return false;
  }

  #lostError(): ConnectionLostError {
    const { error, reason } = this.ending;
    const text = `The connection has ended: ${reason}`;
    return new ConnectionLostError(text, { cause: error });
  }
}

class TaskConnection extends Peer<TaskRun> implements ParleyConnection {
  /** What it is read as, once it is. */
  #readAs: string | undefined;
  #frames: ReadableStream<Bytes> | undefined;
  #readable: ReadableStream<Bytes> | undefined;
  #writable: WritableStream<Uint8Array> | undefined;

  read(): Promise<Bytes | null> {
    this.#use("frames");
    const frame = servingOf(this).readFrame();
    // A rejection that nobody handles would end the program.
    frame.catch(() => {});
    return frame;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Bytes, void> {
    let frame;
    while ((frame = await this.read()) !== null) yield frame;
  }

  get frames(): ReadableStream<Bytes> {
    this.#use("stream of frames");
    const run = servingOf(this);
    return this.#frames ??= streamOf(() => run.readFrame());
  }

  get readable(): ReadableStream<Bytes> {
    this.#use("bytes");
    const run = servingOf(this);
    return this.#readable ??= streamOf(() => run.readBytes());
  }

  get writable(): WritableStream<Uint8Array> {
    const run = servingOf(this);
    return this.#writable ??= new WritableStream({
      write(bytes) {
        const { promise, ...waiter } = Promise.withResolvers<void>();
        run.writer.push(bytesOf(bytes), waiter);
        return promise;
      },
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
    return servingOf(this).startTls();
  }

  setFraming(framing: FramingName | Framing): void {
    servingOf(this).setFraming(framing);
  }

  #use(as: "frames" | "stream of frames" | "bytes"): void {
    this.#readAs ??= as;
    if (this.#readAs === as) return;
    throw new TypeError(`Cannot read ${as}: it is read as ${this.#readAs}`);
  }
}

/** A stream that reads only when somebody reads from it. */
function streamOf(read: () => Promise<Bytes | null>): ReadableStream<Bytes> {
  return new ReadableStream({
    async pull(controller) {
      const bytes = await read();
      if (bytes === null) controller.close();
      else controller.enqueue(bytes);
    },
  }, { highWaterMark: 0 });
}
