/**
 * A server's numbers in Prometheus' text format, version 0.0.4
 * (https://prometheus.io/docs/instrumenting/exposition_formats/).
 *
 * @module
 */

import { VERSION } from "../core/version.ts";
import { cumulativeBuckets } from "./buckets.ts";
import type { AdminSource } from "./source.ts";

/** The `content-type` of {@linkcode prometheusText}. */
export const PROMETHEUS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** A sample: what follows the metric's name, and the value. */
type Sample = readonly [suffix: string, value: number];

/**
 * Writes a server's numbers as Prometheus reads them. Label values are names
 * that Parley itself gives, never an address or a text of a peer's.
 *
 * @param server The server.
 * @returns The text, to be served as
 * `text/plain; version=0.0.4; charset=utf-8`.
 *
 * @example
 * ```ts
 * import { prometheusText, serve } from "../mod.ts";
 *
 * await using server = serve({ hostname: "127.0.0.1", port: 0 }, (text) => text);
 * console.log(prometheusText(server)); // … parley_connections_active 0 …
 * ```
 */
export function prometheusText(server: AdminSource): string {
  const numbers = server.metrics();
  const { requests, durations } = numbers;
  return [
    metric("parley_build_info", "gauge", "Versions of Parley and its runtime", [
      [
        labels({ version: VERSION, runtime: Deno.version.deno }),
        1,
      ],
    ]),
    metric(
      "parley_ready",
      "gauge",
      "1 while connections are accepted and no shutdown has begun",
      value(server.ready ? 1 : 0),
    ),
    metric(
      "parley_connections_active",
      "gauge",
      "Connections that are open",
      value(numbers.active),
    ),
    metric(
      "parley_connections_limit",
      "gauge",
      "Most connections open at once, 0 for no limit",
      value(server.limits.connections),
    ),
    metric(
      "parley_connections_accepted_total",
      "counter",
      "Connections that were given a place",
      value(numbers.accepted),
    ),
    metric(
      "parley_connections_closed_total",
      "counter",
      "Connections that ended, by reason",
      byName("reason", numbers.closed),
    ),
    metric(
      "parley_connections_rejected_total",
      "counter",
      "Connections that were turned away, by reason",
      byName("reason", numbers.rejected),
    ),
    metric(
      "parley_requests_total",
      "counter",
      "Requests that are done with, by how they went",
      byName("status", requests),
    ),
    metric(
      "parley_requests_in_flight",
      "gauge",
      "Requests whose replies are not out",
      value(numbers.inFlight),
    ),
    metric(
      "parley_request_duration_seconds",
      "histogram",
      "From a request's turn until its batch of replies goes out",
      [
        ...cumulativeBuckets(durations).map(({ le, count }): Sample => [
          `_bucket${labels({ le })}`,
          count,
        ]),
        ["_sum", durations.sum / 1000],
        ["_count", durations.count],
      ],
    ),
    metric(
      "parley_received_bytes_total",
      "counter",
      "Bytes received from clients",
      value(numbers.received),
    ),
    metric(
      "parley_sent_bytes_total",
      "counter",
      "Bytes that the kernel has taken for clients",
      value(numbers.sent),
    ),
    metric(
      "parley_threads",
      "gauge",
      "Threads that serve",
      value(server.threads),
    ),
    metric(
      "parley_threads_lost_total",
      "counter",
      "Threads that died",
      value(server.threadsLost),
    ),
    metric(
      "process_start_time_seconds",
      "gauge",
      "When the server started, in seconds since 1970",
      value(server.startedAt / 1000),
    ),
    metric(
      "process_resident_memory_bytes",
      "gauge",
      "Memory of the process that is in RAM",
      value(Deno.memoryUsage().rss),
    ),
  ].join("");
}

function metric(
  name: string,
  type: "counter" | "gauge" | "histogram",
  help: string,
  samples: readonly Sample[],
): string {
  return `# HELP ${name} ${help}.\n# TYPE ${name} ${type}\n` +
    samples.map(([suffix, value]) => `${name}${suffix} ${value}\n`).join("");
}

function value(value: number): Sample[] {
  return [["", value]];
}

function byName(
  label: string,
  values: Readonly<Record<string, number>>,
): Sample[] {
  return Object.entries(values).map(([name, value]) => [
    labels({ [label]: name }),
    value,
  ]);
}

/** No value needs escaping: all of them are names of Parley's own, or numbers. */
function labels(values: Record<string, string>): string {
  const pairs = Object.entries(values).map(([name, v]) => `${name}="${v}"`);
  return `{${pairs.join(",")}}`;
}
