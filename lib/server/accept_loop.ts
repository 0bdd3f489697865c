/**
 * Accepts connections. An iterator over the listener would end with the first
 * peer that resets while it is queued; so this is a loop that knows whose fault a
 * failure is.
 */

import { setImmediate } from "node:timers";

import { within } from "../core/clock.ts";
import { type AcceptErrorEvent, emit } from "../events/events.ts";
import type { Transport } from "../net/connection.ts";
import { type AcceptFault, type Acceptor, faultOf } from "../net/listen.ts";
import type { SharedContext } from "./connection/context.ts";
import type { Descriptors } from "./descriptors.ts";

/**
 * How long to wait before accepting again after a failure, in milliseconds:
 * doubled from the first to the last with each failure in a row. At the
 * descriptor limit `accept` fails at once for as long as the limit is met.
 */
const BACKOFF_FIRST = 50;
const BACKOFF_LAST = 1000;

/**
 * How long a stopping server waits for the next of those who are queued at its
 * listener, in milliseconds. They are there already, so it is no wait at all.
 */
const LAST_CALL = 10;

/** How long it goes on accepting at the most, should clients keep coming. */
const QUEUE_LIMIT = 250;

/**
 * Queued connections settle at once, also those that have been reset: after so
 * many in a turn, a rest in milliseconds has the event loop look at all others.
 */
const TRIES = 32;
const REST = 1;

export interface AcceptParts extends
  Pick<
    SharedContext,
    "clock" | "counters" | "events" | "memory" | "scheduler"
  > {
  readonly listener: Acceptor;
  /** What the kernel can hold in its queue, and may be left there. */
  readonly backlog: number;
  readonly descriptors: Descriptors;
  /** What to wait for before the first; if it fails, none is accepted. */
  readonly ready: Promise<void> | undefined;
  /** Takes a connection; it may throw where the peer is gone by now. */
  readonly welcome: (transport: Transport) => void;
}

export class AcceptLoop {
  #stopping = false;
  /** When a stopping server accepts no more, whoever is queued. */
  #closeBy = Infinity;
  #closed = false;
  #cancelClose: (() => void) | undefined;
  #wake: (() => void) | undefined;

  constructor(private readonly parts: AcceptParts) {}

  /**
   * Accepts until the listener is closed.
   *
   * @returns What broke the listener, unless `stop` closed it.
   */
  async run(): Promise<{ error: unknown } | undefined> {
    try {
      await this.parts.ready;
    } catch (error) {
      this.#close();
      return { error };
    }
    const { listener, clock, descriptors, memory, scheduler } = this.parts;
    let { backlog } = this.parts;
    // At the descriptor limit the runtime cannot load what the stack trace of an
    // error needs for each file in it, and panics: so that is loaded here.
    void new Error().stack;
    let backoff = BACKOFF_FIRST;
    let tries = 0;
    while (!this.#closed) {
      if (tries === TRIES) {
        await this.#sleep(REST);
        tries = 0;
      }
      if (tries++ === 0) setImmediate(() => tries = 0);
      let transport;
      if (descriptors.left <= 0) {
        // Those that are queued get no descriptor before the end.
        if (this.#stopping) return void this.#close();
        await this.#sleep(BACKOFF_LAST);
        continue;
      }
      try {
        transport = await listener.accept();
      } catch (error) {
        if (this.#closed) return;
        const fault = faultOf(error);
        if (fault === "listener") {
          this.#failed(fault, { error, retryIn: 0, fatal: true });
          this.#close();
          return { error };
        }
        const retryIn = fault === "peer" ? 0 : backoff;
        const limit = fault === "descriptors" ? descriptors.met() : undefined;
        this.#failed(fault, { error, retryIn, fatal: false, limit });
        if (retryIn > 0) {
          await this.#sleep(retryIn);
          backoff = Math.min(backoff * 2, BACKOFF_LAST);
        }
        continue;
      }
      backoff = BACKOFF_FIRST;
      if (this.#stopping) {
        if (--backlog > 0 && clock.now() < this.#closeBy) this.#closeSoon();
        else this.#close();
      }
      // The next turn makes room: nobody is refused for what others hold.
      if (memory.over) await scheduler.turn();
      try {
        this.parts.welcome(transport);
      } catch (error) {
        // A socket that is gone by now may refuse its options.
        this.#failed("peer", { error, retryIn: 0, fatal: false });
        transport.close();
      }
    }
  }

  /** Accepts those that are queued, and then closes the listener. */
  stop(): void {
    this.#stopping = true;
    this.#closeBy = this.parts.clock.now() + QUEUE_LIMIT;
    this.#closeSoon();
    this.retry();
  }

  retry(): void {
    this.#wake?.();
  }

  #failed(fault: AcceptFault, failure: Omit<AcceptErrorEvent, "type">): void {
    const { counters, events: { accept_error } } = this.parts;
    counters.acceptFailed(fault);
    emit(accept_error, { type: "accept_error", ...failure });
  }

  /** Closing the listener on those that are queued would reset them. */
  #closeSoon(): void {
    this.#cancelClose?.();
    this.#cancelClose = this.parts.clock.after(LAST_CALL, () => this.#close());
  }

  #close(): void {
    this.#closed = true;
    this.#cancelClose?.();
    try {
      this.parts.listener.close();
    } catch (error) {
      // A listener that failed may be closed already.
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    }
    this.retry();
  }

  async #sleep(ms: number): Promise<void> {
    const woken = new Promise<void>((resolve) => this.#wake = resolve);
    await within(this.parts.clock, ms, woken);
  }
}
