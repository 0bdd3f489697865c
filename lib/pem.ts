/**
 * Certificates and keys as text, checked before anybody relies on them.
 *
 * @module
 */

import type { KeyObject, X509Certificate } from "node:crypto";
import process from "node:process";

import { OptionError } from "./errors.ts";

/** A certificate and the key that fits it, as `Deno.serve` takes them. */
export interface TlsKeyPair {
  /** The certificate in PEM, those that vouch for it behind it. */
  cert: string;
  /** Its private key in PEM, not encrypted. */
  key: string;
}

/** The curves of ECDSA keys that the runtime can sign with. */
const CURVES: readonly unknown[] = ["prime256v1", "secp384r1", "secp521r1"];

const KEY_FORM = "a private key in PEM, not encrypted: " +
  "RSA, ECDSA with P-256, P-384 or P-521, or Ed25519";

const CERTIFICATE = /-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----/gs;

/**
 * Checks a certificate and its key.
 *
 * @param cert The certificate in PEM.
 * @param key Its private key in PEM.
 * @returns Both of them.
 * @throws {OptionError} One of them cannot be used. The key is not in it.
 */
export function checkKeyPair(cert: unknown, key: unknown): TlsKeyPair {
  const [certificate] = checkCertificates("cert", cert);
  const privateKey = parse("key", key, KEY_FORM, (pem) => {
    const parsed = crypto().createPrivateKey(pem);
    if (!isUsable(parsed)) throw new TypeError("Key cannot be used");
    return parsed;
  });
  if (!certificate.checkPrivateKey(privateKey)) {
    throw new OptionError("key", labelOf(key), "the key of the certificate");
  }
  return { cert: cert as string, key: key as string };
}

/**
 * Checks certificates. The runtime passes over those that it cannot read,
 * which would show only once somebody is not trusted.
 *
 * @param option The option they are given in.
 * @param pem One or more of them in PEM.
 * @returns Them, at least one.
 * @throws {OptionError} There is none, or one that cannot be read.
 */
export function checkCertificates(
  option: string,
  pem: unknown,
): X509Certificate[] {
  return parse(option, pem, "a certificate in PEM", (pem) => {
    const all = pem.match(CERTIFICATE)!;
    return all.map((one) => new (crypto().X509Certificate)(one));
  });
}

function parse<Parsed>(
  option: string,
  pem: unknown,
  expected: string,
  parser: (pem: string) => Parsed,
): Parsed {
  try {
    return parser(pem as string);
  } catch {
    throw new OptionError(option, labelOf(pem), expected);
  }
}

function isUsable({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject) {
  return asymmetricKeyType === "rsa" || asymmetricKeyType === "ed25519" ||
    asymmetricKeyType === "ec" &&
      CURVES.includes(asymmetricKeyDetails?.namedCurve);
}

/** What a text is, without what it says: it may be a secret. */
function labelOf(pem: unknown): unknown {
  if (typeof pem !== "string") return pem === undefined ? pem : typeof pem;
  return /-----BEGIN ([A-Z0-9 ]+)-----/.exec(pem)?.[1] ?? "text without PEM";
}

/** Loaded when it is needed first: whoever has no certificate starts faster. */
function crypto(): typeof import("node:crypto") {
  return process.getBuiltinModule("node:crypto");
}
