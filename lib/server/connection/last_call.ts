/**
 * The end of an idle connection while the server drains. The kernel may hold a
 * request already, so it is closed only after a moment without one.
 */

import type { Clock } from "../../core/clock.ts";
import type { Connection } from "../../net/connection.ts";

/** How long a request that the kernel may hold is waited for, in milliseconds. */
const WAIT = 10;

/** How long bytes that keep coming are waited for at the most, in milliseconds. */
const LIMIT = 250;

/** A timer that never fires in the turn of the event loop that set it, in ms. */
const NEXT_TURN = 2;

export class LastCall {
  readonly #until: number;
  #cancel: (() => void) | undefined;

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
    // A read that has not begun yet tells nothing. Where reads do not tell that
    // the kernel is empty, as with TLS, what has come may not be all.
    const more = received > before && this.clock.now() < this.#until;
    this.ended(reading !== undefined && !more);
  }
}
