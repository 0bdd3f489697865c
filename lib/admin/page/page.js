// @ts-check
/** Asks the server each second while somebody looks, and shows the answers. */

import { addSamples, lastSample, showNow } from "./charts.js";
import { find, make, write } from "./dom.js";
import * as numbers from "./numbers.js";
import { showTable } from "./table.js";

/** @typedef {import("../stats.ts").Stats} Stats */

/** Milliseconds from one question to the next. */
const PERIOD = 1000;

/** Milliseconds that an answer may take. */
const PATIENCE = 5000;

/** The table is asked for less often the longer it is: a second for so many. */
const ROWS_PER_SECOND = 2000;

/** How many peers of a state a drain names; the table has all of them. */
const PEERS = 3;

const DAY = 86_400_000;

/** The certificate is red in its last days, in which the log warns, too. */
const LAST_DAYS = 30;

/** From these parts on a limit is near, and very near. */
const NEAR = 0.8;
const VERY_NEAR = 0.95;

/** @type {Stats | undefined} The answer before. */
let before;
/** How many connections are in each state, and the most of one address. */
let states = "";
let busiest = 0;
/** When these are asked for again, by `performance.now()`. */
let tableDue = 0;
let historyDue = 0;
/** Ends the wait for the next question. */
let wake = () => {};

document.addEventListener("visibilitychange", () => wake());
for (;;) {
  const asked = performance.now();
  if (document.visibilityState === "visible") {
    await poll(asked).catch(showLost);
  }
  await new Promise((next) => {
    wake = () => next(undefined);
    setTimeout(wake, asked + PERIOD - performance.now());
  });
}

/** @param {number} asked When, by `performance.now()`. */
async function poll(asked) {
  // Half a period less, as no timer is exact.
  const dueIn = (/** @type {number} */ seconds) =>
    asked + seconds * 1000 - PERIOD / 2;
  const [stats, table, history] = await Promise.all([
    ask("stats.json"),
    asked >= tableDue && ask("connections.json"),
    asked >= historyDue && ask(`history.json?after=${lastSample()}`),
  ]);
  if (history) {
    addSamples(numbers.byColumn(history), history.period);
    historyDue = dueIn(history.period);
  }
  if (table) {
    showConnections(numbers.byColumn(table));
    tableDue = dueIn(Math.ceil(table.rows.length / ROWS_PER_SECOND) || 1);
  }
  show(stats);
}

/** @param {string} path */
async function ask(path) {
  const answer = await fetch(path, {
    cache: "no-store",
    signal: AbortSignal.timeout(PATIENCE),
  });
  if (!answer.ok) throw answer;
  return await answer.json();
}

/** @param {Stats} stats */
function show(stats) {
  const { connections, limits, process, memory, descriptors, tls } = stats;
  const { inFlight, ...requests } = stats.requests;
  const values = numbers.valuesBetween(before, stats);
  document.body.classList.remove("waiting");
  document.body.classList.toggle("actions", stats.actions);
  if (stats.draining) showState("draining", "Draining");
  else if (stats.ready) showState("ready", "Ready");
  else showState("not-ready", "Not ready");
  find("#updated-at").hidden = false;
  const updated = find("#updated");
  updated.setAttribute("datetime", new Date(stats.now).toISOString());
  write(updated, numbers.clock(stats.now));
  write(find("[data-show=uptime]"), numbers.age(stats.uptimeSeconds * 1000));
  for (
    const name of /** @type {const} */ ([
      ...["version", "runtime", "address", "framing", "handler"],
    ])
  ) write(find(`[data-show=${name}]`), stats[name] || numbers.NONE);

  showDrain(stats.drain);
  showThreads(stats);
  putNumbers("Process", {
    memory: numbers.bytes(process.residentBytes),
    "held for clients": part(memory.heldBytes, limits.memory, numbers.bytes),
    processor: values.cpu === undefined
      ? numbers.NONE
      : `${numbers.rate(values.cpu)} % of one`,
    descriptors: process.openFds === undefined
      ? part(descriptors.open, descriptors.limit)
      : part(process.openFds, process.maxFds ?? 0),
    "log lines lost": stats.logLinesLost ?? numbers.NONE,
  });
  putNumbers("Limits", {
    connections: part(connections.active, limits.connections),
    "busiest address": part(busiest, limits.connectionsPerIp),
    "request size": numbers.bytes(limits.maxFrame),
    ...Object.fromEntries(
      Object.entries(limits.timeouts).map(([name, ms]) => [
        `${name} timeout`,
        ms === 0 ? "none" : numbers.duration(ms),
      ]),
    ),
  });
  if (tls !== undefined) {
    const days = Math.floor((tls.notAfter - stats.now) / DAY);
    putNumbers("Certificate", {
      subject: tls.subject,
      "days left": { text: numbers.count(days), bad: days < LAST_DAYS },
      "reloads failed": tls.failedReloads,
    });
  }
  putNumbers("Since the start", {
    "connections accepted": connections.accepted,
    "accept failures": numbers.sum(connections.acceptFailures),
    ...Object.fromEntries(
      Object.entries(requests).map(([name, n]) => [`requests ${name}`, n]),
    ),
    "requests in flight": inFlight,
    "bytes in": numbers.bytes(stats.bytes.received),
    "bytes out": numbers.bytes(stats.bytes.sent),
  });
  putNumbers("Closed, by reason", connections.closed);
  putNumbers("Rejected, by reason", connections.rejected);
  showNow(stats.now / 1000, values);
  before = stats;
}

/** @param {Stats["drain"]} drain */
function showDrain(drain) {
  const place = find("#drain-status");
  place.hidden = drain === undefined;
  if (drain === undefined) return;
  // JSON has no infinity: that is null.
  const left = drain.left == null ? "" : `${Math.ceil(drain.left / 1000)} s`;
  const what = drain.accepting
    ? `Accepts connections for ${left} more, then drains.`
    : left
    ? `Cuts what is left in ${left}.`
    : "Waits without a limit.";
  write(place, `${what} Waited for: ${states || "nobody"}.`);
}

/** @param {Stats} stats */
function showThreads({ perThread, startedAt, uptimeSeconds, threadsLost }) {
  const same = before?.startedAt === startedAt ? before : undefined;
  const seconds = uptimeSeconds - (same?.uptimeSeconds ?? 0);
  const none = { requests: 0, delays: { sum: 0, count: 0 } };
  const rows = perThread.map(({ active, requests, delays }, i) => {
    const were = same?.perThread[i] ?? none;
    const rate = numbers.rate((requests - were.requests) / seconds);
    const times = delays.count - were.delays.count;
    const late = times ? (delays.sum - were.delays.sum) / times : undefined;
    const open = numbers.count(active);
    return [i + 1, `${open} open, ${rate}/s, ${numbers.duration(late)} late`];
  });
  putNumbers("Threads", { ...Object.fromEntries(rows), lost: threadsLost });
}

/** @param {import("./table.js").Row[]} connections */
function showConnections(connections) {
  showTable(connections);
  busiest = numbers.busiest(connections.map(({ network }) => network));
  states = Array.from(
    Map.groupBy(connections, ({ state }) => state),
    ([state, those]) => {
      const peers = those.slice(0, PEERS).map(({ peer }) => peer);
      if (those.length > PEERS) peers.push("…");
      return `${those.length} ${state} (${peers.join(", ")})`;
    },
  ).join(", ");
}

/** @param {unknown} error What fetch threw, or an answer without numbers. */
function showLost(error) {
  find("#updated-at").hidden = true;
  find("#drain-status").hidden = true;
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

/** @param {number} value @param {number} limit 0 for none. */
function part(value, limit, say = numbers.count) {
  const of = limit === 0 ? ", no limit" : ` of ${say(limit)}`;
  return { text: say(value) + of, value, limit };
}

/**
 * A value; with a limit, a meter shows what part of it that is.
 *
 * @typedef {{ text: string, bad?: boolean, value?: number, limit?: number }} Shown
 */

/**
 * Shows a panel at the side: names on the left, values on the right.
 *
 * @param {string} title
 * @param {Readonly<Record<string, Shown | number | string>>} values By name.
 */
function putNumbers(title, values) {
  const panel = document.querySelector(`dl[aria-label="${title}"]`) ??
    newPanel(title);
  Object.entries(values).forEach(([name, given], i) => {
    const line = panel.children[i] ?? panel.appendChild(
      make("div", {}, make("dt", {}), make("dd", {}), make("meter", {})),
    );
    const [term, told, meter] = line.children;
    const { text, value = 0, limit = 0, bad = false } =
      typeof given === "object"
        ? given
        : { text: typeof given === "number" ? numbers.count(given) : given };
    write(term, name);
    write(told, text);
    line.classList.toggle("zero", text === "0" || text === "0 B");
    line.classList.toggle("rising", bad);
    const marks = { low: limit * NEAR, high: limit * VERY_NEAR, optimum: 0 };
    const about = { hidden: limit === 0, ariaLabel: name };
    Object.assign(meter, { max: limit, ...marks, value, ...about });
  });
}

/** @param {string} title */
function newPanel(title) {
  const list = make("dl", { class: "numbers", "aria-label": title });
  const head = make("h2", {}, title);
  find("#side").append(make("section", { class: "panel" }, head, list));
  return list;
}
