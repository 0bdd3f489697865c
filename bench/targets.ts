/**
 * The goals: what a full run is expected to show, as data, and whether it did.
 *
 * "Parley" is the library run with `deno run`. What `./server` and others show
 * stands beside it for information, and decides nothing.
 *
 * @module
 */

import { formatNumber } from "./numbers.ts";
import type { Row, Table } from "./report.ts";

/** One number of a run's tables. */
interface Reading {
  /** The table's name. */
  readonly table: string;
  /** The peer's name. */
  readonly peer: string;
  /** Which of the row's numbers: the median of its figure, if not said. */
  readonly of?: "median" | "p99" | "cpu";
}

/** One number, or that against another. */
interface Quotient {
  /** What is measured. */
  readonly reading: Reading;
  /** What it is divided by, if by anything. */
  readonly against?: Reading;
}

/** A goal. */
export interface Target extends Quotient {
  /** What it is about. */
  readonly name: string;
  /** What the number counts; `×` for one against another. */
  readonly unit: string;
  /** What is to be met. */
  readonly goal: number;
  /** Whether more meets it, or less. */
  readonly better: "higher" | "lower";
  /** What is shown with it, by what it is called, all of it a `×`. */
  readonly beside?: Readonly<Record<string, Quotient>>;
  /** Whether it is only expected to follow from the others, and decides nothing. */
  readonly expected?: boolean;
}

/** What came of a goal. */
export interface Verdict
  extends Pick<Target, "name" | "unit" | "goal" | "better" | "expected"> {
  /** What was measured; null where one of its numbers is missing. */
  readonly measured: number | null;
  /** Refused, reset, lost and wrong connections beside it. */
  readonly failures: number;
  /** Whether it was met; null where it was not measured, or is only expected. */
  readonly met: boolean | null;
  /** What is shown with it, as far as it was measured. */
  readonly beside: Readonly<Record<string, number>>;
}

/** All goals. */
export const targets: readonly Target[] = [
  rate("Depth 1, against the bare Deno loop", "depth-1", "bare", 1),
  rate("Depth 16, against the bare Deno loop", "depth-16", "bare", 0.85),
  rate(
    "One connection, against the bare Deno loop",
    "connections-1",
    "bare",
    0.97,
  ),
  rate("64 KiB lines, against the bare Deno loop", "line-64k", "bare", 0.9),
  rate(
    "Connections opened in a row, against the bare Deno loop",
    "accept",
    "bare",
    1,
  ),
  {
    name: "Depth 1, p99 against Go's",
    ...versus("depth-1", "parley", "go", "p99"),
    unit: "×",
    goal: 1,
    better: "lower",
    beside: {
      "./server": versus("depth-1", "server", "go", "p99"),
      "against Node's": versus("depth-1", "parley", "node", "p99"),
    },
  },
  expected("Depth 1, against Rust", "depth-1", "rust", 0.75),
  expected("Depth 16, against Rust", "depth-16", "rust", 0.8),
  expected("Depth 1, against Go", "depth-1", "go", 0.88),
  expected("Depth 16, against Go", "depth-16", "go", 0.9),
  expected("Depth 1, against Node", "depth-1", "node", 1.5),
  expected("Depth 16, against Node", "depth-16", "node", 1.8),
  rate("TLS, depth 1, against Node's tls", "tls-1", "node", 1),
  rate("TLS, depth 16, against Node's tls", "tls-16", "node", 1),
  rate("TLS handshakes, against Node's tls", "tls-connect", "node", 1),
  memory("5,000 idle TLS connections, memory of each", "idle-tls", 25),
  memory("10,000 idle connections, memory of each", "idle", 8.5),
  memory("The same, idle again after 1 MiB each", "idle-moved", 11),
  {
    name: "Two threads against one, a handler that computes 0.5 ms",
    ...versus("threads", "cpu2", "cpu1"),
    unit: "×",
    goal: 1.9,
    better: "higher",
  },
  ceiling("client bench against a bare generator, depth 1", "ceiling-1"),
  ceiling("client bench against a bare generator, depth 16", "ceiling-16"),
  rate("64 KiB frames, against the bare Deno loop", "frame-64k", "bare", 0.95),
  rate("1 MiB frames, against the bare Deno loop", "frame-1m", "bare", 0.9),
  rate(
    "Connect, request, close, against the bare Deno loop",
    "connect",
    "bare",
    0.9,
  ),
  allOn("Depth 1, all on against all off", "options-1"),
  allOn("Depth 16, all on against all off", "options-16"),
  {
    name: "./server, start to first reply, against compiled hello-world",
    ...versus("start", "server", "hello"),
    unit: "×",
    goal: 2,
    better: "lower",
  },
  {
    name: "Processor time of a request, 10,000 connections against 10",
    ...crowded("parley"),
    unit: "×",
    goal: 1.5,
    better: "lower",
    beside: {
      "./server": crowded("server"),
      "bare Deno": crowded("bare"),
      "C epoll": crowded("epoll"),
    },
  },
  byByte("line"),
  byByte("length"),
  byByte("netstring"),
];

/**
 * Says of each goal whether a run has met it. One that rests on a number that
 * the run does not have is neither met nor missed; one whose own row has
 * failures in it is missed, whatever its number is.
 *
 * @param tables All tables of the run.
 * @param goals The goals.
 */
export function verdictsOf(
  tables: readonly Table[],
  goals: readonly Target[] = targets,
): Verdict[] {
  return goals.map((target): Verdict => {
    const { name, unit, goal, better, expected, reading, beside = {} } = target;
    const measured = valueOf(tables, target);
    const failures = failuresIn(rowOf(tables, reading));
    const reached = better === "higher" ? measured >= goal : measured <= goal;
    const known = Number.isFinite(measured);
    return {
      name,
      unit,
      goal,
      better,
      ...(expected && { expected }),
      measured: known ? measured : null,
      failures,
      met: known && !expected ? reached && failures === 0 : null,
      beside: Object.fromEntries(
        Object.entries(beside)
          .map(([label, quotient]) => [label, valueOf(tables, quotient)])
          .filter(([, value]) => Number.isFinite(value)),
      ),
    };
  });
}

/**
 * A goal and what came of it, in four cells: what it is about, what is to be
 * met, what was measured, whether it was met.
 *
 * @param verdict What came of it.
 */
export function cellsOf(verdict: Verdict): [string, string, string, string] {
  const {
    name,
    unit,
    goal,
    better,
    expected,
    measured,
    failures,
    met,
    beside,
  } = verdict;
  const sign = expected ? "about" : better === "higher" ? "≥" : "≤";
  const others = Object.entries(beside)
    .map(([label, value]) => `${label} ${formatNumber(value)}`);
  const failed = failures > 0 ? `, ${failures} failed` : "";
  const notes = others.length > 0 ? ` (${others.join(", ")})` : "";
  return [
    name,
    `${sign} ${formatNumber(goal)} ${unit}`,
    measured === null
      ? ""
      : `${formatNumber(measured)} ${unit}${failed}${notes}`,
    measured === null
      ? "not measured"
      : met === null
      ? "shown"
      : met
      ? "yes"
      : "no",
  ];
}

/** The number, or NaN where a part of it is missing. */
function valueOf(
  tables: readonly Table[],
  { reading, against }: Quotient,
): number {
  const value = read(tables, reading);
  return against === undefined ? value : value / read(tables, against);
}

function read(tables: readonly Table[], reading: Reading): number {
  const row = rowOf(tables, reading);
  switch (reading.of) {
    case "p99":
      return row?.latency?.p99 ?? NaN;
    case "cpu":
      return row?.cpu ?? NaN;
    default:
      return row?.median ?? NaN;
  }
}

function rowOf(
  tables: readonly Table[],
  { table, peer }: Reading,
): Row | undefined {
  return tables.find(({ name }) => name === table)
    ?.rows.find((row) => row.peer === peer);
}

function failuresIn(row: Row | undefined): number {
  return Object.values(row?.failures ?? {}).reduce((a, b) => a + b, 0);
}

function versus(
  table: string,
  peer: string,
  other: string,
  of?: Reading["of"],
): Quotient {
  return {
    reading: { table, peer, of },
    against: { table, peer: other, of },
  };
}

/** Parley's rate against that of another. */
function rate(
  name: string,
  table: string,
  other: string,
  goal: number,
): Target {
  return {
    name,
    ...versus(table, "parley", other),
    unit: "×",
    goal,
    better: "higher",
    beside: { "./server": versus(table, "server", other) },
  };
}

/** The same, where it follows from other goals, and is shown for who compares. */
function expected(
  name: string,
  table: string,
  other: string,
  goal: number,
): Target {
  return { ...rate(name, table, other, goal), expected: true };
}

function memory(name: string, table: string, goal: number): Target {
  const reading = { table, peer: "parley" };
  return { name, reading, unit: "KiB", goal, better: "lower" };
}

/** What the client's own work leaves of a generator's rate. */
function ceiling(name: string, table: string): Target {
  return {
    name,
    ...versus(table, "client", "bareLoad"),
    unit: "×",
    goal: 0.9,
    better: "higher",
    beside: { "./client": versus(table, "clientBuilt", "bareLoad") },
  };
}

/** What limits, deadlines, events and metrics leave of the rate. */
function allOn(name: string, table: string): Target {
  return {
    name,
    ...versus(table, "parleyOn", "parleyOff"),
    unit: "×",
    goal: 0.95,
    better: "higher",
    beside: {
      "processor time": versus(table, "parleyOn", "parleyOff", "cpu"),
    },
  };
}

function crowded(peer: string): Quotient {
  return {
    reading: { table: "connections-10000", peer, of: "cpu" },
    against: { table: "connections-10", peer, of: "cpu" },
  };
}

/** What was looked at once is not looked at again, so no byte costs more. */
function byByte(framing: string): Target {
  return {
    name: `A byte of 64 KiB against one of 4 KiB, byte by byte, "${framing}"`,
    ...versus(`by-byte-${framing}`, "long", "short"),
    unit: "×",
    goal: 1.5,
    better: "lower",
  };
}
