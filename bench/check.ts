/**
 * Whether the server's own work for a request has grown: `deno task bench-check`.
 *
 * What a request takes in memory (see `memory.ts`) is divided by what a fixed
 * loop takes for a line: one finds LFs, makes views and copies, and is no part
 * of `lib/`. So a slower machine cancels out, and the quotient is held against
 * the one that was recorded last, in `check.json`.
 *
 * Other work on the machine only ever makes either of them slower. So server and
 * loop take turns of less than a millisecond each, in many processes, and the
 * quickest turns count: of each process those below which a hundredth is, and the
 * least of all processes. The engine has one thread, so that what it compiles
 * and when it collects does not hang on what else runs.
 *
 * @module
 */

import { pathToFileURL } from "node:url";

import {
  helpOf,
  parseFlags,
  UsageError,
  type ValueFlag,
} from "../lib/cli/flags/flags.ts";
import { type Case, nameOf, PAYLOAD, take } from "./memory.ts";
import type { Figures } from "./memory_turn.ts";
import { formatNumber, quantile } from "./numbers.ts";
import { at } from "./paths.ts";
import { killAll, run } from "./processes.ts";
import { inColumns } from "./report.ts";

/** What was recorded, and where. */
export interface Recorded {
  /** The runtime's version. */
  readonly deno: string;
  /** The model of the processor. */
  readonly processor: string;
  /** By a case's name: a request's time by that of a line of the loop. */
  readonly quotients: Readonly<Record<string, number>>;
}

/** What came of one case. */
export interface Verdict {
  /** The case's name. */
  readonly name: string;
  /** What was measured. */
  readonly quotient: number;
  /** What was recorded, if it was. */
  readonly recorded: number | undefined;
  /** The most that is let pass. */
  readonly limit: number;
  /** Whether it is let pass; what was not recorded is not. */
  readonly kept: boolean;
}

/** Below 0.9 of what it was, a speed is a loss. */
const LEAST_SPEED = 0.9;

/** Elsewhere a processor's caches and the engine's code change the quotient too. */
const LEAST_SPEED_ELSEWHERE = 0.65;

/** Rounds that are taken at least; a busy machine has more, until all is kept. */
const ROUNDS = 5;
const MOST_ROUNDS = 15;

const WARMUP = 1.2;
const SECONDS = 0.8;
const QUICKEST = 0.01;
const RECORD = "bench/check.json";

/** The cases, with the batches of a slice, so that each is about as long. */
const CASES: readonly (Case & { readonly slice: number })[] = [
  caseOf(1, "echo", 256),
  caseOf(16, "echo", 64),
  caseOf(1, "promise", 64),
];

/** The flags of `deno task bench-check`. */
export const checkFlags = {
  record: {},
  rounds: {
    placeholder: "N",
    default: undefined,
    shown: `${ROUNDS}, with --record ${MOST_ROUNDS}`,
    expected: "a whole number above 0",
    parse: (text) =>
      Number.isInteger(Number(text)) && Number(text) > 0
        ? Number(text)
        : undefined,
  } satisfies ValueFlag<number | undefined>,
  help: {},
};

const HELP = `Usage: deno task bench-check [flags]

--record  keep what is measured, in ${RECORD}, and judge nothing
--rounds  turns of each case at the least, and with --record exactly
--help  print this and end
`;

if (import.meta.main) {
  try {
    await main();
  } catch (error) {
    console.error(`check: ${error instanceof Error ? error.message : error}`);
    Deno.exitCode = error instanceof UsageError ? 2 : 1;
  } finally {
    await killAll();
  }
}

async function main(): Promise<void> {
  const { flags } = parseFlags(checkFlags, Deno.args);
  if (flags.help) {
    return console.log(helpOf(checkFlags, HELP).trimEnd());
  }
  const here = { deno: Deno.version.deno, processor: await processor() };
  const turns = new Map<string, Figures[]>();
  if (flags.record) {
    for (let i = 0; i < (flags.rounds ?? MOST_ROUNDS); i++) await round(turns);
    const record: Recorded = { ...here, quotients: quotientsOf(turns) };
    await Deno.writeTextFile(
      at(RECORD),
      JSON.stringify(record, null, 2) + "\n",
    );
    return console.log(JSON.stringify(record.quotients));
  }
  const recorded: Recorded = JSON.parse(await Deno.readTextFile(at(RECORD)));
  const same = recorded.deno === here.deno &&
    recorded.processor === here.processor;
  if (!same) {
    console.log(
      `recorded with Deno ${recorded.deno} on ${recorded.processor}; this is ` +
        `Deno ${here.deno} on ${here.processor}: the limit is wider`,
    );
  }
  let verdicts: Verdict[];
  const least = flags.rounds ?? ROUNDS;
  for (let i = 1;; i++) {
    await round(turns);
    verdicts = judge(recorded, quotientsOf(turns), same);
    const kept = verdicts.every(({ kept }) => kept);
    if (i >= least && (kept || i >= Math.max(least, MOST_ROUNDS))) break;
  }
  console.log(textOf(verdicts));
  const lost = verdicts.filter(({ kept }) => !kept);
  if (lost.length === 0) return;
  throw new Error(
    `a request takes longer than is let pass: ${
      lost.map(({ name }) => name).join(", ")
    }; if that is worth it, record it anew by --record`,
  );
}

/** Each case once, so that a busy minute meets all of them. */
async function round(turns: Map<string, Figures[]>): Promise<void> {
  for (const one of CASES) {
    const root = pathToFileURL(at("")).href;
    const turn = {
      ...one,
      root,
      payload: PAYLOAD,
      warmup: WARMUP,
      seconds: SECONDS,
    };
    const figures = await take(turn, at(""), ["--v8-flags=--single-threaded"]);
    const name = nameOf(one);
    turns.set(name, [...turns.get(name) ?? [], figures]);
  }
}

/**
 * What a request takes by what a line of the loop takes.
 *
 * @param turns The turns of each case, by its name.
 */
export function quotientsOf(
  turns: ReadonlyMap<string, readonly Pick<Figures, "work" | "loop">[]>,
): Record<string, number> {
  const least = (all: readonly (readonly number[])[]) =>
    Math.min(...all.map((values) => quantile(values, QUICKEST)));
  // The loop is the same in all cases.
  const loop = least([...turns.values()].flat().map(({ loop }) => loop));
  return Object.fromEntries(
    [...turns].map(([name, figures]) => [
      name,
      Number((least(figures.map(({ work }) => work)) / loop).toFixed(3)),
    ]),
  );
}

/**
 * Holds what was measured against what was recorded.
 *
 * @param recorded What was recorded.
 * @param quotients What was measured, by a case's name.
 * @param same Whether runtime and processor are the ones of the record.
 */
export function judge(
  recorded: Recorded,
  quotients: Readonly<Record<string, number>>,
  same: boolean,
): Verdict[] {
  return Object.entries(quotients).map(([name, quotient]) => {
    const before: number | undefined = recorded.quotients[name];
    const limit = (before ?? 0) / (same ? LEAST_SPEED : LEAST_SPEED_ELSEWHERE);
    return { name, quotient, recorded: before, limit, kept: quotient <= limit };
  });
}

function textOf(verdicts: readonly Verdict[]): string {
  return inColumns([
    ["a request by a line of the loop", "now", "recorded", "at most", "kept"],
    ...verdicts.map(({ name, quotient, recorded, limit, kept }) => [
      name,
      formatNumber(quotient),
      recorded === undefined ? "" : formatNumber(recorded),
      formatNumber(limit),
      kept ? "yes" : "no",
    ]),
  ]);
}

function caseOf(depth: number, handler: Case["handler"], slice: number) {
  return {
    framing: "line",
    connections: 64,
    depth,
    handler,
    reads: "poll",
    slice,
  } as const;
}

/**
 * The processor's name and kind: a name alone may stand for generations of them.
 * By a program, for the runtime itself lets nobody read there.
 */
async function processor(): Promise<string> {
  try {
    const text = await run(["cat", "/proc/cpuinfo"], 5000);
    const said = (what: string) =>
      new RegExp(`^${what}\\s*: (.*)$`, "m").exec(text)?.[1];
    const kind = ["cpu family", "model", "stepping"].map(said);
    return [said("model name") ?? "unknown", ...kind].join(" ").trim();
  } catch {
    return "unknown";
  }
}
