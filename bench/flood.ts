/**
 * Runs `fair.c`: greedy clients on a server, and what they cost the others.
 *
 * @module
 */

import type { Effort, Failures, Sample } from "./measure.ts";
import { at, BUILD } from "./paths.ts";
import type { Peer } from "./peers.ts";
import { run, type RunningServer } from "./processes.ts";
import type { Column, Scenario } from "./scenarios.ts";

/** How long those are waited for who are not served yet, in seconds. */
const PATIENCE = 10;

/** How long a turn may take beyond that and what it was asked to. */
const GRACE_MS = 30_000;

/** What the newcomers say. */
const ASK = "PING\n";

/** What a table of this mode has beside the longest wait of a newcomer. */
export const floodColumns: readonly Column[] = [
  { name: "p50", heading: "p50 ms", of: "median" },
  { name: "p99", heading: "p99 ms", of: "median" },
  { name: "livez", heading: "/livez", of: "max" },
  { name: "livezP50", heading: "its p50", of: "median" },
  { name: "sent", heading: "flood MB/s", of: "median" },
  { name: "received", heading: "back MB/s", of: "median" },
  { name: "ended", heading: "cut off", of: "max" },
];

/** Waits in milliseconds; none where nobody was served. */
interface Waits {
  readonly count: number;
  readonly p50?: number;
  readonly p99?: number;
  readonly max?: number;
}

/** The line of JSON that the generator prints. */
interface Printed extends Failures {
  readonly newcomers: Waits;
  readonly livez: Waits;
  /** MB/s that the flooders were rid of, and that came back. */
  readonly sent: number;
  readonly received: number;
  /** Flooders that the server has cut off. */
  readonly ended: number;
}

/**
 * One turn of one peer.
 *
 * @param scenario The scenario; its first figure is the longest wait.
 * @param peer The peer.
 * @param server The same, running.
 * @param effort How long.
 */
export async function floodOn(
  scenario: Scenario,
  peer: Peer,
  { port, admin }: RunningServer,
  { seconds, warmup }: Pick<Effort, "seconds" | "warmup">,
): Promise<Sample> {
  const { flood, tls, figures } = scenario;
  if (flood === undefined) throw new Error(`${scenario.name} has no flood`);
  const flags = {
    port,
    ask: ASK,
    answer: peer.answer?.(ASK, scenario) ?? ASK,
    flood: flood.line,
    size: flood.size,
    flooders: flood.flooders,
    ...(admin !== undefined && { admin }),
    warmup,
    seconds,
    patience: PATIENCE,
  };
  const text = await run(
    [
      at(`${BUILD}fair`),
      ...Object.entries(flags).map(([name, value]) => `--${name}=${value}`),
      ...(tls ? ["--tls"] : []),
    ],
    GRACE_MS + 1000 * (seconds + warmup + PATIENCE),
    { quiet: false },
  );
  const printed: Printed = JSON.parse(text);
  const { newcomers, livez, sent, received, ended } = printed;
  const { refused, reset, lost, wrong } = printed;
  if (newcomers.max === undefined) throw new Error("nobody was served at all");
  const values = { sent, received, ended, [figures[0].name]: newcomers.max };
  for (
    const [name, value] of Object.entries({
      p50: newcomers.p50,
      p99: newcomers.p99,
      livez: livez.max,
      livezP50: livez.p50,
    })
  ) {
    if (value !== undefined) values[name] = value;
  }
  return { values, failures: { refused, reset, lost, wrong } };
}
