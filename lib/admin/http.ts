/**
 * HTTP/1.1 (RFC 9112), as much as the admin port speaks of it: one request on a
 * connection, its head alone. `Deno.serve` takes a port, not a connection, and
 * ends for good the first time the process has no descriptor left.
 */

import type { Transport } from "../net/connection.ts";

/** A request that cannot be read, and the status code to answer with. */
export class RequestError extends Error {
  constructor(readonly status: number, message: string) {
    super(message);
  }
}

/** The longest head in bytes (Node has 16 KiB; Apache 8 KiB a line). */
const MAX_HEAD = 16 * 1024;

const REASONS: Readonly<Record<number, string>> = {
  ...{ 200: "OK", 202: "Accepted", 400: "Bad Request", 401: "Unauthorized" },
  ...{ 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed" },
  ...{ 421: "Misdirected Request", 431: "Request Header Fields Too Large" },
  ...{ 500: "Internal Server Error", 503: "Service Unavailable" },
};

/** What all answers forbid: caching, guessing their type, frames, other hosts. */
const COMMON_HEADERS = {
  "cache-control": "no-store",
  connection: "close",
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; " +
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; " +
    "form-action 'none'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
};

/** A token (RFC 9110, section 5.6.2): a method, or the name of a header. */
const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const REQUEST_LINE = new RegExp(`^(${TOKEN}) (\\S+) HTTP/1\\.\\d$`);
const FIELD = new RegExp(`^(${TOKEN}):[ \\t]*([^\\0\\r]*?)[ \\t]*$`);

/** A name or an address, and a port; no part of it can be read as a path. */
const HOST = /^[\w.~%:[\]-]*$/;

export async function readRequest(conn: Transport) {
  const bytes = new Uint8Array(MAX_HEAD);
  for (let text = ""; text.length < MAX_HEAD;) {
    const n = await conn.read(bytes.subarray(text.length));
    if (n === null) return undefined;
    // A character for each byte: what a decoder calls latin1 is windows-1252.
    text += String.fromCharCode(
      ...bytes.subarray(text.length, text.length + n),
    );
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
  // HTTP/1.0 may have none; a browser always sends one.
  const host = headers.get("host") || "127.0.0.1";
  if (!HOST.test(host)) refuse("host");
  // "//host" is a path here, though URL.parse would take it for a host.
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

/** An answer, plain text if its headers do not say otherwise. */
export function reply(body: string, status = 200, headers = {}): Response {
  const type = "text/plain; charset=utf-8";
  return new Response(body, {
    status,
    headers: { "content-type": type, ...headers },
  });
}

/** Sends the connection's only answer; one to HEAD goes without the body. */
export async function sendAnswer(
  conn: Transport,
  answer: Response,
  withBody: boolean,
): Promise<void> {
  const body = await answer.bytes();
  const fields = Object.entries({
    ...COMMON_HEADERS,
    "content-length": body.length,
    date: new Date().toUTCString(),
    ...Object.fromEntries(answer.headers),
  });
  const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`);
  const status = `HTTP/1.1 ${answer.status} ${REASONS[answer.status]}\r\n`;
  const head = `${status}${lines.join("")}\r\n`;
  const bytes = await new Blob([head, withBody ? body : ""]).bytes();
  for (let done = 0; done < bytes.length;) {
    done += await conn.write(bytes.subarray(done));
  }
  await conn.closeWrite();
}
