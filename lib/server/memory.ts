/**
 * The bound on what all connections of a server hold: buffers with bytes that
 * are not handled, and replies that are not taken. It works in three steps:
 *
 * 1. Near the bound, those that hold more than their share get no more: one
 * that waits for the rest of its frame is paused, and ends after a while.
 * 2. Over it, no request is handled and newcomers wait,
 * 3. and in the next turn of the event loop those that hold most are closed,
 * until it holds again.
 *
 * The threads of a server have one bound; each acts on its own connections, and
 * over the bound those do that hold their share of it or more.
 */

import type { Clock } from "../core/clock.ts";
import type { Counters } from "../events/metrics.ts";
import type { Scheduler } from "./scheduler.ts";

/** Where "near" begins, and where no receive buffer grows, as parts of the bound. */
const NEAR = 0.8;
const FULL = 0.98;

/** A share is never less than this, in bytes, so that short requests go on. */
const LEAST_SHARE = 16 * 1024;

/** How often a thread looks at its connections, in milliseconds. */
const INTERVAL = 250;

/**
 * Who has held so much has garbage collected once it holds less, every so many
 * looks and three times, for V8 keeps the room of what it has collected first.
 */
const MUCH = 16 * 1024 * 1024;
const QUIET = 20;

/**
 * V8 collects garbage as its own heap grows, and buffers are outside of it. It
 * counts what is asked for there, though: so many bytes at once, never touched
 * and so never resident, have it collect, bit by bit. Half of it is too little.
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
  /** For how many looks it is near: what was closed is back a little later. */
  #near = 0;
  /** For how many looks there is garbage; at each `QUIET` of them it is collected. */
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
   * Whether a connection may read on and hold so much. Near the bound less and
   * less is allowed, so that however many read on do not reach it together.
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

  /** Whether this thread is to make room: it holds its share or more. */
  get #must(): boolean {
    const { held, heldHere, threads } = this.counters;
    return held > this.#limit && heldHere * threads >= held;
  }

  #look(): void {
    const { held, heldHere, threads } = this.counters;
    const mark = NEAR * this.#limit;
    if (held > mark) this.#near = 2;
    if (heldHere > MUCH) this.#left = Math.max(this.#left, 3 * QUIET);
    // What other threads take shows only to one that looks.
    if (this.#near || this.#left || threads > 1) this.#watch();
    if (this.#must) {
      if (!this.over) this.scheduler.turn().then(() => this.#makeRoom());
      this.over = true;
      this.counters.alarm = Infinity;
      return;
    }
    const first = held > MUCH ? mark : Math.min(mark, MUCH);
    const next = held > mark ? this.#limit : first;
    // What the other threads do meanwhile is not seen here, so each gets its
    // part of the way to the next mark.
    this.counters.alarm = heldHere +
      Math.max((next - held) / threads, LEAST_SHARE);
  }

  #watch(): void {
    this.#cancel ??= this.clock.after(INTERVAL, () => {
      this.#cancel = undefined;
      if (this.#near) this.#near--;
      // What was closed, or is over, is garbage that still counts as resident.
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
      // Those that are refused hold it, and are gone soon.
      if (most === undefined) return;
      most.abort("overload");
      this.#left = 3 * QUIET + 1;
    }
    this.#look();
  }
}
