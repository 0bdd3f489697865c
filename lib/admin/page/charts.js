// @ts-check
/// <reference lib="dom" />
/**
 * The charts: five minutes of values, one chart for each figure of the page.
 * A line has the colour of its name in the figure's caption, so the style sheet
 * alone knows the colours.
 */

import {
  bytes,
  clock,
  count,
  duration,
  NONE,
  rate,
  short,
  size,
} from "./numbers.js";

// A classic script, loaded before this module.
const { uPlot } = /** @type {{ uPlot: typeof import("npm:uplot@1.6.32") }} */
  (/** @type {unknown} */ (globalThis));

/** How much is kept, in seconds. */
const KEPT = 300;

/** Seconds without a value that show as a gap. */
const GAP = 3;

/**
 * @typedef {object} Kind
 * @property {(value: number) => string} say The value in words.
 * @property {(value: number) => string} axis The same, for the axis.
 * @property {number[]} [steps] What may lie between two lines of the grid.
 * @property {boolean} [log] Whether values differ by magnitudes.
 */

/** So that a grid of bytes has round numbers. */
const POWERS_OF_TWO = Array.from({ length: 50 }, (_, i) => 2 ** i);

/** @type {Readonly<Record<string, Kind>>} */
const KINDS = {
  connections: { say: count, axis: short },
  requests: { say: rate, axis: short },
  bytes: {
    say: (value) => `${bytes(value)}/s`,
    axis: size,
    steps: POWERS_OF_TWO,
  },
  durations: { say: duration, axis: duration, log: true },
};

/** All charts of the page. */
export class Charts {
  /** @type {number[]} Seconds since 1970. */
  #times = [];
  /** @type {Chart[]} */
  #charts;

  /** @param {ParentNode} page */
  constructor(page) {
    /** @type {HTMLElement[]} */
    const figures = Array.from(page.querySelectorAll("[data-chart]"));
    this.#charts = figures.map((figure) => new Chart(figure, this.#times));
    matchMedia("(prefers-color-scheme: dark)").addEventListener(
      "change",
      () => this.#charts.forEach((chart) => chart.recolor()),
    );
  }

  /**
   * Adds the values of one moment.
   *
   * @param {number} time Seconds since 1970.
   * @param {Readonly<Record<string, number | undefined>>} values By series.
   */
  add(time, values) {
    const last = this.#times.at(-1) ?? time;
    // A clock set back: the old values are of no time that can be drawn.
    if (time < last) this.#drop(this.#times.length);
    if (time - last > GAP) this.#push(last + 1, {});
    this.#push(time, values);
    this.#drop(this.#times.findIndex((kept) => kept >= time - KEPT));
    for (const chart of this.#charts) chart.draw();
  }

  /** @param {number} time @param {Readonly<Record<string, number | undefined>>} values */
  #push(time, values) {
    this.#times.push(time);
    for (const chart of this.#charts) chart.push(values);
  }

  /** @param {number} many */
  #drop(many) {
    this.#times.splice(0, many);
    for (const chart of this.#charts) chart.drop(many);
  }
}

class Chart {
  #figure;
  #times;
  #kind;
  /** @type {{ name: string, element: HTMLElement, shown: HTMLElement, values: (number | null)[] }[]} */
  #series;
  #plot;

  /** @param {HTMLElement} figure @param {number[]} times */
  constructor(figure, times) {
    this.#figure = figure;
    this.#times = times;
    this.#kind = KINDS[figure.dataset.chart ?? ""];
    /** @type {HTMLElement[]} */
    const names = Array.from(figure.querySelectorAll("[data-series]"));
    this.#series = names.map((element) => ({
      name: element.dataset.series ?? "",
      element,
      shown: /** @type {HTMLElement} */ (element.nextElementSibling),
      values: [],
    }));
    const place = /** @type {HTMLElement} */ (figure.querySelector(".plot"));
    this.#plot = new uPlot(this.#options(place), this.#data(), place);
    new ResizeObserver(() => this.#plot.setSize(sizeOf(place))).observe(place);
  }

  /** @param {Readonly<Record<string, number | undefined>>} values */
  push(values) {
    for (const series of this.#series) {
      series.values.push(values[series.name] ?? null);
    }
  }

  /** @param {number} many */
  drop(many) {
    for (const { values } of this.#series) values.splice(0, many);
  }

  draw() {
    this.#plot.setData(this.#data());
    this.#say();
  }

  recolor() {
    this.#plot.redraw();
  }

  /** @returns {import("npm:uplot@1.6.32").AlignedData} */
  #data() {
    return [
      this.#times,
      // A line cannot reach infinity; the words say what it is.
      ...this.#series.map(({ values }) =>
        values.map((value) => value === Infinity ? 10_000 : value)
      ),
    ];
  }

  /** Says the values below the pointer, or else the last ones. */
  #say() {
    const pointed = this.#plot.cursor.idx;
    const at = pointed ?? this.#times.length - 1;
    for (const { shown, values } of this.#series) {
      const value = values[at];
      const text = value == null ? NONE : this.#kind.say(value);
      if (shown.textContent !== text) shown.textContent = text;
    }
    const time =
      /** @type {HTMLElement} */ (this.#figure.querySelector("time"));
    time.textContent = pointed == null ? "" : clock(this.#times[at] * 1000);
  }

  /** @param {HTMLElement} place @returns {import("npm:uplot@1.6.32").Options} */
  #options(place) {
    const { axis, steps, log } = this.#kind;
    const ink = () => getComputedStyle(place).color;
    const line = () => getComputedStyle(place).borderColor;
    const font = `11px ${getComputedStyle(place).fontFamily}`;
    const look = {
      font,
      stroke: ink,
      grid: { stroke: line, width: 1 },
      ticks: { show: false },
    };
    return {
      ...sizeOf(place),
      padding: [8, 8, 0, 0],
      legend: { show: false },
      cursor: {
        sync: { key: "parley" },
        drag: { x: false, y: false },
        y: false,
        points: { size: 6 },
      },
      scales: {
        x: {
          range: () => {
            const last = this.#times.at(-1) ?? Date.now() / 1000;
            return [last - KEPT, last];
          },
        },
        y: log
          ? {
            distr: 3,
            range: (_, low, high) =>
              low == null ? [0.01, 1] : uPlot.rangeLog(low, high, 10, true),
          }
          : {
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
          values: (_, times) =>
            times.map((time) =>
              // There it would meet the lowest name of the other axis.
              time - (this.#times.at(-1) ?? time) < 20 - KEPT
                ? ""
                : clock(time * 1000).slice(0, 5)
            ),
        },
        {
          ...look,
          // The same for all charts, so that they stand below each other.
          size: 62,
          gap: 6,
          space: 28,
          ...steps && { incrs: steps },
          ...log && {
            splits: (_, _axis, low, high) => decades(low, high),
            // All of them have their names.
            filter: (_, powers) => powers,
          },
          values: (_, values) => values.map(axis),
        },
      ],
      series: [
        {},
        ...this.#series.map(({ element }, i) => ({
          stroke: () => getComputedStyle(element).color,
          fill: i === 0 && !log
            ? () => faint(getComputedStyle(element).color)
            : undefined,
          width: 1.5,
          points: { show: false },
        })),
      ],
      hooks: { setCursor: [() => this.#say()] },
    };
  }
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
  /** @type {number[]} */
  const powers = [];
  for (let power = first; power <= last; power += step) {
    powers.push(Number((10 ** power).toPrecision(1)));
  }
  return powers;
}

/** @param {HTMLElement} place */
function sizeOf(place) {
  return { width: place.clientWidth, height: place.clientHeight };
}

/** @param {string} color As computed: rgb(1, 2, 3). */
function faint(color) {
  return color.replace("rgb(", "rgba(").replace(")", ", 0.12)");
}
