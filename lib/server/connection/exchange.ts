/**
 * Requests and replies of one connection: read, find the frames, have each
 * handled, write the replies, read again.
 *
 * These are callbacks and no loop that awaits, for a measured reason: the loop
 * takes a promise and an asynchronous frame more for each request
 * (`docs/performance.md`, "Callbacks or a loop"). One calls the other in this
 * order: `startRead`, `#onRead`, `#proceed`, `writeReplies`, `#onWritten`,
 * `#rest`, `startRead`. What always holds:
 *
 * - one read is pending at the most, and one handler is at work at the most;
 * - no room is made in the inbox while a view of it is alive;
 * - each request that is handed to the handler is finished once, by the meter;
 * - the end is named once, and from then on no request is handled;
 * - lent memory goes back only when no read, write or handler can touch it.
 */

import type { Connection } from "../../net/connection.ts";
import type { CloseReason } from "../../events/events.ts";
import type { Codec } from "../../framing/codec.ts";
import { replies } from "../replies.ts";
import type { Task } from "../scheduler.ts";
import type { Caller } from "./call.ts";
import type { SessionParts, SharedContext } from "./context.ts";
import type { Ending } from "./ending.ts";
import { Handling } from "./handling.ts";
import { LastCall } from "./last_call.ts";
import { Meter } from "./meter.ts";
import { ReplyWriter, type Waiter } from "./reply_writer.ts";
import type { Stage } from "./stage.ts";

/** See the module's text. */
export class Exchange implements Task, Caller {
  /**
   * Resolves when all that was to be said has been written, and the farewell is
   * left; rejects when the connection is lost or cut.
   */
  readonly finished: Promise<void>;
  /** A request has come in whole, and its reply is not out yet. */
  owing = false;
  /** Counts the requests. */
  readonly meter: Meter;
  readonly #context: SharedContext;
  readonly #connection: Connection;
  readonly #stage: Stage;
  readonly #ending: Ending;
  readonly #codec: Codec;
  readonly #writer: ReplyWriter;
  readonly #handling: Handling;
  readonly #finish: () => void;
  readonly #fail: (error: unknown) => void;
  #lastCall: LastCall | undefined;
  /** The inbox has bytes, or the peer's end, that were not looked at. */
  #unread = false;
  /** Nothing is read until there is memory again. */
  #waitsForMemory = false;
  /** No request is handled any more. */
  #over = false;

  // Made once for each connection, and not once for each request.
  readonly #onRead = (n: number | null) => {
    this.#connection.took(n);
    if (this.#over) return;
    const { scheduler } = this.#context;
    this.meter.began = this.#connection.heardAt = scheduler.completed();
    if (scheduler.late) {
      this.#unread = true;
      scheduler.later(this);
    } else this.#proceed();
  };
  readonly #onWritten = (n: number) => {
    const rest = this.#connection.wrote(n, this.#writer);
    if (rest === undefined) this.#rest();
    else rest.then(() => this.#rest(), this.#onError);
  };
  readonly #onError = (error: unknown) => this.lost(error);

  /** @param parts The connection, opened, and what goes with it. */
  constructor(parts: SessionParts) {
    const { id, connection, stage, context } = parts;
    const { config, clock, counters, events, scheduler } = context;
    const { framing, maxFrame } = config;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.finished = promise;
    this.#finish = resolve;
    this.#fail = reject;
    this.#context = context;
    this.#connection = connection;
    this.#stage = stage;
    this.#ending = parts.ending;
    this.#codec = framing.codec(maxFrame);
    this.#writer = new ReplyWriter(parts, this.#codec, this.#onError);
    this.meter = new Meter(id, counters, events, clock.now());
    this.#handling = new Handling(parts, this.#codec, this.meter, this);
  }

  get over(): boolean {
    return this.#over;
  }

  /** Begins. */
  start(): void {
    this.#stage.read(true);
    // A header may have brought the first requests with it. Where it has not,
    // that says nothing of those to come: a drain waits for them as ever.
    this.#unread = this.#connection.inbox.length > 0;
    this.#connection.emptied = false;
    const { onOpen } = this.#context.hooks;
    if (onOpen === undefined) return this.#goOn();
    this.#handling.greet(onOpen).then(() => this.#proceed(), this.#onError);
  }

  /**
   * Ends once nothing is owed. Requests that have arrived by now, also those
   * that the kernel still holds, get their replies first.
   */
  drain(): void {
    // Only a read from now on tells that the kernel holds no more.
    this.#connection.emptied = false;
    this.#lastCall ??= new LastCall(
      this.#context.clock,
      this.#connection,
      (silent) => this.#lastCalled(silent),
    );
    if (this.#stage.phase === "reading") this.#lastCall.begin();
  }

  /** Memory is short: if the rest of a frame is awaited, that is paused. */
  pause(): void {
    if (this.#connection.inbox.length > 0) this.#stage.pause();
  }

  /** Memory is no longer short. */
  unpause(): void {
    this.#stage.unpause();
    if (!this.#waitsForMemory) return;
    this.#waitsForMemory = false;
    this.startRead();
  }

  /** A handler has had its time. */
  expire(): void {
    this.#handling.expire();
  }

  /**
   * Lets go of everything; the connection has ended or is closed right after.
   * May be called more than once.
   */
  end(): void {
    this.#over = true;
    this.#lastCall?.cancel();
    this.meter.end(this.#context.clock.now());
    const { closed, inbox, reading } = this.#connection;
    if (!closed && reading === undefined && !this.#handling.atWork) {
      inbox.release();
      this.#writer.clear();
    }
    this.#handling.abort();
    this.#writer.lose();
    this.#fail(undefined);
  }

  /** Tells whoever serves it that it has ended. */
  left(reason: CloseReason): void {
    void this.#handling.left(reason);
  }

  get buffered(): number {
    return this.#writer.buffered;
  }

  push(frame: Uint8Array, waiter?: Waiter): void {
    this.#writer.push(frame, waiter);
  }

  startRead(): void {
    if (this.#over) return;
    const { held, inbox } = this.#connection;
    const { growth } = inbox;
    if (growth > 0 && !this.#context.memory.allows(held + growth)) {
      this.#waitsForMemory = true;
      return this.#stage.pause();
    }
    try {
      this.#connection.read(inbox.space()).then(this.#onRead, this.#onError);
    } catch (error) {
      this.#onError(error);
    }
  }

  resume(): void {
    if (!this.#over) this.#goOn();
  }

  writeReplies(now: number): void {
    this.meter.batch(now);
    // A handler or a listener may have had this connection closed.
    if (this.#over) return this.#writer.clear();
    if (this.#writer.pushing) return void this.#writeAfter();
    try {
      this.#writer.begin().then(this.#onWritten, this.#onError);
    } catch (error) {
      // An exception here would lose the writes of others in the batch.
      this.#onError(error);
    }
  }

  /** Frames that were pushed are being written, replies among them perhaps. */
  async #writeAfter(): Promise<void> {
    this.#stage.write();
    await this.#writer.idle();
    if (this.#over) return;
    if (this.#writer.length > 0) this.writeReplies(this.#context.clock.now());
    else this.#rest();
  }

  async flush(): Promise<void> {
    this.meter.batch(this.#context.clock.now());
    if (this.#writer.length === 0 || this.#over) return;
    try {
      await this.#writer.flush();
    } catch (error) {
      // The peer's doing, which must not pass for the handler's.
      this.lost(error);
      throw error;
    }
  }

  put(
    payload: Uint8Array | undefined,
    pieces: number,
  ): Promise<void> | undefined {
    // A handler that had its own connection closed may still have replied.
    if (payload === undefined || this.#over) return undefined;
    if (pieces === 0 && this.#writer.add(payload)) return undefined;
    return this.#send(payload, pieces);
  }

  /** Has a reply written that there is no room for. */
  async #send(payload: Uint8Array, pieces: number): Promise<void> {
    // It goes out now; how long the peer takes for it is not the handler's.
    this.meter.batch(this.#context.clock.now());
    if (this.#over) return;
    // The kernel copies megabytes at once: others may have waited long enough.
    this.#context.scheduler.isLateNow();
    try {
      await this.#writer.send(payload, pieces);
    } catch (error) {
      // The peer's doing, as below.
      this.lost(error);
      throw error;
    }
  }

  readAhead(): void {
    this.#unread = true;
    this.#connection.heardAt = this.#context.scheduler.began;
    if (!this.#connection.eof || this.#context.config.halfOpen) return;
    this.#ending.name("peer_closed");
    this.lost(undefined);
  }

  lost(error: unknown): void {
    this.#ending.lost(error);
    this.#over = true;
    this.#handling.abort();
    this.#writer.lose();
    this.#fail(error);
  }

  /** Answers what is there, and has the replies written. */
  #proceed(): void {
    const { memory, scheduler } = this.#context;
    // The next reply might be the one that there is no memory for.
    this.#unread = memory.over;
    if (memory.over) return this.#yield();
    const handling = this.#handling;
    try {
      const waiting = handling.handleAll();
      if (waiting !== undefined) {
        waiting.then(() => this.#proceed(), this.#onError);
        return;
      }
    } catch (error) {
      return this.#onError(error);
    }
    if (this.#over) return this.end();
    const { closing, frameError, spent } = handling;
    if (frameError !== undefined) {
      const words = replies.frame(frameError);
      return void this.#conclude("frame_error", frameError, words);
    }
    if (closing !== undefined) {
      return void this.#conclude(...closing);
    }
    this.#unread = spent;
    if (spent && !scheduler.late) return this.#yield();
    if (this.#writer.length > 0) scheduler.writeSoon(this);
    else this.#rest();
  }

  /** Nothing is owed: waits for more, in its turn. */
  #rest(): void {
    if (this.meter.open) this.meter.batch(this.#context.clock.now());
    this.#writer.done();
    if (this.#over) return;
    this.#stage.read(this.owing);
    this.owing = false;
    if (this.#handling.isOverBudget || this.#context.scheduler.late) {
      this.#yield();
    } else this.#goOn();
  }

  /** Goes on in the next turn. Replies that wait go out with those to come. */
  #yield(): void {
    // It is served, and only waits for its turn.
    if (this.owing) this.#stage.read(true);
    this.#handling.renew();
    this.#context.scheduler.later(this);
  }

  /** Handles what has come, or reads, unless there will be no more. */
  #goOn(): void {
    const { eof, emptied, inbox, reading } = this.#connection;
    if (this.#unread) return this.#proceed();
    if (eof) return void this.#conclude("peer_closed");
    if (this.#lastCall !== undefined) {
      if (emptied && inbox.length === 0) {
        return void this.#conclude("shutdown");
      }
      this.#lastCall.begin();
    }
    if (reading === undefined) this.#context.scheduler.read(this);
    // The read ahead is not over yet.
    else reading.then(() => this.#heardAhead(), this.#onError);
  }

  #heardAhead(): void {
    if (this.#over) return;
    this.meter.began = this.#context.scheduler.began;
    this.#proceed();
  }

  #lastCalled(silent: boolean): void {
    const { inbox, eof } = this.#connection;
    // A frame under way is in flight too; the drain timeout may end it.
    if (this.#over || this.#stage.phase !== "reading") return;
    if (inbox.length > 0 || eof) return;
    if (silent) void this.#conclude("shutdown");
    else this.#lastCall!.begin();
  }

  /** Ends in good order: the replies go out, then the server's last words. */
  async #conclude(
    reason: CloseReason,
    error?: unknown,
    words?: string,
  ): Promise<void> {
    try {
      this.meter.batch(this.#context.clock.now());
      if (words !== undefined) {
        this.#ending.name(reason, error);
        await this.#writer.say(words);
      } else if (this.#writer.length > 0) await this.#writer.flush();
    } catch (error) {
      return this.lost(error);
    }
    if (this.#over) return;
    this.owing = false;
    this.#ending.name(reason, error);
    this.#over = true;
    this.#writer.lose();
    this.#finish();
  }
}
