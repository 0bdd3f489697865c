/**
 * How numbers are written.
 *
 * @module
 */

/**
 * A number with three digits that count, and its thousands apart.
 *
 * @param value The number.
 */
export function formatNumber(value: number): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toLocaleString("en", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}
