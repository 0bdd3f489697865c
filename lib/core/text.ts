/**
 * Text from others, such as a peer or whoever set a flag, made safe to show.
 */

/**
 * What must not reach a terminal or a log as it is: control characters (Cc) drive
 * a terminal, format characters (Cf) change the direction of writing or cannot
 * be seen, as the block of tags, and separators (Zl, Zp) begin a line without
 * LF. The price: an emoji joined of several has its joiner spelled out.
 */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\u{e0000}-\u{e007f}]/gu;

/** Text without any of these: `UNSAFE` takes long to compile at its first use. */
const PLAIN = /^[ -~]*$/;

// A byte order mark is a part of the text: the peer sent it.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const strict = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });

const encoder = new TextEncoder();

/** Short texts share memory: to allocate it for each takes ten times as long. */
const SHORT = 1024;
const BLOCK = 64 * SHORT;
let block = new Uint8Array();
let used = 0;

export function encodeText(text: string): Uint8Array<ArrayBuffer> {
  if (text.length > SHORT) return encoder.encode(text);
  // No character takes more than three bytes.
  if (block.length - used < 3 * SHORT) {
    block = new Uint8Array(BLOCK);
    used = 0;
  }
  const from = used;
  used += writeAscii(text) ??
    encoder.encodeInto(text, block.subarray(from)).written;
  return new Uint8Array(block.buffer, from, used - from);
}

/** Gives how many bytes; undefined if a call of the encoder is cheaper. */
function writeAscii(text: string): number | undefined {
  const { length } = text;
  if (length > 32) return undefined;
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i);
    if (code > 127) return undefined;
    block[used + i] = code;
  }
  return length;
}

/** What is given to be sent, as bytes; anything else is a TypeError. */
export function bytesOf(
  given: Uint8Array | string,
  expected = "a Uint8Array or a string",
): Uint8Array {
  if (typeof given === "string") return encodeText(given);
  if (given instanceof Uint8Array) return given;
  throw new TypeError(`Cannot send ${quote(given)}: expected ${expected}`);
}

export function decodeText(payload: Uint8Array): string {
  return decoder.decode(payload);
}

/** The same, but undefined if the bytes are not UTF-8. */
export function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return strict.decode(bytes);
  } catch {
    return undefined;
  }
}

/** Makes text safe for a terminal, but for its tabs and line breaks. */
export function printable(text: string): string {
  return PLAIN.test(text) ? text : text.replace(
    UNSAFE,
    (c) => c === "\n" || c === "\t" ? c : spellOut(c),
  );
}

export function printableLine(text: string): string {
  return printable(text).replaceAll("\n", "\\n");
}

/**
 * Puts a value into a message: text in JSON's quotes, and cut at 64 characters
 * so that hostile input cannot flood a terminal or a log.
 */
export function quote(value: unknown): string {
  const cut = textOf(() => value).slice(0, 64);
  if (typeof value !== "string") return printableLine(cut);
  return toLine(value.length > 64 ? `${cut}…` : value);
}

/** JSON as one line that is safe for a terminal, whatever its strings hold. */
export function toLine(value: unknown): string {
  // Outside of strings JSON has none of these. Beyond U+FFFF, a character has
  // two code units, and JSON escapes each by itself.
  const line = JSON.stringify(value);
  return PLAIN.test(line) ? line : line.replace(
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

/** Such as `0x0a`. */
export function hex(value: number, digits = 2): string {
  return "0x" + value.toString(16).padStart(digits, "0");
}

export function messageOf(error: unknown): string {
  return textOf(() => error instanceof Error ? error.message : error);
}

/** Not every object has a text: one without a prototype has none. */
function textOf(get: () => unknown): string {
  try {
    return String(get());
  } catch {
    return "an object that has no text";
  }
}

/** Of `No space left on device (os error 28)`, `no space left on device`. */
export function systemReason(error: unknown): string {
  return messageOf(error).replace(
    /^(.)(.*) \(os error \d+\)(: \w+ '.*')?$/s,
    (_, first: string, others: string) => first.toLowerCase() + others,
  );
}
