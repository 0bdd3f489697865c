/**
 * The benchmark: `deno task bench`.
 *
 * Only wires: the scenarios are in `scenarios.ts`, the servers in `peers.ts`,
 * the turns in `measure.ts`, the tables in `report.ts`, the goals in
 * `targets.ts`, the charts in `chart.ts`, the documentation's part in `readme.ts`
 * and `paper.ts`. How it grows is in `grow.ts`.
 *
 * @module
 */

import {
  helpOf,
  parseFlags,
  UsageError,
  type ValueFlag,
} from "../lib/cli/flags/flags.ts";
import { buildGo, buildHello, buildPrograms, buildRust } from "./build.ts";
import { chartOf, curveChartOf } from "./chart.ts";
import { fairScenarios } from "./fair_scenarios.ts";
import { curvesOf, growScenarios, growthMarkdown } from "./grow.ts";
import { type Effort, measure } from "./measure.ts";
import {
  at,
  BUILD,
  CHARTS,
  CLIENT,
  exists,
  PAGE,
  README,
  RESULTS,
} from "./paths.ts";
import {
  addOther,
  availablePeers,
  othersOf,
  peers,
  withOthers,
} from "./peers.ts";
import { killAll, run } from "./processes.ts";
import { paperOf } from "./paper.ts";
import {
  intoPage,
  markdownOf,
  type Part,
  shortMarkdownOf,
  whenOf,
} from "./readme.ts";
import {
  type Report,
  type Table,
  tablesOf,
  targetsText,
  textOf,
} from "./report.ts";
import {
  extraScenarios,
  quickScenarios,
  type Scenario,
  scenarios,
} from "./scenarios.ts";
import { verdictsOf } from "./targets.ts";

const FULL: Effort = {
  rounds: 5,
  seconds: 0.8,
  warmup: 0.2,
  first: 1,
  total: Infinity,
};

/** The last rounds go beyond `total` by a little: all end within a minute. */
const QUICK: Effort = {
  rounds: 3,
  seconds: 0.25,
  warmup: 0.1,
  first: 0.3,
  total: 47,
};

/** What is run only where it is asked for by its name. */
const others = [...extraScenarios, ...growScenarios, ...fairScenarios];

/** Descriptors of a server that are no connections, and some to spare. */
const OTHER_FILES = 64;

const FORMAT_LIMIT_MS = 30_000;

/** The flags of `deno task bench`. */
export const flagTable = {
  quick: {},
  only: named("NAME", "the start of a scenario's name"),
  peers: named("NAME,…", "names of servers with commas between them"),
  against: named("DIR", "the folder of a checkout", "none"),
  rounds: positive("N", "5, or 3 with --quick"),
  seconds: positive("S", "0.8, or 0.25 with --quick"),
  markdown: {},
  help: {},
};

const HELP = `Usage: deno task bench [flags]

--quick  fewer scenarios and peers, within a minute
--only  only the scenario of that name, or those whose names start so
--peers  only these servers, and another checkout's twins of them
--against  another checkout, its Parley measured in turns with this one's
--rounds  turns of each server
--seconds  length of a turn
--markdown  print what a full run puts into the documentation, too
--help  print this and end

`;

if (import.meta.main) {
  // Nobody else ends the servers when a terminal's Ctrl-C ends this program.
  for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
    Deno.addSignalListener(signal, async () => {
      await killAll();
      Deno.exit(code);
    });
  }
  try {
    await main();
  } catch (error) {
    console.error(`bench: ${error instanceof Error ? error.message : error}`);
    Deno.exitCode = error instanceof UsageError ? 2 : 1;
  } finally {
    await killAll();
  }
}

async function main(): Promise<void> {
  const { flags } = parseFlags(flagTable, Deno.args);
  if (flags.help) {
    const names = (all: readonly Scenario[]) =>
      all.map(({ name }) => name).join(", ");
    console.log(
      helpOf(flagTable, HELP) +
        `Scenarios: ${names(scenarios)}\n\n` +
        `Only by --only: ${names(others)}\n\n` +
        `Servers: ${Object.keys(peers).join(", ")}`,
    );
    return;
  }
  if (flags.against !== "") await addOther(flags.against);
  const { rounds, seconds } = flags;
  let wanted = scenariosOf(flags).map((scenario) => ({
    ...withPeers(scenario, flags.peers),
    // What is asked for goes before what is usual for a scenario.
    ...(rounds !== undefined && { rounds }),
    ...(seconds !== undefined && { seconds }),
  })).filter(({ peers }) => peers.length > 0);
  if (wanted.length === 0) {
    throw new UsageError(`--peers is "${flags.peers}": no scenario has them`);
  }
  const usual = flags.quick ? QUICK : FULL;
  const effort = {
    ...usual,
    rounds: rounds ?? usual.rounds,
    seconds: seconds ?? usual.seconds,
  };

  // Pictures and tables in the documentation come from a full run, never from a
  // part of one. That it has a place to go to is better known before than after.
  const full = [flags.only, flags.peers, flags.against]
    .every((text) => text === "") && !flags.quick;
  if (full) {
    for (
      const [page, part] of [
        ...[[README, "bench"], [PAGE, "bench"], [PAGE, "paper"]] as const,
      ]
    ) intoPage(await Deno.readTextFile(at(page)), part, "");
  }

  const began = performance.now();
  const { tls } = await buildPrograms();
  if (!tls && wanted.some((scenario) => scenario.tls)) {
    console.error("bench: leaving out TLS: it takes openssl and its headers");
    wanted = wanted.filter((scenario) => !scenario.tls);
  }
  if (!await exists(CLIENT) && wanted.some(({ mode }) => mode === "client")) {
    console.error(
      "bench: leaving out the second opinion: no ./client is built",
    );
    wanted = wanted.filter(({ mode }) => mode !== "client");
  }
  const most = Number(await run(["sh", "-c", "ulimit -Hn"], 5000));
  const beyond = wanted.filter(({ connections }) =>
    connections + OTHER_FILES > most
  );
  if (beyond.length > 0) {
    console.error(
      `bench: leaving out ${beyond.map(({ name }) => name).join(", ")}: ` +
        `more connections than the limit of ${most} descriptors (ulimit -Hn)`,
    );
    wanted = wanted.filter((scenario) => !beyond.includes(scenario));
  }
  for (
    const [name, build] of [
      ["hello", buildHello],
      ["go", buildGo],
      ["rust", buildRust],
    ] as const
  ) if (wanted.some(({ peers }) => peers.includes(name))) await build();
  const tables = await runAll(wanted, effort);
  const report = reportOf(tables, effort, full);
  if (report.targets !== undefined) console.log(targetsText(report.targets));
  // Growth is drawn of a run that has all of its steps, each measured as usual.
  const grown = !full && usual === FULL && rounds === undefined &&
    seconds === undefined && flags.peers === "" && flags.against === "" &&
    growScenarios.every(({ name }) =>
      tables.some((table) => table.name === name)
    );
  if (flags.markdown) {
    console.log(
      [markdownOf(report), paperOf(tables), growthMarkdown(tables)].join(
        "\n\n",
      ),
    );
  }
  await save(report, full ? "latest" : grown ? "grow" : undefined);
  if (full) {
    await update(README, "bench", shortMarkdownOf(report));
    await update(PAGE, "bench", markdownOf(report));
    await update(PAGE, "paper", paperOf(tables));
  }
  if (grown) {
    await update(
      PAGE,
      "grow",
      `${growthMarkdown(tables)}\n\n${whenOf(report)}`,
    );
  }
  const minutes = ((performance.now() - began) / 60_000).toFixed(1);
  const where = full || grown ? `${RESULTS}, ${CHARTS} and ${PAGE}` : BUILD;
  console.error(`bench: ${minutes} minutes; results are in ${where}`);
}

/** The scenarios that the flags ask for. */
function scenariosOf(
  { quick, only }: { quick: boolean; only: string },
): readonly Scenario[] {
  const usual = quick ? quickScenarios : scenarios;
  if (only === "") return usual;
  const all = [...usual, ...others];
  const exact = all.filter(({ name }) => name === only);
  if (exact.length > 0) return exact;
  const begun = all.filter(({ name }) => name.startsWith(only));
  if (begun.length > 0) return begun;
  throw new UsageError(`--only is "${only}": no scenario starts so`);
}

/** A scenario on some of its peers, with those of another checkout among them. */
function withPeers(scenario: Scenario, only: string): Scenario {
  const chosen = only === "" ? scenario.peers : only.split(",").map((name) => {
    if (name in peers) return name;
    throw new UsageError(`--peers has "${name}": there is no such server`);
  });
  const all = withOthers(
    scenario.peers.filter((name) => chosen.includes(name)),
  );
  const baselines = [...scenario.baselines, ...othersOf(all)];
  return { ...scenario, peers: all, baselines };
}

async function runAll(
  wanted: readonly Scenario[],
  effort: Effort,
): Promise<Table[]> {
  const named = new Set(wanted.flatMap(({ peers }) => peers));
  const available = await availablePeers(
    Object.keys(peers).filter((name) => named.has(name)),
  );
  const tables: Table[] = [];
  const began = performance.now();
  for (const [i, scenario] of wanted.entries()) {
    console.error(`bench: ${i + 1} of ${wanted.length}: ${scenario.name}`);
    const names = scenario.peers.filter((name) => available.has(name));
    // What one scenario leaves of its share, the next ones have.
    const left = effort.total - (performance.now() - began) / 1000;
    const share = left * turns(scenario) /
      wanted.slice(i).map(turns).reduce((a, b) => a + b);
    const samples = await measure(scenario, names, effort, share);
    for (const table of tablesOf(scenario, samples)) {
      console.log(textOf(table));
      tables.push(table);
    }
  }
  return tables;
}

/** Turns in a round: how long one scenario takes against another. */
function turns({ peers }: Scenario): number {
  return peers.length;
}

function reportOf(
  tables: readonly Table[],
  { rounds, seconds, warmup }: Effort,
  full: boolean,
): Report {
  return {
    date: new Date().toISOString().slice(0, 10),
    machine: {
      deno: Deno.version.deno,
      target: Deno.build.target,
      cpus: navigator.hardwareConcurrency,
    },
    rounds,
    seconds,
    warmup,
    tables,
    targets: full ? verdictsOf(tables) : undefined,
  };
}

/** Under a name it is kept with the sources, without one it is not. */
async function save(
  report: Report,
  name: "latest" | "grow" | undefined,
): Promise<void> {
  const results = at(name === undefined ? BUILD : RESULTS);
  const charts = at(name === undefined ? `${BUILD}charts/` : CHARTS);
  await Deno.mkdir(results, { recursive: true });
  await Deno.mkdir(charts, { recursive: true });
  await Deno.writeTextFile(
    `${results}${name ?? "latest"}.json`,
    JSON.stringify(report, null, 2) + "\n",
  );
  const { tables } = report;
  const drawn = [
    // A step of what grows says nothing by itself.
    ...(name === "grow" ? [] : tables).map((table) =>
      [table.name, chartOf(table)] as const
    ),
    ...curvesOf(tables).map((curves) =>
      [curves.name, curveChartOf(curves)] as const
    ),
  ];
  for (const [name, svg] of drawn) {
    await Deno.writeTextFile(`${charts}${name}.svg`, svg);
  }
}

async function update(
  name: string,
  part: Part,
  results: string,
): Promise<void> {
  const page = at(name);
  const text = intoPage(await Deno.readTextFile(page), part, results);
  await Deno.writeTextFile(page, text);
  await run([Deno.execPath(), "fmt", "--quiet", page], FORMAT_LIMIT_MS);
}

function named(
  placeholder: string,
  expected: string,
  shown = "all",
): ValueFlag<string> {
  const parse = (text: string) => text;
  return { placeholder, default: "", shown, expected, parse };
}

function positive(
  placeholder: string,
  shown: string,
): ValueFlag<number | undefined> {
  return {
    placeholder,
    default: undefined,
    shown,
    expected: "a number above 0",
    parse: (text) => Number(text) > 0 ? Number(text) : undefined,
  };
}
