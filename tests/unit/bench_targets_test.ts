import { assertEquals, assertThrows } from "../support/std.ts";

import {
  intoPage,
  markdownOf,
  shortMarkdownOf,
  SHOWN,
} from "../../bench/readme.ts";
import type { Row, Table } from "../../bench/report.ts";
import { scenarios } from "../../bench/scenarios.ts";
import {
  cellsOf,
  type Target,
  targets,
  type Verdict,
  verdictsOf,
} from "../../bench/targets.ts";

const faster: Target = {
  name: "rate",
  reading: { table: "load", peer: "parley" },
  against: { table: "load", peer: "node" },
  unit: "×",
  goal: 1.3,
  better: "higher",
  beside: {
    "./server": {
      reading: { table: "load", peer: "server" },
      against: { table: "load", peer: "node" },
    },
  },
};

const p99: Target = {
  name: "p99",
  reading: { table: "load", peer: "parley", of: "p99" },
  against: { table: "load", peer: "node", of: "p99" },
  unit: "×",
  goal: 1,
  better: "lower",
};

const flat: Target = {
  name: "flat",
  reading: { table: "many", peer: "parley", of: "cpu" },
  against: { table: "load", peer: "parley", of: "cpu" },
  unit: "×",
  goal: 1.5,
  better: "lower",
};

const shown: Target = { ...faster, name: "shown", expected: true };

const memory: Target = {
  name: "memory",
  reading: { table: "load", peer: "parley" },
  unit: "KiB",
  goal: 200,
  better: "lower",
};

Deno.test("verdictsOf says of a goal that is reached that it is met", () => {
  const tables = [
    table("load", [
      row("parley", { median: 130, p99: 50, cpu: 10 }),
      row("node", { median: 100, p99: 50 }),
      row("server", { median: 140 }),
    ]),
    table("many", [row("parley", { cpu: 15 })]),
  ];
  const verdicts = verdictsOf(tables, [faster, p99, flat, memory]);
  assertEquals(met(verdicts), [true, true, true, true]);
  assertEquals(verdicts.map(({ measured }) => measured), [1.3, 1, 1.5, 130]);
  assertEquals(verdicts[0].beside, { "./server": 1.4 });
});

Deno.test("verdictsOf says of a goal that is not reached that it is missed", () => {
  const tables = [
    table("load", [
      row("parley", { median: 129, p99: 51, cpu: 10 }),
      row("node", { median: 100, p99: 50 }),
      // What stands beside it decides nothing.
      row("server", { median: 200 }),
    ]),
    table("many", [row("parley", { cpu: 15.1 })]),
  ];
  const less = { ...memory, goal: 128 };
  const verdicts = verdictsOf(tables, [faster, p99, flat, less]);
  assertEquals(met(verdicts), [false, false, false, false]);
});

Deno.test("verdictsOf says of a goal with a number missing that it was not measured", () => {
  const alone = [table("load", [row("parley", { median: 1e9, p99: 1 })])];
  const others = [
    table("load", [row("node", { median: 1, p99: 1e9 })]),
    table("many", [row("parley", { cpu: 0 })]),
  ];
  const nothing = [
    table("load", [
      row("parley", { median: 1, p99: 1, cpu: 0 }),
      row("node", { median: 0, p99: 0 }),
    ]),
    table("many", [row("parley", { cpu: 1 })]),
  ];
  for (const tables of [[], alone, others, nothing]) {
    const verdicts = verdictsOf(tables, [faster, p99, flat]);
    assertEquals(met(verdicts), [null, null, null]);
    assertEquals(verdicts.map((verdict) => cellsOf(verdict).at(-1)), [
      "not measured",
      "not measured",
      "not measured",
    ]);
  }
  assertEquals(met(verdictsOf([])), targets.map(() => null));
});

Deno.test("verdictsOf shows what is only expected, and decides nothing by it", () => {
  for (const median of [1, 1000]) {
    const tables = [
      table("load", [row("parley", { median }), row("node", { median: 100 })]),
    ];
    const [verdict] = verdictsOf(tables, [shown]);
    assertEquals(verdict.met, null);
    const [, goal, measured, met] = cellsOf(verdict);
    assertEquals([goal, met], ["about 1.30 ×", "shown"]);
    assertEquals(measured, `${median === 1 ? "0.01" : "10.0"} ×`);
  }
});

Deno.test("targets name tables and peers that a full run has", () => {
  const measured = new Set(
    scenarios.flatMap(({ figures, peers }) =>
      figures.flatMap(({ name }) => peers.map((peer) => `${name}, ${peer}`))
    ),
  );
  for (const { name, beside = {}, ...target } of targets) {
    for (const { reading, against } of [target, ...Object.values(beside)]) {
      for (const { table, peer } of [reading, against ?? reading]) {
        assertEquals(measured.has(`${table}, ${peer}`), true, name);
      }
    }
  }
});

Deno.test("verdictsOf takes no number for a result that has failures beside it", () => {
  const tables = [table("load", [row("parley", { median: 1, reset: 2 })])];
  const [verdict] = verdictsOf(tables, [memory]);
  assertEquals([verdict.met, verdict.failures], [false, 2]);
  assertEquals(cellsOf(verdict), [
    "memory",
    "≤ 200 KiB",
    "1.00 KiB, 2 failed",
    "no",
  ]);
});

Deno.test("markdownOf has Parley's rows, the targets and the run", () => {
  const tables = [
    table("load", [
      row("parley", { median: 130, ratios: { node: 1.3 } }),
      row("node", { median: 100, ratios: { node: 1 } }),
    ]),
  ];
  const report = {
    date: "2026-01-02",
    machine: { deno: "2.9.6", target: "a machine", cpus: 2 },
    rounds: 5,
    seconds: 1,
    warmup: 0,
    tables,
    targets: verdictsOf(tables, [faster]),
  };
  assertEquals(
    markdownOf(report),
    `|  | Parley | × Node |
| --- | ---: | ---: |
| load | 130 requests/s | 1.30 |

| target | goal | measured | met |
| --- | ---: | ---: | ---: |
| rate | ≥ 1.30 × | 1.30 × | yes |

2026-01-02, a machine, 2 processors, Deno 2.9.6: medians of 5 rounds, 1 s each.
`,
  );
});

Deno.test("shortMarkdownOf has the rows for the README alone, all of a full run", () => {
  const parley = row("parley", { median: 130, ratios: { node: 1.3 } });
  const tables = ["depth-1", "depth-1x"].map((name) => table(name, [parley]));
  const report = {
    date: "2026-01-02",
    machine: { deno: "2.9.6", target: "a machine", cpus: 2 },
    rounds: 5,
    seconds: 1,
    warmup: 0,
    tables,
  };
  assertEquals(
    shortMarkdownOf(report),
    `|  | Parley | × Node |
| --- | ---: | ---: |
| depth-1 | 130 requests/s | 1.30 |
`,
  );
  const names = scenarios.flatMap(({ figures }) => figures)
    .map(({ name }) => name);
  assertEquals(SHOWN.filter((name) => !names.includes(name)), []);
});

Deno.test("intoPage replaces what stands between the marks, and nothing else", () => {
  const [begin, end] = ["<!-- bench:begin -->", "<!-- bench:end -->"];
  const first = `before\n${begin}\n${end}\nafter\n`;
  const once = intoPage(first, "bench", "one\n");
  assertEquals(once, `before\n${begin}\n\none\n\n${end}\nafter\n`);
  assertEquals(
    intoPage(once, "bench", "two\n"),
    `before\n${begin}\n\ntwo\n\n${end}\nafter\n`,
  );
  const both = `${once}<!-- grow:begin --><!-- grow:end -->`;
  const grown = intoPage(both, "grow", "three");
  assertEquals(
    grown,
    `${once}<!-- grow:begin -->\n\nthree\n\n<!-- grow:end -->`,
  );
  assertThrows(
    () => intoPage(`${end} ${begin}`, "bench", "one"),
    Error,
    begin,
  );
});

function met(verdicts: readonly Verdict[]): (boolean | null)[] {
  return verdicts.map(({ met }) => met);
}

function table(name: string, rows: readonly Row[]): Table {
  return {
    name,
    title: name,
    unit: "requests/s",
    better: "higher",
    scenario: name,
    rows,
  };
}

function row(
  peer: string,
  { median = 0, p99, cpu, reset = 0, ratios = {} }: {
    median?: number;
    p99?: number;
    cpu?: number;
    reset?: number;
    ratios?: Record<string, number>;
  },
): Row {
  return {
    peer,
    median,
    min: median,
    max: median,
    values: [median],
    latency: p99 === undefined
      ? undefined
      : { p50: p99, p99, p999: p99, max: p99 },
    cpu,
    failures: { refused: 0, reset, lost: 0, wrong: 0 },
    ratios,
  };
}
