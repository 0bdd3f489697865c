/**
 * What a measurement says: to people, as JSON, and as CSV. All three are made
 * of one summary, so that they say the same.
 */

import { printableLine, toLine } from "../../core/text.ts";
import { frameOf, framingOf } from "../../framing/mod.ts";
import type { BenchResult, Latencies, Moment, Tally } from "./result.ts";

const BAR_WIDTH = 40;
const SPARKS = "▁▂▃▄▅▆▇█";
const MOST_SPARKS = 60;
const SHOWN_TEXTS = 10;
const START: Moment = { elapsed: 0, done: 0 };

/** From this part of the time on, a client that computes may be what limits. */
const BUSY = 0.9;

/** In milliseconds. */
const latencyKinds: Readonly<Record<string, (of: Latencies) => number>> = {
  min: ({ min }) => min,
  avg: ({ mean }) => mean,
  stddev: ({ deviation }) => deviation,
  ...Object.fromEntries(
    [50, 75, 90, 95, 99, 99.9, 99.99].map((percent) => [
      `p${percent}`,
      (latencies: Latencies) => latencies.percentile(percent),
    ]),
  ),
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
  /** Whether each request had a connection of its own. */
  reconnect: boolean;
}

export type BenchSummary = ReturnType<typeof summarize>;

/**
 * A measurement in numbers: the object that `--json` prints. Times are in
 * seconds, sizes in bytes of payload.
 */
export function summarize(
  subject: BenchSubject,
  payloads: readonly Uint8Array[],
  result: BenchResult,
) {
  const { sent, done, failed, unsent, receivedBytes, end } = result;
  const seconds = inSeconds(result.elapsed);
  const longest = payloads.reduce((a, b) => a.length > b.length ? a : b);
  const codec = framingOf(subject.framing).codec(longest.length);
  const length = sum(payloads.map((payload) => payload.length));
  const framed = sum(payloads.map((payload) => frameOf(codec, payload).length));
  // Whole but for a request that was cut: the framing's share is the same there.
  const sentBytes = Math.round(result.takenBytes / framed * length);
  return {
    ...subject,
    /** The average, where there are several. */
    request_bytes: Math.round(length / payloads.length),
    requests: payloads.length,
    duration_seconds: seconds,
    ...{ sent, done, failed, unsent },
    requests_per_second: perSecond(done, seconds),
    sent_bytes: sentBytes,
    received_bytes: receivedBytes,
    bytes_per_second: perSecond(sentBytes + receivedBytes, seconds),
    latency_seconds: times(result.latencies),
    connect_seconds: times(result.connects),
    /** Of one processor; the client's own work. */
    client_load: Math.round(result.load * 100) / 100,
    rate_over_time: result.series.moments.map((moment, i, all) => ({
      upto_seconds: inSeconds(moment.elapsed),
      requests_per_second: rateBetween(all[i - 1] ?? START, moment),
    })),
    /** How many latencies are above a bound, and not above the next. */
    histogram: result.latencies.bars().map(({ above, upTo, count }) => ({
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
    end,
  };
}

/** Times by their names in seconds; null where there are none. */
function times(latencies: Latencies): Record<string, number> | null {
  return latencies.count === 0 ? null : Object.fromEntries(
    Object.entries(latencyKinds)
      .map(([name, kind]) => [name, inSeconds(kind(latencies))]),
  );
}

export const toJson: (summary: BenchSummary) => string = toLine;

/**
 * Two lines of CSV, names and values: what the JSON has but for its lists, of
 * which `latency_seconds` has a field for each name within it.
 */
export function toCsv(summary: BenchSummary): string {
  const { latency_seconds, connect_seconds, ...others } = summary;
  const fields = Object.entries<unknown>(others)
    .filter(([, value]) => !Array.isArray(value));
  const groups = Object.entries({ latency_seconds, connect_seconds });
  for (const [what, values] of groups) {
    for (const name of Object.keys(latencyKinds)) {
      fields.push([`${what}_${name}`, values?.[name]]);
    }
  }
  return [0, 1]
    .map((part) => fields.map((field) => csvField(field[part])).join(","))
    .join("\n");
}

export function toText(summary: BenchSummary): string {
  const { latency_seconds, rate, histogram } = summary;
  const most = Math.max(...histogram.map(({ count }) => count));
  return [
    totals(summary),
    ratesOverTime(summary),
    table(
      `latency in ms${rate === null ? "" : ", since the request was due"}`,
      Object.entries(latency_seconds ?? {})
        .map(([name, seconds]) => [name, inMs(seconds)]),
    ),
    table(
      "requests by latency, up to so many ms",
      histogram.map(({ upto_seconds, count }) => [
        String(Number((upto_seconds * 1000).toPrecision(6))),
        String(count),
        // Whatever is there can be seen.
        "█".repeat(Math.ceil(count / most * BAR_WIDTH)),
      ]),
    ),
    texts("failed requests", summary.errors),
    texts("ERR replies", summary.err_reply_texts),
    lostConnections(summary),
  ].filter((part) => part !== "").join("\n\n");
}

/** As many parts of the progress as fit into a line, the first ones first. */
export function toProgress(
  result: BenchResult,
  last: Moment,
  columns: number,
): string {
  const { elapsed, done, failed, errReplies, latencies } = result;
  const parts = [
    `${(elapsed / 1000).toFixed(1)} s: ` +
    `${rateBetween(last, result).toFixed(0)} requests/s now`,
    `${rateBetween(START, result).toFixed(0)} on average`,
    `${done} done`,
    `${failed + errReplies.total} failed`,
  ];
  if (latencies.count > 0) {
    parts.push(`p99 ${latencies.percentile(99).toFixed(3)} ms`);
  }
  while (parts.length > 1 && parts.join(", ").length > columns) parts.pop();
  return parts.join(", ").slice(0, columns);
}

function totals(summary: BenchSummary): string {
  const { target, framing, tls, connections, depth, rate } = summary;
  const { err_replies: errors, client_load: load, unsent, end } = summary;
  const several = summary.requests > 1;
  const lines = [
    `${printableLine(target)}, ${framing} framing${tls ? ", TLS" : ""}: ` +
    `${plural(connections, "connection")}, depth ${depth}, ` +
    (rate === null ? "" : `${rate} requests/s due, `) +
    (summary.reconnect ? "a connection for each request, " : "") +
    (several ? `${summary.requests} different ` : "") +
    `requests of ${plural(summary.request_bytes, "byte")}` +
    (several ? " on average" : ""),
    "",
    `${plural(summary.done, "request")} done in ` +
    `${summary.duration_seconds.toFixed(3)} s, ` +
    (errors === 0 ? "" : `${errors} of them with ERR, `) +
    `${summary.failed} failed`,
  ];
  if (unsent > 0) {
    lines.push(`${unsent} more were due, and no connection was free for them`);
  }
  if (end === "interrupted") lines.push("Interrupted before all was done");
  if (end === "no_connection") {
    lines.push("Stopped early: no connection is left");
  }
  // Between the requests of a rate, it is the waiting that computes.
  if (load >= BUSY && rate === null) {
    const share = `${Math.round(load * 100)}% of the time`;
    lines.push(`This client was busy for ${share}: the server may be faster`);
  }
  if (summary.connect_seconds !== null) {
    const { avg, p99, max } = summary.connect_seconds;
    lines.push(
      `Connecting took ${inMs(avg)} ms on average, ` +
        `p99 ${inMs(p99)}, max ${inMs(max)}`,
    );
  }
  lines.push(
    `${summary.requests_per_second.toFixed(0)} requests/s`,
    `${inMB(summary.bytes_per_second)} MB/s of payload ` +
      `(${inMB(summary.sent_bytes)} MB sent, ` +
      `${inMB(summary.received_bytes)} MB received)`,
  );
  return lines.join("\n");
}

/** The rate over time as a line of bars, from 0 to the highest. */
function ratesOverTime({ rate_over_time: rates }: BenchSummary): string {
  const all = rates.map(({ requests_per_second: rate }) => rate);
  const most = Math.max(...all);
  if (all.length < 2 || most === 0) return "";
  // Two neighbours share a place where there are more than fit.
  const step = Math.ceil(all.length / MOST_SPARKS);
  let sparks = "";
  for (let i = 0; i < all.length; i += step) {
    const some = all.slice(i, i + step);
    const height = Math.floor(sum(some) / some.length / most * SPARKS.length);
    sparks += SPARKS[Math.min(height, SPARKS.length - 1)];
  }
  return `requests/s over time, up to ${most.toFixed(0)}\n  ${sparks}`;
}

function lostConnections(summary: BenchSummary): string {
  const { connections_lost: lost, connections_given_up: givenUp } = summary;
  const refused = summary.connections_refused;
  if (lost + givenUp === 0) return "";
  const line = `${plural(lost, "connection")} lost, ` +
    (refused === 0 ? "" : `${refused} of them refused, `) +
    `${summary.connections_reopened} opened again, ${givenUp} given up`;
  return texts(line, summary.connect_errors) || line;
}

/** Texts of peers, the most frequent first. */
function texts(title: string, all: ReturnType<Tally["list"]>): string {
  const shown = all.slice(0, SHOWN_TEXTS);
  const more = all.length - shown.length;
  return table(
    title,
    shown.map(({ text, count }) => [String(count), printable(text)]),
  ) + (more > 0 ? `\n  and ${more} more kinds` : "");
}

/** A title and a row a line: numbers to the right, words to the left. */
function table(title: string, rows: readonly string[][]): string {
  if (rows.length === 0) return "";
  const widths = rows[0].map((_, i) =>
    Math.max(...rows.map((cells) => cells[i].length))
  );
  const lines = rows.map((cells) => {
    const padded = cells.map((cell, i) =>
      isNaN(Number(cell)) ? cell.padEnd(widths[i]) : cell.padStart(widths[i])
    );
    return `  ${padded.join("  ")}`.trimEnd();
  });
  return [title, ...lines].join("\n");
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

function rateBetween(from: Moment, to: Moment): number {
  return perSecond(to.done - from.done, (to.elapsed - from.elapsed) / 1000);
}

const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0);

function perSecond(count: number, seconds: number): number {
  return seconds === 0 ? 0 : Math.round(count / seconds * 1000) / 1000;
}

/** Milliseconds as seconds, to a microsecond. */
const inSeconds = (ms: number) => Math.round(ms * 1000) / 1_000_000;

const inMs = (seconds: number) => (seconds * 1000).toFixed(3);
const inMB = (bytes: number) => (bytes / 1_000_000).toFixed(2);

const plural = (count: number, what: string) =>
  `${count} ${what}${count === 1 ? "" : "s"}`;
