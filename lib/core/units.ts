/** Durations, sizes and rates as people write them. */

const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/;
const SIZE = /^(\d+)(B|KiB|MiB|GiB)?$/;
const RATE = /^([1-9]\d{0,6})\/(s|m|h)(?::([1-9]\d{0,6}))?$/;

const MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const;
const BYTES = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 } as const;

export const DURATION_FORM = "a duration such as 500ms, 30s, 5m or 1h";

export const SIZE_FORM = "a size such as 65536, 64KiB or 1MiB";

export const RATE_FORM =
  "a rate such as 100/s, 600/m, 1000/h or 10/s:50 (with its burst)";

/** Whole milliseconds; nothing where the text is no duration. */
export function parseDuration(text: string): number | undefined {
  if (text === "0") return 0;
  const [, digits, unit] = DURATION.exec(text) ?? [];
  if (digits === undefined) return undefined;
  return Math.round(Number(digits) * MS[unit as keyof typeof MS]);
}

/** Whole bytes; nothing where the text is no size. */
export function parseSize(text: string): number | undefined {
  const [, digits, unit] = SIZE.exec(text) ?? [];
  if (digits === undefined) return undefined;
  const bytes = Number(digits) * BYTES[(unit ?? "B") as keyof typeof BYTES];
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** A rate: so many at once, and one more after each interval. */
export interface Rate {
  readonly text: string;
  /** In milliseconds. */
  readonly interval: number;
  readonly burst: number;
}

/** Nothing where the text is no rate; without a burst, that is as many. */
export function parseRate(text: string): Rate | undefined {
  const [, count, unit, burst = count] = RATE.exec(text) ?? [];
  if (count === undefined) return undefined;
  const interval = MS[unit as keyof typeof MS] / Number(count);
  return { text, interval, burst: Number(burst) };
}

export function formatDuration(ms: number): string {
  return inLargest(MS, ms) ?? "0s";
}

export function formatSize(bytes: number): string {
  const { B: _, ...units } = BYTES;
  return inLargest(units, bytes) ?? String(bytes);
}

/** In the largest unit of which it is a whole number, if there is any. */
function inLargest(
  units: Readonly<Record<string, number>>,
  value: number,
): string | undefined {
  const found = Object.entries(units)
    .findLast(([, one]) => value >= one && value % one === 0);
  return found && `${value / found[1]}${found[0]}`;
}
