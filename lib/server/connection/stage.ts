/**
 * What a connection is doing, and until when it may. Phase and deadline change
 * together and only here, so that no deadline outlives its phase.
 * `docs/operations.md`, "Words", has what each waits for.
 */

import type { Deadlines, Expirable } from "../../core/deadlines.ts";
import type { ConnectionState } from "../parley_server.ts";
import type { ServeConfig } from "../config.ts";

export type Phase = Exclude<ConnectionState, "idle">;

/**
 * How long a phase may take whatever the options say, in milliseconds.
 *
 * - `greeting`: the PROXY protocol's specification asks for 3 s at least, which
 * is one lost segment sent again.
 * - `handshaking`: TLS takes one or two round trips.
 * - `admitting`: the main thread answers within milliseconds unless it hangs.
 * - `paused`: a peer that has room for a frame's rest needs no longer to send it.
 * - `lingering`: closing at once would reset a peer that still sends, and the
 * reset could overtake our last reply.
 */
export const PHASE_LIMITS = {
  greeting: 5000,
  handshaking: 10_000,
  admitting: 5000,
  paused: 5000,
  lingering: 2000,
} as const;

export class Stage implements Expirable {
  #phase: Phase = "admitting";
  /** When the phase began, or made progress; infinite where nothing limits it. */
  #since = Infinity;
  /** When the wait for a whole request began; other phases leave it alone. */
  #idleSince = Infinity;
  /** When the write of frames that answer no request began, or made progress. */
  #pushingSince = Infinity;

  constructor(
    private readonly deadlines: Deadlines,
    private readonly config: ServeConfig,
    private readonly expired: { expire(phase: Phase): void },
  ) {
    deadlines.add(this);
  }

  get phase(): Phase {
    return this.#phase;
  }

  /** See {@linkcode Expirable}; worked out when it is asked for, which is rare. */
  get deadline(): number {
    return Math.min(this.#phaseEnds, this.#pushEnds);
  }

  get #pushEnds(): number {
    return after(this.#pushingSince, this.config.writeTimeout);
  }

  get #phaseEnds(): number {
    const { idleTimeout, requestTimeout, writeTimeout } = this.config;
    const idle = after(this.#idleSince, idleTimeout);
    switch (this.#phase) {
      case "reading":
        return idle;
      case "handling":
        return after(this.#since, requestTimeout);
      case "writing":
        return after(this.#since, writeTimeout);
      case "paused":
        return Math.min(idle, this.#since + PHASE_LIMITS.paused);
      default:
        return this.#since + PHASE_LIMITS[this.#phase];
    }
  }

  /** Begins a phase, whose time starts now. */
  enter(phase: Exclude<Phase, "reading">): void {
    this.#phase = phase;
    this.#since = this.deadlines.now;
  }

  /** Waits for requests; `anew` where the last wait has brought a whole one. */
  read(anew: boolean): void {
    if (anew) this.#idleSince = this.deadlines.now;
    // Bytes that make no whole request do not end a pause either.
    else if (this.#phase === "paused") return;
    this.#phase = "reading";
  }

  pause(): void {
    if (this.#phase === "reading") this.enter("paused");
  }

  unpause(): void {
    if (this.#phase === "paused") this.#phase = "reading";
  }

  /** Frames that answer no request are given to the kernel meanwhile. */
  push(): void {
    this.#pushingSince = this.deadlines.now;
  }

  /** It has taken them: that counts as a sign of life, as a request does. */
  pushed(): void {
    this.#pushingSince = Infinity;
    this.#idleSince = this.deadlines.now;
  }

  /** The peer takes something, however slowly: the write timeout starts again. */
  progress(): void {
    const { now } = this.deadlines;
    if (this.#phase === "writing") this.#since = now;
    if (this.#pushingSince < now) this.#pushingSince = now;
  }

  leave(): void {
    this.deadlines.delete(this);
  }

  expire(): void {
    const phase = this.#pushEnds < this.#phaseEnds ? "writing" : this.#phase;
    this.#since = this.#idleSince = this.#pushingSince = Infinity;
    this.expired.expire(phase);
  }
}

/** A deadline; a timeout of 0 means never. */
function after(since: number, timeout: number): number {
  return timeout > 0 ? since + timeout : Infinity;
}
