/**
 * How a connection ends: the reason, named once, and the farewell, which sees
 * that the peer gets what was sent to it.
 */

import { ParleyError } from "../../core/errors.ts";
import { type Connection, isGone } from "../../net/connection.ts";
import type { CloseReason, RejectReason } from "../../events/events.ts";
import type { Scheduler } from "../scheduler.ts";
import type { Stage } from "./stage.ts";

/** Why a connection gets no place. */
export interface Refusal {
  readonly reason: RejectReason;
  /** For the peer, starting with `ERR `; nothing where it would not read it. */
  readonly text?: string;
  /** The error behind the reason. */
  readonly error?: unknown;
}

/** More waits for a peer than `maxBuffered`. */
export class SlowConsumerError extends ParleyError {
  constructor(maxBuffered: number) {
    super(`More than ${maxBuffered} bytes wait for the peer`);
  }
}

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
    const slow = error instanceof SlowConsumerError;
    const reason = isGone(error) ? "peer_reset" : "error";
    this.name(slow ? "slow_consumer" : reason, error);
  }
}

/**
 * Closes our side and waits for the peer to close its own, dropping what it
 * still sends. It may take as long as the phase `lingering` lasts.
 */
export async function farewell(
  connection: Connection,
  stage: Stage,
  scheduler: Scheduler,
): Promise<void> {
  // TLS wants our end said even where the peer has ended; TCP says it by itself.
  if (connection.eof && connection.tls === undefined) return;
  stage.enter("lingering");
  await connection.closeWrite();
  await connection.discard(scheduler);
}
