/**
 * A server's numbers as the live page and scripts read them: JSON, with totals
 * since the start. Rates are the difference of two answers.
 */

import { formatAddr } from "../core/address.ts";
import { VERSION } from "../core/version.ts";
import type { AdminSource } from "../observe/numbers.ts";
import type { ConnectionInfo } from "../server/connection_info.ts";

/** What `/stats.json` says. */
export type Stats = ReturnType<typeof statsOf>;

/** What `/connections.json` says: a row has the columns' order. */
export type ConnectionTable = ReturnType<typeof connectionTable>;

/**
 * Reads what `/stats.json` says. Times of day are milliseconds since 1970,
 * durations milliseconds, and memory is in bytes.
 *
 * @param port What the port knows: its name for the handler, and whether it
 * takes actions, from who has the token.
 */
export function statsOf(
  source: AdminSource,
  port: { readonly handler: string; readonly actions: boolean },
) {
  const { active, opening, accepted, closed, rejected, ...metrics } = source
    .metrics();
  const { requests, inFlight, durations, received, sent, held } = metrics;
  return {
    version: VERSION,
    now: Date.now(),
    startedAt: source.startedAt,
    uptimeSeconds: source.uptime / 1000,
    address: formatAddr(source.addr),
    framing: source.framing,
    ...port,
    threads: source.threads,
    threadsLost: source.threadsLost,
    ready: source.ready,
    draining: source.draining,
    limits: source.limits,
    tls: source.tls,
    connections: { active, opening, accepted, closed, rejected },
    requests: { ...requests, inFlight },
    durations,
    bytes: { received, sent },
    memory: { held },
  };
}

/** Makes of the open connections what `/connections.json` says. */
export function connectionTable(connections: readonly ConnectionInfo[]) {
  return {
    columns: [
      ...["id", "peer", "age", "state"],
      ...["requests", "received", "sent", "idle", "network"],
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
      one.network,
    ]),
  };
}

/** Milliseconds to a tenth: no reader sees more, and ten thousand rows add up. */
function tenths(ms: number): number {
  return Math.round(ms * 10) / 10;
}
