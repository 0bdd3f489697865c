/**
 * A server's numbers under their names for Prometheus: `_total` is a counter,
 * `_bucket` a part of a histogram, and `_bytes` and `_seconds` are units.
 */

import { VERSION } from "../core/version.ts";
import type { Histogram } from "../events/metrics.ts";
import type { ParleyServer } from "../server/parley_server.ts";

/** A running server, as far as its operator is concerned. */
export type AdminSource =
  & Partial<Pick<ParleyServer, "tls">>
  & Pick<
    ParleyServer,
    | "addr"
    | "connectionList"
    | "disconnect"
    | "draining"
    | "finished"
    | "framing"
    | "limits"
    | "metrics"
    | "ready"
    | "shutdown"
    | "startedAt"
    | "uptime"
    | "threads"
    | "threadsLost"
  >;

/** A value, and what tells it from others of the same name. */
export type Sample = readonly [
  value: number,
  labels?: Readonly<Record<string, string>>,
];

export const meanings: Readonly<Record<string, string>> = {
  parley_build_info: "Versions of Parley and its runtime",
  parley_ready: "1 while connections are accepted and no shutdown has begun",
  parley_connections_active: "Connections that are open",
  parley_connections_limit: "Most connections open at once, 0 for no limit",
  parley_connections_opening:
    "Connections whose header, TLS or place is awaited",
  parley_memory_held_bytes:
    "Memory with bytes not handled and replies not taken",
  parley_memory_limit_bytes: "Most memory held, 0 for no limit",
  parley_connections_accepted_total: "Connections that were given a place",
  parley_connections_closed_total: "Connections that ended, by reason",
  parley_connections_rejected_total:
    "Connections that were turned away, by reason",
  parley_requests_total: "Requests that are done with, by how they went",
  parley_requests_in_flight: "Requests whose replies are not out",
  parley_request_duration_seconds:
    "From a request's turn until its batch of replies goes out",
  parley_received_bytes_total: "Bytes received from clients",
  parley_sent_bytes_total: "Bytes that the kernel has taken for clients",
  parley_threads: "Threads that serve",
  parley_threads_lost_total: "Threads that died",
  parley_tls_certificate_not_after_timestamp_seconds:
    "Until when the certificate is valid, in seconds since 1970",
  parley_tls_reloads_failed_total: "Certificates that were not reloaded",
  process_start_time_seconds: "When the server started, in seconds since 1970",
  process_resident_memory_bytes: "Memory of the process that is in RAM",
};

export function readNumbers(
  server: AdminSource,
): Record<string, readonly Sample[]> {
  const { tls } = server;
  const metrics = server.metrics();
  const { durations } = metrics;
  return {
    parley_build_info: [[1, { version: VERSION, runtime: Deno.version.deno }]],
    parley_ready: [[server.ready ? 1 : 0]],
    parley_connections_active: [[metrics.active]],
    parley_connections_limit: [[server.limits.connections]],
    parley_connections_opening: [[metrics.opening]],
    parley_memory_held_bytes: [[metrics.held]],
    parley_memory_limit_bytes: [[server.limits.memory]],
    parley_connections_accepted_total: [[metrics.accepted]],
    parley_connections_closed_total: labelled("reason", metrics.closed),
    parley_connections_rejected_total: labelled("reason", metrics.rejected),
    parley_requests_total: labelled("status", metrics.requests),
    parley_requests_in_flight: [[metrics.inFlight]],
    parley_request_duration_seconds_bucket: cumulativeBuckets(durations)
      .map(({ le, count }) => [count, { le }]),
    parley_request_duration_seconds_sum: [[durations.sum / 1000]],
    parley_request_duration_seconds_count: [[durations.count]],
    parley_received_bytes_total: [[metrics.received]],
    parley_sent_bytes_total: [[metrics.sent]],
    parley_threads: [[server.threads]],
    parley_threads_lost_total: [[server.threadsLost]],
    ...tls && {
      parley_tls_certificate_not_after_timestamp_seconds: [
        [tls.notAfter / 1000],
      ],
      parley_tls_reloads_failed_total: [[tls.failedReloads]],
    },
    process_start_time_seconds: [[server.startedAt / 1000]],
    process_resident_memory_bytes: [[Deno.memoryUsage().rss]],
  };
}

function labelled(label: string, values: Record<string, number>): Sample[] {
  return Object.entries(values).map(([name, n]) => [n, { [label]: name }]);
}

/**
 * The upper bounds of the buckets for monitoring, in milliseconds. Each is a
 * bound of the fine histogram too, so nothing is estimated.
 */
export const coarseBounds: readonly number[] = [-2, -1, 0, 1, 2, 3]
  .flatMap((decade) =>
    [1, 2.5, 5].map((step) => Number((step * 10 ** decade).toPrecision(6)))
  ).concat(10_000);

/** How many values do not exceed each coarse bound `le`, in seconds. */
export function cumulativeBuckets({ bounds, counts, count }: Histogram) {
  const buckets = [];
  let sum = 0;
  for (const [i, ms] of bounds.entries()) {
    sum += counts[i];
    if (coarseBounds.includes(ms)) {
      // In seconds, without the dust of a binary division.
      buckets.push({ le: `${Number((ms / 1000).toPrecision(6))}`, count: sum });
    }
  }
  return [...buckets, { le: "+Inf", count }];
}
