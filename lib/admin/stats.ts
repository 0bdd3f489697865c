/**
 * A server's numbers as the live page and scripts read them: JSON, with totals
 * since the start. Rates are the difference of two answers.
 *
 * @module
 */

import { formatAddr } from "../core/address.ts";
import { VERSION } from "../core/version.ts";
import type { Metrics } from "../events/metrics.ts";
import type { AdminSource } from "../observe/source.ts";
import type { ConnectionInfo } from "../server/connection_info.ts";

/** What `/stats.json` says. Times of day are milliseconds since 1970. */
export interface Stats {
  readonly version: string;
  readonly now: number;
  readonly startedAt: number;
  readonly uptimeSeconds: number;
  readonly address: string;
  readonly framing: string;
  readonly handler: string;
  readonly threads: number;
  readonly threadsLost: number;
  readonly ready: boolean;
  readonly draining: boolean;
  /** Whether the port takes actions, from who has the token. */
  readonly actions: boolean;
  readonly limits: AdminSource["limits"];
  readonly connections: Pick<
    Metrics,
    "active" | "opening" | "accepted" | "closed" | "rejected"
  >;
  readonly requests: Metrics["requests"] & Pick<Metrics, "inFlight">;
  /** In milliseconds. */
  readonly durations: Metrics["durations"];
  readonly bytes: Pick<Metrics, "received" | "sent">;
  /** In bytes. */
  readonly memory: Pick<Metrics, "held">;
}

/** What `/connections.json` says: a row has the columns' order. */
export interface ConnectionTable {
  readonly columns: readonly string[];
  readonly rows: readonly (number | string)[][];
}

export function statsOf(
  source: AdminSource,
  { handler, actions }: Pick<Stats, "handler" | "actions">,
): Stats {
  const { active, opening, accepted, closed, rejected, ...metrics } = source
    .metrics();
  return {
    version: VERSION,
    now: Date.now(),
    startedAt: source.startedAt,
    uptimeSeconds: source.uptime / 1000,
    address: formatAddr(source.addr),
    framing: source.framing,
    handler,
    threads: source.threads,
    threadsLost: source.threadsLost,
    ready: source.ready,
    draining: source.draining,
    actions,
    limits: source.limits,
    connections: { active, opening, accepted, closed, rejected },
    requests: { ...metrics.requests, inFlight: metrics.inFlight },
    durations: metrics.durations,
    bytes: { received: metrics.received, sent: metrics.sent },
    memory: { held: metrics.held },
  };
}

export function connectionTable(
  connections: readonly ConnectionInfo[],
): ConnectionTable {
  return {
    columns: [
      ...["id", "peer", "age", "state"],
      ...["requests", "received", "sent", "idle"],
    ],
    rows: connections.map((one) => [
      one.id,
      formatAddr(one.remoteAddr),
      tenths(one.age),
      one.state,
      one.requests,
      one.received,
      one.sent,
      tenths(one.idle),
    ]),
  };
}

/** Milliseconds to a tenth: no reader sees more, and ten thousand rows add up. */
function tenths(ms: number): number {
  return Math.round(ms * 10) / 10;
}
