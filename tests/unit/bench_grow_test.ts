import { assert, assertEquals, assertStringIncludes } from "../support/std.ts";

import { curveChartOf } from "../../bench/chart.ts";
import { curvesOf, growScenarios, growthMarkdown } from "../../bench/grow.ts";
import { paperOf } from "../../bench/paper.ts";
import { type Table, tablesOf } from "../../bench/report.ts";
import { scenarios } from "../../bench/scenarios.ts";

const sizes = growScenarios.filter(({ name }) => name.startsWith("grow-size"));

Deno.test("what grows is drawn when all of its steps were measured", () => {
  const tables = sizes.flatMap((scenario, i) => grown(scenario, i));
  const curves = curvesOf(tables);
  assertEquals(curves.map(({ name }) => name), [
    "grow-size-rate",
    "grow-size-p99",
    "grow-size-cpu",
    "grow-size-memory",
  ]);
  const [rate, p99, cpu, memory] = curves;
  const [first] = rate.lines;
  assertEquals(first.values, sizes.map((_, i) => i === 0 ? undefined : i));
  assertEquals(p99.lines[0].values[1], 99);
  assertEquals(cpu.lines[0].values[1], 7);
  assertEquals(memory.lines[0].values[1], 50);
  assertEquals(rate.steps.at(-1), { at: 16 * 1024 ** 2, label: "16 MiB" });
  assertEquals(curvesOf(tables.slice(1)), []);
});

Deno.test("a chart of curves has a line for each peer and a place for each step", () => {
  const tables = sizes.flatMap((scenario, i) => grown(scenario, i));
  const [rate] = curvesOf(tables);
  const svg = curveChartOf(rate);
  assertEquals(svg.match(/<polyline/g)?.length, rate.lines.length);
  // The step without an answer is left out, and breaks nothing.
  const circles = rate.lines.length * (sizes.length - 1);
  assertEquals(svg.match(/<circle/g)?.length, circles);
  assert(!svg.includes("NaN") && !svg.includes("Infinity"));
  for (const { label } of rate.steps) assertStringIncludes(svg, `>${label}<`);
});

Deno.test("growth in Markdown has a row for each step", () => {
  const tables = sizes.flatMap((scenario, i) => grown(scenario, i + 1));
  const rows = growthMarkdown(tables).split("\n");
  assertEquals(rows.length, 2 + sizes.length + 2);
  for (const { name } of curvesOf(tables)) {
    assertStringIncludes(rows.at(-1)!, `](bench/${name}.svg)`);
  }
  assertEquals(
    rows[2],
    "| 16 B | 1.00 | 99.0 | 7.00 | 50.0 | 1.00 | 1.00 | 1.00 |",
  );
});

Deno.test("on paper are the numbers of a run, as far as it has them", () => {
  const wanted = scenarios.filter(({ name }) =>
    [
      ...["depth-1", "depth-16", "tls-connect", "accept", "idle", "idle-tls"],
      "threads",
    ].includes(name)
  );
  const tables = wanted.flatMap((scenario) => grown(scenario, 10));
  const paper = paperOf(tables);
  // 1 s by 7 µs, on 16 cores of which two do what one does, four fifths of it.
  assertStringIncludes(paper, "1 s / 7.00 µs = 140,000");
  assertStringIncludes(paper, "× 16 × 0.50 × 0.8 = 910,000");
  assertStringIncludes(paper, "9.1 million");
  assertStringIncludes(paper, "10.0 KiB each: 1 million in 10 GiB");
  const without = (left: string) =>
    paperOf(tables.filter(({ name }) => name !== left));
  assertEquals(without("threads"), "");
  const rows = paper.split("\n").length;
  for (const name of ["depth-1", "accept", "tls-connect", "idle-tls"]) {
    assertEquals(without(name).split("\n").length, rows - 1, name);
  }
});

/** What a scenario's peers give if all of them do the same. */
function grown(scenario: typeof scenarios[number], value: number): Table[] {
  const values = Object.fromEntries([
    ...scenario.figures.map(({ name }) => [name, value]),
    ["memory", 50],
  ]);
  const latency = { p50: 50, p99: 99, p999: 999, max: 9999 };
  return tablesOf(
    scenario,
    new Map(
      scenario.peers.map((peer) => [peer, [{ values, latency, cpu: 7 }]]),
    ),
  );
}
