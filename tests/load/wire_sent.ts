/**
 * What the clients of `deno task fuzz:wire` send: PROXY headers of both
 * versions, requests, and what is neither.
 *
 * @module
 */

import { bytes, random, text } from "../support/fixtures.ts";
import { frameOf, type Wire } from "../support/wire_model.ts";

/** How a server is set. */
export interface Setting extends Wire {
  readonly name: string;
  readonly proxy?: "v1" | "v2" | "any";
  readonly threads?: number;
  /** How many connections it takes, if scripts may reach that. */
  readonly places?: number;
  /** Whether it has so little memory that anybody may be closed. */
  readonly tight?: boolean;
}

/** A header, and what a server makes of it. */
export interface Header {
  readonly version: "v1" | "v2";
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The address that it names, as `WHOAMI` has it; else the peer's own. */
  readonly peer?: string;
  /** Whether the server closes the connection for it. */
  readonly broken?: boolean;
}

const SIGNATURE = "0d0a0d0a000d0a515549540a";

function v1(line: string, rest: Partial<Header> = {}): Header {
  return { version: "v1", bytes: bytes(line), ...rest };
}

function v2(hex: string, rest: Partial<Header> = {}): Header {
  const bytes = Uint8Array.fromHex((SIGNATURE + hex).replaceAll(" ", ""));
  return { version: "v2", bytes, ...rest };
}

/** By their names; the first of a version is an ordinary one. */
export const headers: Readonly<Record<string, Header>> = {
  v1: v1("PROXY TCP4 192.0.2.7 198.51.100.9 56324 443\r\n", {
    peer: "192.0.2.7:56324",
  }),
  v1Six: v1("PROXY TCP6 2001:DB8:0::0001 ::1 1 65535\r\n", {
    peer: "[2001:db8::1]:1",
  }),
  v1Unknown: v1("PROXY UNKNOWN\r\n"),
  v1Long: v1(`PROXY UNKNOWN ${"f".repeat(91)}\r\n`),
  v1TooLong: v1(`PROXY UNKNOWN ${"f".repeat(92)}\r\n`, { broken: true }),
  v1LfAlone: v1("PROXY TCP4 192.0.2.7 198.51.100.9 1 2\n", { broken: true }),
  v1BadPort: v1("PROXY TCP4 192.0.2.7 198.51.100.9 1 70000\r\n", {
    broken: true,
  }),
  v1None: v1("PING\n", { broken: true }),
  v2: v2("21 11 000c c0000207 c6336409 dc04 01bb", { peer: "192.0.2.7:56324" }),
  v2Six: v2(
    `21 21 0024 20010db8${"00".repeat(11)}01 ${"00".repeat(15)}01 0001 ffff`,
    { peer: "[2001:db8::1]:1" },
  ),
  v2Local: v2("20 00 0000"),
  v2Unspecified: v2("21 00 0003 040000"),
  v2Extra: v2(
    `21 11 040f c0000207 c6336409 dc04 01bb 040400 ${"0a".repeat(1024)}`,
    {
      peer: "192.0.2.7:56324",
    },
  ),
  v2Sum: v2("20 00 0007 030004 a9b87e8f"),
  v2BadSum: v2("20 00 0007 030004 a9b87e8e", { broken: true }),
  v2BadCommand: v2("22 11 000c c0000207 c6336409 dc04 01bb", { broken: true }),
  v2Short: v2("21 11 000b c0000207 c6336409 dc04 01", { broken: true }),
  v2None: v2("", { broken: true, bytes: bytes("PING\r\n") }),
};

/** Requests, by what is asked for; `text` has the size that a script says. */
const asks = {
  ping: () => "PING",
  lower: (text: string) => `ping ${text}`,
  echo: (text: string) => `ECHO ${text}`,
  upper: (text: string) => `UPPER é${text}`,
  reverse: (text: string) => `REVERSE ${text}`,
  accents: (text: string) => `REVERSE e\u0301${text}👍🏽`,
  carriage: (text: string) => `REVERSE \r${text}`,
  whoami: () => "WHOAMI",
  soon: (text: string) => `DELAY ${text.length % 8 * 4} ${text}`,
  never: (text: string) => `DELAY 60000 ${text}`,
  pieces: (text: string) => `CHUNK ${1 + (text.length >> 4)} ${text}`,
  much: (_text: string, size: number) => `SIZE ${size * 20}`,
  most: () => "SIZE 16777216",
  quit: () => "quit",
  close: () => "CLOSE",
  usage: (text: string) => `SIZE ${text}`,
  unknown: (text: string) => text,
  empty: () => "",
} as const;

/** Bytes that the framing or its limit does not have, or hardly has. */
const garbage = ["longest", "tooLong", "malformed", "tlsHello"] as const;

export type Kind = keyof typeof asks | (typeof garbage)[number];

export const kinds = [...Object.keys(asks), ...garbage] as Kind[];

/** So irregular that bytes lost or doubled show. */
const next = random(1);
const letters = Uint8Array.from({ length: 200_000 }, () => 97 + next() * 26);

/** The bytes of a request, with its own name in them. */
export function requestOf(
  { framing, maxFrame, handler }: Setting,
  kind: Kind,
  size: number,
  name: string,
  crlf: boolean,
): Uint8Array {
  const filled = (length: number) => {
    const all = letters.slice(0, Math.max(length, name.length));
    all.set(bytes(name));
    return all;
  };
  switch (kind) {
    case "longest":
    case "tooLong": {
      const command = handler === "commands" ? "ECHO " : "";
      const all = filled(maxFrame + (kind === "tooLong" ? 1 : 0));
      all.set(bytes(command));
      return frameOf(framing, all, crlf);
    }
    case "malformed":
      return malformed(framing, maxFrame, size);
    case "tlsHello":
      return Uint8Array.fromHex(
        `16030${size % 4}00${(size % 60).toString(16).padStart(2, "0")}010000`,
      );
    default:
      return frameOf(
        framing,
        bytes(asks[kind](text(filled(size)), size)),
        crlf,
      );
  }
}

function malformed(
  framing: Setting["framing"],
  maxFrame: number,
  which: number,
): Uint8Array {
  switch (framing) {
    case "line":
      return new Uint8Array(maxFrame + 2 + which % 3).fill(13);
    case "length":
      return new Uint8Array(4).fill(128 + which % 128);
    case "netstring": {
      const all = ["x", ":", "01:a,", "3:abcd", "12345678901:", "1x:", "-1:,"];
      return bytes(all[which % all.length]);
    }
  }
  throw new Error(`nothing that is malformed in ${framing}`);
}
