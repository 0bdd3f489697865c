/**
 * Framings, by their names; `docs/framing.md` has the forms. A codec is pure: it
 * is given bytes and says where the next frame is. One codec belongs to one
 * connection, because it remembers what it has scanned.
 */

import { OptionError } from "../core/errors.ts";
import { decodeText, quote } from "../core/text.ts";
import type { Codec, Framing } from "./codec.ts";
import { delimiter } from "./delimiter.ts";
import { fixed, length, netstring, PrefixCodec, varint } from "./length.ts";
import { LineCodec } from "./line.ts";

export { Codec, errorOf, frameOf, type Framing } from "./codec.ts";

/**
 * The name of a framing that ships. In a delimiter's, `\0`, `\t`, `\n`, `\r`,
 * `\\` and `\xff` stand for bytes.
 */
export type FramingName =
  | ("line" | "length" | "netstring" | "varint")
  | (`fixed:${number}` | `delimiter:${string}` | `length:${string}`);

const named: Readonly<Record<string, Framing>> = {
  line: { name: "line", codec: (max) => new LineCodec(max) },
  length: length(),
  netstring,
  varint,
};

/** The names that are complete, in the order the documentation has them. */
export const framingNames = Object.keys(named) as readonly FramingName[];

export const FRAMING_FORM: string = `one of ${framingNames.join(", ")}, ` +
  "length:1|2|4|8[:little][:itself], fixed:BYTES, delimiter:BYTES";

/**
 * Gives a framing, by its name or as it is.
 *
 * @throws {OptionError} There is none of that name, or it is none.
 */
export function framingOf(given: string | Framing): Framing {
  const framing = typeof given === "string" ? parseFraming(given) : given;
  if (
    typeof framing?.name === "string" && typeof framing.codec === "function"
  ) return framing;
  throw new OptionError("framing", given, FRAMING_FORM);
}

export function parseFraming(name: string): Framing | undefined {
  if (Object.hasOwn(named, name)) return named[name];
  const [, size, little, itself, bytes, ending] =
    /^(?:length:([1248])(:little)?(:itself)?|fixed:(\d+)|delimiter:(.+))$/s
      .exec(name) ?? [];
  if (size !== undefined) {
    const endian = little ? "little" : "big";
    return length({ bytes: +size as 1, endian, includesItself: !!itself });
  }
  if (+bytes >= 1 && +bytes <= 2 ** 30) return fixed(+bytes);
  const parts = ending?.match(/\\x[\da-fA-F]{2}|\\[0tnr\\]|[^\\]/gu) ?? [];
  // Nothing else may stand behind a backslash.
  if (parts.join("") !== ending) return undefined;
  const own = parts.flatMap((part) => {
    if (part.length === 4) return parseInt(part.slice(2), 16);
    const char = "\0\t\n\r\\"["0tnr\\".indexOf(part[1])] ?? part;
    return [...new TextEncoder().encode(char)];
  });
  return own.length > 32 ? undefined : delimiter(Uint8Array.from(own));
}

/** Says what bytes look like that are no whole frame of a codec, if anything. */
export function guessFraming(
  codec: Codec,
  { bytes, start, end }: { bytes: Uint8Array; start: number; end: number },
): string {
  const head = decodeText(bytes.subarray(start, Math.min(end, start + 99)));
  if (codec instanceof PrefixCodec && head.startsWith("ERR ")) {
    const [line] = head.split(/\r?\n/);
    return `: the server said ${quote(line)} as a line (option framing: line)`;
  }
  return codec instanceof LineCodec && head.startsWith("\0\0")
    ? ": it begins with zero bytes as a length does (option framing: length)"
    : "";
}
