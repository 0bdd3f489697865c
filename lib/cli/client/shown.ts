/** How frames and errors are shown to the user of the program. */

import { isUtf8 } from "node:buffer";

import { decodeText, messageOf, printable, toLine } from "../../core/text.ts";

export interface Form {
  readonly json: boolean;
  readonly hex: boolean;
}

/** The flags of the program, by the options that errors of the library name. */
const FLAGS: Readonly<Record<string, string>> = {
  "tls.caCerts": "--tls-ca FILE",
  "tls.serverName": "--tls-server-name NAME",
  "framing:": "--framing",
  tls: "--tls",
};

/** What an error says; where it names an option that helps, the flag for it. */
export function reasonOf(error: unknown): string {
  return messageOf(error).replace(
    /\(option (tls\.caCerts|tls\.serverName|framing:|tls)/g,
    (_, option: string) => `(${FLAGS[option]}`,
  );
}

/** Whether a reply begins with `ERR `, as those of the server itself do. */
export function isErrReply(reply: Uint8Array): boolean {
  return reply.length >= 4 && reply[0] === 0x45 && reply[1] === 0x52 &&
    reply[2] === 0x52 && reply[3] === 0x20;
}

/** Which request a frame answers, and how long that took, once it is there. */
export interface Asked {
  readonly request: Uint8Array;
  ms: number;
}

/** Shows a frame as text that is safe for a terminal. */
export function shown(
  frame: Uint8Array,
  { json, hex }: Form,
  asked?: Asked,
): string {
  if (hex) return frame.toHex();
  if (!json) return printable(decodeText(frame));
  if (asked === undefined) return toLine(named("frame", frame));
  const ms = Math.round(asked.ms * 1000) / 1000;
  const request = named("request", asked.request);
  return toLine({ ...request, ...named("reply", frame), ms });
}

/** As base64 if the bytes are no text, which JSON would lose. */
function named(name: string, bytes: Uint8Array): Record<string, string> {
  return isUtf8(bytes)
    ? { [name]: decodeText(bytes) }
    : { [`${name}_base64`]: bytes.toBase64() };
}
