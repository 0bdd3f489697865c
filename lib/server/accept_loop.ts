/**
 * Accepts connections. An iterator over the listener would end with the first
 * peer that resets while it is queued. This loop goes on, unless it is the
 * listener itself that has failed.
 */

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
 * How long a stopping server waits for the next client in its listener's queue,
 * in milliseconds. A queued client is accepted at once.
 */
const LAST_CALL = 10;

/** How long a stopping server accepts at the most, should clients keep coming. */
const QUEUE_LIMIT = 250;

/**
 * Queued connections settle at once, also those that have been reset. After so
 * many in one turn, the loop rests, in milliseconds, so that the event loop sees
 * to everything else.
 */
const TRIES = 32;
const REST = 1;

export interface AcceptParts extends SharedContext {
  readonly listener: Acceptor;
  readonly descriptors: Descriptors;
  /** Takes a connection. It may throw if the peer is gone by now. */
  readonly welcome: (transport: Transport) => void;
}

export class AcceptLoop {
  #stopping = false;
  /** When a stopping server closes its listener, whoever is queued. */
  #closeBy = Infinity;
  #closed = false;
  #cancelClose: (() => void) | undefined;
  #wake: (() => void) | undefined;

  constructor(private readonly parts: AcceptParts) {}

  /**
   * Accepts until the listener is closed; not at all if the certificate fails.
   *
   * @throws What broke the listener.
   */
  async run(): Promise<void> {
    try {
      await this.parts.tls?.proven;
      await this.#acceptAll();
    } finally {
      this.#close();
    }
  }

  async #acceptAll(): Promise<void> {
    const { listener, clock, config, descriptors, memory, scheduler } =
      this.parts;
    // The kernel's queue holds no more.
    let queued = config.tcpBacklog;
    // For the first stack trace of an error, the runtime opens the files that are
    // in it. At the descriptor limit it would panic, so it does that here.
    void new Error().stack;
    let backoff = BACKOFF_FIRST;
    let tries = 0;
    while (!this.#closed) {
      if (tries === TRIES) {
        await this.#sleep(REST);
        tries = 0;
      }
      if (tries++ === 0) setImmediate(() => tries = 0);
      if (descriptors.left <= 0) {
        // The queued clients get no descriptor before others have ended.
        if (this.#stopping) return;
        await this.#sleep(BACKOFF_LAST);
        continue;
      }
      let transport;
      try {
        transport = await listener.accept();
      } catch (error) {
        if (this.#closed) return;
        const fault = faultOf(error);
        if (fault === "listener") {
          this.#failed(fault, { error, retryIn: 0, fatal: true });
          throw error;
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
        if (--queued > 0 && clock.now() < this.#closeBy) this.#closeSoon();
        else this.#close();
      }
      // The next turn frees memory, so a client need not be refused.
      if (memory.over) await scheduler.turn();
      try {
        this.parts.welcome(transport);
      } catch (error) {
        // A socket whose peer is gone may refuse its options.
        this.#failed("peer", { error, retryIn: 0, fatal: false });
        transport.close();
      }
    }
  }

  /** Accepts the clients that are queued, and then closes the listener. */
  stop(): void {
    this.#stopping = true;
    this.#closeBy = this.parts.clock.now() + QUEUE_LIMIT;
    this.#closeSoon();
    this.retry();
  }

  /** Ends a wait before the next try. */
  retry(): void {
    this.#wake?.();
  }

  #failed(fault: AcceptFault, failure: Omit<AcceptErrorEvent, "type">): void {
    const { counters, events: { accept_error } } = this.parts;
    counters.acceptFailed(fault);
    emit(accept_error, { type: "accept_error", ...failure });
  }

  /** To close the listener at once would reset the clients that are queued. */
  #closeSoon(): void {
    this.#cancelClose?.();
    this.#cancelClose = this.parts.clock.after(LAST_CALL, () => this.#close());
  }

  #close(): void {
    if (this.#closed) return;
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
