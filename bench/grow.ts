/**
 * How it grows: the same load on more and more connections, and with larger and
 * larger lines.
 *
 * These are no part of a full run: `deno task bench --only grow`.
 *
 * @module
 */

import { formatNumber } from "./numbers.ts";
import { tableOf } from "./readme.ts";
import type { Row, Table } from "./report.ts";
import type { Scenario } from "./scenarios.ts";

/** They do the same work: find lines, call a handler, write once a batch. */
const BASELINES = ["lines", "go", "node"];
const PEERS = [...BASELINES, "parley"];

const KiB = 1024;
const MiB = 1024 ** 2;

/** Few enough that lines of 16 MiB do not fill the memory. */
const FEW = 8;

/** One number of each step. */
export interface Measure {
  /** Behind the growth's name, the chart's. */
  readonly name: string;
  /** The heading. */
  readonly title: string;
  /** What the number counts. */
  readonly unit: string;
  /** Which way is good. */
  readonly better: "higher" | "lower";
  /** Its place in a row; none where it was not measured. */
  of(row: Row): number | undefined;
}

/** What grows, by its steps. */
interface Growth {
  /** Its scenarios and charts have this name and more. */
  readonly name: string;
  /** The heading. */
  readonly title: string;
  readonly steps: readonly number[];
  readonly rate: Omit<Measure, "of">;
  /** How a step is called. */
  label(step: number): string;
  /** What is asked for in it. */
  load(step: number): Pick<Scenario, "payload" | "connections">;
}

/** One peer's numbers, a step each; none where a step has none. */
export interface Line {
  /** Its name in `peers.ts`. */
  readonly peer: string;
  readonly values: readonly (number | undefined)[];
}

/** One chart. */
export interface Curves extends Omit<Measure, "of"> {
  /** What the steps are. */
  readonly steps: readonly { readonly at: number; readonly label: string }[];
  readonly lines: readonly Line[];
}

const growths: readonly Growth[] = [
  {
    name: "grow-connections",
    title: "64-byte lines, one at a time, by connections",
    steps: [10, 100, 1000, 5000, 10_000, 15_000],
    rate: { name: "rate", title: "rate", unit: "requests/s", better: "higher" },
    label: (count) => count.toLocaleString("en"),
    load: (connections) => ({ payload: 64, connections }),
  },
  {
    name: "grow-size",
    title: `Lines one at a time, ${FEW} connections, by size`,
    steps: [
      ...[16, 128, KiB, 8 * KiB, 64 * KiB, 512 * KiB, 4 * MiB, 16 * MiB],
    ],
    rate: { name: "rate", title: "rate", unit: "MB/s", better: "higher" },
    label: sizeText,
    load: (payload) => ({ payload, connections: FEW }),
  },
];

const measures: readonly Measure[] = [
  {
    name: "p99",
    title: "p99",
    unit: "us",
    better: "lower",
    of: ({ latency }) => latency?.p99,
  },
  {
    name: "cpu",
    title: "processor time of a request",
    unit: "us",
    better: "lower",
    of: ({ cpu }) => cpu,
  },
  {
    name: "memory",
    title: "resident memory under load",
    unit: "MiB",
    better: "lower",
    of: ({ beside }) => beside?.memory,
  },
];

/** All of them. */
export const growScenarios: readonly Scenario[] = growths.flatMap((growth) =>
  growth.steps.map((step): Scenario => {
    const name = `${growth.name}-${step}`;
    const { unit, better } = growth.rate;
    return {
      ...growth.load(step),
      name,
      mode: "echo",
      framing: "line",
      depth: 1,
      peers: PEERS,
      baselines: BASELINES,
      rounds: 3,
      // With 15,000 connections a round of all of them is a quarter of a second.
      seconds: 2,
      figures: [{
        name,
        title: `${growth.title}: ${growth.label(step)}`,
        unit,
        better,
        beside: [{ name: "memory", heading: "MiB", of: "median" }],
      }],
    };
  })
);

/**
 * The charts of what has been run with all of its steps.
 *
 * @param tables All tables of the run.
 */
export function curvesOf(tables: readonly Table[]): Curves[] {
  return wholeOf(tables).flatMap(({ growth, found }) => {
    const { name, title, rate, steps, label } = growth;
    const all: Measure[] = [
      { ...rate, of: ({ median }) => median },
      ...measures,
    ];
    return all.map(({ of, ...measure }) => ({
      ...measure,
      name: `${name}-${measure.name}`,
      title: `${title}: ${measure.title}`,
      steps: steps.map((at) => ({ at, label: label(at) })),
      lines: PEERS.map((peer) => ({
        peer,
        values: found.map(({ rows }) => {
          const row = rows.find((row) => row.peer === peer);
          // A turn in which nothing was answered has no place on such an axis.
          return (row && of(row)) || undefined;
        }),
      })).filter(({ values }) => values.some((value) => value !== undefined)),
    }));
  });
}

/**
 * Writes the same as Markdown: Parley's numbers, its rate against the others',
 * and where the charts are, from `docs/`.
 *
 * @param tables All tables of the run.
 */
export function growthMarkdown(tables: readonly Table[]): string {
  return wholeOf(tables).map(({ growth, found }) => {
    const { name, title, rate, label, steps } = growth;
    const rows = found.map(({ rows }, i) => {
      const row = rows.find(({ peer }) => peer === "parley");
      const cells = [row?.median, ...measures.map(({ of }) => row && of(row))];
      const ratios = BASELINES.map((name) => row?.ratios[name]);
      return [
        label(steps[i]),
        ...[...cells, ...ratios].map((value) =>
          value === undefined ? "" : formatNumber(value)
        ),
      ];
    });
    const head = [
      title,
      ...[rate, ...measures].map(({ name, unit }) =>
        name === "rate" ? unit : `${name}, ${unit}`
      ),
      ...["× C", "× Go", "× Node"],
    ];
    const charts = [rate, ...measures].map((measure) =>
      `[${measure.title}](bench/${name}-${measure.name}.svg)`
    );
    return `${tableOf(head, rows)}\n\nCharts: ${charts.join(", ")}.`;
  }).join("\n\n");
}

/** A part of the steps is no curve. */
function wholeOf(tables: readonly Table[]) {
  return growths.map((growth) => ({
    growth,
    found: growth.steps.flatMap((step) =>
      tables.filter(({ name, rows }) =>
        name === `${growth.name}-${step}` && rows.length > 0
      )
    ),
  })).filter(({ growth, found }) => found.length === growth.steps.length);
}

function sizeText(bytes: number): string {
  if (bytes >= MiB) return `${bytes / MiB} MiB`;
  return bytes >= KiB ? `${bytes / KiB} KiB` : `${bytes} B`;
}
