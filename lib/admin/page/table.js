// @ts-check
/**
 * The table of open connections, or as many of them as can be looked at. A row
 * stays with its connection, so that a click meets the one it was meant for.
 */

import { find, make, write } from "./dom.js";
import { age, bytes, count, short } from "./numbers.js";

/** @typedef {Record<string, any>} Row A connection, by column. */

/** The most rows: a browser holds more, but not each second anew. */
const MOST = 500;

/** @type {Readonly<Record<string, (value: any) => string>>} By column. */
const SAY = {
  ...{ id: String, peer: String, state: String, age, idle: age },
  requests: (value) => value < 1e7 ? count(value) : short(value),
  ...{ received: bytes, sent: bytes },
};

/** @type {Readonly<Record<string, string>>} Columns called otherwise. */
const TITLES = { received: "in", sent: "out" };

export class Table {
  #body = /** @type {HTMLTableSectionElement} */ (find("#connections tbody"));
  #filter = /** @type {HTMLInputElement} */ (find("#filter"));
  /** @type {Row[]} */
  #rows = [];
  /** @type {Map<number, HTMLTableRowElement>} By the connection's number. */
  #elements = new Map();
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
    find("#connections thead tr").prepend(...this.#heads);
    this.#filter.oninput = () => this.show(this.#rows);
  }

  /** @param {Row[]} rows */
  show(rows) {
    this.#rows = rows;
    const by = this.#by;
    for (const head of this.#heads) {
      if (head.dataset.column !== by) head.removeAttribute("aria-sort");
      else head.ariaSort = this.#descending ? "descending" : "ascending";
    }
    const sign = this.#descending ? -1 : 1;
    rows.sort((a, b) =>
      a[by] < b[by] ? -sign : a[by] > b[by] ? sign : a.id - b.id
    );
    const text = this.#filter.value.trim();
    const found = rows.filter((row) =>
      `${row.peer} ${row.state}`.includes(text)
    );
    const shown = found.slice(0, MOST);
    const all = shown.length === rows.length;
    const part = all ? "" : `, ${count(shown.length)} shown`;
    write(find("#listed"), count(rows.length) + part);

    const ids = new Set(shown.map(({ id }) => id));
    for (const [id, element] of this.#elements) {
      if (ids.has(id)) continue;
      element.remove();
      this.#elements.delete(id);
    }
    shown.forEach((row, i) => {
      const element = this.#elementOf(row);
      const there = this.#body.rows[i];
      // An element that is moved loses the focus; most stay where they are.
      if (there !== element) this.#body.insertBefore(element, there ?? null);
    });
  }

  /** @param {string} column */
  #headOf(column) {
    const title = TITLES[column] ?? column;
    const button = make("button", { type: "button" }, title);
    button.onclick = () => {
      this.#descending = column === this.#by && !this.#descending;
      this.#by = column;
      this.show(this.#rows);
    };
    const about = { scope: "col", class: column, role: "columnheader" };
    return make("th", { ...about, "data-column": column }, button);
  }

  /** @param {Row} row */
  #elementOf(row) {
    const element = this.#elements.get(row.id) ?? this.#newElement(row);
    Object.entries(SAY).forEach(([column, say], i) =>
      write(element.cells[i], say(row[column]))
    );
    element.dataset.state = row.state;
    return element;
  }

  /** @param {Row} row */
  #newElement({ id, peer }) {
    const close = make("button", { type: "button" }, "close");
    close.ariaLabel = `close connection ${id}`;
    close.onclick = () => this.#onClose(id, peer);
    // The style takes the roles of a table away.
    const cells = Object.keys(SAY).map((column) => {
      const label = TITLES[column] ?? column;
      return make("td", { class: column, "data-label": label, role: "cell" });
    });
    const action = make("td", { class: "action", role: "cell" }, close);
    const element = make("tr", { role: "row" }, ...cells, action);
    this.#elements.set(id, element);
    return element;
  }
}
