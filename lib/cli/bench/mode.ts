/**
 * `client --bench` from its flags to its report. `client.ts` loads it only for
 * that, since the histogram takes longer to load than a request to answer.
 */

import type { ClientLine } from "../client/flags.ts";
import { print, show } from "../streams/standard_streams.ts";
import { type BenchOptions, runBench } from "./bench.ts";
import { preciseClock } from "./precise_clock.ts";
import { summarize, toCsv, toJson, toProgress, toText } from "./report.ts";

/** Begins the line anew and empties it. */
const CLEAR = "\r\x1b[K";

/**
 * Measures a server and prints the report. The exit code is 0 for done; 1 if a
 * request failed or was never sent, a connection was refused, or with `-e` a
 * reply was an error; 130 for interrupted.
 *
 * @throws As {@linkcode runBench} and {@linkcode print} do.
 */
export async function benchMode(
  { flags }: ClientLine,
  target: string,
  options: Pick<BenchOptions, "payload" | "connect" | "signal">,
): Promise<number> {
  const { c: connections, P: depth, rate, duration } = flags;
  const showsProgress = Deno.stderr.isTerminal() && !flags.q;
  const result = await runBench({
    ...options,
    connections,
    depth,
    requests: duration === undefined ? flags.n : Infinity,
    duration: duration ?? Infinity,
    rate,
    clock: preciseClock,
    onProgress(sofar) {
      if (showsProgress) show(CLEAR + toProgress(sofar));
    },
  });
  if (showsProgress) show(CLEAR);
  const summary = summarize({
    target,
    framing: flags.framing,
    tls: flags.tls,
    connections,
    depth,
    rate: rate ?? null,
    request_bytes: options.payload.length,
  }, result);
  const format = flags.json ? toJson : flags.csv ? toCsv : toText;
  await print(format(summary));
  if (result.end === "interrupted") return 130;
  const failed = result.failed + result.refused > 0 ||
    result.end === "no_connection" || (flags.e && result.errReplies.total > 0);
  return failed ? 1 : 0;
}
