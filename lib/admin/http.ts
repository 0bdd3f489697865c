/**
 * HTTP/1.1 (RFC 9112), as much as the admin port speaks of it: one request on a
 * connection, its head alone. `Deno.serve` takes a port, not a connection, and
 * ends for good the first time the process has no descriptor left.
 */

import type { Transport } from "../net/connection.ts";

export interface Answer {
  /** 200 if it is left out. */
  readonly status?: number;
  /** The `Content-Type`; plain text if it is left out. */
  readonly type?: string;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A request that cannot be read, and the status code to answer with. */
export class RequestError extends Error {
  constructor(readonly status: number, message: string) {
    super(message);
  }
}

/** The longest head in bytes (Node has 16 KiB; Apache 8 KiB a line). */
const MAX_HEAD = 16 * 1024;

/** RFC 9110, section 15. */
const REASONS: Readonly<Record<number, string>> = {
  ...{ 200: "OK", 202: "Accepted", 400: "Bad Request", 401: "Unauthorized" },
  ...{ 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed" },
  ...{ 421: "Misdirected Request", 431: "Request Header Fields Too Large" },
  ...{ 500: "Internal Server Error", 503: "Service Unavailable" },
};

/** All answers have these: nothing is kept, guessed, framed or loaded. */
const COMMON_HEADERS = {
  "cache-control": "no-store",
  connection: "close",
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; " +
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; " +
    "form-action 'none'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
};

/** A token (RFC 9110, section 5.6.2): a method, the name of a field. */
const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const REQUEST_LINE = new RegExp(`^(${TOKEN}) (\\S+) HTTP/1\\.\\d$`);
const FIELD = new RegExp(`^(${TOKEN}):[ \\t]*([^\\0\\r]*?)[ \\t]*$`);

/** A name or an address, and a port: what cannot pass for a path. */
const HOST = /^[\w.~%:[\]-]*$/;

const decoder = new TextDecoder("latin1");
const encoder = new TextEncoder();

export async function readRequest(conn: Transport) {
  const bytes = new Uint8Array(MAX_HEAD);
  for (let length = 0; length < MAX_HEAD;) {
    const n = await conn.read(bytes.subarray(length));
    if (n === null) return undefined;
    length += n;
    const text = decoder.decode(bytes.subarray(0, length));
    // A TLS client would wait for an answer to its first bytes.
    if (!/^[A-Za-z]/.test(text)) refuse("request line");
    const end = /\r?\n\r?\n/.exec(text)?.index;
    if (end !== undefined) return parseRequest(text.slice(0, end));
  }
  throw new RequestError(431, `the head is over ${MAX_HEAD} bytes`);
}

/** Makes a request of a head, without the empty line at its end. */
export function parseRequest(head: string): Request {
  const [first, ...lines] = head.split(/\r?\n/);
  const [, method, target] = REQUEST_LINE.exec(first) ?? refuse("request line");
  const headers = new Headers();
  for (const line of lines) {
    const [, name, value] = FIELD.exec(line) ?? refuse("header");
    headers.append(name, value);
  }
  // Without one, as HTTP/1.0 may be, it names us by an address: it is no page's.
  const host = headers.get("host") || "127.0.0.1";
  if (!HOST.test(host)) refuse("host");
  // A target that begins with a slash is a path, also with two of them.
  const url = URL.parse(
    target.startsWith("/") ? `http://${host}${target}` : target,
  );
  if (url?.protocol !== "http:") refuse("target");
  try {
    return new Request(url, { method, headers });
  } catch {
    // There are methods that no request may have: CONNECT and TRACE.
    throw new RequestError(405, "method not allowed");
  }
}

function refuse(what: string): never {
  throw new RequestError(400, `bad ${what}`);
}

/** Sends an answer, the last one; HEAD wants it without the body. */
export async function sendAnswer(
  conn: Transport,
  { status = 200, type = "text/plain; charset=utf-8", body, headers }: Answer,
  withBody: boolean,
): Promise<void> {
  const fields = Object.entries({
    ...COMMON_HEADERS,
    "content-length": encoder.encode(body).length,
    "content-type": type,
    date: new Date().toUTCString(),
    ...headers,
  });
  const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`);
  const head = `HTTP/1.1 ${status} ${REASONS[status]}\r\n${lines.join("")}\r\n`;
  const bytes = encoder.encode(withBody ? head + body : head);
  for (let done = 0; done < bytes.length;) {
    done += await conn.write(bytes.subarray(done));
  }
  await conn.closeWrite();
}
