/** Durations, sizes and rates as people write them. */

const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/;
const SIZE = /^(\d+)(B|KiB|MiB|GiB)?$/;
const RATE = /^([1-9]\d{0,6})\/(s|m|h)(?::([1-9]\d{0,6}))?$/;

type Units = Readonly<Record<string, number>>;
const MS: Units = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
const BYTES: Units = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };

export const DURATION_FORM =
  "a duration such as 500ms, 30s, 5m or 1h, up to 596h";

export const SIZE_FORM = "a size such as 65536, 64KiB or 1MiB";

export const RATE_FORM =
  "a rate such as 100/s, 600/m, 1000/h or 10/s:50 (with its burst)";

/** Whole milliseconds; undefined if the text is no duration. */
export function parseDuration(text: string): number | undefined {
  const [, digits, unit] = DURATION.exec(text === "0" ? "0s" : text) ?? [];
  const ms = Number(digits) * MS[unit];
  // A short one must not become 0, which stands for no limit.
  return digits ? Math.round(ms) || Math.ceil(ms) : undefined;
}

/** Whole bytes; undefined if the text is no size. */
export function parseSize(text: string): number | undefined {
  const [, digits, unit = "B"] = SIZE.exec(text) ?? [];
  const bytes = Number(digits) * BYTES[unit];
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** A rate: so many at once, and one more after each interval. */
export interface Rate {
  readonly text: string;
  /** In milliseconds. */
  readonly interval: number;
  readonly burst: number;
}

/** Undefined if the text is no rate. The default of the burst is the count. */
export function parseRate(text: string): Rate | undefined {
  const [, count, unit, burst = count] = RATE.exec(text) ?? [];
  if (count === undefined) return undefined;
  return { text, interval: MS[unit] / Number(count), burst: Number(burst) };
}

export function formatDuration(ms: number): string {
  return inLargest(MS, ms) ?? "0s";
}

export function formatSize(bytes: number): string {
  const { B: _, ...units } = BYTES;
  return inLargest(units, bytes) ?? String(bytes);
}

/** In the largest unit of which it is a whole number, if there is any. */
function inLargest(units: Units, value: number): string | undefined {
  const found = Object.entries(units)
    .findLast(([, one]) => value >= one && value % one === 0);
  return found && `${value / found[1]}${found[0]}`;
}
