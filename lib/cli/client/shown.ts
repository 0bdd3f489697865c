/** How a frame is shown: as text that is safe for a terminal. */

import { Buffer, isUtf8 } from "node:buffer";

import { decodeText, printable, toLine } from "../../core/text.ts";

export interface Form {
  readonly json: boolean;
  readonly hex: boolean;
}

/**
 * @param asked Which request it answers, and how long that took; without it, the
 * frame answers none.
 */
export function shown(
  frame: Uint8Array,
  { json, hex }: Form,
  asked?: { request: Uint8Array; ms: number },
): string {
  if (hex) return Buffer.from(frame).toString("hex");
  if (!json) return printable(decodeText(frame));
  if (asked === undefined) return toLine(named("frame", frame));
  const ms = Math.round(asked.ms * 1000) / 1000;
  const request = named("request", asked.request);
  return toLine({ ...request, ...named("reply", frame), ms });
}

/** Bytes that are no text would be lost in JSON. */
function named(name: string, bytes: Uint8Array): Record<string, string> {
  return isUtf8(bytes)
    ? { [name]: decodeText(bytes) }
    : { [`${name}_base64`]: Buffer.from(bytes).toString("base64") };
}
