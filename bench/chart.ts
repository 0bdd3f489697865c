/**
 * Draws a table as an SVG: a bar for each peer, and a line from its least to
 * its most.
 *
 * @module
 */

import { formatNumber } from "./numbers.ts";
import { peers } from "./peers.ts";
import type { Row, Table } from "./report.ts";

const WIDTH = 780;
const LABELS = 290;
const NUMBERS = 80;
const HEAD = 56;
const ROW = 28;
const BAR = 16;

// An image in a page of GitHub sees the reader's colour scheme by this query.
const STYLE = `
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 15px }
.unit { fill: #59636e }
.bar { fill: #8c959f }
.parley { fill: #0969da }
.spread { stroke: #1f2328; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .unit { fill: #9198a1 }
  .bar { fill: #656c76 }
  .parley { fill: #4493f8 }
  .spread { stroke: #f0f6fc }
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
  const lines = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" ` +
    `width="${WIDTH}" height="${height}" role="img">`,
    `<title>${escape(title)}</title>`,
    `<style>${STYLE}</style>`,
    `<text class="title" x="0" y="18">${escape(title)}</text>`,
    `<text class="unit" x="0" y="38">${
      escape(`${unit}, ${better} is better; the bar is the median`)
    }</text>`,
    ...rows.flatMap((row, i) => barOf(row, HEAD + i * ROW, scale)),
    "</svg>",
  ];
  return lines.join("\n") + "\n";
}

function barOf(
  { peer, median, min, max }: Row,
  y: number,
  scale: (value: number) => number,
): string[] {
  const kind = /^(parley|server)/.test(peer) ? "bar parley" : "bar";
  const middle = y + ROW / 2;
  const px = (value: number) => (LABELS + scale(value)).toFixed(1);
  const width = scale(median).toFixed(1);
  return [
    `<text x="${LABELS - 8}" y="${middle + 4}" text-anchor="end">${
      escape(peers[peer].label)
    }</text>`,
    `<rect class="${kind}" x="${LABELS}" y="${middle - BAR / 2}" ` +
    `width="${width}" height="${BAR}" rx="2"/>`,
    `<line class="spread" x1="${px(min)}" x2="${px(max)}" ` +
    `y1="${middle}" y2="${middle}"/>`,
    `<text x="${WIDTH}" y="${middle + 4}" text-anchor="end">${
      formatNumber(median)
    }</text>`,
  ];
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
