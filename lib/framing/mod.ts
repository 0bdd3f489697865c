/**
 * Framings: how a stream of bytes is cut into frames, and back.
 *
 * A codec is pure. It does no I/O, knows no time and no meaning; it is given
 * bytes and says where the next frame is. One codec belongs to one connection
 * and one direction of decoding, because it remembers what it has scanned.
 *
 * | name | on the wire |
 * | --- | --- |
 * | `line` | the payload, then LF; a CR before it is dropped |
 * | `length` | u32 big-endian length, then the payload |
 * | `netstring` | `5:hello,` |
 */

import { OptionError } from "../core/errors.ts";
import type { Framing } from "./codec.ts";
import { LengthCodec } from "./length.ts";
import { LineCodec } from "./line.ts";
import { NetstringCodec } from "./netstring.ts";

export type { Codec, Framing } from "./codec.ts";
export { MAX_OVERHEAD } from "./codec.ts";

/** The name of a framing that ships. */
export type FramingName = "line" | "length" | "netstring";

export const framings: Readonly<Record<FramingName, Framing>> = {
  line: { name: "line", codec: (maxFrame) => new LineCodec(maxFrame) },
  length: { name: "length", codec: (maxFrame) => new LengthCodec(maxFrame) },
  netstring: {
    name: "netstring",
    codec: (maxFrame) => new NetstringCodec(maxFrame),
  },
};

/** The names, in the order the documentation has them. */
export const framingNames = Object.keys(framings) as readonly FramingName[];

/**
 * Finds a framing by its name.
 *
 * @throws {OptionError} There is none of that name.
 */
export function framingOf(name: string): Framing {
  if (Object.hasOwn(framings, name)) return framings[name as FramingName];
  throw new OptionError("framing", name, `one of ${framingNames.join(", ")}`);
}
