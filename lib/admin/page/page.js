// @ts-check
/** Asks the server each second while somebody looks, and shows the answers. */

import { closeConnection } from "./actions.js";
import { addToCharts } from "./charts.js";
import { find, make, write } from "./dom.js";
import * as numbers from "./numbers.js";
import { Table } from "./table.js";

/** @typedef {import("../stats.ts").Stats} Stats */

/** Milliseconds from one question to the next. */
const PERIOD = 1000;

/** Milliseconds that an answer may take. */
const PATIENCE = 5000;

/** The table is asked for once a second for each so many rows in it. */
const ROWS_PER_SECOND = 2000;

/** From these parts on a limit is near, and very near. */
const NEAR = 0.8;
const VERY_NEAR = 0.95;

const table = new Table(closeConnection);

/** @type {Stats | undefined} The answer before. */
let before;
/** When the table is asked for again, by `performance.now()`. */
let tableDue = 0;
/** Ends the question under way, and the wait for the next. */
let looking = new AbortController();

document.addEventListener("visibilitychange", look);
look();

/** Begins to ask, or ends it, as the page is looked at or not. */
function look() {
  looking.abort();
  looking = new AbortController();
  if (document.visibilityState === "visible") void poll(looking.signal);
}

/** @param {AbortSignal} signal */
async function poll(signal) {
  const asked = performance.now();
  try {
    const [stats, connections] = await Promise.all([
      ask("stats.json", signal),
      asked >= tableDue ? ask("connections.json", signal) : undefined,
    ]);
    show(stats);
    if (connections !== undefined) {
      showConnections(connections, stats.limits.connectionsPerIp);
      const seconds = Math.ceil(connections.rows.length / ROWS_PER_SECOND);
      // Half a period less, as no timer is exact.
      tableDue = asked + Math.max(1, seconds) * PERIOD - PERIOD / 2;
    }
  } catch (error) {
    if (signal.aborted) return;
    showLost(error);
  }
  const left = Math.max(0, asked + PERIOD - performance.now());
  const timer = setTimeout(() => void poll(signal), left);
  signal.addEventListener("abort", () => clearTimeout(timer), { once: true });
}

/** @param {string} path @param {AbortSignal} signal */
async function ask(path, signal) {
  const answer = await fetch(path, {
    cache: "no-store",
    signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE)]),
  });
  if (!answer.ok) throw answer;
  return await answer.json();
}

/** @param {Stats} stats */
function show(stats) {
  const { connections, requests, limits } = stats;
  document.body.classList.remove("waiting");
  document.body.classList.toggle("actions", stats.actions);
  if (stats.draining) showState("draining", "Draining");
  else if (stats.ready) showState("ready", "Ready");
  else showState("not-ready", "Not ready");
  find("#updated-at").hidden = false;
  const updated = find("#updated");
  updated.setAttribute("datetime", new Date(stats.now).toISOString());
  write(updated, numbers.clock(stats.now));

  const lost = stats.threadsLost > 0 ? `, ${stats.threadsLost} lost` : "";
  put({
    version: stats.version,
    address: stats.address,
    framing: stats.framing,
    handler: stats.handler,
    threads: `${stats.threads}${lost}`,
    uptime: numbers.age(stats.uptimeSeconds * 1000),
    "limit-frame": numbers.size(limits.maxFrame),
    closed: numbers.count(numbers.sum(connections.closed)),
    rejected: numbers.count(numbers.sum(connections.rejected)),
  });
  putLimit("connections", connections.active, limits.connections);
  addToCharts(stats.now / 1000, {
    active: connections.active,
    ...before && numbers.ratesBetween(before, stats),
  });
  before = stats;

  putNumbers("#totals", {
    "connections accepted": connections.accepted,
    "requests ok": requests.ok,
    "requests error": requests.error,
    "requests timeout": requests.timeout,
    "requests abandoned": requests.abandoned,
    "requests busy": requests.busy,
    "requests in flight": requests.inFlight,
    "bytes in": numbers.bytes(stats.bytes.received),
    "bytes out": numbers.bytes(stats.bytes.sent),
  });
  putNumbers("#closed", connections.closed);
  putNumbers("#rejected", connections.rejected);
}

/**
 * @param {import("../stats.ts").ConnectionTable} connections
 * @param {number} limit How many there may be of one address.
 */
function showConnections({ columns, rows }, limit) {
  const connections = rows.map((row) =>
    Object.fromEntries(row.map((value, i) => [columns[i], value]))
  );
  table.show(connections);
  put({ listed: numbers.count(rows.length) });
  const networks = connections.map(({ network }) => String(network));
  putLimit("ip", numbers.busiest(networks), limit);
}

/** @param {unknown} error What fetch threw, or an answer without numbers. */
function showLost(error) {
  find("#updated-at").hidden = true;
  const status = error instanceof Response ? error.status : undefined;
  // The admin port is there before the server that it is for.
  if (status === 503) return showState("not-ready", "Not ready");
  let text = "No contact with the server";
  if (before) text += ` since ${numbers.clock(before.now)}`;
  if (status !== undefined) text += `. It answers ${status}`;
  else if (before?.draining) text += ": it was draining";
  showState("lost", text);
}

/** @param {string} state @param {string} text */
function showState(state, text) {
  document.body.dataset.state = state;
  document.title = `Parley: ${text.toLowerCase()}`;
  write(find("#state"), text);
}

/** @param {string} name @param {number} value @param {number} limit */
function putLimit(name, value, limit) {
  const most = limit === 0 ? ", no limit" : ` of ${numbers.count(limit)}`;
  put({ [`limit-${name}`]: `${numbers.count(value)}${most}` });
  const meter = /** @type {HTMLMeterElement} */ (find(`#meter-${name}`));
  meter.hidden = limit === 0;
  const marks = { low: limit * NEAR, high: limit * VERY_NEAR };
  Object.assign(meter, { max: limit, optimum: 0, ...marks, value });
}

/**
 * @param {string} list
 * @param {Readonly<Record<string, number | string>>} values By name.
 */
function putNumbers(list, values) {
  const place = find(list);
  Object.entries(values).forEach(([name, value], i) => {
    const text = typeof value === "number" ? numbers.count(value) : value;
    if (place.children.length === i) {
      place.append(make("div", {}, make("dt", {}), make("dd", {})));
    }
    const line = place.children[i];
    line.classList.toggle("zero", text === "0" || text === "0 B");
    write(line.children[0], name);
    write(line.children[1], text);
  });
}

/** @param {Readonly<Record<string, string>>} texts By what they show. */
function put(texts) {
  for (const [name, text] of Object.entries(texts)) {
    write(find(`[data-show=${name}]`), text || numbers.NONE);
  }
}
