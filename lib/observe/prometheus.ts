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

const gauge = metricOf("gauge");
const counter = metricOf("counter");
const histogram = metricOf("histogram");

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
  const { durations } = numbers;
  return [
    gauge("parley_build_info", "Versions of Parley and its runtime", [
      [labels({ version: VERSION, runtime: Deno.version.deno }), 1],
    ]),
    gauge(
      "parley_ready",
      "1 while connections are accepted and no shutdown has begun",
      server.ready ? 1 : 0,
    ),
    gauge(
      "parley_connections_active",
      "Connections that are open",
      numbers.active,
    ),
    gauge(
      "parley_connections_limit",
      "Most connections open at once, 0 for no limit",
      server.limits.connections,
    ),
    gauge(
      "parley_connections_opening",
      "Connections whose header, TLS or place is awaited",
      numbers.opening,
    ),
    gauge(
      "parley_memory_held_bytes",
      "Memory with bytes not handled and replies not taken",
      numbers.held,
    ),
    gauge(
      "parley_memory_limit_bytes",
      "Most memory held, 0 for no limit",
      server.limits.memory,
    ),
    counter(
      "parley_connections_accepted_total",
      "Connections that were given a place",
      numbers.accepted,
    ),
    counter(
      "parley_connections_closed_total",
      "Connections that ended, by reason",
      byName("reason", numbers.closed),
    ),
    counter(
      "parley_connections_rejected_total",
      "Connections that were turned away, by reason",
      byName("reason", numbers.rejected),
    ),
    counter(
      "parley_requests_total",
      "Requests that are done with, by how they went",
      byName("status", numbers.requests),
    ),
    gauge(
      "parley_requests_in_flight",
      "Requests whose replies are not out",
      numbers.inFlight,
    ),
    histogram(
      "parley_request_duration_seconds",
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
    counter(
      "parley_received_bytes_total",
      "Bytes received from clients",
      numbers.received,
    ),
    counter(
      "parley_sent_bytes_total",
      "Bytes that the kernel has taken for clients",
      numbers.sent,
    ),
    gauge(
      "parley_threads",
      "Threads that serve",
      server.threads,
    ),
    counter(
      "parley_threads_lost_total",
      "Threads that died",
      server.threadsLost,
    ),
    gauge(
      "process_start_time_seconds",
      "When the server started, in seconds since 1970",
      server.startedAt / 1000,
    ),
    gauge(
      "process_resident_memory_bytes",
      "Memory of the process that is in RAM",
      Deno.memoryUsage().rss,
    ),
  ].join("");
}

/** What writes a metric of that type; most have one sample without a label. */
function metricOf(type: "counter" | "gauge" | "histogram") {
  return (name: string, help: string, of: number | readonly Sample[]) => {
    const samples = typeof of === "number" ? [["", of]] : of;
    return `# HELP ${name} ${help}.\n# TYPE ${name} ${type}\n` +
      samples.map(([suffix, value]) => `${name}${suffix} ${value}\n`).join("");
  };
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
