/**
 * Text from others, such as a peer or whoever set a flag, made safe to show.
 *
 * @module
 */

/**
 * Puts a value into a message: JSON's quotes, control characters escaped, and
 * cut at 64 characters so that hostile input cannot flood a terminal or a log.
 *
 * @param value Anything.
 * @returns The value in quotes, or `undefined` and the like as they are.
 *
 * @example
 * ```ts
 * import { quote } from "./text.ts";
 *
 * quote("a\tb"); // "a\\tb" in double quotes
 * ```
 */
export function quote(value: unknown): string {
  if (typeof value !== "string") return String(value).slice(0, 64);
  const cut = value.length > 64 ? value.slice(0, 64) + "…" : value;
  return toLine(cut);
}

/**
 * Puts a value into JSON that is one line and moves no cursor, whatever the
 * strings in it hold: what JSON lets pass raw of DEL, the C1 controls, the line
 * separators and the marks that turn the direction of writing is escaped too.
 *
 * @param value Anything that JSON can hold.
 *
 * @example
 * ```ts
 * import { toLine } from "./text.ts";
 *
 * toLine({ peer: "a\nb\x9b" }); // {"peer":"a\\nb\\u009b"}
 * ```
 */
export function toLine(value: unknown): string {
  return JSON.stringify(value).replace(
    // Outside of strings JSON has none of these.
    /[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
    (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"),
  );
}
