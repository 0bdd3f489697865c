/**
 * Shares the event loop among the connections of one server, so that nobody
 * waits long for anybody else. Three rules, each measured
 * (`docs/performance.md`, "Fairness"):
 *
 * - **A budget for each connection and turn.** A read or write that can complete
 * at once settles in microtasks, so a peer that keeps its connection full
 * would never give the event loop back. Each request costs its bytes and
 * {@linkcode REQUEST_COST}; past {@linkcode BUDGET} the connection goes on in
 * the next turn of the event loop. The same holds once all of them together
 * have worked for {@linkcode SLICE} without a turn.
 * - **Paced reads.** The runtime finishes at most 128 socket operations in one
 * poll, so those that are read from again at once would be served again
 * first. While the batches come full, connections that were answered are
 * parked; they are read from again once those that wait were served.
 * - **Batched writes.** Replies of one batch of reads are written together at
 * its end: written between the handlers, each write would find the
 * processor's caches cold. They share their looks at the clock as well.
 *
 * A batch is what the runtime hands over in one poll. A turn is one round of
 * the event loop, in which timers, signals and the other sockets get theirs.
 * Nothing runs here while no connection is parked or over its budget.
 */

import { setImmediate } from "node:timers";

import type { Clock } from "../core/clock.ts";
import { Queue } from "../core/queue.ts";

/** A connection, as the scheduler calls it. */
export interface Task {
  /** Writes the replies, at the end of a batch. Must not throw. */
  writeReplies(now: number): void;
  /** Goes on after {@linkcode Scheduler.later}. Must not throw. */
  resume(): void;
  /** Reads, after {@linkcode Scheduler.read}. Must not throw. */
  startRead(): void;
}

/**
 * What a connection may use in one turn, in bytes: turns must be short, for the
 * runtime was seen to look at its sockets in one of {@linkcode TURNS} only.
 */
export const BUDGET = 60 * 1024;

/** What a request costs beside its bytes: an empty line is work, too. */
export const REQUEST_COST = 128;

/** What one costs in addition that was waited for, or has failed. */
export const WAIT_COST = 4096;

/** The most of the budget that is used between two looks at the clock. */
export const LOOK = 16 * 1024;

/** How long all may work without a turn of the event loop, in milliseconds. */
const SLICE = 2;

/** After so many turns that follow each other it has looked at its sockets. */
const TURNS = 61;

/**
 * Where these take longer than so many milliseconds, those that go on do so after
 * a rest: an event loop with nothing to do looks at once. A newcomer takes two
 * such looks.
 */
const STRETCH = 16;

/** An event loop with nothing to do for so long has rested, in milliseconds. */
const IDLE = 20;

/** Batches that wait for their end at the most: the first reply must not wait for the last. */
const MOST_WAITING = 16;

/** So many reads completed in one batch mean that more are ready (of 128). */
const FULL = 100;

/** Parked connections that are read from at a time. */
const AT_ONCE = 64;

/** Turns without a completed read until the next of the parked are read from. */
const PATIENCE = 100;

const settled = Promise.resolve();

export class Scheduler {
  readonly #waiting = new Array<Task | undefined>(MOST_WAITING).fill(undefined);
  #waitingCount = 0;
  /** When the batch under way began; -1 where nobody has asked yet. */
  #began = -1;
  /** Whether the batch's end will be noticed. */
  #ending = false;
  /** Until when the work of the batch under way is in `#worked`. */
  #counted = 0;
  /** How long batches have worked since the last turn, in milliseconds. */
  #worked = 0;
  /** When it looked at its sockets last, and the turns since then. */
  #looked = 0;
  #turns = 0;
  /** Whether all have worked for too long: use {@linkcode later}. */
  late = false;
  /** Whether handlers compute for long: then waits for them are measured. */
  slow = false;
  /** Whether the next turn will be noticed. */
  #armed = false;
  /** Connections and waits that go on in the next turn. */
  #later = new Queue<Task | (() => void)>();
  /** Connections that wait to be read from, while `#crowded`. */
  readonly #parked = new Queue<Task>();
  #crowded = false;
  /** Reads completed in the batch under way, and in all. */
  #completed = 0;
  #total = 0;
  /** `#total` at the last turn, and turns since it has changed. */
  #seen = 0;
  #quiet = 0;
  /** The last batch was not full: the parked are next. */
  #due = false;
  readonly #onEnd = () => this.#endBatch();
  readonly #onTurn = () => this.#turn();
  readonly #onRested = () => {
    this.#looked = this.clock.now();
    this.#turns = 0;
    this.#turn();
  };

  constructor(private readonly clock: Clock) {}

  /** A read has completed; gives when the batch under way began. */
  completed(): number {
    this.#completed++;
    return this.began;
  }

  /** When the batch under way began, by the clock. */
  get began(): number {
    if (this.#began === -1) this.#begin();
    return this.#began;
  }

  /** Whether it is {@linkcode late} by now. It looks at the clock. */
  isLateNow(): boolean {
    if (this.late) return true;
    if (this.#began === -1) this.#begin();
    else this.#work(this.clock.now());
    return this.late;
  }

  /** Has replies written at the end of the batch, or before if there are many. */
  writeSoon(task: Task): void {
    this.#waiting[this.#waitingCount++] = task;
    if (this.#waitingCount === MOST_WAITING) this.#writeAll();
    else this.#notice();
  }

  /** Has a connection read: at once, or behind those that wait to be served. */
  read(task: Task): void {
    if (this.#crowded) this.#parked.push(task);
    else task.startRead();
  }

  later(task: Task): void {
    this.#later.push(task);
    this.#arm();
  }

  turn(): Promise<void> {
    return new Promise((resolve) => {
      this.#later.push(resolve);
      this.#arm();
    });
  }

  #begin(): void {
    const now = this.clock.now();
    if (!this.#armed && now - this.#counted > IDLE) this.#looked = now;
    this.#began = this.#counted = now;
    this.#notice();
  }

  /** The microtasks of this batch are queued already, so this runs after them. */
  #notice(): void {
    if (this.#ending) return;
    this.#ending = true;
    settled.then(this.#onEnd);
  }

  #endBatch(): void {
    this.#ending = false;
    if (this.#waitingCount > 0) this.#writeAll();
    this.#began = -1;
    const completed = this.#completed;
    this.#completed = 0;
    this.#total += completed;
    if (completed >= FULL) {
      this.#crowded = true;
      this.#arm();
    } else if (this.#crowded && completed > 0) {
      // One of a timer alone, without a read, does not tell whether more wait.
      if (this.late) this.#due = true;
      else this.#readParked();
    }
  }

  #writeAll(): void {
    const now = this.clock.now();
    this.#work(now);
    this.slow = this.#began !== -1 && now - this.#began >= SLICE / 2;
    const count = this.#waitingCount;
    this.#waitingCount = 0;
    for (let i = 0; i < count; i++) {
      const task = this.#waiting[i]!;
      this.#waiting[i] = undefined;
      task.writeReplies(now);
    }
  }

  /** Counts the work of the batch so far. */
  #work(now: number): void {
    if (this.#began === -1) return;
    this.#worked += now - this.#counted;
    this.#counted = now;
    if (this.#worked < SLICE) return;
    this.late = true;
    this.#arm();
  }

  #readParked(): void {
    this.#quiet = 0;
    this.#due = false;
    const count = Math.min(AT_ONCE, this.#parked.length);
    for (let i = 0; i < count; i++) this.#parked.shift()!.startRead();
    this.#crowded = this.#parked.length > 0;
    if (this.#crowded) this.#arm();
  }

  #arm(): void {
    if (this.#armed) return;
    this.#armed = true;
    if (this.#counted - this.#looked < STRETCH) {
      return void setImmediate(this.#onTurn);
    }
    // Whoever else is ready goes on meanwhile.
    this.clock.after(1, this.#onRested);
    this.late = false;
    this.#worked = 0;
  }

  #turn(): void {
    this.#armed = false;
    if (++this.#turns === TURNS) {
      this.#turns = 0;
      this.#looked = this.#counted;
    }
    this.#worked = 0;
    this.late = false;
    // Those that ask for the next turn while this one runs wait for it.
    for (let left = this.#later.length; left > 0; left--) {
      if (this.isLateNow()) break;
      const task = this.#later.shift()!;
      if (typeof task === "function") task();
      else task.resume();
    }
    if (this.#crowded) this.#pace();
  }

  #pace(): void {
    if (this.#due) return this.#readParked();
    if (this.#total !== this.#seen) {
      this.#seen = this.#total;
      this.#quiet = 0;
    } else if (++this.#quiet >= PATIENCE) return this.#readParked();
    this.#arm();
  }
}
