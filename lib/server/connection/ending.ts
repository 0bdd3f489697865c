/**
 * How a connection ends: the reason, named once, and the last moment of an idle
 * connection while the server drains.
 */

import type { Clock } from "../../core/clock.ts";
import { ParleyError } from "../../core/errors.ts";
import { type Connection, isGone } from "../../net/connection.ts";
import type { CloseReason, RejectReason } from "../../events/events.ts";

/** Why a connection gets no place. */
export interface Refusal {
  readonly reason: RejectReason;
  /** For the peer, starting with `ERR `; nothing where it would not read it. */
  readonly text?: string;
  /** The error behind the reason. */
  readonly error?: unknown;
}

/** More waits for a peer than `maxBuffered`. */
export class SlowConsumerError extends ParleyError {}

export class Ending {
  /** How the connection ends; `undefined` while it goes on. */
  reason: CloseReason | undefined;
  /** The error behind the reason. */
  error: unknown;

  /** Names the end; a name given earlier stands. */
  name(reason: CloseReason, error?: unknown): void {
    if (this.reason !== undefined) return;
    this.reason = reason;
    this.error = error;
  }

  /** Names the end after what a read or write has thrown. */
  lost(error: unknown): void {
    if (error instanceof SlowConsumerError) this.name("slow_consumer", error);
    else this.name(isGone(error) ? "peer_reset" : "error", error);
  }
}

/** How long a request that the kernel may hold is waited for, in milliseconds. */
const WAIT = 10;

/** How long bytes that keep coming are waited for at the most, in milliseconds. */
const LIMIT = 250;

/** So late, in milliseconds, a timer fires in a later turn of the event loop. */
const NEXT_TURN = 2;

/**
 * The last moment of an idle connection while the server drains: the kernel may
 * hold a request already, so the connection is closed only after a wait without
 * one.
 */
export class LastCall {
  readonly #until: number;
  #cancel: (() => void) | undefined;

  /** @param ended Called after each wait, with whether nothing came in it. */
  constructor(
    private readonly clock: Clock,
    private readonly connection: Connection,
    private readonly ended: (silent: boolean) => void,
  ) {
    this.#until = clock.now() + LIMIT;
  }

  /** Starts a wait, unless one is under way. */
  begin(): void {
    // An event loop that was held up runs its timers before it looks at its
    // sockets; the second timer comes after such a look.
    const { received } = this.connection;
    this.#cancel ??= this.clock.after(WAIT, () => {
      this.#cancel = this.clock.after(NEXT_TURN, () => this.#end(received));
    });
  }

  cancel(): void {
    this.#cancel?.();
  }

  #end(before: number): void {
    this.#cancel = undefined;
    const { received, reading } = this.connection;
    // Without a pending read, silence proves nothing. With TLS a read does not
    // show that the kernel is empty, so after bytes there may be more.
    const more = received > before && this.clock.now() < this.#until;
    this.ended(reading !== undefined && !more);
  }
}
