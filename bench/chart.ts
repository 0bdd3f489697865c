/**
 * Draws a table as an SVG: a bar for each peer, and a line from its least to
 * its most; and what grows as curves, a line for each peer.
 *
 * @module
 */

import type { Curves, Line } from "./grow.ts";
import { formatNumber } from "./numbers.ts";
import { peers } from "./peers.ts";
import type { Row, Table } from "./report.ts";

const WIDTH = 780;
const LABELS = 290;
const NUMBERS = 80;
const HEAD = 56;
const ROW = 28;
const BAR = 16;
const EDGE = 80;
const PLOT = 260;
const LEGEND = 190;
const NARROW = 52;

// An image in a page of GitHub sees the reader's colour scheme by this query.
const STYLE = `
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 15px }
.unit { fill: #59636e }
.bar { fill: #8c959f }
.parley { fill: #0969da }
.spread { stroke: #1f2328; stroke-width: 1.5 }
.grid { stroke: #d1d9e0 }
.curve { stroke: #8c959f; stroke-width: 2; fill: none }
.c1 { stroke: #1a7f37 }
.c2 { stroke: #bc4c00 }
.ours { stroke: #0969da; stroke-width: 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .unit { fill: #9198a1 }
  .bar { fill: #656c76 }
  .parley { fill: #4493f8 }
  .spread { stroke: #f0f6fc }
  .grid { stroke: #3d444d }
  .ours { stroke: #4493f8 }
}
`.trim();

/**
 * Draws a table.
 *
 * @param table The table.
 * @returns The SVG.
 */
export function chartOf({ title, unit, better, rows }: Table): string {
  const height = HEAD + rows.length * ROW + 8;
  const most = Math.max(...rows.map(({ max }) => max), Number.MIN_VALUE);
  const scale = (value: number) =>
    Math.max(0, value) / most * (WIDTH - LABELS - NUMBERS);
  return svgOf(
    height,
    title,
    `${unit}, ${better} is better; the bar is the median`,
    rows.flatMap((row, i) => barOf(row, HEAD + i * ROW, scale)),
  );
}

/**
 * Draws how something grows. Both axes are logarithmic: a straight line is a
 * power of what grows, and a bend is where another power begins.
 *
 * @param curves The curves.
 * @returns The SVG.
 */
export function curveChartOf(curves: Curves): string {
  const { title, unit, better, steps, lines } = curves;
  const all = lines.flatMap(({ values }) => values.flatMap((y) => y ?? []));
  const decades = [Math.min(...all), Math.max(...all)].map(Math.log10);
  const [low, high] = [Math.floor(decades[0]), Math.ceil(decades[1])];
  const [left, right] = [EDGE, WIDTH - EDGE];
  const bottom = HEAD + ROW + PLOT;
  const first = Math.log(steps[0].at);
  const width = Math.log(steps[steps.length - 1].at) - first;
  const x = (at: number) =>
    left + (Math.log(at) - first) / width * (right - left);
  const y = (value: number) =>
    bottom - (Math.log10(value) - low) / ((high - low) || 1) * PLOT;
  const ticks = Array.from(
    { length: high - low + 1 },
    (_, i) => 10 ** (low + i),
  );
  return svgOf(
    bottom + ROW + 14,
    title,
    `${unit}, ${better} is better; both axes are logarithmic`,
    [
      ...lines.flatMap(({ peer }, i) => [
        `<line class="${curveClass(peer, i)}" x1="${i * LEGEND}" ` +
        `x2="${i * LEGEND + 20}" y1="${HEAD}" y2="${HEAD}"/>`,
        `<text x="${i * LEGEND + 26}" y="${HEAD + 4}">${
          escape(peers[peer].label)
        }</text>`,
      ]),
      ...ticks.flatMap((tick) => [
        `<line class="grid" x1="${left}" x2="${right}" ` +
        `y1="${px(y(tick))}" y2="${px(y(tick))}"/>`,
        `<text class="unit" x="${left - 8}" y="${px(y(tick) + 4)}" ` +
        `text-anchor="end">${tick.toLocaleString("en")}</text>`,
      ]),
      ...steps.map(({ at, label }, i) => {
        // Below the one before where there is no room beside it.
        const close = i > 0 && x(at) - x(steps[i - 1].at) < NARROW;
        return `<text class="unit" x="${px(x(at))}" ` +
          `y="${bottom + (close ? 34 : 20)}" text-anchor="middle">${
            escape(label)
          }</text>`;
      }),
      ...lines.flatMap((line, i) => curveOf(line, i)),
    ],
  );

  function curveOf({ peer, values }: Line, i: number): string[] {
    const points = steps.flatMap(({ at }, step) => {
      const value = values[step];
      return value === undefined ? [] : [[px(x(at)), px(y(value))]];
    });
    const kind = curveClass(peer, i);
    return [
      `<polyline class="${kind}" points="${
        points.map((point) => point.join(",")).join(" ")
      }"/>`,
      ...points.map(([x, y]) =>
        `<circle class="${kind}" cx="${x}" cy="${y}" r="2.5"/>`
      ),
    ];
  }
}

function curveClass(peer: string, i: number): string {
  return peer === "parley" ? "curve ours" : `curve c${i}`;
}

function px(value: number): string {
  return value.toFixed(1);
}

/** The head that all charts have, and what is drawn below it. */
function svgOf(
  height: number,
  title: string,
  unit: string,
  drawn: readonly string[],
): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" ` +
    `width="${WIDTH}" height="${height}" role="img">`,
    `<title>${escape(title)}</title>`,
    `<style>${STYLE}</style>`,
    `<text class="title" x="0" y="18">${escape(title)}</text>`,
    `<text class="unit" x="0" y="38">${escape(unit)}</text>`,
    ...drawn,
    "</svg>",
  ].join("\n") + "\n";
}

function barOf(
  { peer, median, min, max }: Row,
  y: number,
  scale: (value: number) => number,
): string[] {
  const kind = /^(parley|server)/.test(peer) ? "bar parley" : "bar";
  const middle = y + ROW / 2;
  const at = (value: number) => px(LABELS + scale(value));
  const width = px(scale(median));
  return [
    `<text x="${LABELS - 8}" y="${middle + 4}" text-anchor="end">${
      escape(peers[peer].label)
    }</text>`,
    `<rect class="${kind}" x="${LABELS}" y="${middle - BAR / 2}" ` +
    `width="${width}" height="${BAR}" rx="2"/>`,
    `<line class="spread" x1="${at(min)}" x2="${at(max)}" ` +
    `y1="${middle}" y2="${middle}"/>`,
    `<text x="${WIDTH}" y="${middle + 4}" text-anchor="end">${
      formatNumber(median)
    }</text>`,
  ];
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
