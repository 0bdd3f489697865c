/**
 * What must come back from a server, byte for byte, for all that a client has
 * sent: `docs/protocol.md`, and the handlers, as plain functions of
 * whole byte sequences. None of it is the server's code, and none of it knows
 * of reads, buffers or time.
 *
 * @module
 */

import type { FramingName } from "../../lib/framing/mod.ts";

const CR = 13;
const LF = 10;
const SPACE = 32;
const COLON = 58;
const COMMA = 44;

const encoder = new TextEncoder();
const lossy = new TextDecoder();
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const graphemes = new Intl.Segmenter();

/** The most that `SIZE` and `CHUNK` take, and what `SIZE` replies. */
const MOST = 16 * 1024 ** 2;
const letters = new Uint8Array(MOST).fill(0x78);

/** What a server was started with, as far as its replies go. */
export interface Wire {
  /** Whether it speaks TLS, and then 1.3 with these clients. */
  readonly tls?: boolean;
  readonly framing: FramingName;
  readonly handler: "commands" | "echo";
  readonly maxFrame: number;
  readonly maxReply: number;
  /** In milliseconds; `DELAY` replies at once, or long after it. */
  readonly requestTimeout: number;
}

/** What a client is told. */
export interface Outcome {
  /** The server's bytes, in their order. */
  readonly replies: Uint8Array[];
  /** Whether the server ends the connection behind them. */
  readonly over: boolean;
}

/** A whole frame in a stream. */
export interface Frame {
  readonly start: number;
  readonly end: number;
  /** Where the next one begins. */
  readonly next: number;
  readonly crlf: boolean;
}

/**
 * The frame at a place of a stream.
 *
 * @returns Where it is; or what is wrong with it, in the words of the server;
 * or nothing where its end has not come.
 */
export function frameAt(
  framing: FramingName,
  stream: Uint8Array,
  at: number,
  maxFrame: number,
): Frame | string | undefined {
  const left = stream.length - at;
  const tooLarge = (length: number | string) =>
    `frame too large: length is ${length}, maximum is ${maxFrame}`;
  switch (framing) {
    case "line": {
      const lf = stream.indexOf(LF, at);
      const crlf = lf > at && stream[lf - 1] === CR;
      const end = crlf ? lf - 1 : lf;
      const length = lf === -1
        // A CR may be the first half of the ending.
        ? left - (stream.at(-1) === CR ? 1 : 0)
        : end - at;
      if (length > maxFrame) return tooLarge(`at least ${maxFrame + 1}`);
      return lf === -1 ? undefined : { start: at, end, next: lf + 1, crlf };
    }
    case "length": {
      if (left < 4) return undefined;
      const length = new DataView(stream.buffer, stream.byteOffset + at)
        .getUint32(0);
      if (length > maxFrame) return tooLarge(length);
      const start = at + 4;
      const next = start + length;
      if (next > stream.length) return undefined;
      return { start, end: next, next, crlf: false };
    }
    case "netstring": {
      const [digits] = /^\d*/.exec(latin1(stream.subarray(at, at + 11)))!;
      const malformed = (detail: string) => `malformed frame: ${detail}`;
      if (/^0\d/.test(digits)) return malformed("length has a leading zero");
      if (digits.length > 10) {
        return malformed("length has more than 10 digits");
      }
      const colon = at + digits.length;
      if (colon === stream.length) return undefined;
      if (stream[colon] !== COLON || digits === "") {
        const expected = digits === "" ? "a digit" : 'a digit or ":"';
        return malformed(`expected ${expected}, got ${hex(stream[colon])}`);
      }
      if (Number(digits) > maxFrame) return tooLarge(Number(digits));
      const start = colon + 1;
      const end = start + Number(digits);
      if (end >= stream.length) return undefined;
      if (stream[end] !== COMMA) {
        return malformed(
          `expected "," after ${digits} bytes, got ${hex(stream[end])}`,
        );
      }
      return { start, end, next: end + 1, crlf: false };
    }
    case "varint": {
      const header = stream.subarray(at, at + 5);
      const last = header.findIndex((byte) => byte < 128);
      if ((last === -1 || last === 4) && header[4] > 15) {
        return "malformed frame: length has more than 32 bits";
      }
      if (last === -1) return undefined;
      const length = header.subarray(0, last + 1)
        .reduceRight((sum, byte) => sum * 128 + byte % 128, 0);
      if (length > maxFrame) return tooLarge(length);
      const start = at + last + 1;
      const next = start + length;
      if (next > stream.length) return undefined;
      return { start, end: next, next, crlf: false };
    }
  }
  const [kind, ...form] = framing.split(":");
  if (kind === "fixed") {
    const next = at + Number(form[0]);
    if (next > stream.length) return undefined;
    return { start: at, end: next, next, crlf: false };
  }
  if (kind === "delimiter") {
    const end = latin1(stream).indexOf(form[0], at);
    const most = end === -1 ? left - form[0].length + 1 : end - at;
    if (most > maxFrame) return tooLarge(`at least ${maxFrame + 1}`);
    if (end === -1) return undefined;
    return { start: at, end, next: end + form[0].length, crlf: false };
  }
  const size = Number(form[0]);
  if (left < size) return undefined;
  const header = stream.slice(at, at + size);
  if (form.includes("little")) header.reverse();
  const own = form.includes("itself") ? size : 0;
  const length = Number(`0x${header.toHex()}`);
  if (length < own) {
    return `malformed frame: length is ${length}, of itself ${own}`;
  }
  if (length > 2 ** 53) return tooLarge(`over ${2 ** 53}`);
  if (length - own > maxFrame) return tooLarge(length - own);
  const next = at + size + length - own;
  if (next > stream.length) return undefined;
  return { start: at + size, end: next, next, crlf: false };
}

/** A payload as a frame. */
export function frameOf(
  framing: FramingName,
  payload: Uint8Array,
  crlf: boolean,
): Uint8Array<ArrayBuffer> {
  switch (framing) {
    case "line":
      return joined([payload, encoder.encode(crlf ? "\r\n" : "\n")]);
    case "length": {
      const frame = joined([new Uint8Array(4), payload]);
      new DataView(frame.buffer).setUint32(0, payload.length);
      return frame;
    }
    case "netstring": {
      const header = encoder.encode(`${payload.length}:`);
      return joined([header, payload, encoder.encode(",")]);
    }
  }
  throw new Error(`the model has no replies in ${framing}`);
}

/**
 * What a server says to all that a client has sent.
 *
 * @param stream The bytes, without what stands before the first frame.
 * @param ended Whether the client has finished sending.
 * @param who What `WHOAMI` says of the client, but for the framing.
 */
export function outcomeOf(
  wire: Wire,
  stream: Uint8Array,
  ended: boolean,
  who: string,
): Outcome {
  const { framing, maxFrame } = wire;
  const replies: Uint8Array[] = [];
  let crlf = false;
  const end = (words: string) => {
    replies.push(frameOf(framing, encoder.encode(words), crlf));
    return { replies, over: true };
  };
  const tls = beginsAsTls(stream);
  if (tls) {
    const why = wire.tls
      ? "where a frame is expected"
      : "and this port does not speak TLS";
    return end(`ERR malformed frame: a TLS handshake, ${why}`);
  }
  if (tls === undefined && !ended) return { replies, over: false };
  for (let at = 0; at < stream.length;) {
    const frame = frameAt(framing, stream, at, maxFrame);
    if (typeof frame === "string") return end(`ERR ${frame}`);
    if (frame === undefined) {
      if (!ended) return { replies, over: false };
      const bytes = stream.length - at;
      return end(
        `ERR malformed frame: stream ended after ${bytes} bytes of a frame`,
      );
    }
    crlf = frame.crlf;
    at = frame.next;
    const request = stream.subarray(frame.start, frame.end);
    const answer = answerTo(wire, request, crlf, who);
    if (answer.reply !== undefined) {
      replies.push(frameOf(framing, answer.reply, crlf));
    }
    if (answer.last) return { replies, over: true };
  }
  return { replies, over: ended };
}

interface Answer {
  readonly reply?: Uint8Array;
  /** Whether the server ends the connection behind it. */
  readonly last?: boolean;
}

function answerTo(
  wire: Wire,
  request: Uint8Array,
  crlf: boolean,
  who: string,
): Answer {
  const { framing, handler, maxReply } = wire;
  const answer = handler === "echo"
    ? { reply: request }
    : command(wire, request, who);
  const { reply } = answer;
  if (reply === undefined) return answer;
  if (reply.length > maxReply) {
    return { ...answer, ...tooLarge(reply.length, maxReply) };
  }
  // A line's ending would swallow it.
  if (framing === "line" && !crlf && reply.at(-1) === CR) {
    return { ...answer, ...say("ERR internal error") };
  }
  return answer;
}

/** The handler `commands`, as far as its replies can be foretold. */
function command(wire: Wire, request: Uint8Array, who: string): Answer {
  if (request.length === 0) return say("ERR empty request");
  const [head, text] = parted(request);
  const name = latin1(head).toUpperCase();
  const usage = (args: string, detail: string) =>
    say(`ERR usage: ${name}${args && ` ${args}`} (${detail})`);
  if (/^(WHOAMI|CLOSE|QUIT)$/.test(name) && text.length > 0) {
    return usage("", `no argument, got ${quoted(text)}`);
  }
  switch (name) {
    case "PING":
      return text.length === 0 ? say("PONG") : { reply: text };
    case "ECHO":
      return { reply: text };
    case "UPPER":
    case "REVERSE": {
      const decoded = decode(text);
      if (decoded === undefined) {
        return usage("text", "text is UTF-8, got bytes that are not");
      }
      if (name === "UPPER") return say(decoded.toUpperCase());
      // Then each byte is a grapheme.
      const isPlain = /^[ -~]*$/.test(decoded);
      return isPlain ? { reply: text.toReversed() } : say(backwards(decoded));
    }
    case "WHOAMI":
      return say(
        `${who} framing=${wire.framing}${wire.tls ? " tls=TLSv1.3" : ""}`,
      );
    case "DELAY": {
      const [ms, rest] = parted(text);
      if (!isNumber(ms, 0, 60_000)) {
        return usage("ms text", `ms is 0 to 60000, got ${quoted(ms)}`);
      }
      const limit = wire.requestTimeout;
      if (Number(latin1(ms)) < limit) return { reply: rest };
      const words = `ERR request timeout: no reply within ${limit} ms`;
      return { ...say(words), last: true };
    }
    case "CHUNK": {
      const [n, rest] = parted(text);
      return isNumber(n, 1, MOST)
        ? { reply: rest }
        : usage("n text", `n is 1 to ${MOST}, got ${quoted(n)}`);
    }
    case "SIZE": {
      if (!isNumber(text, 0, MOST)) {
        return usage("n", `n is 0 to ${MOST}, got ${quoted(text)}`);
      }
      const n = Number(latin1(text));
      return n > wire.maxReply
        ? tooLarge(n, wire.maxReply)
        : { reply: letters.subarray(0, n) };
    }
    case "CLOSE":
      return { last: true };
    case "QUIT":
      return { ...say("BYE"), last: true };
  }
  return say(`ERR unknown command: ${quoted(head)} (try HELP)`);
}

function say(words: string): { reply: Uint8Array } {
  return { reply: encoder.encode(words) };
}

function tooLarge(length: number, most: number): { reply: Uint8Array } {
  return say(`ERR reply too large: length is ${length}, maximum is ${most}`);
}

/** What stands before the first space, and what behind it. */
function parted(bytes: Uint8Array): [Uint8Array, Uint8Array] {
  const space = bytes.indexOf(SPACE);
  return space === -1
    ? [bytes, new Uint8Array()]
    : [bytes.subarray(0, space), bytes.subarray(space + 1)];
}

function isNumber(digits: Uint8Array, least: number, most: number): boolean {
  const text = latin1(digits);
  return /^\d{1,15}$/.test(text) && Number(text) >= least &&
    Number(text) <= most;
}

function decode(text: Uint8Array): string | undefined {
  try {
    return strict.decode(text);
  } catch {
    return undefined;
  }
}

function backwards(text: string): string {
  return Array.from(graphemes.segment(text), ({ segment }) => segment)
    .reverse().join("");
}

/** As JSON of 64 characters at the most, with nothing in it that is unseen. */
function quoted(bytes: Uint8Array): string {
  const text = lossy.decode(bytes);
  const cut = text.length > 64 ? `${text.slice(0, 64)}…` : text;
  return JSON.stringify(cut).replace(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Whether a client begins as one of TLS; nothing where that is open yet. */
function beginsAsTls(stream: Uint8Array): boolean | undefined {
  const begins = (bytes: Uint8Array) =>
    // A handshake's record, and a `client_hello` in it. An LF in the record's
    // length decides, for it could be the end of a line.
    // deno-lint-ignore no-control-regex
    /^\x16\x03[\0-\x04](\n|[\0-\x41](\n|[^]\x01\0))/
      .test(latin1(bytes.subarray(0, HELLO.length)));
  if (begins(stream)) return true;
  return begins(joined([stream, HELLO.subarray(stream.length)]))
    ? undefined
    : false;
}

/** What the first bytes may yet become. */
const HELLO = Uint8Array.of(0x16, 3, 1, 0, 0, 1, 0);

function latin1(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes.subarray(0, 1000));
}

function hex(byte: number): string {
  return `0x${byte.toString(16).padStart(2, "0")}`;
}

/** Several pieces as one. */
export function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(
    parts.reduce((sum, { length }) => sum + length, 0),
  );
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
