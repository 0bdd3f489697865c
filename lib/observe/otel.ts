/**
 * A server's numbers by OpenTelemetry, whose exporter is in Deno: it runs with
 * `OTEL_DENO=true`, and asks for the numbers whenever it is to send them. What
 * counts them does not know of it.
 */

import type { Meter, Observable } from "@opentelemetry/api";

import { VERSION } from "../core/version.ts";
import { type AdminSource, readNumbers } from "./numbers.ts";

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
  const all = new Map<string, Observable>();
  for (const name of Object.keys(readNumbers(source))) {
    // The resource says these, or the last bucket.
    if (/^process_|_info$|_count$/.test(name)) continue;
    const options = { unit: unitOf(name) };
    const instrument = /_(total|bucket|sum)$/.test(name)
      ? meter.createObservableCounter(nameOf(name), options)
      : meter.createObservableGauge(nameOf(name), options);
    all.set(name, instrument);
  }
  meter.addBatchObservableCallback((result) => {
    const numbers = readNumbers(source);
    for (const [name, instrument] of all) {
      for (const [value, labels] of numbers[name]) {
        result.observe(instrument, value, labels);
      }
    }
  }, [...all.values()]);
}

/** The name with dots, and without what else says what it is. */
function nameOf(name: string): string {
  return name.replace(/_total$/, "").replace(/_bytes$|_seconds/, "")
    .replaceAll("_", ".").replace("in.flight", "in_flight");
}

/** The unit, as UCUM writes it: `By`, `s`, or what is counted, in braces. */
function unitOf(name: string): string {
  const [, counted] = /^parley_(connection|request|thread)/.exec(name) ?? [];
  if (name.includes("_bytes")) return "By";
  if (/_(sum|seconds)$/.test(name)) return "s";
  return counted === undefined ? "" : `{${counted}}`;
}
