/**
 * What a full run says in the documentation: a table of ratios, one of targets,
 * and where and when it was. The README has a few rows of the first.
 *
 * @module
 */

import { formatNumber } from "./numbers.ts";
import type { Report, Table } from "./report.ts";
import { cellsOf } from "./targets.ts";

/** What the results stand between. */
const BEGIN = "<!-- bench:begin -->";
const END = "<!-- bench:end -->";

/** The peers that Parley is compared with, and how a column is called. */
const COLUMNS: Readonly<Record<string, string>> = {
  node: "× Node",
  bare: "× bare Deno loop",
  epoll: "× C epoll",
};

/** The tables whose rows the README shows. */
export const SHOWN: readonly string[] = [
  ...["depth-1", "depth-16", "frame-64k", "idle"],
];

/**
 * Writes a few results as Markdown, for the README.
 *
 * @param report What was measured.
 */
export function shortMarkdownOf({ tables }: Report): string {
  return ratiosOf(tables.filter(({ name }) => SHOWN.includes(name))) + "\n";
}

/**
 * Writes the results as Markdown. `deno fmt` will align the tables.
 *
 * @param report What was measured; a part of a run has no targets.
 */
export function markdownOf({ tables, targets, ...when }: Report): string {
  const { date, machine, rounds, seconds } = when;
  const verdicts = targets === undefined ? [] : [
    tableOf(["target", "goal", "measured", "met"], targets.map(cellsOf)),
  ];
  return [
    ratiosOf(tables),
    ...verdicts,
    `${date}, ${machine.target}, ${machine.cpus} processors, ` +
    `Deno ${machine.deno}: medians of ${rounds} rounds, ${seconds} s each.`,
  ].join("\n\n") + "\n";
}

/**
 * Puts the results in the place of the last ones.
 *
 * @param page The text of the page.
 * @param results What goes there.
 * @returns The text with it.
 * @throws {Error} The place is not marked.
 */
export function intoPage(page: string, results: string): string {
  const begin = page.indexOf(BEGIN);
  const end = page.indexOf(END, begin);
  if (begin === -1 || end === -1) {
    throw new Error(`Cannot find ${BEGIN} and ${END} in the page`);
  }
  const before = page.slice(0, begin + BEGIN.length);
  return `${before}\n\n${results.trim()}\n\n${page.slice(end)}`;
}

function ratiosOf(tables: readonly Table[]): string {
  const baselines = Object.keys(COLUMNS);
  const rows = tables.flatMap(({ title, unit, better, rows }) => {
    const row = rows.find(({ peer }) => peer === "parley");
    if (!baselines.some((name) => name in (row?.ratios ?? {}))) return [];
    const sign = better === "lower" ? " (lower is better)" : "";
    return [[
      title + sign,
      `${formatNumber(row!.median)} ${unit}`,
      ...baselines.map((name) => row!.ratios[name]?.toFixed(2) ?? ""),
    ]];
  });
  return tableOf(["", "Parley", ...Object.values(COLUMNS)], rows);
}

/** A table whose columns but the first are flush right. */
function tableOf(
  head: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const rule = head.map((_, i) => i === 0 ? "---" : "---:");
  return [head, rule, ...rows]
    .map((cells) => `| ${cells.join(" | ")} |`)
    .join("\n");
}
