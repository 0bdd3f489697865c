// @ts-check
/** What the page shows, worked out of two answers of the server. Pure. */

/** @typedef {import("../stats.ts").Stats} Stats */

/** What the charts show of each moment. */
export const SERIES = /** @type {const} */ ([
  ...["requests", "p50", "p99", "p999"],
  ...["errors", "timeouts", "rejected"],
  ...["active", "received", "sent", "resident", "held", "cpu", "delay"],
]);

/** Where a duration is drawn that is above the last bound, in milliseconds. */
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
  const rate = (total) => (total(after) - total(before)) / seconds;
  /** @param {"durations" | "loopDelays"} of @param {number} part */
  const part = (of, part) => {
    const { bounds, counts } = after[of];
    const were = before[of].counts;
    return quantile(bounds, counts.map((count, i) => count - were[i]), part);
  };
  return {
    ...now,
    requests: rate(done),
    p50: part("durations", 0.5),
    p99: part("durations", 0.99),
    p999: part("durations", 0.999),
    errors: rate(({ requests, connections: { closed, acceptFailures } }) =>
      requests.error + closed.error + closed.overload + sum(acceptFailures) -
      acceptFailures.peer
    ),
    timeouts: rate(({ requests, connections }) =>
      requests.timeout + connections.closed.write_timeout
    ),
    rejected: rate(({ requests, connections }) =>
      requests.busy + sum(connections.rejected)
    ),
    received: rate(({ bytes }) => bytes.received),
    sent: rate(({ bytes }) => bytes.sent),
    cpu: 100 * rate((stats) => stats.process.cpuSeconds),
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
  for (let i = 0; i < bounds.length; i++) {
    left -= counts[i];
    if (left <= 0) return bounds[i];
  }
  return ABOVE;
}

/** @param {Stats} stats @returns {number} Requests done with. */
export function done({ requests: { busy: _, inFlight: __, ...handled } }) {
  return sum(handled);
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

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** What stands where there is no value. */
export const NONE = "–";

/** @param {number} value @returns {string} */
export function count(value) {
  return whole.format(value);
}

/** @param {number} value @returns {string} Finer below 10. */
export function rate(value) {
  return value > 0 && value < 9.95 ? value.toFixed(1) : whole.format(value);
}

/** @param {number} value @returns {string} For an axis: 1500 is 1.5k. */
export function short(value) {
  const power = [1e3, 1e6, 1e9].filter((size) => value >= size).length;
  return Number((value / 1000 ** power).toFixed(2)) +
    ["", "k", "M", "G"][power];
}

const SIZES = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** @param {number} value @returns {string} Three digits: 12.0 MiB. */
export function bytes(value) {
  const [number, unit] = scaled(value);
  return `${unit === "B" ? Math.round(number) : digits(number)} ${unit}`;
}

/** @param {number} value @returns {string} Without zeros at its end: 12 MiB. */
export function size(value) {
  const [number, unit] = scaled(value);
  return `${Number(digits(number))} ${unit}`;
}

/** @param {number} value @returns {[number, string]} */
function scaled(value) {
  let unit = 0;
  // From here on it would be shown as 1000.
  while (value >= 999.5 && unit < SIZES.length - 1) {
    value /= 1024;
    unit++;
  }
  return [value, SIZES[unit]];
}

/** @param {number | undefined} ms @returns {string} Such as 1.25 ms. */
export function duration(ms) {
  if (ms === undefined) return NONE;
  if (ms === ABOVE) return "> 10 s";
  if (ms < 1) return `${Number((ms * 1000).toPrecision(3))} µs`;
  if (ms < 1000) return `${Number(ms.toPrecision(3))} ms`;
  return `${Number((ms / 1000).toPrecision(3))} s`;
}

/** @param {number} ms @returns {string} Two units at the most: 3 h 07 m. */
export function age(ms) {
  const [s, m, h] = [1000, 60_000, 3_600_000].map((unit) =>
    Math.floor(ms / unit)
  );
  if (s < 60) return `${s} s`;
  if (m < 60) return `${m} m ${two(s % 60)} s`;
  if (h < 24) return `${h} h ${two(m % 60)} m`;
  return `${Math.floor(h / 24)} d ${two(h % 24)} h`;
}

/** @param {number} ms Since 1970. @returns {string} HH:MM:SS, local time. */
export function clock(ms) {
  return new Date(ms).toTimeString().slice(0, 8);
}

/** @param {number} value */
function two(value) {
  return String(value).padStart(2, "0");
}

/** @param {number} value Below 1000. */
function digits(value) {
  if (value < 9.995) return value.toFixed(2);
  return value < 99.95 ? value.toFixed(1) : value.toFixed(0);
}
