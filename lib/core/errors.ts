/**
 * The errors Parley throws: each failure a caller may want to treat on its own
 * is a class of its own, and all of them extend {@linkcode ParleyError}.
 */

import { quote } from "./text.ts";

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
    const what = kind === "too_large" ? "frame too large" : "malformed frame";
    super(`${what}: ${detail}`);
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

/**
 * No connection could be made. `cause` holds the runtime's own error, or an
 * `AggregateError` of several where a name has several addresses.
 */
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

/** As many requests as may wait for a connection of a pool do so already. */
export class PoolBusyError extends ParleyError {}

/** The client was closed by its own side, with this request unanswered. */
export class ClientClosedError extends ParleyError {}

/** Connecting, or waiting for a reply, took longer than the `timeout`. */
export class TimeoutError extends ParleyError {}

/** A peer's bytes are not what TLS asks for, or its handshake failed. */
export class TlsError extends ParleyError {}

/** A client has shown no certificate, or none that is good. */
export class ClientCertificateError extends TlsError {
  /** What is wrong with it; the client is told so. */
  readonly reason: string;

  /**
   * Makes the error for one certificate.
   *
   * @param fault What is wrong with it.
   * @param subject Whose it is.
   */
  constructor(fault: string, subject?: string) {
    const reason = `client certificate ${fault}`;
    super(subject === undefined ? reason : `${reason}: ${quote(subject)}`);
    this.reason = reason;
  }
}

/**
 * Bytes that are no header of the accepted version, or one that is broken. The
 * connection must be ended: whose it is cannot be known (section 2.1).
 */
export class ProxyHeaderError extends ParleyError {
  constructor(detail: string) {
    super(`Cannot read PROXY header: ${detail}`);
  }
}
