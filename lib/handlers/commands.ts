/**
 * The handler `commands`: a table of small commands to try a server with.
 * `commandTable` makes a handler from a table.
 */

import { setTimeout as delay } from "node:timers/promises";

import { formatAddr } from "../core/address.ts";
import {
  OptionError,
  ParleyError,
  ReplyTooLargeError,
} from "../core/errors.ts";
import { decodeText, decodeUtf8, quote, toLine } from "../core/text.ts";
import type { TlsInfo } from "../core/tls_info.ts";
import type { Handler, ReplyLater, RequestInfo } from "../server/handler.ts";
import { reverseBytes, reverseGraphemes } from "./reverse.ts";

/** A command of a {@linkcode commandTable}. */
export interface Command<State = Record<string, unknown>> {
  /** The arguments, such as `ms text`; empty for none. */
  readonly args: string;
  /** What it does, in a few words, for `HELP`. */
  readonly help: string;
  /** Runs it. `text` is what follows the name and one space, as it came. */
  run(text: Uint8Array<ArrayBuffer>, info: RequestInfo<State>): ReplyLater;
}

/** A command throws this to say which arguments would be right. */
export class UsageError extends ParleyError {}

const MAX_DELAY = 60_000;
const MAX_SIZE = 16 * 1024 * 1024;
const SPACE = 32;

const PONG = new TextEncoder().encode("PONG");

/** `SIZE` replies with a part of this, which grows as needed: see `letters`. */
let block = new Uint8Array();

const table: Record<string, Command<unknown>> = {
  PING: {
    args: "[text]",
    help: "replies PONG, or the text",
    run: (text) => text.length === 0 ? PONG : text,
  },
  ECHO: {
    args: "text",
    help: "replies the text",
    run: (text) => text,
  },
  UPPER: {
    args: "text",
    help: "replies the text in upper case",
    run: (text) => utf8(text).toUpperCase(),
  },
  REVERSE: {
    args: "text",
    help: "replies the text backwards, by grapheme",
    run(text) {
      const decoded = utf8(text);
      return reverseBytes(text) ?? reverseGraphemes(decoded);
    },
  },
  TIME: {
    args: "",
    help: "replies the time, ISO 8601 in UTC",
    run: () => new Date().toISOString(),
  },
  WHOAMI: {
    args: "",
    help: "replies the connection's id, peer address, framing, and its TLS",
    run: (_text, { id, remoteAddr, framing, tls }) =>
      `id=${id} peer=${formatAddr(remoteAddr)} framing=${framing}` +
      (tls === undefined ? "" : ` tls=${tls.version}${agreed(tls)}`),
  },
  STATS: {
    args: "",
    help: "replies the server's numbers since its start",
    run: (_text, { server }) =>
      [
        `uptime_seconds=${Math.floor(server.uptime / 1000)}`,
        `connections=${server.connections}`,
        `connections_total=${server.connectionsTotal}`,
        `connections_rejected=${server.connectionsRejected}`,
        `requests=${server.requests}`,
        `received_bytes=${server.received}`,
        `sent_bytes=${server.sent}`,
      ].join(" "),
  },
  DELAY: {
    args: "ms text",
    help: `replies the text after ms milliseconds, 0 to ${MAX_DELAY}`,
    run(text, info) {
      const [ms, rest] = numberAndText(text, "ms", 0, MAX_DELAY);
      const { signal } = info;
      // It rejects when nobody waits for the reply any more.
      return delay(ms, rest, { signal }).catch(() => rest);
    },
  },
  CHUNK: {
    args: "n text",
    help: "replies the text in pieces of n bytes",
    run(text, info) {
      const [n, rest] = numberAndText(text, "n", 1, MAX_SIZE);
      info.replyInPieces(n);
      return rest;
    },
  },
  SIZE: {
    args: "n",
    help: `replies n bytes, 0 to ${MAX_SIZE}`,
    run(text, { maxReply }) {
      const n = parseNumber(utf8(text), "n", 0, MAX_SIZE);
      if (n > maxReply) throw new ReplyTooLargeError(n, maxReply);
      return letters(n);
    },
  },
  CLOSE: {
    args: "",
    help: "closes the connection without a reply",
    run: (_text, info) => info.close(),
  },
  HELP: helpOf(() => table),
  QUIT: {
    args: "",
    help: "replies BYE and closes the connection",
    run(_text, info) {
      info.close();
      return "BYE";
    },
  },
};

/**
 * Answers the commands of the table; `HELP` lists them.
 *
 * @example
 * ```ts
 * import { commands, connect, serve } from "../mod.ts";
 *
 * await using server = serve({ hostname: "127.0.0.1", port: 0 }, commands);
 * await using client = await connect(server.addr);
 * const reply = await client.request("REVERSE noon, née");
 * console.log(new TextDecoder().decode(reply)); // eén ,noon
 * ```
 */
export const commands: Handler<unknown> = commandTable(table);

/**
 * Makes a handler from a table of commands. A request is the name of a command, in
 * upper or lower case, then one space and the arguments. `HELP` is added if it is
 * missing. Unknown names and wrong arguments are answered with `ERR`.
 *
 * @typeParam State What is kept in `info.state`.
 * @param table The commands by their names, in capitals and without spaces.
 * @throws {OptionError} A name is not written so.
 *
 * @example
 * ```ts
 * import { commandTable, serve } from "../mod.ts";
 *
 * const handler = commandTable({
 *   DOUBLE: {
 *     args: "n",
 *     help: "replies two times n",
 *     run: (text) => `${2 * Number(new TextDecoder().decode(text))}`,
 *   },
 * });
 * await using server = serve({ hostname: "127.0.0.1", port: 0 }, handler);
 * ```
 */
export function commandTable<State = Record<string, unknown>>(
  table: Readonly<Record<string, Command<State>>>,
): Handler<State> {
  const all = { ...table };
  all.HELP ??= helpOf(() => all);
  // A map, as a peer would also find `toString` in an object.
  const byName = new Map(Object.entries(all));
  for (const name of byName.keys()) {
    if (/^[!-`{-~]{1,63}$/.test(name)) continue;
    throw new OptionError("table", name, "names in capitals, without spaces");
  }
  return (request, info) => {
    if (request.length === 0) return failed(info, "ERR empty request");
    const space = request.indexOf(SPACE);
    const end = space === -1 ? request.length : space;
    // By bytes, as some letters of Unicode become ASCII in upper case. No name
    // has 64 bytes.
    const start = request.subarray(0, Math.min(end, 64));
    const name = String.fromCharCode(...start).toUpperCase();
    const command = byName.get(name);
    if (command === undefined) {
      return unknown(info, decodeText(request.subarray(0, end)));
    }
    const told = (error: unknown) => {
      if (!(error instanceof UsageError)) throw error;
      const right = usage([name, command]);
      return failed(info, `ERR usage: ${right} (${error.message})`);
    };
    const text = request.subarray(space === -1 ? end : space + 1);
    try {
      if (command.args === "" && text.length > 0) {
        throw new UsageError(`no argument, got ${quote(decodeText(text))}`);
      }
      const reply = command.run(text, info);
      const isLater = typeof reply === "object" && reply && "then" in reply;
      return isLater ? Promise.resolve(reply).catch(told) : reply;
    } catch (error) {
      return told(error);
    }
  };
}

/** Makes the command that lists the commands. */
function helpOf<State>(
  table: () => Readonly<Record<string, Command<State>>>,
): Command<State> {
  return {
    args: "[command]",
    help: "replies the commands, or what one does",
    run(text, info) {
      const asked = utf8(text).trim();
      const all = Object.entries(table());
      // One reply is one line, so the list is one too.
      const list = all.map(usage).join(" | ");
      if (asked === "") return `${list} (HELP command tells more)`;
      const found = all.find(([name]) => name === asked.toUpperCase());
      return found ? `${usage(found)}: ${found[1].help}` : unknown(info, asked);
    },
  };
}

/** What TLS knows of the peer, in JSON, as a name may have any characters. */
function agreed({ alpn, peer }: TlsInfo): string {
  return Object.entries({ alpn, ...peer })
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => ` ${name}=${toLine(value)}`).join("");
}

type Failing = Pick<RequestInfo, "failed">;

function failed(info: Failing, text: string): string {
  info.failed();
  return text;
}

const unknown = (info: Failing, name: string) =>
  failed(info, `ERR unknown command: ${quote(name)} (try HELP)`);

const usage = ([name, { args }]: [string, { args: string }]) =>
  args === "" ? name : `${name} ${args}`;

function utf8(text: Uint8Array): string {
  const decoded = decodeUtf8(text);
  if (decoded !== undefined) return decoded;
  throw new UsageError("text is UTF-8, got bytes that are not");
}

/** Splits `12 text` at its first space, and leaves the text as it came. */
function numberAndText(
  text: Uint8Array,
  ...range: [name: string, least: number, most: number]
): [number, Uint8Array] {
  const space = text.indexOf(SPACE);
  const end = space === -1 ? text.length : space;
  const number = parseNumber(decodeText(text.subarray(0, end)), ...range);
  return [number, text.subarray(space === -1 ? end : end + 1)];
}

function parseNumber(text: string, name: string, least: number, most: number) {
  const number = /^\d{1,15}$/.test(text) ? Number(text) : NaN;
  if (number >= least && number <= most) return number;
  throw new UsageError(`${name} is ${least} to ${most}, got ${quote(text)}`);
}

/** Replies share these letters: a few large ones could take all memory. */
function letters(n: number): Uint8Array {
  if (n > block.length) {
    // A power of two, or requests that each want one more would each make a block.
    block = new Uint8Array(2 ** Math.ceil(Math.log2(n))).fill(0x78);
  }
  return block.subarray(0, n);
}
