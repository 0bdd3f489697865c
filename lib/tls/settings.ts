/** The options of a server's TLS, and their checks. */

import { checkOneOf } from "../core/checks.ts";
import { OptionError } from "../core/errors.ts";
import { checkCertificates, checkKeyPair, type TlsKeyPair } from "./pem.ts";

/** What may change while a server runs: see `reloadTls`. */
export interface TlsFiles extends TlsKeyPair {
  /** As in the server's options; left out, it stays as it is. */
  clientCa?: string;
}

/** Whether clients may show a certificate, or must. */
export type ClientAuth = "request" | "require";
export const clientAuths: readonly ClientAuth[] = ["request", "require"];

/** A version of TLS that a server speaks. */
export type TlsVersion = "1.2" | "1.3";
export const tlsVersions: readonly TlsVersion[] = ["1.2", "1.3"];

/**
 * The options of a server that are about TLS; all others need `cert` and `key`,
 * with which the server speaks TLS, and nothing else. A client that it refuses by
 * the address, or for lack of room, is told no reason. `reloadTls` shows another
 * certificate. What stands in brackets is the default.
 */
export interface TlsOptions extends Partial<TlsKeyPair> {
  /**
   * The authorities of clients in PEM. With it clients are asked for a
   * certificate that one of them vouches for, or that is itself among them;
   * one with another is told `ERR denied: …`.
   */
  clientCa?: string;
  /** Whether a client may show a certificate, or must (`require`). */
  clientAuth?: ClientAuth;
  /** The least version of TLS (`1.2`). */
  tlsMinVersion?: TlsVersion;
  /**
   * The application protocols (ALPN, RFC 7301), the preferred one first. A
   * client that names none is served, one that names only others is not.
   */
  alpnProtocols?: string[];
}

/** The options, complete and checked. */
export interface TlsSettings extends Required<Omit<TlsOptions, "clientCa">> {
  /** Undefined where clients are asked for no certificate. */
  clientCa: string | undefined;
}

/** A protocol's name has 1 to 255 bytes (RFC 7301, section 3.1). */
const ALPN = /^[\x21-\x2b\x2d-\x7e]{1,255}$/;

export const ALPN_FORM =
  "a list of names such as h2, of 1 to 255 ASCII characters, no comma or space";

export function checkTls(options: TlsOptions): TlsSettings | undefined {
  const { cert, key, clientCa } = options;
  const { clientAuth = "require", tlsMinVersion = "1.2" } = options;
  const plain = cert === undefined && key === undefined;
  const lack = (missing: keyof TlsOptions, ...names: (keyof TlsOptions)[]) => {
    const name = names.find((name) => options[name] !== undefined);
    if (name === undefined) return;
    throw new OptionError(name, options[name], `a ${missing} beside it`);
  };
  if (plain) lack("cert", "tlsMinVersion", "alpnProtocols", "clientCa");
  if (clientCa === undefined) lack("clientCa", "clientAuth");
  return plain ? undefined : {
    ...checkKeyPair(cert, key),
    clientCa: clientCa === undefined
      ? undefined
      : checkCertificates("clientCa", clientCa),
    clientAuth: checkOneOf("clientAuth", clientAuth, clientAuths),
    tlsMinVersion: checkOneOf("tlsMinVersion", tlsMinVersion, tlsVersions),
    alpnProtocols: checkAlpn(options.alpnProtocols),
  };
}

export function checkAlpn(names: unknown = []): string[] {
  const isName = (name: unknown) => typeof name === "string" && ALPN.test(name);
  if (Array.isArray(names) && names.every(isName)) return [...names];
  throw new OptionError("alpnProtocols", names, ALPN_FORM);
}
