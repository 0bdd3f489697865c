/** How a client gets its connection: TCP, TLS, or a Unix socket. */

import { lookup } from "node:dns/promises";
import { isIP } from "node:net";

import { formatHostPort } from "../core/address.ts";
import { checkOptions } from "../core/checks.ts";
import { ConnectError, OptionError, TimeoutError } from "../core/errors.ts";
import { systemReason } from "../core/text.ts";
import { isGone, type Transport } from "../net/connection.ts";
import { dialUnix } from "../net/unix.ts";
import { tls as nodeTls } from "../tls/context.ts";
import {
  checkCertificates,
  checkKeyPair,
  type TlsKeyPair,
} from "../tls/pem.ts";
import { checkAlpn } from "../tls/settings.ts";
import { TlsTransport } from "../tls/transport.ts";
import { AttemptsError, connectToAny } from "./happy_eyeballs.ts";

/**
 * What the `tls` of {@linkcode connect} takes beside `true`. With `cert` and
 * `key` the client shows a certificate; the runtime lets no such connection turn
 * Nagle's algorithm off.
 */
export interface TlsConnectOptions extends Partial<TlsKeyPair> {
  /**
   * Certificates in PEM, trusted in addition to those that the runtime trusts:
   * of an authority, or the server's own if it vouches for itself.
   */
  caCerts?: string[];
  /** The name or address that the certificate must be for (`hostname`). */
  serverName?: string;
  /** The application protocols (ALPN, RFC 7301), the preferred one first. */
  alpnProtocols?: string[];
  /**
   * Takes any certificate (false). Then anybody between the two sides can read
   * and change everything, so it is for tests alone.
   */
  insecure?: boolean;
}

/** The option of `Deno.connectTls` that says whom the certificate must be for. */
const SERVER_NAME = Symbol.for("unstableServerName");

/** Checks the `tls` option; gives undefined for plain TCP. */
export function tlsOptions(
  tls: boolean | TlsConnectOptions | undefined,
): TlsConnectOptions | undefined {
  if (tls === undefined || typeof tls === "boolean") {
    return tls ? {} : undefined;
  }
  checkOptions(
    tls,
    {
      ...{ cert: 0, key: 0, alpnProtocols: 0, caCerts: Array } as const,
      ...{ serverName: "string", insecure: "boolean" } as const,
    },
    "tls",
    "true, false or an object",
  );
  const { serverName, cert, key, insecure, caCerts: given = [] } = tls;
  const caCerts = given.map((pem) => checkCertificates("caCerts", pem));
  if (insecure && caCerts.length > 0) {
    throw new OptionError("insecure", insecure, "no caCerts beside it");
  }
  if (serverName === "") {
    throw new OptionError("serverName", serverName, "a name or an address");
  }
  const pair = (cert ?? key) === undefined ? {} : checkKeyPair(cert, key);
  const alpnProtocols = checkAlpn(tls.alpnProtocols);
  return { caCerts, serverName, ...pair, alpnProtocols, insecure };
}

/** Connects by TCP, with TLS on top if `tls` is there; `timeout` 0 is for ever. */
export async function dial(
  { hostname, port, timeout, signal, tls }: {
    hostname: string;
    port: number;
    timeout: number;
    signal?: AbortSignal;
    tls?: TlsConnectOptions;
  },
): Promise<Transport> {
  const place = formatHostPort(hostname, port);
  const late = new AbortController();
  const timer = timeout > 0
    ? setTimeout(() => late.abort(), timeout)
    : undefined;
  const given = AbortSignal.any([late.signal, ...signal ? [signal] : []]);
  let waitsFor = "answer";
  try {
    const serverName = tls?.serverName ?? hostname;
    const options = tls && { ...tls, serverName };
    const conn = await connectToAny<Deno.TcpConn | Deno.TlsConn>(hostname, {
      lookup: addressesOf,
      connect: (address, signal) => {
        if (options?.cert === undefined || options.insecure) {
          return connectTo(address, port, signal);
        }
        // `Deno.startTls` takes no certificate of the client.
        const own = { hostname: address, port, [SERVER_NAME]: serverName };
        return Deno.connectTls({ ...options, ...own } as typeof own);
      },
      signal: given,
    });
    if (options === undefined) return conn;
    waitsFor = "TLS handshake";
    return await shakeHands(conn, options, given);
  } catch (error) {
    signal?.throwIfAborted();
    const failed = `Cannot connect to ${place}:`;
    if (late.signal.aborted) {
      const message = `${failed} no ${waitsFor} within ${timeout} ms`;
      throw new TimeoutError(message, { cause: error });
    }
    // A server that denies an address closes before TLS, and cannot say why.
    const refused = waitsFor === "TLS handshake" &&
      (isGone(error) || error instanceof Deno.errors.UnexpectedEof);
    const reason = refused
      ? "closed during the handshake (denied, or not TLS?)"
      : reasonOf(error);
    throw new ConnectError(`${failed} ${reason}`, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

/** The addresses of a name, or the name itself for the runtime to look up. */
async function addressesOf(hostname: string): Promise<string[]> {
  // With a permission for a name alone (`--allow-net=example.net:443`), only the
  // runtime may look it up. `Deno.resolveDns` does not read /etc/hosts.
  const net = Deno.permissions.querySync({ name: "net" });
  if (net.state !== "granted" || net.partial) return [hostname];
  const found = await lookup(hostname, { all: true, verbatim: true });
  const addresses = found.map(({ address }) => address);
  // `lookup` drops the zone, without which no link-local address is reached.
  const isLocal = addresses.some((address) => /^fe[89ab]/i.test(address));
  return isLocal || addresses.length === 0 ? [hostname] : addresses;
}

/**
 * Connects to one address. A connection that is made just when the signal is
 * aborted is returned: `Deno.connect` would throw without closing it.
 */
function connectTo(
  hostname: string,
  port: number,
  signal: AbortSignal,
): Promise<Deno.TcpConn> {
  const cancelled = AbortSignal.any([signal]);
  const connected = Deno.connect({ hostname, port, signal: cancelled });
  // The runtime calls it again when the connection is there.
  cancelled.throwIfAborted = () => {};
  return connected;
}

const pathReasons = [
  [Deno.errors.NotFound, "there is no such socket"],
  [Deno.errors.WouldBlock, "the server's queue is full"],
  [Deno.errors.PermissionDenied, "its permissions do not let this user"],
] as const;

/** Connects to a Unix socket, which takes no time. */
export async function dialUnixSocket(
  path: string,
  signal?: AbortSignal,
): Promise<Transport> {
  signal?.throwIfAborted();
  try {
    return await dialUnix(path);
  } catch (error) {
    const known = pathReasons.find(([kind]) => error instanceof kind);
    const message = `Cannot connect to ${path}: ${
      known?.[1] ?? reasonOf(error)
    }`;
    throw new ConnectError(message, { cause: error });
  }
}

/** Makes the handshake. It takes no signal, so an abort closes the connection. */
async function shakeHands(
  conn: Deno.TcpConn | Deno.TlsConn,
  options: TlsConnectOptions,
  signal: AbortSignal,
): Promise<Transport> {
  const { serverName: hostname, caCerts, alpnProtocols } = options;
  let open: Transport = conn;
  const close = () => open.close();
  signal.addEventListener("abort", close, { once: true });
  try {
    // It must be set before TLS: a TlsConn has no such method.
    if ("setNoDelay" in conn) conn.setNoDelay(true);
    const secured = "handshake" in conn
      ? conn
      : options.insecure
      ? unchecked(conn, options)
      : await Deno.startTls(conn, { hostname, caCerts, alpnProtocols });
    open = secured;
    await secured.handshake();
    return secured;
  } catch (error) {
    if (!signal.aborted) close();
    throw error;
  } finally {
    signal.removeEventListener("abort", close);
  }
}

/** TLS by `node:tls`: that of `Deno.startTls` always checks the certificate. */
function unchecked(
  conn: Deno.TcpConn,
  { serverName = "", cert, key, alpnProtocols }: TlsConnectOptions,
): TlsTransport {
  return new TlsTransport(conn, new Uint8Array(), {
    engine: (socket) =>
      nodeTls().connect({
        ...{ socket, cert, key, rejectUnauthorized: false },
        servername: isIP(serverName) === 0 ? serverName : undefined,
        ALPNProtocols: alpnProtocols,
      }),
    introduce: () => ({ version: "", alpn: undefined, peer: undefined }),
  });
}

/** What rustls, the TLS of the runtime, says, and what it means. */
const meanings: Readonly<Record<string, string>> = {
  CertificateRequired: "the server wants a certificate of this client",
  HandshakeFailure:
    "the server refused the handshake: no version, cipher or protocol in " +
    "common, or it wants a certificate of this client",
  UnknownIssuer:
    "no trusted authority vouches for it (option tls.caCerts trusts one)",
  CaUsedAsEndEntity: "it is an authority's, not a server's",
};

/** Says in plain words why there is no connection, or none any more. */
export function reasonOf(error: unknown): string {
  if (error instanceof Deno.errors.ConnectionRefused) {
    return "connection refused";
  }
  if (error instanceof AttemptsError) {
    return error.attempts
      .map(({ address, error }) => `${reasonOf(error)} (${address})`)
      .join(", ");
  }
  const message = systemReason(error);
  if (message.includes("InvalidContentType")) {
    return "the server does not speak TLS on this port";
  }
  if (error instanceof Deno.errors.UnexpectedEof) {
    return "the server closed without the end that TLS asks for";
  }
  const [, alert = "", fault] =
    /^(?:received fatal alert: (\w+)|invalid peer certificate: (.*))$/s
      .exec(message) ?? [];
  if (fault !== undefined) {
    return `the server's certificate is not trusted: ${faultOf(fault)}`;
  }
  if (meanings[alert] !== undefined) return meanings[alert];
  if (/Cert|UnknownCA|Access/.test(alert)) {
    const words = alert.replace(/(?<=[a-z])(?=[A-Z])/g, " ").toLowerCase();
    return `the server refused the certificate of this client: ${words}`;
  }
  return /getaddrinfo|lookup|resolve|not known|no such host/i.test(message)
    ? "unknown host"
    : message;
}

/** Says what is wrong with the server's certificate, and what helps. */
function faultOf(fault: string): string {
  const [, now, side, limit] =
    /time (\d+) .* not valid (after|before) (\d+)/.exec(fault) ?? [];
  if (side !== undefined) {
    const [today, day] = [now, limit].map((seconds) =>
      new Date(Number(seconds) * 1000).toISOString().slice(0, 10)
    );
    return side === "after"
      ? `it expired on ${day}, and it is ${today} here: ` +
        "the server needs a new one"
      : `it is valid from ${day} on, and it is ${today} here: is the clock right?`;
  }
  const [, wanted, others] =
    /not valid for name ("[^"]*"); .* only valid for (.*)$/s.exec(fault) ?? [];
  if (wanted === undefined) return meanings[fault] ?? fault;
  const names = others.match(/"[^"]*"|(?<=IpAddress\()[^)]*/g) ?? ["no name"];
  return `it is for ${names.join(", ")}, and not for ${wanted} ` +
    "(option tls.serverName expects another)";
}
