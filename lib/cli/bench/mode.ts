/**
 * `client --bench` from its flags to its report. `client.ts` loads it only for
 * that, since the histogram takes longer to load than a request to answer.
 */

import type { Clock } from "../../core/clock.ts";
import type { ClientLine } from "../client/flags.ts";
import { type BenchOptions, type BenchResult, runBench } from "./bench.ts";
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

interface BenchModeOptions
  extends Pick<BenchOptions, "payload" | "connect" | "signal"> {
  line: ClientLine;
  target: string;
  /** Shows how far it is; without it nothing does. */
  show?: (text: string) => void;
  print: (report: string) => Promise<void>;
  clock?: Clock;
}

/**
 * Measures a server and prints the report. The exit code is 0 for done; 1 if a
 * request failed or was never sent, a connection was refused, or with `-e` a
 * reply was an error; 130 for interrupted.
 *
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
