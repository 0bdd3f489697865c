/**
 * Counts the requests of one connection. Each that is handed to the handler is
 * finished once: with its batch, by itself, or as abandoned.
 */

import { emit, type RequestStatus } from "../../events/events.ts";
import type { Counters } from "../../events/metrics.ts";
import type { SessionParts } from "./context.ts";

type Status = Exclude<RequestStatus, "abandoned">;

export class Meter {
  /** Requests handed to the handler. */
  requests = 0;
  /** When the request being handled was read. */
  began: number;
  /** Requests answered at once since then whose batch is not out. */
  #answered = 0;
  /** Error replies among them. */
  #failed = 0;
  /** A handler is at work that did not reply at once. */
  #pending = false;
  /**
   * How long those answered were, if anybody listens; of one with an error reply
   * it is `~length`, which is below 0.
   */
  readonly #lengths: number[] | undefined;
  readonly #counters: Counters;

  constructor(private readonly parts: SessionParts) {
    const { config, counters, events, clock } = parts.context;
    this.#counters = counters;
    this.began = clock.now();
    const { request, slow_request } = events;
    if (request ?? (config.slowRequest && slow_request)) this.#lengths = [];
  }

  handed(): void {
    if (this.requests++ === 0) this.#counters.asked(1);
    this.#counters.requested();
  }

  /** A frame is given to a task: what the task does with it is not timed. */
  read(length: number): void {
    this.handed();
    this.#counters.finished("ok", 1);
    this.#report("ok", 0, length);
  }

  /** It was answered at once; {@linkcode batch} finishes it. */
  answered(length: number, failed: boolean): void {
    this.#answered++;
    if (failed) this.#failed++;
    this.#lengths?.push(failed ? ~length : length);
  }

  /** One is over the rate of its address, and not handed to the handler. */
  busy(length: number): void {
    this.#counters.finished("busy", 1);
    this.#report("busy", 0, length);
  }

  /** It was not answered at once; {@linkcode late} finishes it. */
  waiting(): void {
    this.#pending = true;
  }

  /** Whether requests wait for {@linkcode batch}. */
  get open(): boolean {
    return this.#answered > 0;
  }

  /** Finishes those that were answered at once, as their batch goes out. */
  batch(now: number): void {
    const count = this.#answered;
    if (count === 0) return;
    const duration = now - this.began;
    this.#counters.finished("ok", count - this.#failed);
    this.#counters.finished("error_reply", this.#failed);
    this.#answered = this.#failed = 0;
    this.#counters.took(duration, count);
    if (this.#lengths === undefined) return;
    this.#tellSlow(duration, this.#lengths);
    // A listener may end the connection, which finishes what is left.
    for (const length of this.#lengths.splice(0)) {
      if (length < 0) this.#report("error_reply", duration, ~length);
      else this.#report("ok", duration, length);
    }
  }

  /** Finishes one that was waited for. */
  late(status: Status, length: number, now: number): void {
    if (!this.#pending) return;
    this.#pending = false;
    const duration = now - this.began;
    this.began = now;
    this.#counters.finished(status, 1);
    this.#counters.took(duration, 1);
    this.#tellSlow(duration, [length]);
    this.#report(status, duration, length);
  }

  /** Finishes what is left. */
  end(now: number): void {
    this.batch(now);
    if (this.#pending) this.#counters.finished("abandoned", 1);
    this.#pending = false;
  }

  #tellSlow(duration: number, lengths: readonly number[]): void {
    const { id, connection, context: { config, events } } = this.parts;
    const { slowRequest } = config;
    if (slowRequest === 0 || duration < slowRequest) return;
    emit(events.slow_request, {
      ...{ type: "slow_request", id, duration, requests: lengths.length },
      remoteAddr: connection.remoteAddr,
      requestBytes: lengths.reduce((sum, n) => sum + (n < 0 ? ~n : n), 0),
    });
  }

  #report(status: Status, duration: number, requestBytes: number): void {
    const { id, context: { events: { request } } } = this.parts;
    if (request === undefined) return;
    emit(request, { type: "request", id, status, duration, requestBytes });
  }
}
