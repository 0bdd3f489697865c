// @ts-check
/**
 * The charts: five minutes of values. A line has the colour of its name in the
 * caption, so that the style sheet alone knows the colours.
 */

import { find, make, write } from "./dom.js";
import * as numbers from "./numbers.js";

// A classic script, loaded before this module.
const { uPlot } = /** @type {{ uPlot: typeof import("npm:uplot@1.6.32") }} */
  (/** @type {unknown} */ (globalThis));

/** How much is kept, in seconds. */
const KEPT = 300;

/** Seconds without a value that show as a gap. */
const GAP = 3;

/**
 * @typedef {object} Kind
 * @property {string} title
 * @property {Record<string, string>} names What the page calls each series.
 * @property {(value: number) => string} say A value in words.
 * @property {(value: number) => string} axis The same, for the axis.
 * @property {import("npm:uplot@1.6.32").Scale} [scale] If not one from 0 on.
 * @property {import("npm:uplot@1.6.32").Axis} [grid] If not uPlot's own.
 */

/** @type {readonly Kind[]} */
const KINDS = [
  {
    title: "Connections",
    names: { active: "open" },
    say: numbers.count,
    axis: numbers.short,
  },
  {
    title: "Requests",
    names: { requests: "per second" },
    say: numbers.rate,
    axis: numbers.short,
  },
  {
    title: "Bytes",
    names: { received: "in", sent: "out" },
    say: (value) => `${numbers.bytes(value)}/s`,
    axis: numbers.size,
    // Round numbers.
    grid: { incrs: Array.from({ length: 50 }, (_, i) => 2 ** i) },
  },
  {
    title: "Time to reply",
    names: { p50: "p50", p99: "p99", p999: "p99.9" },
    say: numbers.duration,
    axis: numbers.duration,
    scale: {
      distr: 3,
      range: (_, low, high) =>
        low == null ? [0.01, 1] : uPlot.rangeLog(low, high, 10, true),
    },
    grid: {
      splits: (_, _axis, low, high) => decades(low, high),
      // All of them have their names.
      filter: (_, powers) => powers,
    },
  },
];

/** @type {number[]} Seconds since 1970. */
const times = [];
/** @type {Record<string, (number | null)[]>} By series, one for each time. */
const series = {};
const charts = KINDS.map(chartOf);

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

/**
 * @param {number} time Seconds since 1970.
 * @param {Readonly<Record<string, number | undefined>>} values By series.
 */
export function addToCharts(time, values) {
  const last = times.at(-1) ?? time;
  // A clock set back: the old values are of no time that can be drawn.
  if (time < last) drop(times.length);
  if (time - last > GAP) push(last + 1, {});
  push(time, values);
  drop(times.findIndex((kept) => kept >= time - KEPT));
  draw();
}

/** @param {number} time @param {Readonly<Record<string, number | undefined>>} values */
function push(time, values) {
  times.push(time);
  for (const name in series) series[name].push(values[name] ?? null);
}

function latest() {
  return times.at(-1) ?? Date.now() / 1000;
}

function draw() {
  for (const chart of charts) chart();
}

/** @param {number} many */
function drop(many) {
  for (const list of [times, ...Object.values(series)]) list.splice(0, many);
}

/** @param {Kind} kind @returns {() => void} Draws its values. */
function chartOf({ title, names, say, axis, scale, grid }) {
  const time = make("time", {});
  const place = make("div", { class: "plot", "aria-hidden": "true" });
  const lines = Object.entries(names).map(([name, label]) => {
    const term = make("dt", { "data-series": name }, label);
    const shown = make("dd", { "data-show": name }, numbers.NONE);
    const ink = getComputedStyle(term);
    return { values: series[name] = [], term, shown, ink };
  });
  const terms = lines.map(({ term, shown }) => make("div", {}, term, shown));
  const head = [make("h2", {}, title), time, make("dl", {}, ...terms)];
  const caption = make("figcaption", {}, ...head);
  find("#charts").append(make("figure", { class: "panel" }, caption, place));

  /** @returns {import("npm:uplot@1.6.32").AlignedData} */
  const data = () => [
    times,
    // A line cannot reach infinity; the words say what it is.
    ...lines.map(({ values }) => values.map((v) => v === Infinity ? 1e4 : v)),
  ];
  /** Says the values below the pointer, or else the last ones. */
  const tell = () => {
    const at = plot.cursor.idx;
    for (const { shown, values } of lines) {
      const value = values.at(at ?? -1);
      write(shown, value == null ? numbers.NONE : say(value));
    }
    write(time, at == null ? "" : numbers.clock(times[at] * 1000));
  };
  const sizeOfPlace = () => {
    const { clientWidth: width, clientHeight: height } = place;
    return { width, height };
  };
  const style = getComputedStyle(place);
  const look = {
    font: `11px ${style.fontFamily}`,
    stroke: () => style.color,
    grid: { stroke: () => style.borderColor, width: 1 },
    ticks: { show: false },
  };
  const plot = new uPlot(
    {
      ...sizeOfPlace(),
      padding: [8, 8, 0, 0],
      legend: { show: false },
      cursor: {
        sync: { key: "parley" },
        drag: { x: false, y: false },
        y: false,
        points: { size: 6 },
      },
      scales: {
        x: { range: () => [latest() - KEPT, latest()] },
        y: scale ?? {
          range: (_, _low, high) => [
            0,
            uPlot.rangeNum(0, Math.max(high ?? 0, 4), 0.15, true)[1],
          ],
        },
      },
      axes: [
        {
          ...look,
          size: 24,
          gap: 4,
          space: 60,
          incrs: [60, 120, 300],
          // At the edge it would meet the lowest name of the other axis.
          values: (_, seconds) =>
            seconds.map((second) =>
              second - latest() < 20 - KEPT
                ? ""
                : numbers.clock(second * 1000).slice(0, 5)
            ),
        },
        {
          ...look,
          // The same for all charts, so that they stand below each other.
          size: 62,
          gap: 6,
          space: 28,
          ...grid,
          values: (_, values) => values.map(axis),
        },
      ],
      series: [
        {},
        ...lines.map(({ ink }, i) => ({
          stroke: () => ink.color,
          fill: i === 0 && !scale
            ? () => `color-mix(in srgb, ${ink.color} 12%, transparent)`
            : undefined,
          width: 1.5,
          points: { show: false },
        })),
      ],
      hooks: { setCursor: [tell] },
    },
    data(),
    place,
  );
  new ResizeObserver(() => plot.setSize(sizeOfPlace())).observe(place);
  return () => {
    plot.setData(data());
    tell();
  };
}

/**
 * @param {number} low
 * @param {number} high
 * @returns {number[]} Powers of ten, at most five.
 */
function decades(low, high) {
  const first = Math.round(Math.log10(low));
  const last = Math.round(Math.log10(high));
  const step = Math.ceil((last - first) / 4);
  const many = Math.floor((last - first) / step) + 1;
  return Array.from(
    { length: many },
    (_, i) => Number((10 ** (first + i * step)).toPrecision(1)),
  );
}
