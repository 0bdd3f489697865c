/**
 * The names in a certificate (RFC 5280, in DER as X.690 has it). The runtime
 * escapes nothing in them: `CN=eve\nO=admin` of one attribute looks like one of
 * two, and a comma in a URI begins what looks like another name.
 */

import { decodeUtf8, encodeText } from "../core/text.ts";
import { formatIP } from "../net/proxy_protocol.ts";

type Element = Record<"body" | "whole", Uint8Array> & { tag: number };

/** Parts of a certificate (4.1), and `id-ce-subjectAltName` (4.2.1.6). */
const VERSION = 0xa0;
const EXTENSIONS = 0xa3;
const SUBJECT_ALT_NAME = "2.5.29.17";

/** The types of attributes that have a name in RFC 4514, section 3. */
const ATTRIBUTES: Readonly<Record<string, string>> = {
  ...{ "2.5.4.3": "CN", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.10": "O" },
  ...{ "2.5.4.11": "OU", "2.5.4.6": "C", "2.5.4.9": "STREET" },
  "0.9.2342.19200300.100.1.25": "DC",
  "0.9.2342.19200300.100.1.1": "UID",
};

/** The kinds of a `GeneralName` (4.2.1.6), by their tags. */
const KINDS: Readonly<Record<number, string>> = {
  ...{ 0x81: "email", 0x82: "DNS", 0x86: "URI", 0x87: "IP", 0xa4: "dirName" },
};

/** The strings of one byte a character, or of UTF-8. */
const STRINGS = [0x0c, 0x12, 0x13, 0x16, 0x1a];

/** What RFC 4514 escapes (section 2.4), and control characters. */
const SPECIAL = /["+,;<>\\]|^[ #]| $|\p{Cc}/gu;

/** Reads the subject, in the form of RFC 4514, and the `subjectAltName`s. */
export function namesOf(der: Uint8Array): { subject: string; names: string[] } {
  const fields = inside(elements(der)[0].body);
  if (fields[0].tag === VERSION) fields.shift();
  const extensions = fields.filter(({ tag }) => tag === EXTENSIONS)
    .flatMap(({ body }) => inside(body))
    .map(({ body }) => elements(body))
    .filter(([type]) => oidOf(type) === SUBJECT_ALT_NAME);
  return {
    // Behind serial number, algorithm, issuer and validity (4.1).
    subject: distinguishedName(fields[4]),
    names: extensions
      .flatMap((parts) => inside(parts.at(-1)!.body).flatMap(nameOf)),
  };
}

/** Writes a `Name`: the last part first, as RFC 4514 has it (section 2.1). */
function distinguishedName({ body }: Element): string {
  return elements(body).reverse()
    .map((part) => elements(part.body).map(attribute).join("+"))
    .join(",");
}

function attribute({ body }: Element): string {
  const [type, value] = elements(body);
  const name = ATTRIBUTES[oidOf(type)];
  const text = STRINGS.includes(value.tag) ? decodeUtf8(value.body) : undefined;
  return name === undefined || text === undefined
    ? `${name ?? oidOf(type)}=#${value.whole.toHex()}`
    : `${name}=${text.replace(SPECIAL, escape)}`;
}

function escape(special: string): string {
  if (!/\p{Cc}/u.test(special)) return `\\${special}`;
  return encodeText(special).toHex().toUpperCase().replace(/../g, "\\$&");
}

function nameOf({ tag, body }: Element): string | [] {
  const kind = KINDS[tag];
  const text = kind === "dirName"
    ? distinguishedName(elements(body)[0])
    : kind === "IP"
    ? formatIP(body)
    : decodeUtf8(body);
  return kind === undefined || text === undefined ? [] : `${kind}:${text}`;
}

/** The elements in the first element. */
function inside(bytes: Uint8Array): Element[] {
  return elements(elements(bytes)[0].body);
}

function elements(bytes: Uint8Array): Element[] {
  const found: Element[] = [];
  for (let at = 0; at < bytes.length;) {
    const [tag, short] = bytes.subarray(at);
    // From 128 on, the length is in as many bytes behind as the low bits say.
    const start = at + 2 + (short < 128 ? 0 : short & 127);
    const end = start + (short < 128 ? short : bytes.subarray(at + 2, start)
      .reduce((length, byte) => length * 256 + byte, 0));
    if (!(end <= bytes.length)) throw new RangeError("cut off");
    const whole = bytes.subarray(at, end);
    found.push({ tag, body: bytes.subarray(start, end), whole });
    at = end;
  }
  return found;
}

/** Writes an object identifier in numbers (X.690, section 8.19). */
function oidOf({ body }: Element): string {
  const arcs = [0];
  for (const byte of body) {
    arcs.push(arcs.pop()! * 128 + (byte & 127));
    if (byte < 128) arcs.push(0);
  }
  const first = Math.min(Math.floor(arcs[0] / 40), 2);
  return [first, arcs[0] - first * 40, ...arcs.slice(1, -1)].join(".");
}
