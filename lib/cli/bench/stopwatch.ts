/**
 * Time that passes only while something goes on.
 *
 * @module
 */

import type { Clock } from "../../core/clock.ts";

/** See the module's text; it runs from the start. */
export class Stopwatch {
  readonly #clock: Clock;
  /** When it would have started without its pauses. */
  #started: number;
  #pausedAt: number | undefined;

  /** @param clock The source of time. */
  constructor(clock: Clock) {
    this.#clock = clock;
    this.#started = clock.now();
  }

  /** For how long it has run, in milliseconds. */
  get elapsed(): number {
    return (this.#pausedAt ?? this.#clock.now()) - this.#started;
  }

  /** Lets it stand still. */
  pause(): void {
    this.#pausedAt ??= this.#clock.now();
  }

  /** Lets it run on, if it stands still. */
  resume(): void {
    if (this.#pausedAt === undefined) return;
    this.#started += this.#clock.now() - this.#pausedAt;
    this.#pausedAt = undefined;
  }
}
