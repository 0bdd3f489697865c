/**
 * The bound on the memory that the connections of a server hold in requests that
 * are not handled and replies that are not taken. It works in three steps:
 *
 * 1. Near the bound, a connection that holds more than its share gets no more. If
 * it waits for the rest of a frame, it is paused, and ended after a while.
 * 2. Over the bound, no request is handled and new connections wait.
 * 3. In the next turn of the event loop, the connections that hold most are
 * closed, until the bound is kept.
 *
 * The threads of a server have one bound. Each thread acts on its own connections.
 * Over the bound, the threads act that hold their part of the total or more.
 */

import type { Clock } from "../core/clock.ts";
import type { Counters } from "../events/metrics.ts";
import type { Scheduler } from "./scheduler.ts";

/** From these parts of the bound on, it is near, and no receive buffer grows. */
const NEAR = 0.8;
const FULL = 0.98;

/** The least share, in bytes, so that short requests go on. */
const LEAST_SHARE = 16 * 1024;

/** How often a thread looks at its connections, in milliseconds. */
const INTERVAL = 250;

/**
 * A thread that has held so many bytes has its garbage collected once it holds
 * less. It does so three times, with so many looks in between, as V8 keeps the
 * memory that it frees at first.
 */
const MUCH = 16 * 1024 * 1024;
const QUIET = 20;

/**
 * V8 collects garbage as its own heap grows. Buffers are outside of the heap, but
 * V8 counts the bytes that are asked for there. To ask for so many at once makes
 * it collect, step by step. They are never touched, and so never resident. Half
 * of them is too little.
 */
const COLLECT = 128 * 1024 * 1024;

/** A connection, as the bound sees it; a session is one. */
export interface Holding {
  readonly connection: { readonly held: number };
  abort(reason: "overload"): void;
  /** Pauses it, if it holds more than its share and waits for bytes. */
  squeeze(share: number): void;
  unsqueeze(): void;
}

export class MemoryBound {
  /** Whether no request is to be handled, and no connection to be taken. */
  over = false;
  /** For how many looks it counts as near: closed peers soon connect again. */
  #near = 0;
  /** For how many looks there is garbage, which each `QUIET`th look collects. */
  #left = 0;
  readonly #limit: number;
  #cancel: (() => void) | undefined;

  constructor(
    limit: number,
    private readonly counters: Counters,
    private readonly clock: Clock,
    private readonly scheduler: Scheduler,
    private readonly sessions: ReadonlySet<Holding>,
  ) {
    this.#limit = limit > 0 ? limit : Infinity;
    counters.onHeld = () => this.#look();
    this.#look();
  }

  /**
   * Whether a connection may read on and hold so many bytes. The nearer the bound,
   * the fewer are allowed, so that many connections together do not reach it.
   */
  allows(bytes: number): boolean {
    if (!this.#near) return true;
    const left = FULL * this.#limit - this.counters.held;
    const part = Math.min(1, left / ((FULL - NEAR) * this.#limit));
    return bytes <= Math.min(left, this.#share * part);
  }

  close(): void {
    this.#near = this.#left = 0;
    this.#cancel?.();
    this.#cancel = undefined;
  }

  /** What each connection may hold near the bound, in bytes. */
  get #share(): number {
    const { size } = this.sessions;
    const parts = Math.max(size, 1) * this.counters.threads;
    return Math.max(LEAST_SHARE, NEAR * this.#limit / parts);
  }

  /** Whether this thread has to free memory: it holds its part or more. */
  get #must(): boolean {
    const { held, heldHere, threads } = this.counters;
    return held > this.#limit && heldHere * threads >= held;
  }

  #look(): void {
    const { held, heldHere, threads } = this.counters;
    const mark = NEAR * this.#limit;
    if (held > mark) this.#near = 2;
    if (heldHere > MUCH) this.#left = Math.max(this.#left, 3 * QUIET);
    // A thread does not hear of what the others take: it has to look.
    if (this.#near || this.#left || threads > 1) this.#watch();
    if (this.#must) {
      if (!this.over) this.scheduler.turn().then(() => this.#makeRoom());
      this.over = true;
      this.counters.alarm = Infinity;
      return;
    }
    const first = held > MUCH ? mark : Math.min(mark, MUCH);
    const next = held > mark ? this.#limit : first;
    // The other threads may take more meanwhile, so each thread gets only its
    // part of what is left up to the next mark.
    this.counters.alarm = heldHere +
      Math.max((next - held) / threads, LEAST_SHARE);
  }

  #watch(): void {
    this.#cancel ??= this.clock.after(INTERVAL, () => {
      this.#cancel = undefined;
      if (this.#near) this.#near--;
      // The buffers of closed connections are garbage, but still resident.
      if (this.#left && --this.#left % QUIET === 0) new ArrayBuffer(COLLECT);
      this.#look();
      for (const session of this.sessions) {
        if (this.#near) session.squeeze(this.#share);
        else session.unsqueeze();
      }
    });
  }

  #makeRoom(): void {
    this.over = false;
    while (this.#must) {
      let most: Holding | undefined;
      for (const session of this.sessions) {
        const { held } = session.connection;
        if (held > (most?.connection.held ?? 0)) most = session;
      }
      // Connections that are being refused hold the rest. They end soon.
      if (most === undefined) return;
      most.abort("overload");
      this.#left = 3 * QUIET + 1;
    }
    this.#look();
  }
}
