// @ts-check
/** The panels at the side: names on the left, values on the right. */

import { find, make, write } from "./dom.js";
import { count } from "./numbers.js";

/** From these parts on a limit is near, and very near. */
const NEAR = 0.8;
const VERY_NEAR = 0.95;

/**
 * @typedef {object} Shown
 * @property {string} text
 * @property {boolean} [bad]
 * @property {number} [value] What a meter shows of the limit.
 * @property {number} [limit] 0 for none.
 */

/** @type {Map<string, Element>} The lines of each panel, by its title. */
const panels = new Map();

/**
 * A number of a limit, which is 0 for none.
 *
 * @param {number} value
 * @param {number} limit
 * @returns {Shown}
 */
export function part(value, limit, say = count) {
  const of = limit === 0 ? ", no limit" : ` of ${say(limit)}`;
  return { text: say(value) + of, value, limit };
}

/**
 * @param {string} title
 * @param {Readonly<Record<string, Shown | number | string>>} values By name.
 */
export function putNumbers(title, values) {
  const panel = panels.get(title) ?? newPanel(title);
  Object.entries(values).forEach(([name, given], i) => {
    const line = panel.children[i] ?? panel.appendChild(
      make("div", {}, make("dt", {}), make("dd", {}), make("meter", {})),
    );
    const [term, told, meter] = line.children;
    const { text, value = 0, limit = 0, bad = false } =
      typeof given === "string"
        ? { text: given }
        : typeof given === "number"
        ? { text: count(given) }
        : given;
    write(term, name);
    write(told, text);
    line.classList.toggle("zero", text === "0" || text === "0 B");
    line.classList.toggle("rising", bad);
    const marks = { low: limit * NEAR, high: limit * VERY_NEAR, optimum: 0 };
    const hidden = limit === 0;
    Object.assign(meter, {
      hidden,
      ariaLabel: name,
      max: limit,
      ...marks,
      value,
    });
  });
}

/** @param {string} title */
function newPanel(title) {
  const list = make("dl", { class: "numbers", "aria-label": title });
  const head = make("h2", {}, title);
  find("#side").append(make("section", { class: "panel" }, head, list));
  panels.set(title, list);
  return list;
}
