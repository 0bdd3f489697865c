// @ts-check
/**
 * The table of open connections. Only the rows in and around sight are elements;
 * two empty rows stand for the others. An element stays with its connection, so
 * that a click meets the one it was meant for.
 */

import { find, make, write } from "./dom.js";
import { age, bytes, count } from "./numbers.js";

/** @typedef {Record<string, any>} Row A connection, by column. */

/** Rows beyond the edge, so that scrolling meets no empty place. */
const AROUND = 8;

/** @type {Readonly<Record<string, (value: any) => string>>} By column. */
const SAY = {
  ...{ id: String, peer: String, state: String, age, idle: age },
  ...{ requests: count, received: bytes, sent: bytes },
};

/** @type {Readonly<Record<string, string>>} Columns called otherwise. */
const TITLES = { received: "in", sent: "out" };

export class Table {
  #scroller = find("#connections");
  #table = /** @type {HTMLTableElement} */ (find("#connections table"));
  #rowHeight = parseFloat(
    getComputedStyle(this.#scroller).getPropertyValue("--row"),
  );
  /** @type {Row[]} */
  #rows = [];
  /** @type {Map<number, HTMLTableRowElement>} By the connection's number. */
  #elements = new Map();
  #above = spacer();
  #below = spacer();
  #heads = Object.keys(SAY).map((column) => this.#headOf(column));
  #by = "id";
  #descending = false;
  #onClose;

  /**
   * @param {(id: number, peer: string) => void} onClose The close button of a
   * row was pressed.
   */
  constructor(onClose) {
    this.#onClose = onClose;
    this.#table.rows[0].prepend(...this.#heads);
    this.#table.tBodies[0].append(this.#above, this.#below);
    const render = () => this.#render();
    this.#scroller.addEventListener("scroll", render, { passive: true });
    new ResizeObserver(render).observe(this.#scroller);
    this.show([]);
  }

  /** @param {Row[]} rows */
  show(rows) {
    this.#rows = rows;
    this.#sort();
  }

  /** @param {string} column */
  #headOf(column) {
    const title = TITLES[column] ?? column;
    const button = make("button", { type: "button" }, title);
    button.onclick = () => {
      this.#descending = column === this.#by && !this.#descending;
      this.#by = column;
      this.#scroller.scrollTop = 0;
      this.#sort();
    };
    const about = { scope: "col", class: column, "data-column": column };
    return make("th", about, button);
  }

  #sort() {
    const by = this.#by;
    for (const head of this.#heads) {
      if (head.dataset.column !== by) head.removeAttribute("aria-sort");
      else head.ariaSort = this.#descending ? "descending" : "ascending";
    }
    const sign = this.#descending ? -1 : 1;
    this.#rows.sort((a, b) =>
      a[by] < b[by] ? -sign : a[by] > b[by] ? sign : a.id - b.id
    );
    this.#render();
  }

  #render() {
    const { scrollTop, clientHeight } = this.#scroller;
    const height = this.#rowHeight;
    const total = this.#rows.length;
    this.#table.ariaRowCount = String(total + 1);
    // Fewer rows than before may end above what was in sight.
    const top = Math.min(scrollTop, Math.max(0, total * height - clientHeight));
    const first = Math.max(0, Math.floor(top / height) - AROUND);
    const end = Math.ceil((top + clientHeight) / height) + AROUND;
    const last = Math.min(total, end);
    setHeight(this.#above, first * height);
    setHeight(this.#below, (total - last) * height);

    const inSight = this.#rows.slice(first, last);
    const ids = new Set(inSight.map(({ id }) => id));
    for (const [id, element] of this.#elements) {
      if (ids.has(id)) continue;
      element.remove();
      this.#elements.delete(id);
    }
    /** @type {Element} */
    let before = this.#above;
    inSight.forEach((row, i) => {
      const element = this.#elementOf(row);
      element.ariaRowIndex = String(first + i + 2);
      // An element that is moved loses the focus; most stay where they are.
      if (before.nextElementSibling !== element) before.after(element);
      before = element;
    });
  }

  /** @param {Row} row */
  #elementOf(row) {
    const element = this.#elements.get(row.id) ?? this.#newElement(row.id);
    Object.entries(SAY).forEach(([column, say], i) =>
      write(element.cells[i], say(row[column]))
    );
    element.dataset.state = row.state;
    // What a narrow column cuts off.
    element.cells[1].title = row.peer;
    return element;
  }

  /** @param {number} id */
  #newElement(id) {
    const close = make("button", { type: "button" }, "close");
    close.ariaLabel = `close connection ${id}`;
    const cells = Object.keys(SAY).map((column) =>
      make("td", { class: column })
    );
    const action = make("td", { class: "action" }, close);
    const element = make("tr", {}, ...cells, action);
    close.onclick = () => this.#onClose(id, cells[1].title);
    this.#elements.set(id, element);
    return element;
  }
}

function spacer() {
  return make("tr", { class: "spacer", "aria-hidden": "true", hidden: "" });
}

/** @param {HTMLTableRowElement} row @param {number} height */
function setHeight(row, height) {
  row.hidden = height === 0;
  row.style.height = `${height}px`;
}
