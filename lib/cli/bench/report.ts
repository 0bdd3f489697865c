/**
 * What a measurement says: to people, as JSON, and as CSV. All three are made
 * of one summary, so that they say the same.
 */

import { toLine } from "../../core/text.ts";
import { frameOf, framingOf } from "../../framing/mod.ts";
import type { BenchResult, Latencies, Tally } from "./result.ts";

const BAR_WIDTH = 40;

const SHOWN_TEXTS = 10;

/** In milliseconds. */
const latencyKinds: Readonly<Record<string, (of: Latencies) => number>> = {
  min: ({ min }) => min,
  avg: ({ mean }) => mean,
  p50: (latencies) => latencies.percentile(50),
  p90: (latencies) => latencies.percentile(90),
  p95: (latencies) => latencies.percentile(95),
  p99: (latencies) => latencies.percentile(99),
  "p99.9": (latencies) => latencies.percentile(99.9),
  max: ({ max }) => max,
};

export interface BenchSubject {
  target: string;
  framing: string;
  tls: boolean;
  connections: number;
  depth: number;
  /** Requests due each second; null in a closed loop. */
  rate: number | null;
  request_bytes: number;
}

export type BenchSummary = ReturnType<typeof summarize>;

/**
 * A measurement in numbers: the object that `--json` prints. Times are in
 * seconds, sizes in bytes of payload.
 */
export function summarize(subject: BenchSubject, result: BenchResult) {
  const { latencies, done, receivedBytes } = result;
  const seconds = inSeconds(result.elapsed);
  const { request_bytes: length } = subject;
  const codec = framingOf(subject.framing).codec(length);
  const frame = frameOf(codec, new Uint8Array(length));
  // Whole but for a request that was cut: the framing's share is the same there.
  const sentBytes = Math.round(result.takenBytes / frame.length * length);
  return {
    ...subject,
    duration_seconds: seconds,
    sent: result.sent,
    done,
    failed: result.failed,
    unsent: result.unsent,
    requests_per_second: perSecond(done, seconds),
    sent_bytes: sentBytes,
    received_bytes: receivedBytes,
    bytes_per_second: perSecond(sentBytes + receivedBytes, seconds),
    latency_seconds: latencies.count === 0 ? null : Object.fromEntries(
      Object.entries(latencyKinds)
        .map(([name, kind]) => [name, inSeconds(kind(latencies))]),
    ),
    /** How many latencies are above a bound, and not above the next. */
    histogram: latencies.bars().map(({ above, upTo, count }) => ({
      above_seconds: inSeconds(above),
      upto_seconds: inSeconds(upTo),
      count,
    })),
    errors: result.errors.list(),
    err_replies: result.errReplies.total,
    err_reply_texts: result.errReplies.list(),
    connections_lost: result.lost,
    connections_refused: result.refused,
    connections_reopened: result.reopened,
    connections_given_up: result.givenUp,
    connect_errors: result.connectErrors.list(),
    end: result.end,
  };
}

export const toJson: (summary: BenchSummary) => string = toLine;

/**
 * Two lines of CSV, names and values: what the JSON has but for its lists, of
 * which `latency_seconds` has a field for each name within it.
 */
export function toCsv(summary: BenchSummary): string {
  const { latency_seconds: latency, ...others } = summary;
  const fields: [string, unknown][] = Object.entries(others)
    .filter(([, value]) => !Array.isArray(value));
  for (const name of Object.keys(latencyKinds)) {
    fields.push([`latency_seconds_${name}`, latency?.[name]]);
  }
  return [0, 1]
    .map((part) => fields.map((field) => csvField(field[part])).join(","))
    .join("\n");
}

export function toText(summary: BenchSummary): string {
  return [
    totals(summary),
    latencyLines(summary),
    histogramLines(summary),
    textLines("failed requests", summary.errors),
    textLines("ERR replies", summary.err_reply_texts),
    connectionLines(summary),
  ].filter((lines) => lines.length > 0)
    .map((lines) => lines.join("\n"))
    .join("\n\n");
}

export function toProgress(result: BenchResult): string {
  const { elapsed, done, failed, latencies } = result;
  const seconds = inSeconds(elapsed);
  const p99 = latencies.count === 0
    ? ""
    : `, p99 ${inMs(inSeconds(latencies.percentile(99)))} ms`;
  return `${seconds.toFixed(1)} s: ${done} done, ${failed} failed, ` +
    `${perSecond(done, seconds).toFixed(0)} requests/s${p99}`;
}

function totals(summary: BenchSummary): string[] {
  const { target, framing, tls, connections, depth, rate } = summary;
  const { done, failed, unsent, duration_seconds: seconds, end } = summary;
  const lines = [
    `${target}, ${framing} framing${tls ? ", TLS" : ""}: ` +
    `${plural(connections, "connection")}, depth ${depth}, ` +
    (rate === null ? "" : `${rate} requests/s due, `) +
    `requests of ${plural(summary.request_bytes, "byte")}`,
    "",
    `${plural(done, "request")} done in ${seconds.toFixed(3)} s, ` +
    `${failed} failed`,
  ];
  if (unsent > 0) {
    lines.push(`${unsent} more were due, and no connection was free for them`);
  }
  if (end === "interrupted") lines.push("Interrupted before all was done");
  if (end === "no_connection") lines.push("Ended with the last connection");
  return [
    ...lines,
    `${summary.requests_per_second.toFixed(0)} requests/s`,
    `${inMB(summary.bytes_per_second)} MB/s of payload ` +
    `(${inMB(summary.sent_bytes)} MB sent, ` +
    `${inMB(summary.received_bytes)} MB received)`,
  ];
}

function latencyLines({ latency_seconds, rate }: BenchSummary): string[] {
  if (latency_seconds === null) return [];
  return [
    `latency in ms${rate === null ? "" : ", since the request was due"}`,
    ...columns(
      Object.entries(latency_seconds)
        .map(([name, seconds]) => [name, inMs(seconds)]),
    ),
  ];
}

function histogramLines({ histogram }: BenchSummary): string[] {
  if (histogram.length === 0) return [];
  const most = Math.max(...histogram.map(({ count }) => count));
  return [
    "requests by latency, up to so many ms",
    ...columns(histogram.map(({ upto_seconds, count }) => [
      String(Number((upto_seconds * 1000).toPrecision(6))),
      String(count),
      // Whatever is there can be seen.
      "█".repeat(Math.ceil(count / most * BAR_WIDTH)),
    ])),
  ];
}

function textLines(what: string, texts: ReturnType<Tally["list"]>): string[] {
  if (texts.length === 0) return [];
  const shown = texts.slice(0, SHOWN_TEXTS);
  const more = texts.length - shown.length;
  return [
    what,
    ...columns(
      shown.map(({ text, count }) => [String(count), printable(text)]),
    ),
    ...more > 0 ? [`  and ${more} more kinds`] : [],
  ];
}

/** The lines of a table: numbers to the right, words to the left. */
function columns(rows: readonly string[][]): string[] {
  const widths = rows[0].map((_, i) =>
    Math.max(...rows.map((cells) => cells[i].length))
  );
  return rows.map((cells) => {
    const padded = cells.map((cell, i) =>
      isNaN(Number(cell)) ? cell.padEnd(widths[i]) : cell.padStart(widths[i])
    );
    return `  ${padded.join("  ")}`.trimEnd();
  });
}

function connectionLines(summary: BenchSummary): string[] {
  const { connections_lost: lost, connections_given_up: givenUp } = summary;
  const refused = summary.connections_refused;
  if (lost + givenUp === 0) return [];
  return [
    `${plural(lost, "connection")} lost, ` +
    (refused === 0 ? "" : `${refused} of them refused, `) +
    `${summary.connections_reopened} opened again, ${givenUp} given up`,
    ...textLines("", summary.connect_errors).slice(1),
  ];
}

/** A peer's text as one line that moves no cursor and floods no terminal. */
function printable(text: string): string {
  const line = toLine(text).slice(1, -1).replaceAll('\\"', '"');
  return line.length > 100 ? `${line.slice(0, 100)}…` : line;
}

function csvField(value: unknown): string {
  const text = String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function perSecond(count: number, seconds: number): number {
  return seconds === 0 ? 0 : Math.round(count / seconds * 1000) / 1000;
}

/** Milliseconds as seconds, to a microsecond. */
const inSeconds = (ms: number) => Math.round(ms * 1000) / 1_000_000;

const inMs = (seconds: number) => (seconds * 1000).toFixed(3);
const inMB = (bytes: number) => (bytes / 1_000_000).toFixed(2);

const plural = (count: number, what: string) =>
  `${count} ${what}${count === 1 ? "" : "s"}`;
