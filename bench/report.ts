/**
 * Turns samples into tables: medians, spreads and ratios.
 *
 * @module
 */

import type { Failures, Latency, Sample } from "./measure.ts";
import { formatNumber, median } from "./numbers.ts";
import { peers } from "./peers.ts";
import type { Column, Figure, Scenario } from "./scenarios.ts";
import { cellsOf, type Verdict } from "./targets.ts";

/** One peer in a table. */
export interface Row {
  /** Its name in `peers.ts`. */
  readonly peer: string;
  /** The middle one of all turns. */
  readonly median: number;
  /** The least. */
  readonly min: number;
  /** The most. */
  readonly max: number;
  /** All turns, in order. */
  readonly values: readonly number[];
  /** The medians of the turns' latencies, the maximum of their maxima. */
  readonly latency?: Latency;
  /** The median of the processor time for a request, in microseconds. */
  readonly cpu?: number;
  /** The sums of the turns' failures. */
  readonly failures?: Failures;
  /** The numbers beside it, by their names. */
  readonly beside?: Readonly<Record<string, number>>;
  /** The median against the medians of the baselines, by their names. */
  readonly ratios: Readonly<Record<string, number>>;
}

/** One figure of one scenario. */
export interface Table extends Figure {
  /** The scenario that it comes from. */
  readonly scenario: string;
  /** The peers that have a value. */
  readonly rows: readonly Row[];
}

/** A run, as it is kept. */
export interface Report {
  /** The day. */
  readonly date: string;
  /** Where it was. */
  readonly machine: { deno: string; target: string; cpus: number };
  /** Turns of each peer. */
  readonly rounds: number;
  /** Seconds that a turn was measured. */
  readonly seconds: number;
  /** Seconds before. */
  readonly warmup: number;
  /** All that was measured. */
  readonly tables: readonly Table[];
  /** What came of the targets; none of a part of a run. */
  readonly targets?: readonly Verdict[];
}

/** How baselines are called in the heads of columns. */
const SHORT: Readonly<Record<string, string>> = {
  node: "Node",
  go: "Go",
  rust: "Rust",
  bareLoad: "bare",
  bare: "bare Deno",
  epoll: "C epoll",
  hello: "hello",
  parleyOff: "all off",
  short: "4 KiB",
  cpu1: "1 thread",
  lines: "C lines",
  "parley@": "other",
  "program@": "other",
  "server@": "other ./server",
};

/**
 * Makes the tables of a scenario.
 *
 * @param scenario The scenario.
 * @param samples What was measured, by peer.
 */
export function tablesOf(
  scenario: Scenario,
  samples: ReadonlyMap<string, readonly Sample[]>,
): Table[] {
  return scenario.figures.map((figure) => {
    const medians = new Map<string, number>();
    for (const [peer, turns] of samples) {
      if (turns.length === 0) continue;
      medians.set(peer, median(turns.map(({ values }) => values[figure.name])));
    }
    const rows = [...medians].map(([peer, middle]): Row => {
      const turns = samples.get(peer) ?? [];
      const values = turns.map(({ values }) => values[figure.name]);
      const ratios: Record<string, number> = {};
      for (const baseline of scenario.baselines) {
        const base = medians.get(baseline);
        if (base !== undefined && base !== 0) ratios[baseline] = middle / base;
      }
      return {
        peer,
        median: middle,
        min: Math.min(...values),
        max: Math.max(...values),
        values,
        latency: latencyOf(turns),
        cpu: cpuOf(turns),
        failures: failuresOf(turns),
        ...(figure.beside && { beside: besideOf(figure.beside, turns) }),
        ratios,
      };
    });
    return { ...figure, scenario: scenario.name, rows };
  });
}

/**
 * Prints a table for a terminal.
 *
 * @param table The table.
 */
export function textOf(
  { title, unit, better, rows, beside = [] }: Table,
): string {
  const baselines = Object.keys(rows[0]?.ratios ?? {});
  // Those who wait for memory or for a start have no latency of interest.
  const timed = rows.some(({ latency }) => latency !== undefined) &&
    unit.endsWith("/s");
  const lines = [[
    "",
    unit,
    "min..max",
    ...baselines.map((name) => `x ${SHORT[name] ?? name}`),
    ...(timed ? ["cpu us", "p50 us", "p99 us", "p99.9 us", "max us"] : []),
    ...beside.map(({ heading }) => heading),
    "failures",
  ]];
  for (const row of rows) {
    const { latency } = row;
    const times = latency && [
      latency.p50,
      latency.p99,
      latency.p999,
      latency.max,
    ].map((us) => Math.round(us).toLocaleString("en"));
    lines.push([
      peers[row.peer].label,
      formatNumber(row.median),
      `${formatNumber(row.min)}..${formatNumber(row.max)}`,
      ...baselines.map((name) => row.ratios[name]?.toFixed(2) ?? ""),
      ...(timed
        ? [row.cpu?.toFixed(2) ?? "", ...times ?? ["", "", "", ""]]
        : []),
      ...beside.map(({ name }) => numberText(row.beside?.[name])),
      failureText(row.failures),
    ]);
  }
  return `${title} (${better} is better)\n${inColumns(lines)}`;
}

/**
 * Prints the targets for a terminal.
 *
 * @param verdicts What came of them.
 */
export function targetsText(verdicts: readonly Verdict[]): string {
  const lines = [["", "goal", "measured", "met"], ...verdicts.map(cellsOf)];
  return `Targets\n${inColumns(lines)}`;
}

/**
 * Pads cells, the first of each line flush left and the others flush right.
 *
 * @param lines Lines of as many cells each.
 */
export function inColumns(lines: readonly (readonly string[])[]): string {
  const widths = lines[0].map((_, i) =>
    Math.max(...lines.map((line) => line[i].length))
  );
  return lines.map((line) =>
    line.map((cell, i) =>
      i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])
    ).join("  ").trimEnd() + "\n"
  ).join("");
}

function latencyOf(turns: readonly Sample[]): Latency | undefined {
  const all = turns.flatMap(({ latency }) => latency ?? []);
  if (all.length === 0) return undefined;
  return {
    p50: median(all.map(({ p50 }) => p50)),
    p99: median(all.map(({ p99 }) => p99)),
    p999: median(all.map(({ p999 }) => p999)),
    max: Math.max(...all.map(({ max }) => max)),
  };
}

function cpuOf(turns: readonly Sample[]): number | undefined {
  const all = turns.flatMap(({ cpu }) => cpu ?? []);
  return all.length === 0 ? undefined : median(all);
}

function failuresOf(turns: readonly Sample[]): Failures | undefined {
  const all = turns.flatMap(({ failures }) => failures ?? []);
  if (all.length === 0) return undefined;
  const sum = { refused: 0, reset: 0, lost: 0, wrong: 0 };
  for (const { refused, reset, lost, wrong } of all) {
    sum.refused += refused;
    sum.reset += reset;
    sum.lost += lost;
    sum.wrong += wrong;
  }
  return sum;
}

/** A peer that has no such number has none in any turn. */
function besideOf(
  columns: readonly Column[],
  turns: readonly Sample[],
): Record<string, number> {
  const found: Record<string, number> = {};
  for (const { name, of } of columns) {
    const values = turns.flatMap(({ values }) => values[name] ?? []);
    if (values.length === 0) continue;
    found[name] = of === "max" ? Math.max(...values) : median(values);
  }
  return found;
}

function numberText(value: number | undefined): string {
  return value === undefined ? "" : formatNumber(value);
}

function failureText(failures: Failures | undefined): string {
  if (failures === undefined) return "";
  const some = Object.entries(failures).filter(([, count]) => count > 0);
  if (some.length === 0) return "none";
  return some.map(([name, count]) => `${count} ${name}`).join(", ");
}
