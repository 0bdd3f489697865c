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
import { type CloseReason, emit } from "../../events/events.ts";
import type { Codec, Framing } from "../../framing/codec.ts";
import { type FramingName, framingOf } from "../../framing/mod.ts";
import type { Connection } from "../../net/connection.ts";
import type { ConnectionTask } from "../handler.ts";
import { replies } from "../replies.ts";
import { BUDGET, REQUEST_COST, type Task } from "../scheduler.ts";
import type { SessionParts, SharedContext } from "./context.ts";
import type { Ending } from "./ending.ts";
import { Gate, isPlain } from "./gate.ts";
import { LastCall } from "./last_call.ts";
import { Meter } from "./meter.ts";
import { secure } from "./opening.ts";
import { ReplyWriter, type Waiter } from "./reply_writer.ts";
import type { Stage } from "./stage.ts";
import { TaskConnection, type TaskWishes } from "./task_connection.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** See the module's text. */
export class TaskRun implements Task, TaskWishes {
  readonly finished: Promise<void>;
  /** A task answers nothing that could be owed. */
  readonly owing = false;
  readonly meter: Meter;
  framing: Framing;
  codec: Codec;
  readonly #parts: SessionParts;
  readonly #context: SharedContext;
  readonly #connection: Connection;
  readonly #stage: Stage;
  readonly #ending: Ending;
  readonly #writer: ReplyWriter;
  readonly #gate: Gate;
  readonly #finish: () => void;
  readonly #fail: (error: unknown) => void;
  readonly #controller = new AbortController();
  #lastCall: LastCall | undefined;
  /** Goes on with the read that the task waits for. */
  #wake: (() => void) | undefined;
  /** Whether the task waits for something to read. */
  #asked = false;
  /** Whether its read waits for its turn. */
  #parked = false;
  /** Nothing is read until there is memory again. */
  #waitsForMemory = false;
  /** What it has used of its turn. */
  #used = 0;
  /** Nothing more is given to the task. */
  #ended = false;
  #over = false;
  /** The error of the peer's bytes. */
  #frameError: FrameError | undefined;
  /** The error of its handshake. */
  #tlsError: TlsError | undefined;

  constructor(parts: SessionParts) {
    const { id, connection, stage, context } = parts;
    const { config: { framing, maxFrame }, clock, counters, events } = context;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.finished = promise;
    this.#finish = resolve;
    this.#fail = reject;
    this.#parts = parts;
    this.#context = context;
    this.#connection = connection;
    this.#stage = stage;
    this.#ending = parts.ending;
    this.framing = framing;
    this.codec = framing.codec(maxFrame);
    const onLost = (error: unknown) => this.#onLost(error);
    this.#writer = new ReplyWriter(parts, this.codec, onLost);
    this.meter = new Meter(id, counters, events, clock.now());
    this.#gate = new Gate(parts, this.meter);
  }

  /** Begins the task. */
  start(): void {
    this.#connection.emptied = false;
    this.#stage.handle();
    void this.#run(this.#context.task!);
  }

  async #run(task: ConnectionTask): Promise<void> {
    let words: string | undefined;
    try {
      await task(new TaskConnection(this.#parts, this));
    } catch (error) {
      if (error instanceof FrameError && error === this.#frameError) {
        words = replies.frame(error);
        this.#ending.name("frame_error", error);
      } else if (error instanceof TlsError && error === this.#tlsError) {
        this.#ending.name("error", error);
      } else if (!(this.#over && error instanceof ConnectionLostError)) {
        const { handler_error } = this.#context.events;
        const { id } = this.#parts;
        emit(handler_error, { type: "handler_error", id, error });
        this.#ending.name("error", error);
      }
    }
    await this.#conclude(words);
  }

  async #conclude(words: string | undefined): Promise<void> {
    if (this.#over) return;
    this.#ended = true;
    try {
      if (words !== undefined) await this.#writer.say(words);
      else if (this.buffered > 0) await this.#writer.flush();
    } catch (error) {
      return this.#onLost(error);
    }
    if (this.#over) return;
    const { eof, inbox } = this.#connection;
    const left = this.#lastCall === undefined ? "handler_closed" : "shutdown";
    this.#ending.name(eof && inbox.length === 0 ? "peer_closed" : left);
    this.#leave();
    this.#finish();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get buffered(): number {
    return this.#writer.buffered;
  }

  push(frame: Uint8Array, waiter?: Waiter): void {
    this.#writer.push(frame, waiter);
  }

  /** Nothing more is read. The task ends the connection by its own end. */
  close(): void {
    this.#ended = true;
    this.#wake?.();
  }

  async closeWrite(): Promise<void> {
    await this.#writer.flush();
    await this.#connection.closeWrite();
  }

  readFrame(): Promise<Bytes | null> {
    return this.#read(() => this.#takeFrame());
  }

  readBytes(): Promise<Bytes | null> {
    return this.#read(() => {
      const { inbox } = this.#connection;
      const bytes = inbox.bytes.slice(inbox.start, inbox.end);
      inbox.start = inbox.end;
      this.#used += bytes.length;
      return bytes;
    });
  }

  setFraming(given: FramingName | Framing): void {
    this.framing = framingOf(given);
    this.codec = this.framing.codec(this.#context.config.maxFrame);
    this.#writer.codec = this.codec;
  }

  async startTls(): Promise<void> {
    const { tls } = this.#context;
    const connection = this.#connection;
    if (!this.#context.config.startTls || connection.tls !== undefined) {
      throw new TypeError(
        "Cannot start TLS: it needs the option startTls, once",
      );
    }
    if (this.#asked) throw new TypeError("Cannot start TLS: a read is pending");
    await this.#writer.flush();
    this.#stage.enter("handshaking");
    try {
      // The read ahead gets what the client says first.
      while (connection.reading !== undefined && !this.#over) {
        await this.#woken();
      }
      if (this.#over) throw this.#lostError();
      await secure(connection, tls!);
    } catch (error) {
      if (error instanceof TlsError) this.#tlsError = error;
      else this.#onLost(error);
      throw this.#over ? this.#lostError() : error;
    } finally {
      if (!this.#over) this.#stage.handle();
    }
  }

  /** Ends the iteration once what has come by now was given. */
  drain(): void {
    this.#connection.emptied = false;
    const { clock } = this.#context;
    this.#lastCall ??= new LastCall(clock, this.#connection, (silent) => {
      const { inbox, eof } = this.#connection;
      if (!this.#asked || inbox.length > 0 || eof) return;
      if (silent) this.close();
      else this.#lastCall!.begin();
    });
    if (this.#asked) this.#lastCall.begin();
  }

  pause(): void {
    if (this.#connection.inbox.length > 0) this.#stage.pause();
  }

  unpause(): void {
    this.#stage.unpause();
    if (!this.#waitsForMemory) return;
    this.#waitsForMemory = false;
    this.startRead();
  }

  /** A task has no deadline of its own. */
  expire(): void {}

  /** Lets go of everything: the connection has ended. */
  end(): void {
    this.#leave();
    this.meter.end(this.#context.clock.now());
    const { closed, inbox, reading } = this.#connection;
    if (!closed && reading === undefined) {
      inbox.release();
      this.#writer.clear();
    }
    this.#fail(undefined);
  }

  left(_reason: CloseReason): void {}

  startRead(): void {
    this.#parked = false;
    const { held, inbox, reading } = this.#connection;
    if (this.#over || reading !== undefined) return;
    const { growth } = inbox;
    if (growth > 0 && !this.#context.memory.allows(held + growth)) {
      this.#waitsForMemory = true;
      return this.#stage.pause();
    }
    this.#connection.read(inbox.space()).then((n) => {
      this.#connection.took(n);
      this.#connection.heardAt = this.#context.scheduler.completed();
      this.#wake?.();
    }, (error) => this.#onLost(error));
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
    const { memory, scheduler } = this.#context;
    const { inbox } = this.#connection;
    this.#asked = true;
    this.#stage.read(true);
    try {
      while (true) {
        if (this.#over) throw this.#lostError();
        if (this.#used > BUDGET || memory.over || scheduler.isLateNow()) {
          scheduler.later(this);
          await this.#woken();
          continue;
        }
        const taken = !this.#ended && inbox.length > 0 ? take() : undefined;
        if (taken !== undefined) return taken;
        if (this.#ended) return null;
        const { eof, emptied } = this.#connection;
        if (eof) return this.#atEnd();
        if (this.#lastCall !== undefined) {
          if (emptied && inbox.length === 0) return null;
          this.#lastCall.begin();
        }
        await this.#more();
      }
    } finally {
      this.#asked = false;
      if (!this.#over) {
        this.#stage.handle();
        if (inbox.length === 0 && !this.#connection.eof) this.#park();
      }
    }
  }

  /** Waits for a read that completes. */
  #more(): Promise<void> {
    const woken = this.#woken();
    this.#park();
    return woken;
  }

  /** Has a read begun in its turn, unless one is under way. */
  #park(): void {
    if (this.#parked || this.#connection.reading !== undefined) return;
    this.#parked = true;
    this.#context.scheduler.read(this);
  }

  #woken(): Promise<void> {
    return new Promise((resolve) => this.#wake = resolve);
  }

  #takeFrame(): Bytes | undefined {
    const connection = this.#connection;
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
    this.meter.began = this.#context.clock.now();
    const refusal = this.#gate.refusal(frame);
    if (refusal === undefined) return true;
    this.#writer.pushText(refusal.text);
    if (refusal.closes !== undefined) {
      this.#ending.name(refusal.closes);
      this.#ended = true;
    }
    return false;
  }

  #atEnd(): null {
    const { length } = this.#connection.inbox;
    if (length === 0) return null;
    const detail = `stream ended after ${length} bytes of a frame`;
    throw this.#frameError = new FrameError("malformed", detail);
  }

  #onLost(error: unknown): void {
    this.#ending.lost(error);
    this.#leave();
    this.#fail(error);
  }

  #lostError(): ConnectionLostError {
    const { error, reason } = this.#ending;
    const text = `The connection has ended: ${reason}`;
    return new ConnectionLostError(text, { cause: error });
  }

  /** Nothing is any use any more. */
  #leave(): void {
    if (this.#over) return;
    this.#over = true;
    this.#lastCall?.cancel();
    this.#writer.lose();
    this.#controller.abort();
    this.#wake?.();
  }
}
