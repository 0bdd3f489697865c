/**
 * What a full run says in the documentation: a table of ratios, one of targets,
 * and where and when it was. The README has a few rows of the first.
 *
 * @module
 */

import { formatNumber } from "./numbers.ts";
import type { Report, Table } from "./report.ts";
import { cellsOf } from "./targets.ts";

/** What stands between marks of its own on a page, each kind once. */
export type Part = "bench" | "grow" | "paper";

/** The peers that Parley is compared with, and how a column is called. */
const COLUMNS: Readonly<Record<string, string>> = {
  lines: "× C",
  rust: "× Rust",
  go: "× Go",
  node: "× Node",
  bare: "× bare Deno loop (less work)",
  epoll: "× C echo (less work)",
};

/** The tables whose rows the README shows. */
export const SHOWN: readonly string[] = [
  ...["depth-1", "depth-16", "line-64k", "idle"],
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
  const verdicts = targets === undefined ? [] : [
    tableOf(["target", "goal", "measured", "met"], targets.map(cellsOf)),
  ];
  return [
    ratiosOf(tables),
    ...verdicts,
    whenOf(when),
  ].join("\n\n") + "\n";
}

/**
 * Says where and when a run was.
 *
 * @param report The run.
 */
export function whenOf(
  { date, machine, rounds, seconds }: Omit<Report, "tables">,
): string {
  return `${date}, ${machine.target}, ${machine.cpus} processors, ` +
    `Deno ${machine.deno}: medians of ${rounds} rounds, ${seconds} s each.`;
}

/**
 * Puts the results in the place of the last ones.
 *
 * @param page The text of the page.
 * @param part Which of its parts they are.
 * @param results What goes there.
 * @returns The text with it.
 * @throws {Error} The place is not marked.
 */
export function intoPage(page: string, part: Part, results: string): string {
  const [opening, closing] = [`<!-- ${part}:begin -->`, `<!-- ${part}:end -->`];
  const begin = page.indexOf(opening);
  const end = page.indexOf(closing, begin);
  if (begin === -1 || end === -1) {
    throw new Error(`Cannot find ${opening} and ${closing} in the page`);
  }
  const before = page.slice(0, begin + opening.length);
  return `${before}\n\n${results.trim()}\n\n${page.slice(end)}`;
}

function ratiosOf(tables: readonly Table[]): string {
  // A run without one of them has no column for it either.
  const baselines = Object.keys(COLUMNS).filter((name) =>
    tables.some(({ rows }) => rows.some(({ ratios }) => name in ratios))
  );
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
  return tableOf(
    ["", "Parley", ...baselines.map((name) => COLUMNS[name])],
    rows,
  );
}

/**
 * A table in Markdown whose columns but the first are flush right.
 *
 * @param head The heads of its columns.
 * @param rows As many cells each.
 */
export function tableOf(
  head: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const rule = head.map((_, i) => i === 0 ? "---" : "---:");
  return [head, rule, ...rows]
    .map((cells) => `| ${cells.join(" | ")} |`)
    .join("\n");
}
