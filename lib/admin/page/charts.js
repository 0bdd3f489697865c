// @ts-check
/**
 * The charts: the server's samples, and behind them what is true now. A line has
 * the colour of its name in the caption: the style sheet alone knows colours.
 */

import { find, make, write } from "./dom.js";
import * as numbers from "./numbers.js";

// A classic script, loaded before this module.
const { uPlot } = /** @type {{ uPlot: typeof import("npm:uplot@1.6.32") }} */
  (/** @type {unknown} */ (globalThis));

/** @typedef {Readonly<Record<string, number | null | undefined>>} Values */

/** How much is kept, and how much is shown at the least, in seconds. */
const KEPT = 3600;
const LEAST = 300;

/** The names beside a chart, in pixels: charts stand below each other. */
const SIDE = 62;

/** How long a failure is told by a colour, in seconds. */
const ALARM = 60;

/**
 * @typedef {object} Kind
 * @property {string} title
 * @property {Record<string, string>} names What the page calls each series.
 * @property {(value: number) => string} say A value in words.
 * @property {(value: number) => string} [axis] The same, for the axis.
 * @property {boolean} [alarm] Whether a value above 0 is bad.
 * @property {import("npm:uplot@1.6.32").Scale} [scale] If not one from 0 on.
 * @property {import("npm:uplot@1.6.32").Axis} [grid] If not uPlot's own.
 */

/** Round numbers of bytes. */
const powers = { incrs: Array.from({ length: 50 }, (_, i) => 2 ** i) };

/** @type {readonly Kind[]} */
const KINDS = [
  {
    title: "Requests",
    names: { requests: "per second" },
    say: numbers.rate,
    axis: numbers.short,
  },
  {
    title: "Time to reply",
    names: { p50: "p50", p99: "p99", p999: "p99.9" },
    say: numbers.duration,
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
  {
    title: "Failures per second",
    names: { errors: "errors", timeouts: "timeouts", rejected: "rejected" },
    say: numbers.rate,
    axis: numbers.short,
    alarm: true,
  },
  {
    title: "Connections",
    names: { active: "open" },
    say: numbers.count,
    axis: numbers.short,
  },
  {
    title: "Bytes",
    names: { received: "in", sent: "out" },
    say: (value) => `${numbers.bytes(value)}/s`,
    axis: numbers.size,
    grid: powers,
  },
  {
    title: "Memory",
    names: { resident: "resident", held: "held" },
    say: numbers.bytes,
    axis: numbers.size,
    grid: powers,
  },
  {
    title: "Processor",
    names: { cpu: "of one" },
    say: (value) => `${numbers.rate(value)} %`,
  },
  {
    title: "Event loop",
    names: { delay: "longest delay" },
    say: numbers.duration,
  },
];

/** @type {number[]} Seconds since 1970. */
const times = [];
/** @type {Record<string, (number | null)[]>} By series, one for each time. */
const series = {};
/** How many of them are the server's samples; what is true now is behind. */
let sampled = 0;
/** Seconds without a value that show as a gap. */
let gap = Infinity;
const charts = KINDS.map(chartOf);

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

/** @returns {number} The time of the last sample. */
export function lastSample() {
  return times[sampled - 1] ?? 0;
}

/** @param {ReturnType<import("../history.ts").History["after"]>} history */
export function addSamples({ period, columns, rows }) {
  gap = 2.5 * period;
  for (const [time, ...values] of rows) {
    push(time, Object.fromEntries(values.map((v, i) => [columns[i + 1], v])));
    sampled = times.length;
  }
}

/** @param {number} time @param {Values} values What is true now. */
export function showNow(time, values) {
  // Of a first answer there are no rates: the last sample's are shown.
  if (values.requests !== undefined || sampled === 0) push(time, values);
  draw();
}

/** @param {number} time @param {Values} values */
function push(time, values) {
  const lists = [times, ...Object.values(series)];
  for (const list of lists) list.splice(sampled);
  const last = times.at(-1) ?? time;
  // It was asked for together with a sample that was made just then.
  if (time < last && last - time < gap) return;
  // A date set back: the old values are of no time that can be drawn.
  const old = times.filter((t) => t < time - KEPT || time < last).length;
  for (const list of lists) list.splice(0, old);
  sampled = times.length;
  if (time - last > gap) add(last + 1, {});
  add(time, values);
}

/** @param {number} time @param {Values} values */
function add(time, values) {
  times.push(time);
  for (const name in series) series[name].push(values[name] ?? null);
}

/** @returns {[number, number]} From when to when there are values. */
function shown() {
  const end = times.at(-1) ?? Date.now() / 1000;
  return [Math.min(times[0] ?? end, end - LEAST), end];
}

function draw() {
  for (const chart of charts) chart();
}

/** @param {Kind} kind @returns {() => void} Draws its values. */
function chartOf({ title, names, say, axis = say, alarm, scale, grid }) {
  const time = make("time", {});
  const place = make("div", { class: "plot", "aria-hidden": "true" });
  const lines = Object.entries(names).map(([name, label]) => {
    const term = make("dt", { "data-series": name, class: name }, label);
    const told = make("dd", { "data-show": name }, numbers.NONE);
    const ink = getComputedStyle(term);
    return { values: series[name] = [], term, told, ink };
  });
  const terms = lines.map(({ term, told }) => make("div", {}, term, told));
  const head = [make("h2", {}, title), time, make("dl", {}, ...terms)];
  const caption = make("figcaption", {}, ...head);
  const figure = make("figure", { class: "panel" }, caption, place);
  find("#charts").append(figure);

  /** @returns {import("npm:uplot@1.6.32").AlignedData} */
  const data = () => [times, ...lines.map(({ values }) => values)];
  /** Says the values below the pointer, or else the last ones. */
  const tell = () => {
    const at = plot.cursor.idx ?? -1;
    const recent = times.findLastIndex((t) => t < shown()[1] - ALARM) + 1;
    for (const { term, told, values } of lines) {
      const value = values.at(at);
      write(told, value == null ? numbers.NONE : say(value));
      const bad = alarm && values.slice(recent).some(Boolean);
      term.parentElement?.classList.toggle("rising", bad === true);
    }
    write(time, at < 0 ? "" : numbers.clock(times[at] * 1000));
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
        x: { range: shown },
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
          incrs: [60, 120, 300, 600, 900, 1200],
          // At the edges there is no room for a name.
          values: ({ width }, seconds) => {
            const [first, end] = shown();
            const room = 20 * (end - first) / (width - SIDE);
            return seconds.map((second) =>
              second < first + room || second > end - room / 2
                ? ""
                : numbers.clock(second * 1000).slice(0, 5)
            );
          },
        },
        {
          ...look,
          size: SIDE,
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
