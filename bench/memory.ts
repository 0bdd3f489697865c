/**
 * The server's own work for a request, in memory: `deno task bench-memory`.
 *
 * Connections are objects that feed prepared requests and drop the replies, so
 * no system call and no other program is in the numbers. Each figure is of a
 * fresh process (see `memory_turn.ts`), and those who are compared take turns:
 *
 * - "plain" finds the frames and copies them into a reply, on the same
 *   connections: what cannot be saved, and a measure of the machine;
 * - "this" is this checkout's server, "other" that of `--against`.
 *
 * A case is named by its framing, its connections times the requests in a batch,
 * the handler (`echo`, or one that gives a promise), and how reads settle:
 *
 * - `now`: at once where the peer has sent. Such a server never gives the event
 *   loop back by itself, as under a flood;
 * - `poll`: in the event loop's next turn, all that are ready together and 128
 *   at the most, as the runtime's sockets do. With one connection this is the
 *   price of a turn of the loop more than that of a request.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { pathToFileURL } from "node:url";

import type { Figures, Turn } from "./memory_turn.ts";
import { formatNumber, median } from "./numbers.ts";
import { at } from "./paths.ts";
import { run } from "./processes.ts";
import { inColumns } from "./report.ts";

/** One kind of load; all other things are the same in every turn. */
export type Case = Pick<
  Turn,
  "framing" | "connections" | "depth" | "handler" | "reads"
>;

type Who = "plain" | "this" | "other";

const CASES: readonly Case[] = [
  ...(["now", "poll"] as const).flatMap((reads) =>
    [1, 64].flatMap((connections) =>
      [1, 16].map((depth) => (
        { framing: "line", connections, depth, handler: "echo", reads } as const
      ))
    )
  ),
  ...[1, 16].flatMap((depth) => [
    {
      framing: "length",
      connections: 64,
      depth,
      handler: "echo",
      reads: "poll",
    } as const,
    {
      framing: "line",
      connections: 64,
      depth,
      handler: "promise",
      reads: "poll",
    } as const,
  ]),
];

/** The bytes of a request. */
export const PAYLOAD = 64;

/** Seconds of processor time. With 0.6, half of the turns were still slow. */
const WARMUP = 1.5;
const TURN_LIMIT_MS = 60_000;

const HELP = `Usage: deno task bench-memory [flags]

  --against DIR   another checkout, measured in turns with this one
  --only NAME     only the cases whose names hold this
  --rounds N      turns of each (default 5)
  --seconds S     length of a turn, in processor time (default 0.5)
  --json          print JSON, with all turns
  --help          print this and end

Cases: ${CASES.map(nameOf).join(", ")}`;

if (import.meta.main) {
  try {
    await main();
  } catch (error) {
    console.error(`memory: ${error instanceof Error ? error.message : error}`);
    Deno.exitCode = isUsage(error) ? 2 : 1;
  }
}

function isUsage(error: unknown): boolean {
  if (error instanceof RangeError) return true;
  const { code } = error as { code?: string };
  return code?.startsWith("ERR_PARSE_ARGS") ?? false;
}

async function main(): Promise<void> {
  const { values: flags } = parseArgs({
    args: Deno.args,
    options: {
      against: { type: "string" },
      only: { type: "string", default: "" },
      rounds: { type: "string", default: "5" },
      seconds: { type: "string", default: "0.5" },
      json: { type: "boolean" },
      help: { type: "boolean" },
    },
  });
  if (flags.help) return console.log(HELP);
  const rounds = positive("--rounds", flags.rounds);
  const seconds = positive("--seconds", flags.seconds);
  const cases = CASES.filter((one) => nameOf(one).includes(flags.only));
  if (cases.length === 0) {
    throw new RangeError(
      `--only is "${flags.only}": no case has it in its name`,
    );
  }
  const roots: Partial<Record<Who, string>> = {
    this: at(""),
    ...(flags.against !== undefined && { other: `${flags.against}/` }),
  };
  const results = [];
  for (const [i, one] of cases.entries()) {
    console.error(`memory: ${i + 1} of ${cases.length}: ${nameOf(one)}`);
    results.push(await measure(one, roots, rounds, seconds));
  }
  console.log(
    flags.json
      ? JSON.stringify({ deno: Deno.version.deno, seconds, results }, null, 2)
      : tableOf(results),
  );
}

interface Result {
  readonly name: string;
  readonly turns: Readonly<Partial<Record<Who, Figures[]>>>;
  /** Processor time of this checkout against the other, round by round. */
  readonly ratios?: readonly number[];
}

async function measure(
  one: Case,
  roots: Partial<Record<Who, string>>,
  rounds: number,
  seconds: number,
): Promise<Result> {
  const turns: Partial<Record<Who, Figures[]>> = {};
  const all: Who[] = [
    "plain",
    "this",
    ...(roots.other ? ["other" as const] : []),
  ];
  for (let round = 0; round < rounds; round++) {
    // Whoever is first in one round is last in the next.
    for (const who of round % 2 === 0 ? all : all.toReversed()) {
      const root = roots[who];
      const turn: Turn = {
        ...one,
        payload: PAYLOAD,
        warmup: WARMUP,
        seconds,
        ...(root && { root: pathToFileURL(root).href }),
      };
      (turns[who] ??= []).push(await take(turn, root ?? at("")));
    }
  }
  const { this: ours, other } = turns;
  const ratios = other && ours?.map(({ cpu }, i) => cpu / other[i].cpu);
  return { name: nameOf(one), turns, ...(ratios && { ratios }) };
}

/**
 * One turn, in a process of its own: what one has compiled must not serve
 * another.
 *
 * @param turn What is measured.
 * @param root The checkout's folder.
 * @param flags Further flags of the runtime.
 */
export async function take(
  turn: Turn,
  root: string,
  flags: readonly string[] = [],
): Promise<Figures> {
  const text = await run(
    [
      Deno.execPath(),
      "run",
      ...flags,
      ...["--quiet", "--no-prompt", "--no-lock", `--config=${root}deno.json`],
      `--allow-read=${root}`,
      at("bench/memory_turn.ts"),
      JSON.stringify(turn),
    ],
    TURN_LIMIT_MS,
    { quiet: false },
  );
  return JSON.parse(text);
}

function tableOf(results: readonly Result[]): string {
  const against = results.some(({ ratios }) => ratios !== undefined);
  const who: Who[] = ["plain", "this", ...(against ? ["other" as const] : [])];
  return inColumns([
    [
      "processor time, ns a request",
      ...who.flatMap((one) => [one, "min..max"]),
      ...(against ? ["this/other", "min..max"] : []),
      ...who.map((one) => `${one}, clock`),
    ],
    ...results.map(({ name, turns, ratios = [] }) => [
      name,
      ...who.flatMap((one) => spread(turns[one]!.map(({ cpu }) => cpu))),
      ...(against ? spread(ratios, (x) => x.toFixed(2)) : []),
      ...who.map((one) =>
        formatNumber(median(turns[one]!.map(({ ns }) => ns)))
      ),
    ]),
  ]);
}

function spread(values: readonly number[], show = formatNumber): string[] {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  return [show(median(values)), `${show(least)}..${show(most)}`];
}

/**
 * How a case is called.
 *
 * @param one The case.
 */
export function nameOf(
  { framing, connections, depth, handler, reads }: Case,
): string {
  return `${framing}-${connections}x${depth}-${handler}-${reads}`;
}

function positive(name: string, text: string): number {
  const number = Number(text);
  if (number > 0) return number;
  throw new RangeError(`${name} is "${text}": expected a number above 0`);
}
