/** A server's numbers as the live page and scripts read them. */

import { formatAddr } from "../core/address.ts";
import { VERSION } from "../core/version.ts";
import { type AdminSource, processNumbers } from "../observe/numbers.ts";
import type { ConnectionInfo } from "../server/parley_server.ts";

/** What `/stats.json` says. */
export type Stats = ReturnType<typeof statsOf>;

/**
 * Totals are since the start, times of day in milliseconds since 1970, and
 * durations in milliseconds. `port` is what the admin port knows.
 */
export function statsOf(
  source: AdminSource,
  port: { readonly handler: string; readonly actions: boolean },
) {
  const { startedAt, framing, threads, threadsLost, descriptors } = source;
  const { ready, draining, drain, limits, tls } = source;
  const { perThread, requests, inFlight, ...metrics } = source.metrics();
  const { active, opening, beforeRequest, accepted } = metrics;
  const { closed, rejected, acceptFailures } = metrics;
  const { durations, queueing, loopDelays, received, sent, held } = metrics;
  return {
    ...{ version: VERSION, runtime: Deno.version.deno, now: Date.now() },
    ...{ startedAt, uptimeSeconds: source.uptime / 1000 },
    ...{ address: formatAddr(source.addr), framing, ...port },
    ...{ threads, threadsLost, perThread, descriptors },
    ...{ ready, draining, drain, limits, tls },
    connections: {
      ...{ active, opening, beforeRequest, accepted, closed, rejected },
      acceptFailures,
    },
    requests: { ...requests, inFlight },
    ...{ durations, queueing, loopDelays },
    bytes: { received, sent },
    memory: { heldBytes: held, limitBytes: limits.memory },
    process: processNumbers(),
    logLinesLost: source.logLinesLost?.(),
  };
}

/** What `/connections.json` says: a row has the columns' order. */
export function connectionTable(connections: readonly ConnectionInfo[]) {
  return {
    columns: [
      ...["id", "peer", "age", "state"],
      ...["requests", "received", "sent", "idle", "network"],
    ],
    rows: connections.map((one) => [
      ...[one.id, formatAddr(one.remoteAddr), tenths(one.age), one.state],
      ...[one.requests, one.received, one.sent, tenths(one.idle), one.network],
    ]),
  };
}

/** Milliseconds to a tenth: more digits would make ten thousand rows long. */
function tenths(ms: number): number {
  return Math.round(ms * 10) / 10;
}
