/**
 * A connection that is served by a task: its reads, each of them asked for, and
 * its end. The counterpart of `exchange.ts`, with the same server around it.
 *
 * What is read ahead is one read, so that a peer that resets is noticed while
 * the task does something else. No more comes in until that is used up.
 */

import {
  ConnectionLostError,
  FrameError,
  TlsError,
} from "../../core/errors.ts";
import { emit } from "../../events/events.ts";
import type { Framing } from "../../framing/codec.ts";
import { type FramingName, framingOf } from "../../framing/mod.ts";
import type { ConnectionTask } from "../handler.ts";
import { replies } from "../replies.ts";
import { BUDGET, REQUEST_COST } from "../scheduler.ts";
import { Gate, isPlain } from "./gate.ts";
import { secure } from "./opening.ts";
import { Serving } from "./serving.ts";
import { TaskConnection, type TaskWishes } from "./info.ts";

type Bytes = Uint8Array<ArrayBuffer>;

export class TaskRun extends Serving implements TaskWishes {
  framing: Framing = this.context.config.framing;
  readonly #gate = new Gate(this.parts, this.meter);
  readonly #controller = new AbortController();
  /** Goes on with the read that the task waits for. */
  #wake: (() => void) | undefined;
  /** Whether the task waits for something to read. */
  #asked = false;
  /** Whether its read waits for its turn. */
  #parked = false;
  #used = 0;
  /** Nothing more is given to the task. */
  #ended = false;
  #frameError: FrameError | undefined;
  /** The error of its handshake. */
  #tlsError: TlsError | undefined;

  protected readonly onRead = (n: number | null) => {
    this.connection.took(n);
    this.connection.heardAt = this.context.scheduler.completed();
    this.#wake?.();
  };

  start(): void {
    this.connection.emptied = false;
    this.stage.handle();
    void this.#run(this.context.task!);
  }

  async #run(task: ConnectionTask): Promise<void> {
    let words: string | undefined;
    try {
      await task(new TaskConnection(this.parts, this));
    } catch (error) {
      if (error instanceof FrameError && error === this.#frameError) {
        words = replies.frame(error);
        this.ending.name("frame_error", error);
      } else if (error instanceof TlsError && error === this.#tlsError) {
        this.ending.name("error", error);
      } else if (!(this.over && error instanceof ConnectionLostError)) {
        const { handler_error } = this.context.events;
        const { id } = this.parts;
        emit(handler_error, { type: "handler_error", id, error });
        this.ending.name("error", error);
      }
    }
    await this.#conclude(words);
  }

  async #conclude(words: string | undefined): Promise<void> {
    if (this.over) return;
    this.#ended = true;
    try {
      if (words !== undefined) await this.writer.say(words);
      else if (this.buffered > 0) await this.writer.flush();
    } catch (error) {
      return this.lost(error);
    }
    if (this.over) return;
    const { eof, inbox } = this.connection;
    const left = this.lastCall === undefined ? "handler_closed" : "shutdown";
    this.finish(eof && inbox.length === 0 ? "peer_closed" : left);
    this.abort();
  }

  protected get isIdle(): boolean {
    return this.#asked;
  }

  protected abort(): void {
    this.#controller.abort();
    this.#wake?.();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Nothing more is read. The task ends the connection by its own end. */
  close(): void {
    this.#ended = true;
    this.#wake?.();
  }

  async closeWrite(): Promise<void> {
    await this.writer.flush();
    await this.connection.closeWrite();
  }

  readFrame(): Promise<Bytes | null> {
    return this.#read(() => this.#takeFrame());
  }

  readBytes(): Promise<Bytes | null> {
    return this.#read(() => {
      const { inbox } = this.connection;
      const bytes = inbox.bytes.slice(inbox.start, inbox.end);
      inbox.start = inbox.end;
      this.#used += bytes.length;
      return bytes;
    });
  }

  setFraming(given: FramingName | Framing): void {
    this.framing = framingOf(given);
    this.writer.codec = this.framing.codec(this.context.config.maxFrame);
  }

  async startTls(): Promise<void> {
    const { tls } = this.context;
    const connection = this.connection;
    if (!this.context.config.startTls || connection.tls !== undefined) {
      throw new TypeError(
        "Cannot start TLS: it needs the option startTls, once",
      );
    }
    if (this.#asked) throw new TypeError("Cannot start TLS: a read is pending");
    await this.writer.flush();
    this.stage.enter("handshaking");
    try {
      // The read ahead gets what the client says first.
      while (connection.reading !== undefined && !this.over) {
        await this.#woken();
      }
      if (this.over) throw this.#lostError();
      await secure(connection, tls!);
    } catch (error) {
      if (error instanceof TlsError) this.#tlsError = error;
      else this.lost(error);
      throw this.over ? this.#lostError() : error;
    } finally {
      if (!this.over) this.stage.handle();
    }
  }

  override startRead(): void {
    this.#parked = false;
    super.startRead();
  }

  /** The next turn has come, or there is something to read. */
  resume(): void {
    this.#used = 0;
    this.#wake?.();
  }

  writeReplies(): void {}

  /** Waits until what has come gives something to the task, or is at its end. */
  async #read(take: () => Bytes | undefined): Promise<Bytes | null> {
    if (this.#asked) {
      throw new TypeError("Cannot read: another read is pending");
    }
    const { memory, scheduler } = this.context;
    const { inbox } = this.connection;
    this.#asked = true;
    this.stage.read(true);
    try {
      while (true) {
        if (this.over) throw this.#lostError();
        if (this.#used > BUDGET || memory.over || scheduler.isLateNow()) {
          scheduler.later(this);
          await this.#woken();
          continue;
        }
        const taken = !this.#ended && inbox.length > 0 ? take() : undefined;
        if (taken !== undefined) return taken;
        if (this.#ended) return null;
        const { eof, emptied } = this.connection;
        if (eof) return this.#atEnd();
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
        this.stage.handle();
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

  #takeFrame(): Bytes | undefined {
    const connection = this.connection;
    const { inbox } = connection;
    try {
      if (this.meter.requests === 0 && connection.tls === undefined) {
        if (!isPlain(connection, this.codec)) return undefined;
      }
      while (inbox.length > 0) {
        const { codec } = this;
        const next = codec.decode(inbox.bytes, inbox.start, inbox.end);
        if (next === 0) return undefined;
        this.#used += next - inbox.start + REQUEST_COST;
        const { payloadStart, payloadEnd } = codec;
        const frame = inbox.bytes.slice(payloadStart, payloadEnd);
        inbox.start = next;
        if (this.#isAllowed(frame)) {
          this.meter.read(frame.length);
          return frame;
        }
        if (this.#ended) return undefined;
      }
    } catch (error) {
      if (error instanceof FrameError) this.#frameError = error;
      throw error;
    }
  }

  /** Whether a frame is the task's; if not, the peer is told why. */
  #isAllowed(frame: Bytes): boolean {
    if (this.#gate.open) return true;
    this.meter.began = this.context.clock.now();
    const refusal = this.#gate.refusal(frame);
    if (refusal === undefined) return true;
    this.writer.pushText(refusal.text);
    if (refusal.closes !== undefined) {
      this.ending.name(refusal.closes);
      this.#ended = true;
    }
    return false;
  }

  #atEnd(): null {
    const { length } = this.connection.inbox;
    if (length === 0) return null;
    const detail = `stream ended after ${length} bytes of a frame`;
    throw this.#frameError = new FrameError("malformed", detail);
  }

  #lostError(): ConnectionLostError {
    const { error, reason } = this.ending;
    const text = `The connection has ended: ${reason}`;
    return new ConnectionLostError(text, { cause: error });
  }
}
