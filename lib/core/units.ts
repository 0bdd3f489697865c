/**
 * Durations and sizes as people write them.
 *
 * @module
 */

const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/;
const SIZE = /^(\d+)(B|KiB|MiB|GiB)?$/;

const MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const;
const BYTES = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 } as const;

/** What {@linkcode parseDuration} reads, for messages. */
export const DURATION_FORM = "a duration such as 500ms, 30s, 5m or 1h";

/** What {@linkcode parseSize} reads, for messages. */
export const SIZE_FORM = "a size such as 65536, 64KiB or 1MiB";

/**
 * Reads a duration: a number and one of `ms`, `s`, `m`, `h`, or a bare `0`.
 *
 * @param text Such as `500ms`, `1.5s`, `5m`.
 * @returns Whole milliseconds, or `undefined` where the text is none.
 *
 * @example
 * ```ts
 * import { parseDuration } from "./units.ts";
 *
 * parseDuration("1.5s"); // 1500
 * parseDuration("soon"); // undefined
 * ```
 */
export function parseDuration(text: string): number | undefined {
  if (text === "0") return 0;
  const [, digits, unit] = DURATION.exec(text) ?? [];
  if (digits === undefined) return undefined;
  return Math.round(Number(digits) * MS[unit as keyof typeof MS]);
}

/**
 * Reads a size in bytes: a whole number, bare or with `B`, `KiB`, `MiB` or
 * `GiB`.
 *
 * @param text Such as `65536`, `64KiB`.
 * @returns Bytes, or `undefined` where the text is none.
 *
 * @example
 * ```ts
 * import { parseSize } from "./units.ts";
 *
 * parseSize("64KiB"); // 65536
 * parseSize("64 kilobytes"); // undefined
 * ```
 */
export function parseSize(text: string): number | undefined {
  const [, digits, unit] = SIZE.exec(text) ?? [];
  if (digits === undefined) return undefined;
  const bytes = Number(digits) * BYTES[(unit ?? "B") as keyof typeof BYTES];
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}
