/**
 * A server's numbers by OpenTelemetry. Deno's exporter runs with
 * `OTEL_DENO=true`, and asks for them whenever it is to send them.
 */

import type { Meter, Observable } from "@opentelemetry/api";

import { VERSION } from "../core/version.ts";
import { type AdminSource, readNumbers } from "./numbers.ts";

/**
 * Where an implementation of OpenTelemetry's API, version 1, makes itself known
 * (`makeGlobal` in `@opentelemetry/api`): Deno does so only where it exports.
 */
const REGISTRY = Symbol.for("opentelemetry.js.api.1");

/** Returns what exports a server's numbers; undefined if the export is off. */
export async function loadTelemetry(): Promise<
  ((source: AdminSource) => void) | undefined
> {
  if (!(REGISTRY in globalThis)) return undefined;
  const { metrics } = await import("@opentelemetry/api");
  return (source) => observe(metrics.getMeter("parley", VERSION), source);
}

/**
 * Makes an instrument for each number. The API has no histogram that can be read
 * on demand, so the buckets of one are a counter with the label `le`.
 */
function observe(meter: Meter, source: AdminSource): void {
  const all = new Map<string, Observable>();
  for (const name of Object.keys(readNumbers(source))) {
    // The resource has the first two, and the last bucket has the count.
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

/** The name with dots, without its type and unit. */
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
