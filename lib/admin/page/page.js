// @ts-check
/** Asks the server each second while somebody looks, and shows the answers. */

import { closeConnection } from "./actions.js";
import { addSamples, lastSample, showNow } from "./charts.js";
import { find, write } from "./dom.js";
import * as numbers from "./numbers.js";
import { part, putNumbers } from "./panels.js";
import { Table } from "./table.js";

/** @typedef {import("../stats.ts").Stats} Stats */

/** Milliseconds from one question to the next. */
const PERIOD = 1000;

/** Milliseconds that an answer may take. */
const PATIENCE = 5000;

/** The table is asked for once a second for each so many rows in it. */
const ROWS_PER_SECOND = 2000;

/** How many peers of a state a drain names; the table has all of them. */
const PEERS = 3;

const DAY = 86_400_000;

/** From so many days on the certificate's end is near, as the log says, too. */
const NEAR_END = 30;

const table = new Table(closeConnection);

/** @type {Stats | undefined} The answer before. */
let before;
/** What the connections of the table are at, and the most of one address. */
let states = "";
let busiest = 0;
/** When these are asked for again, by `performance.now()`. */
let tableDue = 0;
let historyDue = 0;
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
  // Half a period less, as no timer is exact.
  const dueIn = (/** @type {number} */ seconds) =>
    asked + Math.max(1, seconds) * 1000 - PERIOD / 2;
  try {
    const [stats, connections, history] = await Promise.all([
      ask("stats.json", signal),
      asked >= tableDue ? ask("connections.json", signal) : undefined,
      asked >= historyDue
        ? ask(`history.json?after=${lastSample()}`, signal)
        : undefined,
    ]);
    if (history !== undefined) {
      addSamples(history);
      historyDue = dueIn(history.period);
    }
    if (connections !== undefined) {
      showConnections(connections);
      tableDue = dueIn(Math.ceil(connections.rows.length / ROWS_PER_SECOND));
    }
    show(stats);
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
  const { connections, requests, limits, process, memory, tls } = stats;
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

  put({
    version: stats.version,
    runtime: stats.runtime,
    address: stats.address,
    framing: stats.framing,
    handler: stats.handler,
    uptime: numbers.age(stats.uptimeSeconds * 1000),
  });
  showDrain(stats.drain);
  showThreads(stats);
  putNumbers("Process", {
    memory: numbers.bytes(process.residentBytes),
    "held for clients": part(memory.heldBytes, limits.memory, numbers.size),
    processor: values.cpu === undefined
      ? numbers.NONE
      : `${numbers.rate(values.cpu)} % of one`,
    descriptors: process.openFds === undefined
      ? part(stats.descriptors.open, stats.descriptors.limit)
      : part(process.openFds, process.maxFds ?? 0),
    "log lines lost": stats.logLinesLost ?? numbers.NONE,
  });
  putNumbers("Limits", {
    connections: part(connections.active, limits.connections),
    "busiest address": part(busiest, limits.connectionsPerIp),
    "request size": numbers.size(limits.maxFrame),
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
      "days left": { text: numbers.count(days), bad: days < NEAR_END },
      "reloads failed": tls.failedReloads,
    });
  }
  putNumbers("Since the start", {
    "connections accepted": connections.accepted,
    "accept failures": numbers.sum(connections.acceptFailures),
    "requests ok": requests.ok,
    "requests error_reply": requests.error_reply,
    "requests error": requests.error,
    "requests timeout": requests.timeout,
    "requests abandoned": requests.abandoned,
    "requests busy": requests.busy,
    "requests in flight": requests.inFlight,
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
    return [
      i + 1,
      `${active} open, ${rate}/s, ${numbers.duration(late)} late`,
    ];
  });
  putNumbers("Threads", { ...Object.fromEntries(rows), lost: threadsLost });
}

/** @param {import("../stats.ts").ConnectionTable} connections */
function showConnections({ columns, rows }) {
  const connections = rows.map((row) =>
    Object.fromEntries(row.map((value, i) => [columns[i], value]))
  );
  table.show(connections);
  busiest = numbers.busiest(connections.map(({ network }) => String(network)));
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

/** @param {Readonly<Record<string, string>>} texts By what they show. */
function put(texts) {
  for (const [name, text] of Object.entries(texts)) {
    write(find(`[data-show=${name}]`), text || numbers.NONE);
  }
}
