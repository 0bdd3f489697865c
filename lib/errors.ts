/**
 * The errors Parley throws, and the `ERR …` texts it puts on the wire.
 *
 * Each failure a caller may want to treat on its own is a class of its own;
 * all of them extend {@linkcode ParleyError}.
 *
 * @module
 */

/** The base of every error Parley makes itself. */
export class ParleyError extends Error {
  /**
   * Makes an error that has its class's name.
   *
   * @param message What went wrong.
   * @param options The error behind it.
   */
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** An option has a value that is not allowed; nothing was started. */
export class OptionError extends ParleyError {
  /** The option's name, as in the options object. */
  readonly option: string;
  /** The value that was given. */
  readonly value: unknown;
  /** What would have been allowed. */
  readonly expected: string;

  /**
   * Makes the error for one option.
   *
   * @param option The option's name.
   * @param value The value that was given.
   * @param expected What is allowed, as a noun phrase.
   */
  constructor(option: string, value: unknown, expected: string) {
    super(`Cannot use ${option} ${quote(value)}: expected ${expected}`);
    this.option = option;
    this.value = value;
    this.expected = expected;
  }
}

/** Bytes that do not follow the framing, or a frame over the limit. */
export class FrameError extends ParleyError {
  /** `too_large`: over the maximum; `malformed`: not this framing at all. */
  readonly kind: "malformed" | "too_large";

  /**
   * Makes the error for one frame.
   *
   * @param kind What is wrong with the frame.
   * @param detail The particulars, put behind the kind's own words.
   */
  constructor(kind: "malformed" | "too_large", detail: string) {
    super(
      `${
        kind === "too_large" ? "frame too large" : "malformed frame"
      }: ${detail}`,
    );
    this.kind = kind;
  }
}

/** A payload that the framing cannot carry, such as a line with an LF in it. */
export class EncodeError extends ParleyError {}

/** A handler's reply is larger than the server's `maxReply`. */
export class ReplyTooLargeError extends ParleyError {
  /**
   * Makes the error for one reply.
   *
   * @param length The reply's length in bytes.
   * @param maximum The most that it may have.
   */
  constructor(length: number, maximum: number) {
    super(`reply too large: length is ${length}, maximum is ${maximum}`);
  }
}

/** No connection could be made. `cause` holds the runtime's own error. */
export class ConnectError extends ParleyError {}

/**
 * The server turned the connection away: it is full (`ERR busy: …`), or it does
 * not serve this address (`ERR denied: …`). It has handled nothing of what was
 * sent, so that may be sent again later.
 */
export class RefusedError extends ConnectError {
  /** What the server said. */
  readonly text: string;

  /**
   * Makes the error for one connection.
   *
   * @param place The server, in words.
   * @param text What it said.
   * @param options The error behind it.
   */
  constructor(place: string, text: string, options?: ErrorOptions) {
    super(`Refused by ${place}, which said ${quote(text)}`, options);
    this.text = text;
  }
}

/** The connection ended before the reply came. */
export class ConnectionLostError extends ParleyError {}

/** The client was closed by its own side, with this request unanswered. */
export class ClientClosedError extends ParleyError {}

/** Connecting, or waiting for a reply, took longer than the `timeout`. */
export class TimeoutError extends ParleyError {}

/** A peer's bytes are not what TLS asks for, or its handshake failed. */
export class TlsError extends ParleyError {}

/**
 * Puts a value into a message: JSON's quotes, control characters escaped, and
 * cut at 64 characters so that hostile input cannot flood a terminal or a log.
 *
 * @param value Anything.
 * @returns The value in quotes, or `undefined` and the like as they are.
 *
 * @example
 * ```ts
 * import { quote } from "./errors.ts";
 *
 * quote("a\tb"); // "a\\tb" in double quotes
 * ```
 */
export function quote(value: unknown): string {
  if (typeof value !== "string") return String(value).slice(0, 64);
  const cut = value.length > 64 ? value.slice(0, 64) + "…" : value;
  return toLine(cut);
}

/**
 * Puts a value into JSON that is one line and moves no cursor, whatever the
 * strings in it hold: what JSON lets pass raw of DEL, the C1 controls, the line
 * separators and the marks that turn the direction of writing is escaped too.
 *
 * @param value Anything that JSON can hold.
 *
 * @example
 * ```ts
 * import { toLine } from "./errors.ts";
 *
 * toLine({ peer: "a\nb\x9b" }); // {"peer":"a\\nb\\u009b"}
 * ```
 */
export function toLine(value: unknown): string {
  return JSON.stringify(value).replace(
    // Outside of strings JSON has none of these.
    /[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
    (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"),
  );
}

/** The replies that the server itself gives, all starting with `ERR `. */
export const replies = {
  /** @param error What is wrong with the peer's bytes. */
  frame: (error: FrameError): string => `ERR ${error.message}`,
  /** @param limit The number of connections the server allows. */
  busy: (limit: number): string =>
    `ERR busy: connection limit of ${limit} reached`,
  /** @param limit The number of connections one address may have. */
  busyIp: (limit: number): string =>
    `ERR busy: connection limit of ${limit} for this address reached`,
  /** For an address that `allow` lacks or `deny` has. */
  denied: "ERR denied: this address may not connect",
  /** @param ms The request timeout in milliseconds. */
  requestTimeout: (ms: number): string =>
    `ERR request timeout: no reply within ${ms} ms`,
  /**
   * For a handler that fails. What it threw goes to the events only; that its
   * reply is too large, the peer may know, who can ask for less.
   *
   * @param error What was thrown.
   */
  failed: (error: unknown): string =>
    error instanceof ReplyTooLargeError
      ? `ERR ${error.message}`
      : "ERR internal error",
};

/**
 * Whether a reply is an error's: it starts with `ERR `.
 *
 * @param reply The reply's payload.
 */
export function isErrReply(reply: Uint8Array): boolean {
  return reply.length >= 4 && reply[0] === 0x45 && reply[1] === 0x52 &&
    reply[2] === 0x52 && reply[3] === 0x20;
}

/** An error on its way between threads: a clone keeps no class. */
export interface SentError {
  /** The name of its class. */
  readonly name: string;
  /** What it says. */
  readonly message: string;
}

/**
 * Makes of an error what can be sent to another thread.
 *
 * @param error What was thrown.
 */
export function sendable(error: unknown): SentError {
  if (error instanceof Error) {
    return { name: error.name, message: error.message };
  }
  try {
    return { name: "Error", message: String(error) };
  } catch {
    // An object without a prototype has no text.
    return { name: "Error", message: "an object that has no text" };
  }
}

/**
 * Makes the error again, one of the runtime's own (`Deno.errors`) with its
 * class.
 *
 * @param sent What came from the other thread.
 */
export function received({ name, message }: SentError): Error {
  const known = Deno.errors as unknown as Record<string, ErrorConstructor>;
  const Class = Object.hasOwn(known, name) ? known[name] : Error;
  return new Class(message);
}
