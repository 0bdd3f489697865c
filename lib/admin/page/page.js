// @ts-check
/// <reference lib="dom" />
/**
 * Asks the server each second while somebody looks, and shows the answers.
 */

import { Actions } from "./actions.js";
import { Charts } from "./charts.js";
import {
  age,
  busiest,
  bytes,
  clock,
  count,
  NONE,
  ratesBetween,
  size,
} from "./numbers.js";
import { Table } from "./table.js";

/** @typedef {import("../stats.ts").Stats} Stats */
/** @typedef {import("../stats.ts").ConnectionTable} Connections */

/** Milliseconds from one question to the next. */
const PERIOD = 1000;

/** Milliseconds that an answer may take. */
const PATIENCE = 5000;

/** The table is asked for once a second for each so many rows in it. */
const ROWS_PER_SECOND = 2000;

/** From these parts on a limit is near, and very near. */
const NEAR = 0.8;
const VERY_NEAR = 0.95;

const actions = new Actions();
const charts = new Charts(document);
const table = new Table(
  byId("connections"),
  (id, peer) => void actions.close(id, peer),
);

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
      showConnections(connections, stats);
      const seconds = Math.ceil(connections.rows.length / ROWS_PER_SECOND);
      // Half a period less, as no timer is exact.
      tableDue = asked + Math.max(1, seconds) * PERIOD - PERIOD / 2;
    }
  } catch (error) {
    if (signal.aborted) return;
    showLost(error);
  }
  const timer = setTimeout(
    () => void poll(signal),
    Math.max(0, asked + PERIOD - performance.now()),
  );
  signal.addEventListener("abort", () => clearTimeout(timer), { once: true });
}

/** @param {string} path @param {AbortSignal} signal */
async function ask(path, signal) {
  const answer = await fetch(path, {
    cache: "no-store",
    signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE)]),
  });
  if (!answer.ok) throw new Refusal(answer.status);
  return await answer.json();
}

/** An answer that has no numbers. */
class Refusal extends Error {
  /** @param {number} status */
  constructor(status) {
    super(`It answers ${status}`);
    this.status = status;
  }
}

/** @param {Stats} stats */
function show(stats) {
  const { connections, requests, limits } = stats;
  document.body.classList.remove("waiting");
  showState(
    stats.draining ? "draining" : stats.ready ? "ready" : "not-ready",
    stats.draining ? "Draining" : stats.ready ? "Ready" : "Not ready",
  );
  byId("updated-at").hidden = false;
  const updated = /** @type {HTMLTimeElement} */ (byId("updated"));
  updated.dateTime = new Date(stats.now).toISOString();
  updated.textContent = clock(stats.now);

  put("version", stats.version);
  put("address", stats.address);
  put("framing", stats.framing);
  put("handler", stats.handler);
  put(
    "threads",
    stats.threadsLost > 0
      ? `${stats.threads}, ${stats.threadsLost} lost`
      : String(stats.threads),
  );
  put("uptime", age(stats.uptimeSeconds * 1000));

  charts.add(stats.now / 1000, {
    active: connections.active,
    ...before && ratesBetween(before, stats),
  });
  before = stats;

  putLimit("connections", connections.active, limits.connections);
  put("limit-frame", size(limits.maxFrame));
  putNumbers(byId("totals"), {
    "connections accepted": count(connections.accepted),
    "requests ok": count(requests.ok),
    "requests error": count(requests.error),
    "requests timeout": count(requests.timeout),
    "requests abandoned": count(requests.abandoned),
    "requests in flight": count(requests.inFlight),
    "bytes in": bytes(stats.bytes.received),
    "bytes out": bytes(stats.bytes.sent),
  });
  put("closed", count(sum(connections.closed)));
  put("rejected", count(sum(connections.rejected)));
  putNumbers(byId("closed"), connections.closed);
  putNumbers(byId("rejected"), connections.rejected);
  byId("actions").hidden = !stats.actions;
  document.body.classList.toggle("actions", stats.actions);
}

/** @param {Connections} connections @param {Stats} stats */
function showConnections(connections, { limits }) {
  table.show(connections);
  put("listed", count(connections.rows.length));
  const peer = connections.columns.indexOf("peer");
  putLimit(
    "ip",
    busiest(connections.rows.map((row) => String(row[peer]))),
    limits.connectionsPerIp,
  );
}

/** @param {unknown} error */
function showLost(error) {
  byId("updated-at").hidden = true;
  // The admin port is there before the server that it is for.
  if (error instanceof Refusal && error.status === 503) {
    return showState("not-ready", "Not ready");
  }
  const since = before === undefined ? "" : ` since ${clock(before.now)}`;
  const why = error instanceof Refusal
    ? `. ${error.message}`
    : before?.draining
    ? ": it was draining"
    : "";
  showState("lost", `No contact with the server${since}${why}`);
}

/** @param {string} state @param {string} text */
function showState(state, text) {
  document.body.dataset.state = state;
  document.title = `Parley: ${text.toLowerCase()}`;
  // Said aloud when it is set, so only if it is news.
  const element = byId("state");
  if (element.textContent !== text) element.textContent = text;
}

/** @param {string} name @param {number} value @param {number} limit */
function putLimit(name, value, limit) {
  put(
    `limit-${name}`,
    limit === 0
      ? `${count(value)}, no limit`
      : `${count(value)} of ${count(limit)}`,
  );
  const meter = /** @type {HTMLMeterElement} */ (byId(`meter-${name}`));
  meter.classList.toggle("none", limit === 0);
  meter.max = limit || 1;
  meter.optimum = 0;
  meter.low = limit * NEAR;
  meter.high = limit * VERY_NEAR;
  meter.value = limit === 0 ? 0 : value;
}

/**
 * @param {HTMLElement} list
 * @param {Readonly<Record<string, number | string>>} numbers By name.
 */
function putNumbers(list, numbers) {
  const names = Object.keys(numbers);
  if (list.children.length !== names.length) {
    list.replaceChildren(...names.map((name) => {
      const line = document.createElement("div");
      const term = document.createElement("dt");
      term.textContent = name;
      line.append(term, document.createElement("dd"));
      return line;
    }));
  }
  names.forEach((name, i) => {
    const value = numbers[name];
    const text = typeof value === "number" ? count(value) : value;
    const line = list.children[i];
    line.classList.toggle("zero", text === "0" || text === "0 B");
    const shown = /** @type {HTMLElement} */ (line.lastElementChild);
    if (shown.textContent !== text) shown.textContent = text;
  });
}

/** @param {string} name @param {string} text */
function put(name, text) {
  const element = document.querySelector(`[data-show="${name}"]`);
  if (element !== null && element.textContent !== text) {
    element.textContent = text || NONE;
  }
}

/** @param {Readonly<Record<string, number>>} numbers */
function sum(numbers) {
  return Object.values(numbers).reduce((a, b) => a + b, 0);
}

/** @param {string} id @returns {HTMLElement} */
function byId(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}
