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

/** Where "near" begins, as a part of the bound. */
const NEAR = 0.8;

/** A share is never less than this, in bytes: short requests always go on. */
const LEAST_SHARE = 8192;

/** How often a thread near the bound looks at its connections, in milliseconds. */
const INTERVAL = 250;

/**
 * V8 collects garbage as its own heap grows, and buffers are outside of it. It
 * counts what is asked for there, though: so many bytes at once, never touched
 * and so never resident, have it collect. It takes about 3 ms.
 */
const COLLECT = 64 * 1024 * 1024;

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
  #near = false;
  /** Whether connections were closed since the last look at all of them. */
  #closed = false;
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

  allows(bytes: number): boolean {
    return !this.#near || bytes <= this.#share;
  }

  close(): void {
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
    this.#near = held > NEAR * this.#limit;
    // What other threads take shows only to one that looks.
    if (this.#near || threads > 1) this.#watch();
    if (this.#must) {
      if (!this.over) this.scheduler.turn().then(() => this.#makeRoom());
      this.over = true;
      this.counters.alarm = Infinity;
      return;
    }
    const next = this.#near ? this.#limit : NEAR * this.#limit;
    // What the other threads do meanwhile is not seen here, so each gets its
    // part of the way to the next mark.
    this.counters.alarm = heldHere +
      Math.max((next - held) / threads, LEAST_SHARE);
  }

  #watch(): void {
    this.#cancel ??= this.clock.after(INTERVAL, () => {
      this.#cancel = undefined;
      this.#look();
      // What was closed, or is over, is garbage that still counts as resident.
      if (this.#closed || !this.#near) new ArrayBuffer(COLLECT);
      this.#closed = false;
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
      this.#closed = true;
    }
    this.#look();
  }
}
