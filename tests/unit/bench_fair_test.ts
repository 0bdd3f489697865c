import { assertEquals, assertStringIncludes } from "../support/std.ts";

import { fairScenarios } from "../../bench/fair_scenarios.ts";
import { growScenarios } from "../../bench/grow.ts";
import { peers } from "../../bench/peers.ts";
import { tablesOf, textOf } from "../../bench/report.ts";
import { extraScenarios, scenarios } from "../../bench/scenarios.ts";

Deno.test("the benchmark's scenarios have names and peers of their own", () => {
  const all = [
    ...[...scenarios, ...extraScenarios],
    ...[...growScenarios, ...fairScenarios],
  ];
  const names = all.map(({ name }) => name);
  assertEquals(names, [...new Set(names)]);
  for (const { name, peers: wanted } of all) {
    assertEquals(wanted.filter((peer) => !(peer in peers)), [], name);
  }
});

Deno.test("a table shows what stands beside a figure, where there is some", () => {
  const [flood] = fairScenarios;
  const values = { [flood.figures[0].name]: 20, p50: 3, livez: 40, ended: 0 };
  const quicker = { ...values, [flood.figures[0].name]: 10, livez: 30 };
  const { livez: _, ...without } = values;
  const [table] = tablesOf(
    flood,
    new Map([
      ["server", [{ values }, { values: quicker }]],
      ["node", [{ values: without }]],
    ]),
  );
  const [parley, node] = table.rows;
  assertEquals(parley.median, 15);
  // The longest of all turns, where that is what counts.
  assertEquals(parley.beside, { p50: 3, livez: 40, ended: 0 });
  assertEquals(node.beside, { p50: 3, ended: 0 });
  assertStringIncludes(textOf(table), "/livez");
});
