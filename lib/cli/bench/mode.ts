/**
 * `client --bench` from its flags to its report. `client.ts` loads it only for
 * that, since the histogram takes longer to load than a request to answer.
 *
 * @module
 */

import type { Client } from "../../client/client.ts";
import type { Clock } from "../../core/clock.ts";
import type { ClientLine } from "../client/flags.ts";
import { type BenchResult, runBench } from "./bench.ts";
import { preciseClock } from "./precise_clock.ts";
import {
  type BenchSubject,
  summarize,
  toCsv,
  toJson,
  toProgress,
  toText,
} from "./report.ts";

/** Begins the line anew and empties it. */
const CLEAR = "\r\x1b[K";

/** What surrounds a measurement. */
export interface BenchModeOptions {
  /** The command line. */
  line: ClientLine;
  /** The server, as the report calls it. */
  target: string;
  /** The request. */
  payload: Uint8Array;
  /** Connects; aborted if the run ends meanwhile. */
  connect: (signal: AbortSignal) => Promise<Client>;
  /** Ends the run at once, with a report. */
  signal: AbortSignal;
  /** Shows how far it is; without it nothing does. */
  show?: (text: string) => void;
  /** Prints the report. */
  print: (report: string) => Promise<void>;
  /** The source of time. */
  clock?: Clock;
}

/**
 * Measures a server and prints the report.
 *
 * @param options What surrounds it.
 * @returns The exit code: 0 done, 1 a request failed or was never sent, a
 * connection was refused, or with `-e` a reply was an error, 130 interrupted.
 * @throws As {@linkcode runBench} and `print` do.
 */
export async function benchMode(options: BenchModeOptions): Promise<number> {
  const { line: { flags }, target, payload, show } = options;
  const subject: BenchSubject = {
    target,
    framing: flags.framing,
    tls: flags.tls,
    connections: flags.c,
    depth: flags.P,
    rate: flags.rate ?? null,
    request_bytes: payload.length,
  };
  const result = await runBench({
    connections: flags.c,
    depth: flags.P,
    requests: flags.duration === undefined ? flags.n : Infinity,
    duration: flags.duration ?? Infinity,
    rate: flags.rate,
    payload,
    connect: options.connect,
    clock: options.clock ?? preciseClock,
    signal: options.signal,
    onProgress: show && ((sofar) => show(CLEAR + toProgress(sofar))),
  });
  show?.(CLEAR);
  const summary = summarize(subject, result);
  const format = flags.json ? toJson : flags.csv ? toCsv : toText;
  await options.print(format(summary));
  return exitCode(result, flags.e);
}

function exitCode(result: BenchResult, errCounts: boolean): number {
  if (result.end === "interrupted") return 130;
  if (result.failed + result.refused > 0) return 1;
  if (result.end === "no_connection") return 1;
  return errCounts && result.errReplies.total > 0 ? 1 : 0;
}
