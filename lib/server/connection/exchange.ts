/**
 * Requests and replies of one connection: read, find the frames, have each
 * handled, write the replies, read again.
 *
 * These are callbacks and no loop that awaits, for a measured reason: the loop
 * takes a promise and an asynchronous frame more for each request
 * (`docs/performance.md`, "Callbacks or a loop"). One calls the other in this
 * order: `startRead`, `onRead`, `#proceed`, `writeReplies`, `#onWritten`,
 * `#rest`, `startRead`. What always holds:
 *
 * - one read is pending at the most, and one handler is at work at the most;
 * - no room is made in the inbox while a view of it is alive;
 * - each request that is handed to the handler is finished once, by the meter;
 * - the end is named once, and from then on no request is handled;
 * - lent memory goes back only when no read, write or handler can touch it.
 */

import { FrameError } from "../../core/errors.ts";
import type { CloseReason } from "../../events/events.ts";
import { replies } from "../replies.ts";
import { BUDGET } from "../scheduler.ts";
import { Handling } from "./handling.ts";

export class Exchange extends Handling {
  // Made once for each connection, and not once for each request.
  protected readonly onRead = (n: number | null) => {
    this.connection.took(n);
    if (this.over) return;
    const { scheduler } = this.context;
    this.meter.began = this.connection.heardAt = scheduler.completed();
    this.unread = true;
    if (scheduler.late) scheduler.later(this);
    else if (scheduler.slow) this.resume();
    else this.#proceed(true);
  };
  readonly #onWritten = (n: number) => {
    const rest = this.connection.wrote(n, this.writer);
    if (rest === undefined) this.#rest();
    else rest.then(() => this.#rest(), this.onError);
  };

  /** Only what waits is still written. */
  #concluding = false;

  protected get isIdle(): boolean {
    const { phase } = this.stage;
    return !this.over && !this.owing &&
      (phase === "reading" || phase === "paused");
  }

  start(): void {
    this.stage.read(true);
    // A proxy's header may have brought the first requests with it.
    this.unread = this.connection.inbox.length > 0;
    const { onOpen } = this.context.hooks;
    if (onOpen === undefined) return this.#goOn();
    this.stage.enter("handling");
    this.greet(onOpen).then(() => this.#proceed(), this.onError);
  }

  protected endIdle(): void {
    void this.#conclude(...this.closing ?? ["shutdown"]);
  }

  resume(): void {
    if (this.over) return;
    const { meter, context: { clock, counters, scheduler } } = this;
    const { requests } = meter;
    const now = scheduler.slow ? clock.now() : scheduler.began;
    const waited = this.unread ? now - meter.began : 0;
    this.#goOn();
    if (waited > 0) counters.queued(waited, meter.requests - requests);
  }

  writeReplies(now: number): void {
    this.meter.batch(now);
    // A handler or a listener may have closed this connection.
    if (this.over) return this.writer.clear();
    if (this.writer.pushing) return void this.#writeAfter();
    try {
      this.writer.begin().then(this.#onWritten, this.onError);
    } catch (error) {
      // An exception here would lose the writes of others in the batch.
      this.onError(error);
    }
  }

  /** Writes after the frames that are being pushed; they may take replies along. */
  async #writeAfter(): Promise<void> {
    this.stage.enter("writing");
    await this.writer.idle();
    if (this.over) return;
    if (this.writer.length > 0) this.writeReplies(this.context.clock.now());
    else this.#rest();
  }

  /** Answers what is there, and has the replies written. */
  #proceed(read = false): void {
    const { memory, scheduler } = this.context;
    // Another reply could need memory that is not there.
    this.unread = memory.over;
    if (memory.over) return this.#yield();
    try {
      const waiting = this.handleAll(read);
      if (waiting !== undefined) {
        waiting.then(() => this.#proceed(), this.onError);
        return;
      }
    } catch (error) {
      if (!(error instanceof FrameError)) return this.onError(error);
      const words = replies.frame(error);
      if (!this.over) return void this.#conclude("frame_error", error, words);
    }
    if (this.over) return this.end();
    if (this.closing !== undefined) return void this.#conclude(...this.closing);
    if (this.unread && !scheduler.late) return this.#yield();
    if (this.writer.length > 0) scheduler.writeSoon(this);
    else this.#rest();
  }

  /** Nothing is owed: waits for more, in its turn. */
  #rest(): void {
    if (this.meter.open) this.meter.batch(this.context.clock.now());
    this.writer.done();
    if (this.over) return;
    this.stage.read(this.owing);
    this.owing = false;
    if (this.used > BUDGET || this.context.scheduler.late) this.#yield();
    else this.#goOn();
  }

  /** Goes on in the next turn, which also writes the replies that wait. */
  #yield(): void {
    // A request of its has been handled: its idle timeout starts again.
    if (this.owing) this.stage.read(true);
    this.used = this.look = 0;
    this.context.scheduler.later(this);
  }

  /** Handles what has come, or reads; ends the connection where neither is left. */
  #goOn(): void {
    const { eof, emptied, inbox, reading } = this.connection;
    if (this.unread || this.closing !== undefined) return this.#proceed();
    if (eof) return void this.#conclude("peer_closed");
    if (this.lastCall !== undefined) {
      if (emptied && inbox.length === 0) return this.endIdle();
      this.lastCall.begin();
    }
    if (reading === undefined) return this.context.scheduler.read(this);
    // A read ahead is still under way.
    reading.then(() => {
      if (this.over) return;
      this.meter.began = this.context.scheduler.began;
      this.#proceed();
    }, this.onError);
  }

  /** Ends in good order: the replies go out, then the server's last words. */
  async #conclude(
    reason: CloseReason,
    error?: unknown,
    words?: string,
  ): Promise<void> {
    if (this.#concluding) return;
    this.#concluding = true;
    this.closing ??= [reason, error];
    this.meter.batch(this.context.clock.now());
    if (words !== undefined) this.ending.name(reason, error);
    if (!await this.writeLast(words)) return;
    this.owing = false;
    this.finish(reason, error);
  }
}
