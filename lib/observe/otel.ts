/**
 * A server's numbers by OpenTelemetry, whose exporter is in Deno: it runs with
 * `OTEL_DENO=true`, and asks for the numbers whenever it is to send them. What
 * counts them does not know of it.
 *
 * @module
 */

import type { Meter, Observable } from "@opentelemetry/api";

import { VERSION } from "../core/version.ts";
import { cumulativeBuckets } from "./buckets.ts";
import type { AdminSource } from "./source.ts";

/**
 * Where an implementation of OpenTelemetry's API, version 1, makes itself known
 * (`makeGlobal` in `@opentelemetry/api`). Deno does so before the program
 * starts, and only where it exports; no permission is needed to look.
 */
const REGISTRY = Symbol.for("opentelemetry.js.api.1");

/**
 * Loads OpenTelemetry's API if this process exports its telemetry.
 *
 * @returns What has a server's numbers exported from then on; nothing where
 * telemetry is off, and then nothing is loaded either.
 */
export async function loadTelemetry(): Promise<
  ((source: AdminSource) => void) | undefined
> {
  if (!(REGISTRY in globalThis)) return undefined;
  const { metrics } = await import("@opentelemetry/api");
  return (source) => observe(metrics.getMeter("parley", VERSION), source);
}

/**
 * Makes an instrument for each number. A collector that writes for Prometheus
 * turns these names into those of the admin port, the durations left out: the
 * API has no histogram that is read instead of being recorded into, so its
 * buckets are a counter with the attribute `le`.
 */
function observe(meter: Meter, source: AdminSource): void {
  const counter = (name: string, unit: string) =>
    meter.createObservableCounter(`parley.${name}`, { unit });
  const gauge = (name: string, unit: string) =>
    meter.createObservableGauge(`parley.${name}`, { unit });
  const all = {
    ready: gauge("ready", ""),
    active: gauge("connections.active", "{connection}"),
    limit: gauge("connections.limit", "{connection}"),
    opening: gauge("connections.opening", "{connection}"),
    held: gauge("memory.held", "By"),
    memory: gauge("memory.limit", "By"),
    accepted: counter("connections.accepted", "{connection}"),
    closed: counter("connections.closed", "{connection}"),
    rejected: counter("connections.rejected", "{connection}"),
    requests: counter("requests", "{request}"),
    inFlight: gauge("requests.in_flight", "{request}"),
    durations: counter("request.duration.bucket", "{request}"),
    durationSum: counter("request.duration.sum", "s"),
    received: counter("received", "By"),
    sent: counter("sent", "By"),
    threads: gauge("threads", "{thread}"),
    threadsLost: counter("threads.lost", "{thread}"),
  };
  meter.addBatchObservableCallback((result) => {
    const numbers = source.metrics();
    const byName = (
      instrument: Observable,
      attribute: string,
      values: Readonly<Record<string, number>>,
    ) => {
      for (const [name, value] of Object.entries(values)) {
        result.observe(instrument, value, { [attribute]: name });
      }
    };
    result.observe(all.ready, source.ready ? 1 : 0);
    result.observe(all.active, numbers.active);
    result.observe(all.limit, source.limits.connections);
    result.observe(all.opening, numbers.opening);
    result.observe(all.held, numbers.held);
    result.observe(all.memory, source.limits.memory);
    result.observe(all.accepted, numbers.accepted);
    byName(all.closed, "reason", numbers.closed);
    byName(all.rejected, "reason", numbers.rejected);
    byName(all.requests, "status", numbers.requests);
    result.observe(all.inFlight, numbers.inFlight);
    for (const { le, count } of cumulativeBuckets(numbers.durations)) {
      result.observe(all.durations, count, { le });
    }
    result.observe(all.durationSum, numbers.durations.sum / 1000);
    result.observe(all.received, numbers.received);
    result.observe(all.sent, numbers.sent);
    result.observe(all.threads, source.threads);
    result.observe(all.threadsLost, source.threadsLost);
  }, Object.values(all));
}
