// @ts-check
/**
 * The table of open connections, or as many of them as can be looked at. A row
 * stays with its connection, so that a click reaches the one that was aimed at.
 */

import { closeConnection } from "./actions.js";
import { find, make, write } from "./dom.js";
import { age, bytes, count, short } from "./numbers.js";

/** @typedef {Record<string, any>} Row A connection, by column. */

/** The most rows: a browser is too slow to update more each second. */
const MOST = 500;

/** @type {[name: string, say: (value: any) => string, title?: string][]} */
const COLUMNS = [
  ["id", String],
  ["peer", String],
  ["state", String],
  ["age", age],
  ["idle", age],
  ["requests", (value) => value < 1e7 ? count(value) : short(value)],
  ["received", bytes, "in"],
  ["sent", bytes, "out"],
];

const body =
  /** @type {HTMLTableSectionElement} */ (find("#connections tbody"));
const filter = /** @type {HTMLInputElement} */ (find("#filter"));
const heads = COLUMNS.map(([column, , title = column]) => {
  const button = make("button", { type: "button" }, title);
  button.onclick = () => {
    descending = column === by && !descending;
    by = column;
    showTable(rows);
  };
  const about = { scope: "col", class: column, role: "columnheader" };
  return make("th", { ...about, "data-column": column }, button);
});

/** @type {Row[]} */
let rows = [];
/** @type {Map<number, HTMLTableRowElement>} By the connection's number. */
let elements = new Map();
let by = "id";
let descending = false;

find("#connections thead tr").prepend(...heads);
filter.oninput = () => showTable(rows);

/** @param {Row[]} connections */
export function showTable(connections) {
  for (const head of heads) {
    const sorted = descending ? "descending" : "ascending";
    head.ariaSort = head.dataset.column === by ? sorted : null;
  }
  const sign = descending ? -1 : 1;
  rows = connections.sort((a, b) =>
    a[by] < b[by] ? -sign : a[by] > b[by] ? sign : a.id - b.id
  );
  const text = filter.value.trim();
  const shown = rows
    .filter(({ peer, state }) => `${peer} ${state}`.includes(text))
    .slice(0, MOST);
  const all = shown.length === rows.length;
  const part = all ? "" : `, ${count(shown.length)} shown`;
  write(find("#listed"), count(rows.length) + part);

  const old = elements;
  elements = new Map(
    shown.map((row) => [row.id, old.get(row.id) ?? newElement(row)]),
  );
  for (const [id, element] of old) if (!elements.has(id)) element.remove();
  shown.forEach((row, i) => {
    const element = /** @type {HTMLTableRowElement} */ (elements.get(row.id));
    COLUMNS.forEach(([column, say], i) =>
      write(element.cells[i], say(row[column]))
    );
    element.dataset.state = row.state;
    const there = body.rows[i];
    // An element that is moved loses the focus; most stay where they are.
    if (there !== element) body.insertBefore(element, there ?? null);
  });
}

/** @param {Row} row */
function newElement({ id, peer }) {
  const close = make("button", { type: "button" }, "close");
  close.ariaLabel = `close connection ${id}`;
  close.onclick = () => closeConnection(id, peer);
  // Rows are laid out as grids, so a screen reader needs to be told the roles.
  const cells = COLUMNS.map(([column, , label = column]) =>
    make("td", { class: column, "data-label": label, role: "cell" })
  );
  const action = make("td", { class: "action", role: "cell" }, close);
  return make("tr", { role: "row" }, ...cells, action);
}
