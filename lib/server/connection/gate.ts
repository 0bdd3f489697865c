/**
 * Reasons to refuse a request before its handler sees it: TLS on a port that does
 * not speak it, HTTP, and the rate of an address.
 */

import { networkOf } from "../../core/address.ts";
import type { TokenBuckets } from "../../core/rate_limit.ts";
import { type Codec, malformed } from "../../framing/codec.ts";
import { startsTls } from "../../tls/record.ts";
import { replies } from "../replies.ts";
import type { SessionParts } from "./context.ts";
import type { Meter } from "./meter.ts";

/** How many lines of a connection are looked at for HTTP, from the first on. */
const GUARDED_LINES = 2;

/** The names of the framings whose frames are lines. */
const OF_LINES = /^(line|delimiter:(\\x0d)?\\x0a)$/;

const decoder = new TextDecoder("latin1");

export class Gate {
  /** Whether every request passes: {@linkcode refusal} need not be asked. */
  open: boolean;
  /** How many lines of the connection are still to be looked at for HTTP. */
  #guarded = 0;
  readonly #rate: TokenBuckets | undefined;
  readonly #network: string = "";

  constructor(
    { connection, context }: SessionParts,
    private readonly meter: Meter,
  ) {
    const { requestRate, config: { httpGuard, framing, ipPrefix } } = context;
    if (httpGuard && OF_LINES.test(framing.name)) this.#guarded = GUARDED_LINES;
    this.#rate = requestRate;
    if (requestRate !== undefined) {
      this.#network = networkOf(connection.remoteAddr, ipPrefix);
    }
    this.open = this.#guarded === 0 && requestRate === undefined;
  }

  /**
   * Why a request is not handled, to be told to the peer; nothing if it is.
   *
   * @returns `closes` where nothing more is to be read of the connection.
   */
  refusal(
    request: Uint8Array,
  ): { text: string; closes: "http_request" | undefined } | undefined {
    if (this.#guarded > 0 && isHttp(request, this.#guarded--)) {
      return { text: replies.http, closes: "http_request" };
    }
    const rate = this.#rate;
    if (rate === undefined) {
      this.open = this.#guarded === 0;
    } else if (!rate.take(this.#network, this.meter.began)) {
      this.meter.busy(request.length);
      const text = replies.busyRate("request", rate.rate);
      return { text, closes: undefined };
    }
  }
}

/**
 * Whether the first bytes of a connection are known not to begin a handshake of
 * TLS; not while too few are there.
 *
 * @throws {FrameError} They do begin one. A client waits for our part of it then
 * while we wait for a whole frame: refuse now, or both wait until the idle
 * timeout.
 */
export function isPlain(
  { connection: { inbox, eof }, context }: SessionParts,
  codec: Codec,
): boolean {
  if (!codec.startsUnlikeTls) return true;
  const tls = startsTls(inbox);
  const why = context.tls === undefined
    ? "and this port does not speak TLS"
    : "where a frame is expected";
  if (tls) malformed(`a TLS handshake, ${why}`);
  return tls === false || eof;
}

/**
 * Whether a line, without its end, is of an HTTP request. A web page can have a
 * browser send one to any address that it reaches, the loopback among them, with
 * lines of the page's own in its body. What it cannot change is how that begins:
 * the request line ends in the version (RFC 9112, section 3), and `Host` follows.
 *
 * @param left How many are to be looked at, this one among them.
 */
function isHttp(line: Uint8Array, left: number): boolean {
  return /^host:/i.test(decoder.decode(line.subarray(0, 5))) ||
    (left === GUARDED_LINES &&
      / HTTP\/1\.\d\r?$/.test(decoder.decode(line.subarray(-10))));
}
