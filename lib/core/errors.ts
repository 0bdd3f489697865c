/**
 * The errors that Parley throws: one class for each failure that a caller may want
 * to tell from others; all of them extend {@linkcode ParleyError}.
 */

import { quote } from "./text.ts";

/** The base of every error Parley makes itself. */
export class ParleyError extends Error {
  /** Makes an error that has its class's name; `options` the one behind it. */
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** An option has a value that is not allowed; nothing was started. */
export class OptionError extends ParleyError {
  /**
   * Makes the error for one option.
   *
   * @param option The option's name, as in the options object.
   * @param value The value that was given.
   * @param expected What would have been allowed, as a noun phrase.
   */
  constructor(
    readonly option: string,
    readonly value: unknown,
    readonly expected: string,
  ) {
    super(`Cannot use ${option} ${quote(value)}: expected ${expected}`);
  }
}

/** Bytes that do not follow the framing, or a frame over the limit. */
export class FrameError extends ParleyError {
  /**
   * Makes the error for one frame.
   *
   * @param kind `too_large`: over the maximum; `malformed`: not this framing.
   * @param detail The particulars, put behind the kind's own words.
   */
  constructor(readonly kind: "malformed" | "too_large", detail: string) {
    const what = kind === "too_large" ? "frame too large" : "malformed frame";
    super(`${what}: ${detail}`);
  }
}

/** A payload that the framing cannot carry, such as a line with an LF in it. */
export class EncodeError extends ParleyError {}

/** A handler's reply is larger than the server's `maxReply`. */
export class ReplyTooLargeError extends ParleyError {
  /** Makes the error for one reply; both are in bytes. */
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
  /** Makes the error for one connection, to `place`, which said `text`. */
  constructor(place: string, readonly text: string, options?: ErrorOptions) {
    super(`Refused by ${place}, which said ${quote(text)}`, options);
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

/** A client has shown no certificate, or one that is refused. */
export class ClientCertificateError extends TlsError {
  /** What is wrong with it; the client is told so. */
  readonly reason: string;

  /** Makes the error for one certificate; `subject` says whose it is. */
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
  /** Makes the error for one header. */
  constructor(detail: string) {
    super(`Cannot read PROXY header: ${detail}`);
  }
}
