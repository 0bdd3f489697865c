// @ts-check
/**
 * The charts: the server's samples of the last hour, and at their right end what
 * is true now. A line has the colour of its name, which the style sheet gives.
 */

import { find, make, write } from "./dom.js";
import { bytes, clock, count, duration, NONE, rate, short } from "./numbers.js";

// A classic script, loaded before this module.
const { uPlot } = /** @type {{ uPlot: typeof import("npm:uplot@1.6.32") }} */
  (/** @type {unknown} */ (globalThis));

/** @typedef {Readonly<Record<string, number | null | undefined>>} Values */

/** How much is kept, and how much is shown at the least, in seconds. */
const KEPT = 3600;
const LEAST = 300;

/** The width of the names beside a chart, in pixels, so that all charts align. */
const SIDE = 62;

/** A failure stays red for so many seconds. */
const ALARM = 60;

/**
 * @typedef {object} Kind
 * @property {Record<string, string>} names What the page calls each series.
 * @property {(value: number) => string} say A value in words.
 * @property {(value: number) => string} [axis] The same, for the axis.
 * @property {boolean} [alarm] Whether a value above 0 is bad.
 * @property {import("npm:uplot@1.6.32").Scale} [scale] If not one from 0 on.
 * @property {import("npm:uplot@1.6.32").Axis} [grid] If not uPlot's own.
 */

/** Lines at round numbers of bytes. */
const powersOfTwo = { incrs: Array.from({ length: 50 }, (_, i) => 2 ** i) };

/** @type {Readonly<Record<string, Kind>>} By title. */
const KINDS = {
  Requests: { names: { requests: "per second" }, say: rate, axis: short },
  "Time to reply": {
    names: { p50: "p50", p99: "p99", p999: "p99.9" },
    say: duration,
    scale: {
      distr: 3,
      range: (_, low, high) =>
        low == null ? [0.01, 1] : uPlot.rangeLog(low, high, 10, true),
    },
    grid: {
      splits: (_, _axis, low, high) => {
        const length = Math.round(Math.log10(high / low)) + 1;
        return Array.from({ length }, (_, i) => low * 10 ** i);
      },
      space: 14,
    },
  },
  "Failures per second": {
    names: { rejected: "rejected", timeouts: "timeouts", errors: "errors" },
    say: rate,
    axis: short,
    alarm: true,
  },
  Connections: { names: { active: "open" }, say: count, axis: short },
  Bytes: {
    names: { received: "in", sent: "out" },
    say: (value) => `${bytes(value)}/s`,
    axis: bytes,
    grid: powersOfTwo,
  },
  Memory: {
    names: { resident: "resident", held: "held" },
    say: bytes,
    grid: powersOfTwo,
  },
  Processor: {
    names: { cpu: "of one processor" },
    say: (value) => `${rate(value)} %`,
  },
  "Event loop": { names: { delay: "longest delay" }, say: duration },
};

/** @typedef {Values & { time: number }} Moment Its time is since 1970, in s. */

/** @type {Moment[]} The server's samples, the oldest first. */
let samples = [];
/** @type {Moment[]} What is drawn; a moment without values is a gap. */
let moments = [];
/** After so many seconds without a sample there is a gap. */
let gap = Infinity;
const charts = Object.entries(KINDS).map(chartOf);

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

/** @returns {number} The time of the last sample. */
export function lastSample() {
  return samples.at(-1)?.time ?? 0;
}

/** @param {Moment[]} added @param {number} period Seconds between samples. */
export function addSamples(added, period) {
  samples.push(...added);
  gap = 2.5 * period;
}

/** @param {number} time @param {Values} values What is true now. */
export function showNow(time, values) {
  // A later sample is from before the date was set back. If it was made this
  // instant, it is asked for again.
  samples = samples.filter((at) => at.time < time && at.time > time - KEPT);
  moments = [];
  // A first answer has no rates: those of the last sample are shown.
  const first = values.requests === undefined && samples.length > 0;
  for (const moment of first ? samples : [...samples, { ...values, time }]) {
    const last = moments.at(-1)?.time ?? moment.time;
    if (moment.time - last > gap) moments.push({ time: last + 1 });
    moments.push(moment);
  }
  draw();
}

function draw() {
  for (const chart of charts) chart();
}

/** @returns {[number, number]} From when to when there are values. */
function span() {
  const end = moments.at(-1)?.time ?? Date.now() / 1000;
  return [Math.min(moments[0]?.time ?? end, end - LEAST), end];
}

/** @param {[string, Kind]} kind @returns {() => void} Draws its values. */
function chartOf([title, { names, say, axis = say, alarm, scale, grid }]) {
  const lines = Object.entries(names).map(([name, label]) => {
    const term = make("dt", { "data-series": name }, label);
    const told = make("dd", { "data-show": name }, NONE);
    const item = make("div", {}, term, told);
    return { name, told, item, ink: getComputedStyle(term) };
  });
  const time = make("time", {});
  const list = make("dl", {}, ...lines.map(({ item }) => item));
  const caption = make("figcaption", {}, make("h2", {}, title), time, list);
  const place = make("div", { class: "plot", "aria-hidden": "true" });
  find("#charts").append(make("figure", { class: "panel" }, caption, place));

  /** @returns {import("npm:uplot@1.6.32").AlignedData} */
  const data = () => [
    moments.map(({ time }) => time),
    ...lines.map(({ name }) => moments.map((at) => at[name] ?? null)),
  ];
  /** Says the values below the pointer, or else the last ones. */
  const tell = () => {
    const at = plot.cursor.idx ?? -1;
    const moment = moments.at(at);
    const recent = moments.filter(({ time }) => time >= span()[1] - ALARM);
    for (const { name, told, item } of lines) {
      const value = moment?.[name];
      write(told, value == null ? NONE : say(value));
      const bad = alarm === true && recent.some((moment) => moment[name]);
      item.classList.toggle("rising", bad);
    }
    write(time, at < 0 || !moment ? "" : clock(moment.time * 1000));
  };
  const style = getComputedStyle(place);
  const look = {
    font: `11px ${style.fontFamily}`,
    stroke: () => style.color,
    grid: { stroke: () => style.borderColor, width: 1 },
    ticks: { show: false },
    gap: 6,
  };
  const plot = new uPlot(
    {
      // The observer below tells the real size before anything is painted.
      ...{ width: 284, height: 104 },
      padding: [8, 16, 0, 0],
      legend: { show: false },
      cursor: {
        sync: { key: "parley" },
        drag: { x: false, y: false },
        y: false,
      },
      scales: {
        x: { range: span },
        y: scale ??
          { range: (_, _low, high) => [0, 1.15 * Math.max(high ?? 0, 4)] },
      },
      axes: [
        {
          ...look,
          size: 24,
          space: 60,
          incrs: [60, 120, 300, 600, 900, 1200],
          values: (_, seconds) =>
            seconds.map((second) => clock(second * 1000).slice(0, 5)),
        },
        {
          ...look,
          size: SIDE,
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
  new ResizeObserver(([{ contentRect }]) => plot.setSize(contentRect))
    .observe(place);
  return () => {
    plot.setData(data());
    tell();
  };
}
