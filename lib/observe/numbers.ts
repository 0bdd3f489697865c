/**
 * A server's numbers under their names for Prometheus: `_total` is a counter,
 * `_bucket` a part of a histogram, and `_bytes` and `_seconds` are units.
 */

import process from "node:process";

import { VERSION } from "../core/version.ts";
import type { Histogram } from "../events/metrics.ts";
import type { ParleyServer } from "../server/parley_server.ts";

/** What the operators of a running server see of it. */
export type AdminSource =
  & Partial<Pick<ParleyServer, "tls" | "drain">>
  & {
    /** How many lines its log has lost, if the program counts them. */
    logLinesLost?(): number;
  }
  & Pick<
    ParleyServer,
    | "addr"
    | "connectionList"
    | "descriptors"
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

/** A value, and the labels that tell it from others of the same name. */
export type Sample = readonly [
  value: number,
  labels?: Readonly<Record<string, string>>,
];

export const meanings: Readonly<Record<string, string>> = {
  parley_build_info: "Versions of Parley and its runtime",
  parley_ready: "1 while connections are accepted and no shutdown has begun",
  parley_connections_active: "Connections that are open",
  parley_connections_limit: "Most connections open at once, 0 for no limit",
  parley_connections_opening: "Those whose header, TLS or place is awaited",
  parley_connections_before_request: "Those that have asked nothing yet",
  parley_accept_failures_total: "How often accepting failed, by the fault",
  parley_descriptors_open: "Descriptors that connections have",
  parley_descriptors_limit: "How many there are; 0 while never out",
  parley_memory_held_bytes: "Bytes not handled, and replies not taken",
  parley_memory_limit_bytes: "Most memory held, 0 for no limit",
  parley_connections_accepted_total: "Connections that were given a place",
  parley_connections_closed_total: "Connections that ended, by reason",
  parley_connections_rejected_total: "Those turned away, by reason",
  parley_requests_total: "Requests that are done with, by how they went",
  parley_requests_in_flight: "Requests whose replies are not out",
  parley_request_duration_seconds: "From a request's turn to its reply's batch",
  parley_request_queue_seconds: "The part of that before its handler",
  parley_event_loop_delay_seconds: "How late timers of the threads are",
  parley_log_lines_lost_total: "Lines that the log could not take",
  parley_received_bytes_total: "Bytes received from clients",
  parley_sent_bytes_total: "Bytes that the kernel has taken for clients",
  parley_threads: "Threads that serve",
  parley_threads_lost_total: "Threads that died",
  parley_tls_certificate_not_after_timestamp_seconds: "When it ends",
  parley_tls_reloads_failed_total: "Certificates that were not reloaded",
  process_start_time_seconds: "When the server started, in seconds since 1970",
  process_resident_memory_bytes: "Memory of the process that is in RAM",
  process_cpu_seconds_total: "Processor time of the process",
  process_open_fds: "Descriptors that the process has open",
  process_max_fds: "Descriptors that the process may have open",
};

/** What the process uses; descriptors where it may read them (`--allow-all`). */
export function processNumbers() {
  const { user, system } = process.cpuUsage();
  return {
    residentBytes: Deno.memoryUsage().rss,
    cpuSeconds: (user + system) / 1e6,
    ...descriptorsOf(),
  };
}

let mayRead = Deno.build.os === "linux";

function descriptorsOf() {
  if (!mayRead) return undefined;
  try {
    const limits = Deno.readTextFileSync("/proc/self/limits");
    const openFds = [...Deno.readDirSync("/proc/self/fd")].length;
    return { openFds, maxFds: Number(/files +(\d+)/.exec(limits)?.[1]) };
  } catch (error) {
    mayRead = !(error instanceof Deno.errors.NotCapable);
  }
}

export function readNumbers(
  server: AdminSource,
): Record<string, readonly Sample[]> {
  const { tls } = server;
  const metrics = server.metrics();
  const { descriptors, limits } = server;
  const { residentBytes, cpuSeconds, openFds, maxFds = 0 } = processNumbers();
  return {
    parley_build_info: [[1, { version: VERSION, runtime: Deno.version.deno }]],
    parley_ready: [[server.ready ? 1 : 0]],
    parley_connections_active: [[metrics.active]],
    parley_connections_limit: [[limits.connections]],
    parley_connections_opening: [[metrics.opening]],
    parley_connections_before_request: by("phase", metrics.beforeRequest),
    parley_accept_failures_total: by("fault", metrics.acceptFailures),
    parley_descriptors_open: [[descriptors.open]],
    parley_descriptors_limit: [[descriptors.limit]],
    parley_memory_held_bytes: [[metrics.held]],
    parley_memory_limit_bytes: [[limits.memory]],
    parley_connections_accepted_total: [[metrics.accepted]],
    parley_connections_closed_total: by("reason", metrics.closed),
    parley_connections_rejected_total: by("reason", metrics.rejected),
    parley_requests_total: by("status", metrics.requests),
    parley_requests_in_flight: [[metrics.inFlight]],
    ...histogram("parley_request_duration_seconds", metrics.durations),
    ...histogram("parley_request_queue_seconds", metrics.queueing),
    ...histogram("parley_event_loop_delay_seconds", metrics.loopDelays),
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
    ...server.logLinesLost && {
      parley_log_lines_lost_total: [[server.logLinesLost()]],
    },
    process_start_time_seconds: [[server.startedAt / 1000]],
    process_resident_memory_bytes: [[residentBytes]],
    process_cpu_seconds_total: [[cpuSeconds]],
    ...openFds !== undefined && {
      process_open_fds: [[openFds]],
      process_max_fds: [[maxFds]],
    },
  };
}

function histogram(
  name: string,
  values: Histogram,
): Record<string, readonly Sample[]> {
  return {
    [`${name}_bucket`]: cumulativeBuckets(values)
      .map(({ le, count }) => [count, { le }]),
    [`${name}_sum`]: [[values.sum / 1000]],
    [`${name}_count`]: [[values.count]],
  };
}

function by(label: string, values: Record<string, number>): Sample[] {
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
      // In seconds, without the inexact digits of a binary division.
      buckets.push({ le: `${Number((ms / 1000).toPrecision(6))}`, count: sum });
    }
  }
  return [...buckets, { le: "+Inf", count }];
}
