/**
 * Writes frames. Small replies wait in the outbox until the exchange has their
 * batch written; large ones go out behind it. Frames that are pushed go out by
 * themselves. All keep the order in which they were given here, and one write is
 * under way at the most.
 */

import { ConnectionLostError, ReplyTooLargeError } from "../../core/errors.ts";
import { Queue } from "../../core/queue.ts";
import { bytesOf } from "../../core/text.ts";
import { type Codec, errorOf, frameOf } from "../../framing/codec.ts";
import type { Connection, Writer } from "../../net/connection.ts";
import { Outbox } from "../../net/outbox.ts";
import type { Payload } from "../handler.ts";
import type { SessionParts, SharedContext } from "./context.ts";
import { SlowConsumerError } from "./ending.ts";
import type { Stage } from "./stage.ts";

/** After so many writes of a large reply, the event loop serves others. */
const WRITES_PER_TURN = 4;

const settled = Promise.resolve();

const ended = () => new ConnectionLostError("The connection has ended");

/** Who waits until the kernel has taken a frame. */
export type Waiter = Pick<PromiseWithResolvers<void>, "resolve" | "reject">;

export class ReplyWriter implements Writer {
  /** Whether pushed frames are being written, by themselves. */
  pushing = false;
  readonly #connection: Connection;
  readonly #stage: Stage;
  readonly #context: SharedContext;
  readonly #outbox: Outbox;
  /** Whether the exchange writes; frames that are pushed then wait for its end. */
  #active = false;
  /** Whether a large reply waits or is written, behind which frames are pushed. */
  #large = false;
  /** How many frames were pushed before it, and wait. */
  #ahead = 0;
  #writes = 0;
  /** Frames that the outbox has no room for, and their bytes. */
  #pushed: Queue<{ frame: Uint8Array; waiter?: Waiter }> | undefined;
  #pushedBytes = 0;
  /** Bytes in the write under way. */
  #taken = 0;
  /** Who waits for what is in the outbox, and for what is in that write. */
  #waiters: Waiter[] | undefined;
  #served: Waiter[] | undefined;
  /** Who waits until nobody writes. */
  #idle: PromiseWithResolvers<void> | undefined;
  /** Made with the first push, for most connections have none. */
  #steps: {
    write(): void;
    wrote(n: number): void;
    failed(error: unknown): void;
  } | undefined;
  /** Nothing can be written any more. */
  #lost = false;

  /**
   * @param codec The form of the frames; a task may agree on another.
   * @param onLost Called where a push finds the connection lost.
   */
  constructor(
    { connection, stage, context }: SessionParts,
    public codec: Codec,
    private readonly onLost?: (error: unknown) => void,
  ) {
    this.#connection = connection;
    this.#stage = stage;
    this.#context = context;
    this.#outbox = new Outbox(connection);
  }

  /** How many bytes wait to be written in the next write. */
  get length(): number {
    return this.#outbox.length;
  }

  /** How many bytes the kernel has not taken yet. */
  get buffered(): number {
    return this.#outbox.length + this.#pushedBytes + this.#taken;
  }

  /**
   * Puts a reply behind those that wait, if there is room.
   *
   * @returns Whether there was; if not, use {@linkcode send}.
   */
  add(payload: Uint8Array): boolean {
    return this.#pushedBytes === 0 && this.#outbox.add(this.codec, payload);
  }

  /**
   * Begins to write what waits, while nothing is `pushing`. Hand the result to
   * `connection.wrote`, then call {@linkcode done}.
   */
  begin(): Promise<number> {
    this.#active = true;
    this.#stage.enter("writing");
    return this.#connection.send(this.#next());
  }

  /** What was begun is written, if anything was. */
  done(): void {
    if (this.#active) {
      this.#active = false;
      this.#written();
    }
    if (this.#waits) this.#push();
  }

  /** Forgets what waits, written or not, and gives its memory back. */
  clear(): void {
    if (!this.#active && !this.pushing) this.#outbox.clear();
  }

  /** Gives all memory back, once no read or write can touch it. */
  letGo(): void {
    this.#connection.letGo().then(() => this.#outbox.clear());
  }

  async flush(): Promise<void> {
    await this.#exclusively(() => this.#flush());
    if (this.#waits) this.#push();
  }

  /** Writes a reply for which there is no room, behind those that wait. */
  async send(payload: Uint8Array, pieces: number): Promise<void> {
    this.#large = true;
    this.#ahead = this.#pushed?.length ?? 0;
    const waits = () => this.#outbox.length + this.#ahead > 0;
    await this.#exclusively(async () => {
      // At once where nothing waits: the scheduler counts the time of the write.
      if (waits()) await this.#flush(waits);
      if (pieces > 0) await this.#sendPieces(payload, pieces);
      else if (!this.#outbox.add(this.codec, payload)) {
        await this.#sendLarge(payload);
      }
      this.#large = false;
    });
  }

  /** Writes what waits, and a text of the server's own behind it. */
  async say(text: string): Promise<void> {
    const payload = errorOf(this.codec, text);
    if (payload !== undefined) await this.send(payload, 0);
    await this.flush();
  }

  /** Has a frame written that answers no request, behind all that waits. */
  push(frame: Uint8Array, waiter?: Waiter): void {
    // It has nothing to write: 0 bytes would count as nothing that waits.
    if (frame.length === 0 && !this.#lost) return waiter?.resolve();
    const { buffered } = this;
    const { maxBuffered } = this.#context.config;
    if (buffered > 0 && buffered + frame.length > maxBuffered) {
      const text = `More than ${maxBuffered} bytes wait for the peer`;
      this.onLost?.(new SlowConsumerError(text));
    }
    if (this.#lost) return waiter?.reject(ended());
    const behind = this.#large || this.#pushedBytes > 0;
    if (!behind && this.#outbox.addFrame(frame)) {
      if (waiter !== undefined) (this.#waiters ??= []).push(waiter);
    } else {
      this.#pushed ??= new Queue();
      this.#pushed.push({ frame, waiter });
      this.#pushedBytes += frame.length;
      this.#connection.hold(frame.length);
    }
    this.#push();
  }

  /** The same for a text of the server's own; gives whether it can be said. */
  pushText(text: string): boolean {
    const payload = errorOf(this.codec, text);
    if (payload !== undefined) this.push(frameOf(this.codec, payload));
    return payload !== undefined;
  }

  /** Nothing can be written any more: the promises of pushed frames reject. */
  lose(): void {
    if (this.#lost) return;
    this.#lost = true;
    const waiting = [...this.#served ?? [], ...this.#waiters ?? []];
    for (const { waiter } of this.#pushed ?? []) waiter && waiting.push(waiter);
    this.#served = this.#waiters = this.#pushed = undefined;
    this.#pushedBytes = 0;
    if (waiting.length === 0) return;
    const error = ended();
    for (const { reject } of waiting) reject(error);
  }

  /** See {@linkcode Writer}: a peer that takes something is not stuck. */
  progress(): Promise<void> | void {
    this.#stage.progress();
    // Over TLS, writes settle at once while the kernel has room: without a pause
    // the others would wait for the whole reply.
    const { scheduler } = this.#context;
    if (++this.#writes % WRITES_PER_TURN === 0) return scheduler.turn();
  }

  /** Writes for the exchange, while nothing is pushed. */
  async #exclusively(write: () => Promise<void>): Promise<void> {
    // A task may close its side, and end while that is under way.
    while (this.pushing || this.#active) {
      this.#stage.enter("writing");
      await this.idle();
    }
    this.#active = true;
    this.#stage.enter("writing");
    try {
      await write();
    } finally {
      this.#active = false;
      this.#tellIdle();
    }
    if (this.#pushedBytes > 0) this.#push();
  }

  /** Resolves when nobody writes; who waits then writes what is left. */
  idle(): Promise<void> {
    return (this.#idle ??= Promise.withResolvers()).promise;
  }

  /** Has pushed frames written, unless that is under way. */
  #push(): void {
    if (this.#active || this.pushing || this.#lost) return;
    this.pushing = true;
    this.#steps ??= {
      write: () => this.#writePushed(),
      wrote: (n) => {
        const rest = this.#connection.wrote(n, this);
        if (rest === undefined) this.#onPushed();
        else rest.then(() => this.#onPushed(), this.#steps!.failed);
      },
      failed: (error) => {
        this.#endPushing();
        this.onLost?.(error);
      },
    };
    // What is pushed in the same turn goes out in the same write.
    settled.then(this.#steps.write);
  }

  #writePushed(): void {
    if (this.#lost) return this.#endPushing();
    const { wrote, failed } = this.#steps!;
    this.#stage.push();
    try {
      this.#connection.send(this.#next()).then(wrote, failed);
    } catch (error) {
      failed(error);
    }
  }

  #onPushed(): void {
    this.#written();
    if (!this.#waits || this.#idle !== undefined) return this.#endPushing();
    const { scheduler } = this.#context;
    if (!scheduler.isLateNow()) this.#writePushed();
    else void scheduler.turn().then(this.#steps!.write);
  }

  /** All that was pushed is written, or the exchange waits and writes it. */
  #endPushing(): void {
    this.pushing = false;
    this.#stage.pushed();
    this.#tellIdle();
  }

  #tellIdle(): void {
    this.#idle?.resolve();
    this.#idle = undefined;
  }

  async #flush(waits = () => this.#waits): Promise<void> {
    const { scheduler } = this.#context;
    while (!this.#lost && waits()) {
      await this.#connection.write(this.#next(), this);
      this.#written();
      this.#stage.progress();
      if (this.#pushedBytes > 0 && scheduler.isLateNow()) {
        await scheduler.turn();
      }
    }
  }

  /** Takes what is to be written next: the outbox, or a frame behind it. */
  #next(): Uint8Array {
    if (this.#outbox.length > 0 || this.#pushedBytes === 0) {
      this.#served = this.#waiters;
      this.#waiters = undefined;
      this.#taken = this.#outbox.length;
      return this.#outbox.take();
    }
    const { frame, waiter } = this.#pushed!.shift()!;
    if (this.#ahead > 0) this.#ahead--;
    this.#taken = frame.length;
    this.#pushedBytes -= frame.length;
    this.#connection.hold(-frame.length);
    this.#served = waiter && [waiter];
    return frame;
  }

  get #waits(): boolean {
    return this.#outbox.length + this.#pushedBytes > 0;
  }

  #written(): void {
    this.#taken = 0;
    this.#outbox.done();
    if (this.#served === undefined) return;
    const served = this.#served;
    this.#served = undefined;
    for (const { resolve } of served) resolve();
  }

  async #sendLarge(payload: Uint8Array): Promise<void> {
    const sent = this.#outbox.addStart(this.codec, payload);
    this.#connection.hold(payload.length);
    await this.#connection.write(this.#next(), this);
    this.#written();
    if (sent < payload.length) {
      await this.#connection.write(payload.subarray(sent), this);
    }
    this.#connection.hold(-payload.length);
    this.#outbox.addTrailer(this.codec, payload);
  }

  async #sendPieces(payload: Uint8Array, pieces: number): Promise<void> {
    const frame = frameOf(this.codec, payload);
    this.#connection.hold(frame.length);
    for (let from = 0; from < frame.length; from += pieces) {
      await this.#connection.write(frame.subarray(from, from + pieces), this);
      const pause = this.progress();
      if (pause !== undefined) await pause;
    }
    this.#connection.hold(-frame.length);
  }
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
  const payload = bytesOf(given, "a Uint8Array, a string or nothing");
  if (payload.length > maxReply) {
    throw new ReplyTooLargeError(payload.length, maxReply);
  }
  codec.check(payload);
  return payload;
}
