// @ts-check
/// <reference lib="dom" />
/**
 * The table of open connections. Only the rows in sight, and a few around them,
 * are elements; two empty rows stand for those above and below. An element
 * stays with its connection, so that a click meets the one it was meant for.
 */

import { age, bytes, count } from "./numbers.js";

/** @typedef {import("../stats.ts").ConnectionTable["rows"][number]} Row */

/** Rows beyond the edge, so that scrolling meets no empty place. */
const AROUND = 8;

/** @type {Readonly<Record<string, (value: any) => string>>} By column. */
const SAY = {
  id: String,
  peer: String,
  state: String,
  age,
  idle: age,
  requests: count,
  received: bytes,
  sent: bytes,
};

/** The table of open connections. */
export class Table {
  #scroller;
  #body;
  /** @type {HTMLElement[]} */
  #heads;
  #table;
  #rowHeight;
  #onClose;
  /** @type {string[]} As the page shows them. */
  #shown;
  /** @type {readonly string[]} As the answer has them. */
  #columns = [];
  /** @type {Row[]} */
  #rows = [];
  /** @type {Map<number, HTMLTableRowElement>} By the connection's number. */
  #elements = new Map();
  #above = spacer();
  #below = spacer();
  #by = "id";
  #descending = false;

  /**
   * @param {HTMLElement} scroller Holds the table.
   * @param {(id: number, peer: string) => void} onClose The close button of a
   * row was pressed.
   */
  constructor(scroller, onClose) {
    this.#scroller = scroller;
    this.#onClose = onClose;
    this.#table = /** @type {HTMLTableElement} */
      (scroller.querySelector("table"));
    this.#body = this.#table.tBodies[0];
    this.#body.append(this.#above, this.#below);
    this.#rowHeight = parseFloat(
      getComputedStyle(scroller).getPropertyValue("--row"),
    );
    this.#heads = Array.from(this.#table.querySelectorAll("[data-column]"));
    this.#shown = this.#heads.map((head) => head.dataset.column ?? "");
    for (const head of this.#heads) {
      head.addEventListener(
        "click",
        () => this.#sortBy(head.dataset.column ?? ""),
      );
    }
    scroller.addEventListener("scroll", () => this.#render(), {
      passive: true,
    });
    new ResizeObserver(() => this.#render()).observe(scroller);
    this.#sort();
  }

  /** @param {import("../stats.ts").ConnectionTable} answer */
  show({ columns, rows }) {
    this.#columns = columns;
    this.#rows = rows.slice();
    this.#sort();
  }

  /** @param {string} column */
  #sortBy(column) {
    this.#descending = column === this.#by && !this.#descending;
    this.#by = column;
    this.#scroller.scrollTop = 0;
    this.#sort();
  }

  #sort() {
    for (const head of this.#heads) {
      if (head.dataset.column !== this.#by) head.removeAttribute("aria-sort");
      else {
        head.ariaSort = this.#descending ? "descending" : "ascending";
      }
    }
    const by = this.#columns.indexOf(this.#by);
    const id = this.#columns.indexOf("id");
    const sign = this.#descending ? -1 : 1;
    this.#rows.sort((a, b) =>
      a[by] < b[by]
        ? -sign
        : a[by] > b[by]
        ? sign
        : Number(a[id]) - Number(b[id])
    );
    this.#render();
  }

  #render() {
    const { scrollTop, clientHeight } = this.#scroller;
    const height = this.#rowHeight;
    const total = this.#rows.length;
    this.#scroller.classList.toggle("none", total === 0);
    this.#table.ariaRowCount = String(total + 1);
    // Fewer rows than before may end above what was in sight.
    const top = Math.min(scrollTop, Math.max(0, total * height - clientHeight));
    const first = Math.max(0, Math.floor(top / height) - AROUND);
    const last = Math.min(
      total,
      Math.ceil((top + clientHeight) / height) + AROUND,
    );
    setHeight(this.#above, first * height);
    setHeight(this.#below, (total - last) * height);

    const id = this.#columns.indexOf("id");
    const inSight = this.#rows.slice(first, last);
    const ids = new Set(inSight.map((row) => Number(row[id])));
    for (const [id, element] of this.#elements) {
      if (ids.has(id)) continue;
      element.remove();
      this.#elements.delete(id);
    }
    /** @type {Element} */
    let before = this.#above;
    inSight.forEach((row, i) => {
      const element = this.#elementOf(Number(row[id]));
      this.#fill(element, row);
      element.ariaRowIndex = String(first + i + 2);
      // An element that is moved loses the focus; most stay where they are.
      if (before.nextElementSibling !== element) before.after(element);
      before = element;
    });
  }

  /** @param {number} id */
  #elementOf(id) {
    let element = this.#elements.get(id);
    if (element !== undefined) return element;
    element = document.createElement("tr");
    for (const column of this.#shown) {
      element.insertCell().className = column;
    }
    const cell = element.insertCell();
    cell.className = "action";
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "close";
    button.setAttribute("aria-label", `close connection ${id}`);
    const peer = element.cells[this.#shown.indexOf("peer")];
    button.addEventListener(
      "click",
      () => this.#onClose(id, peer.textContent ?? ""),
    );
    cell.append(button);
    this.#elements.set(id, element);
    return element;
  }

  /** @param {HTMLTableRowElement} element @param {Row} row */
  #fill(element, row) {
    this.#shown.forEach((column, i) => {
      const text = SAY[column](row[this.#columns.indexOf(column)]);
      const cell = element.cells[i];
      if (cell.textContent === text) return;
      cell.textContent = text;
      if (column === "state") cell.dataset.state = text;
      // What a narrow column cuts off.
      if (column === "peer") cell.title = text;
    });
  }
}

function spacer() {
  const row = document.createElement("tr");
  row.className = "spacer";
  row.ariaHidden = "true";
  row.hidden = true;
  return row;
}

/** @param {HTMLTableRowElement} row @param {number} height */
function setHeight(row, height) {
  row.hidden = height === 0;
  row.style.height = `${height}px`;
}
