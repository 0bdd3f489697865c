/**
 * Shares the event loop among the connections of one server, so that no connection
 * waits long for another. Three rules, each measured (`docs/performance.md`,
 * "Fairness"):
 *
 * - **A budget for each connection and turn.** A read or write that can complete
 * at once settles in microtasks, so a peer that keeps its connection full would
 * never give the event loop back. Each request costs its bytes and
 * {@linkcode REQUEST_COST}; past {@linkcode BUDGET} the connection goes on in the
 * next turn of the event loop. All connections wait for the next turn once they
 * have together worked for {@linkcode SLICE}.
 * - **Paced reads.** The runtime finishes at most 128 socket operations in one
 * poll, so connections that are read from again at once would be served again
 * first. While the batches are full, connections that were answered are parked:
 * they are read from again when the waiting ones have been served.
 * - **Batched writes.** Replies of one batch of reads are written together at its
 * end. Writes between the handlers would find the processor's caches cold, and
 * each would have to look at the clock.
 *
 * A batch is what the runtime hands over in one poll. A turn is one round of the
 * event loop, in which timers, signals and the other sockets are seen to. While
 * no connection is parked or over its budget, turns come by themselves, and are
 * only noted.
 */

import { nextTick } from "node:process";

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
 * What a connection may use in one turn, in bytes. Turns must be short, as the
 * runtime was seen to look at its sockets only once in {@linkcode TURNS}.
 */
export const BUDGET = 60 * 1024;

/** What a request costs beside its bytes, as an empty line is work, too. */
export const REQUEST_COST = 128;

/** What a request costs in addition if it was waited for, or has failed. */
export const WAIT_COST = 4096;

/** The most of the budget that is used between two looks at the clock. */
export const LOOK = 16 * 1024;

/** How long all may work without a turn of the event loop, in milliseconds. */
const SLICE = 2;

/** After so many turns in a row, the runtime has looked at its sockets. */
const TURNS = 61;

/**
 * If those turns take longer than so many milliseconds, the next one comes after a
 * rest: an event loop with nothing to do looks at its sockets at once. A new
 * connection needs two such looks.
 */
const STRETCH = 16;

/** An event loop without work for so many milliseconds has rested. */
const IDLE = 20;

/** How many replies wait for the others at the most. */
const MOST_WAITING = 16;

/** A batch with so many completed reads (of 128) means that more are ready. */
const FULL = 100;

/** How many parked connections are read from at a time. */
const AT_ONCE = 64;

/** After so many turns without a completed read, the next parked are read from. */
const PATIENCE = 100;

const settled = Promise.resolve();

export class Scheduler {
  readonly #waiting = new Array<Task | undefined>(MOST_WAITING).fill(undefined);
  #waitingCount = 0;
  /** When the current batch began; -1 if nobody has asked yet. */
  #began = -1;
  /** Whether the end of the batch will call {@linkcode #endBatch}. */
  #ending = false;
  /** Whether the event loop has got control back since the last batch. */
  #free: boolean;
  /** `#worked` has the work of the current batch up to this moment. */
  #counted = 0;
  /** How long batches have worked since the event loop had control last, in ms. */
  #worked = 0;
  /** When the runtime last looked at its sockets, and the turns since then. */
  #looked = 0;
  #turns = 0;
  /** Whether all have worked for too long: use {@linkcode later}. */
  late = false;
  /** Whether handlers compute for long: then the waits for them are measured. */
  slow = false;
  /** Whether the next turn will call {@linkcode #turn}. */
  #armed = false;
  /** Connections and waits that go on in the next turn. */
  #later = new Queue<Task | (() => void)>();
  /** Connections that wait to be read from, while `#crowded`. */
  readonly #parked = new Queue<Task>();
  #crowded = false;
  /** Reads completed in the current batch, and before it. */
  #completed = 0;
  #total = 0;
  /** `#total` at the last turn, and the turns since it has changed. */
  #seen = 0;
  #quiet = 0;
  /** Whether the last batch was not full, so that the parked are next. */
  #due = false;
  readonly #onEnd = () => this.#endBatch();
  readonly #onFree = () => this.#free = true;
  // Asked for by a microtask, a tick comes when no microtask is left: then the
  // event loop gets control back, unless other code asks for ticks as well.
  readonly #askFree = () => nextTick(this.#onFree);
  readonly #onTurn = () => this.#turn();
  readonly #onRested = () => {
    this.#looked = this.clock.now();
    this.#turns = 0;
    this.#turn();
  };

  /** @param ticks Whether connections ask for ticks, as those with TLS do. */
  constructor(private readonly clock: Clock, ticks = false) {
    this.#free = !ticks;
  }

  /** Counts a completed read; returns when its batch began. */
  completed(): number {
    this.#completed++;
    return this.began;
  }

  /** When the current batch began, by the clock. */
  get began(): number {
    if (this.#began === -1) this.#begin();
    return this.#began;
  }

  /** Whether it is {@linkcode late} by now, after a look at the clock. */
  isLateNow(): boolean {
    if (this.late) return true;
    if (this.#began === -1) this.#begin();
    else this.#work(this.clock.now());
    return this.late;
  }

  /** Writes the replies at the end of the batch, or before if there are many. */
  writeSoon(task: Task): void {
    this.#waiting[this.#waitingCount++] = task;
    if (this.#waitingCount === MOST_WAITING) this.#writeAll();
    else this.#notice();
  }

  /** Lets a connection read: at once, or after those that wait to be served. */
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
    this.#hold(now);
    if (!this.#armed && now - this.#counted > IDLE) this.#looked = now;
    this.#began = this.#counted = now;
    this.#notice();
  }

  /** Notes that code runs, until the event loop gets control back. */
  #hold(now = this.clock.now()): void {
    if (!this.#free) return;
    this.#free = false;
    settled.then(this.#askFree);
    if (this.#armed) return;
    // With no turn to come, the event loop had nothing to do, and looked.
    this.#looked = now;
    this.#worked = 0;
  }

  /** The microtasks of the batch are queued already, so its end comes last. */
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
    this.#hold();
    this.#armed = true;
    if (this.#counted - this.#looked < STRETCH) {
      return void setImmediate(this.#onTurn);
    }
    // Other connections go on meanwhile.
    this.clock.after(1, this.#onRested);
    this.late = false;
    this.#worked = 0;
  }

  #turn(): void {
    this.#hold();
    this.#armed = false;
    if (++this.#turns === TURNS) {
      this.#turns = 0;
      this.#looked = this.#counted;
    }
    this.#worked = 0;
    this.late = false;
    // What is added while this turn runs waits for the next one.
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
