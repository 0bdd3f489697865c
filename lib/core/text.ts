/**
 * Text from others, such as a peer or whoever set a flag, made safe to show.
 */

/**
 * What must not reach a terminal or a log as it is. Unicode's categories are
 * used, since a list of our own would miss some: control characters (Cc) drive
 * a terminal, format characters (Cf) change the direction of writing or cannot
 * be seen, and separators (Zl, Zp) begin a line without LF. The block of tags
 * cannot be seen either, and holds characters that Cf lacks.
 *
 * The price: an emoji joined of several, or Persian with a joiner, is shown
 * with the joiner spelled out.
 */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\u{e0000}-\u{e007f}]/gu;

// A byte order mark is a part of the text: the peer sent it.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** Decodes a payload for showing it. What is not UTF-8 becomes U+FFFD. */
export function decodeText(payload: Uint8Array): string {
  return decoder.decode(payload);
}

/**
 * Makes text safe for a terminal: nothing in it moves the cursor but tabs and
 * line breaks, and nothing is hidden or shown in another order.
 */
export function printable(text: string): string {
  return text.replace(
    UNSAFE,
    (c) => c === "\n" || c === "\t" ? c : spellOut(c),
  );
}

/** Makes text safe for a terminal, as one line. */
export function printableLine(text: string): string {
  return printable(text).replaceAll("\n", "\\n");
}

/**
 * Puts a value into a message: JSON's quotes, control characters escaped, and
 * cut at 64 characters so that hostile input cannot flood a terminal or a log.
 *
 * @returns The value in quotes, or `undefined` and the like as they are.
 */
export function quote(value: unknown): string {
  if (typeof value !== "string") {
    return printableLine(String(value).slice(0, 64));
  }
  const cut = value.length > 64 ? value.slice(0, 64) + "…" : value;
  return toLine(cut);
}

/**
 * Puts a value into JSON that is one line and safe for a terminal, whatever the
 * strings in it hold. They decode to what they were.
 */
export function toLine(value: unknown): string {
  // Outside of strings JSON has none of these. Beyond U+FFFF, a character has
  // two code units, and JSON escapes each by itself.
  return JSON.stringify(value).replace(
    UNSAFE,
    (c) => c.split("").map((unit) => `\\u${codeOf(unit, 4)}`).join(""),
  );
}

function spellOut(c: string): string {
  if (c <= "\xff") return `\\x${codeOf(c, 2)}`;
  return c.length === 1 ? `\\u${codeOf(c, 4)}` : `\\u{${codeOf(c, 4)}}`;
}

function codeOf(c: string, digits: number): string {
  return c.codePointAt(0)!.toString(16).padStart(digits, "0");
}

/** Writes a number in hexadecimal, such as `0x0a`, with at least `digits`. */
export function hex(value: number, digits = 2): string {
  return "0x" + value.toString(16).padStart(digits, "0");
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Takes the number and the capital off the text of a system error: `No space
 * left on device (os error 28)` becomes `no space left on device`.
 */
export function systemReason(error: unknown): string {
  const message = messageOf(error);
  const [, text] = /^(.*) \(os error \d+\)$/s.exec(message) ?? [];
  return text === undefined
    ? message
    : text.slice(0, 1).toLowerCase() + text.slice(1);
}
