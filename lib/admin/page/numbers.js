// @ts-check
/** What the page shows, worked out of two answers of the server. Pure. */

/** @typedef {import("../stats.ts").Stats} Stats */

/** What the charts show of each moment. */
export const SERIES = /** @type {const} */ ([
  ...["requests", "p50", "p99", "p999"],
  ...["errors", "timeouts", "rejected"],
  ...["active", "received", "sent", "resident", "held", "cpu", "delay"],
]);

/** What stands for a duration above the last bound, in milliseconds. */
const ABOVE = 20_001;

/**
 * What a server is at, and what went on since an answer before: requests, bytes
 * and failures per second, the processor's time in percent of one, quantiles of
 * durations and the longest delay of the event loop in milliseconds. These are
 * left out where there are none, or the server was started anew.
 *
 * @param {Stats | undefined} before
 * @param {Stats} after
 * @returns {Partial<Record<typeof SERIES[number], number>>}
 */
export function valuesBetween(before, after) {
  const now = {
    active: after.connections.active,
    resident: after.process.residentBytes,
    held: after.memory.heldBytes,
  };
  if (before?.startedAt !== after.startedAt) return now;
  const seconds = after.uptimeSeconds - before.uptimeSeconds;
  if (seconds <= 0) return now;
  /** @param {(stats: Stats) => number} total */
  const perSecond = (total) => (total(after) - total(before)) / seconds;
  /** @param {"durations" | "loopDelays"} of @param {number} part */
  const part = (of, part) => {
    const { bounds, counts } = after[of];
    const were = before[of].counts;
    return quantile(bounds, counts.map((count, i) => count - were[i]), part);
  };
  return {
    ...now,
    requests: perSecond(done),
    p50: part("durations", 0.5),
    p99: part("durations", 0.99),
    p999: part("durations", 0.999),
    errors: perSecond(({ requests, connections: { closed, acceptFailures } }) =>
      requests.error + closed.error + closed.overload + sum(acceptFailures) -
      acceptFailures.peer
    ),
    timeouts: perSecond(({ requests, connections }) =>
      requests.timeout + connections.closed.write_timeout
    ),
    rejected: perSecond(({ requests, connections }) =>
      requests.busy + sum(connections.rejected)
    ),
    received: perSecond(({ bytes }) => bytes.received),
    sent: perSecond(({ bytes }) => bytes.sent),
    cpu: 100 * perSecond(({ process }) => process.cpuSeconds),
    delay: part("loopDelays", 1),
  };
}

/**
 * The same as the server's own `quantileOf`.
 *
 * @param {readonly number[]} bounds
 * @param {readonly number[]} counts One more than there are bounds.
 * @param {number} part From 0 to 1.
 * @returns {number | undefined} {@linkcode ABOVE} above the last bound.
 */
export function quantile(bounds, counts, part) {
  const count = sum(counts);
  if (count <= 0) return undefined;
  let left = Math.max(1, Math.ceil(count * part));
  const at = counts.findIndex((count) => (left -= count) <= 0);
  return bounds[at] ?? ABOVE;
}

/** @param {Stats} stats @returns {number} Requests done with. */
export function done({ requests: { busy: _, inFlight: __, ...handled } }) {
  return sum(handled);
}

/**
 * The rows of an answer as objects.
 *
 * @param {{ columns: readonly string[], rows: readonly any[][] }} answer
 * @returns {any[]}
 */
export function byColumn({ columns, rows }) {
  return rows.map((row) =>
    Object.fromEntries(row.map((value, i) => [columns[i], value]))
  );
}

/** @param {Readonly<Record<string, number>> | readonly number[]} numbers */
export function sum(numbers) {
  return Object.values(numbers).reduce((a, b) => a + b, 0);
}

/**
 * How many connections the address with the most has.
 *
 * @param {readonly string[]} networks That of each connection.
 */
export function busiest(networks) {
  const groups = Map.groupBy(networks, (network) => network).values();
  return groups.reduce((most, { length }) => Math.max(most, length), 0);
}

/** What stands where there is no value. */
export const NONE = "–";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** @typedef {(value: number) => string} Say */

/** @type {Say} */
export const count = (value) => whole.format(value);

/** Finer below 10. @type {Say} */
export const rate = (value) =>
  value > 0 && value < 9.95 ? value.toFixed(1) : count(value);

/** For little room: 1500 is 1.5k. @type {Say} */
export const short = (value) => scaled(value, 1000, ["", "k", "M", "G"]);

/** Such as 12.5 MiB. @type {Say} */
export const bytes = (value) =>
  scaled(value, 1024, [" B", " KiB", " MiB", " GiB", " TiB", " PiB"]);

/** @param {number | undefined} ms @returns {string} Such as 1.25 ms. */
export function duration(ms) {
  if (ms === undefined) return NONE;
  if (ms === ABOVE) return "> 10 s";
  return scaled(ms * 1000, 1000, [" µs", " ms", " s"]);
}

/**
 * Three digits at most, in the largest unit that does not make it less than 1.
 *
 * @param {number} value
 * @param {number} step From one unit to the next.
 * @param {readonly string[]} units
 */
function scaled(value, step, units) {
  let unit = 0;
  // 999.5 and more would be shown as 1000.
  while (value >= 999.5 && unit < units.length - 1) {
    value /= step;
    unit++;
  }
  return Number(value.toPrecision(3)) + units[unit];
}

/** @param {number} ms @returns {string} Two units at the most: 3 h 07 m. */
export function age(ms) {
  const [s, m, h] = [1000, 60_000, 3_600_000].map((unit) =>
    Math.floor(ms / unit)
  );
  const two = (/** @type {number} */ value) => `${value}`.padStart(2, "0");
  if (s < 60) return `${s} s`;
  if (m < 60) return `${m} m ${two(s % 60)} s`;
  if (h < 24) return `${h} h ${two(m % 60)} m`;
  return `${Math.floor(h / 24)} d ${two(h % 24)} h`;
}

/** @param {number} ms Since 1970. @returns {string} HH:MM:SS, local time. */
export function clock(ms) {
  return new Date(ms).toTimeString().slice(0, 8);
}
