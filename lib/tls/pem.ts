/**
 * Certificates and keys as text, checked before anybody relies on them. The
 * runtime passes over what it cannot read in silence, such as a block behind
 * spaces: so the blocks are found here, and what is handed on is written anew.
 */

import type { KeyObject } from "node:crypto";
import process from "node:process";

import { OptionError } from "../core/errors.ts";

/** A certificate and the key that fits it, as `Deno.serve` takes them. */
export interface TlsKeyPair {
  /** The certificate in PEM, those that vouch for it behind it. */
  cert: string;
  /** Its private key in PEM, not encrypted. */
  key: string;
}

/** A block of PEM (RFC 7468, section 2). */
interface Block {
  readonly label: string;
  readonly line: number;
  readonly body: string;
}

/** Makes the error that says what was found. */
type Refuse = (found: unknown) => OptionError;

/** What begins and what ends a block, and what was meant to. */
const MARKER =
  /-----(BEGIN|END) ((?:[A-Z0-9]+ )*[A-Z0-9]+)-----|(?:BEGIN|END) [A-Z0-9 ]*(?:CERTIFICATE|KEY)/g;

/** The labels of a certificate; the second is OpenSSL's older one. */
const CERTIFICATE = /^(X509 )?CERTIFICATE$/;

/** What may stand beside certificates and is not needed, as HAProxy has it. */
const BESIDE = /PRIVATE KEY$| PARAMETERS$/;

/** How a private key is encoded, by its label; `ENCRYPTED` is not among them. */
const KEY_TYPES = new Map([
  ["PRIVATE KEY", "pkcs8" as const],
  ["RSA PRIVATE KEY", "pkcs1" as const],
  ["EC PRIVATE KEY", "sec1" as const],
]);

/** The curves, and the sizes of RSA in bits, that the runtime can sign with. */
const CURVES: readonly unknown[] = ["prime256v1", "secp384r1", "secp521r1"];
const RSA_MIN = 2048;
const RSA_MAX = 8192;

const KEY_FORM = "one private key in PEM, not encrypted: " +
  `RSA of ${RSA_MIN} to ${RSA_MAX} bits, ` +
  "ECDSA with P-256, P-384 or P-521, or Ed25519";

/** Gives both, and nothing else that was in the texts; no error has the key. */
export function checkKeyPair(cert: unknown, key: unknown): TlsKeyPair {
  const found = readCertificates("cert", cert);
  const certificates = found.map(({ certificate }) => certificate);
  const { privateKey, name } = readKey(key);
  const own = certificates.findIndex((one) => one.checkPrivateKey(privateKey));
  if (own === -1) {
    throw new OptionError("key", name, "the key of the certificate");
  }
  if (own > 0) {
    const late = `${found[own].name}, that of the key, behind ${own} more`;
    throw new OptionError("cert", late, "it in front of those");
  }
  for (const [i, { certificate, name }] of found.entries()) {
    const before = certificates.slice(0, i);
    if (i === 0 || before.some((one) => one.checkIssued(certificate))) continue;
    const stray = `${name}, which vouches for none in front of it`;
    throw new OptionError("cert", stray, "each behind the one it vouches for");
  }
  return {
    cert: certificates.join(""),
    key: privateKey.export({ type: "pkcs8", format: "pem" }) as string,
  };
}

/** Gives all certificates, and nothing else that was in the text. */
export function checkCertificates(option: string, pem: unknown): string {
  return certificatesOf(pem, option).join("");
}

export function certificatesOf(pem: unknown, option = "cert") {
  return readCertificates(option, pem).map(({ certificate }) => certificate);
}

function readCertificates(option: string, pem: unknown) {
  const refuse: Refuse = (found) =>
    new OptionError(option, found, "a certificate in PEM");
  const blocks = findBlocks(pem, refuse);
  const certificates = blocks.filter(({ label }) => CERTIFICATE.test(label));
  // A CRL, say, is there to be heeded: without it more would be trusted.
  const strange = certificates.length === 0
    ? blocks[0]
    : blocks.find(({ label }) =>
      !CERTIFICATE.test(label) && !BESIDE.test(label)
    );
  if (strange !== undefined) throw refuse(nameOf(strange));
  return certificates.map((block) => {
    const der = decode(block, refuse);
    const name = nameOf(block);
    try {
      const certificate = new (crypto().X509Certificate)(der);
      // What serves TLS is stricter than what has read it: such a certificate
      // would fail every handshake.
      Deno.createHttpClient({ caCerts: [certificate.toString()] }).close();
      return { certificate, name };
    } catch {
      throw refuse(`${name} that cannot be read`);
    }
  });
}

function readKey(pem: unknown): { privateKey: KeyObject; name: string } {
  const refuse: Refuse = (found) => new OptionError("key", found, KEY_FORM);
  const blocks = findBlocks(pem, refuse);
  const keys = blocks.filter(({ label }) => label.endsWith("PRIVATE KEY"));
  if (keys.length === 0) throw refuse(nameOf(blocks[0]));
  const name = keys.map(nameOf).join(" and ");
  if (keys.length > 1) throw refuse(name);
  const type = KEY_TYPES.get(keys[0].label);
  if (type === undefined) throw refuse(name);
  const key = decode(keys[0], refuse) as Buffer;
  let privateKey;
  try {
    privateKey = crypto().createPrivateKey({ key, format: "der", type });
  } catch {
    throw refuse(`${name} that cannot be read`);
  }
  if (!isUsable(privateKey)) throw refuse(name);
  return { privateKey, name };
}

function isUsable(
  { asymmetricKeyType: type, asymmetricKeyDetails }: KeyObject,
) {
  const { modulusLength = 0, namedCurve } = asymmetricKeyDetails ?? {};
  if (type === "ec") return CURVES.includes(namedCurve);
  if (type !== "rsa") return type === "ed25519";
  return modulusLength >= RSA_MIN && modulusLength <= RSA_MAX;
}

/** Finds the blocks of a text, at least one; what is around them is ignored. */
function findBlocks(pem: unknown, refuse: Refuse): Block[] {
  if (typeof pem !== "string") {
    throw refuse(pem === undefined ? pem : typeof pem);
  }
  const blocks: Block[] = [];
  let open: { label: string; line: number; from: number } | undefined;
  let line = 1;
  let counted = 0;
  for (const { 0: marker, 1: kind, 2: label, index } of pem.matchAll(MARKER)) {
    line += pem.slice(counted, index).split(/\r\n?|\n/).length - 1;
    counted = index;
    if (kind === undefined) {
      throw refuse(`${marker} at line ${line} without its five dashes`);
    } else if (kind === "BEGIN") {
      if (open !== undefined) break;
      open = { label, line, from: index + marker.length };
    } else if (open?.label === label) {
      blocks.push({ ...open, body: pem.slice(open.from, index) });
      open = undefined;
    } else if (open === undefined) {
      throw refuse(`END ${label} at line ${line} without its BEGIN`);
    } else throw refuse(`${nameOf(open)} that ends as ${label}`);
  }
  if (open !== undefined) throw refuse(`${nameOf(open)} without its END`);
  if (blocks.length === 0) throw refuse(describe(pem));
  return blocks;
}

function decode(block: Block, refuse: Refuse): Uint8Array {
  const { body } = block;
  // The header of a key with a password, by OpenSSL's older way (RFC 1421).
  if (body.includes("Proc-Type:")) throw refuse(`encrypted ${nameOf(block)}`);
  if (body.trim() === "") throw refuse(`empty ${nameOf(block)}`);
  try {
    return Uint8Array.fromBase64(body);
  } catch {
    throw refuse(`${nameOf(block)} that is not base64`);
  }
}

/** What a block is, without what it says: it may be a secret. */
function nameOf({ label, line }: Pick<Block, "label" | "line">): string {
  return `${label} at line ${line}`;
}

/** What a text without blocks is. */
function describe(text: string): string {
  if (text.trim() === "") return "nothing";
  // UTF-16, DER and PKCS #12, each read as UTF-8.
  return /[\0\ufffd]/.test(text) ? "no text in UTF-8" : "text without PEM";
}

/** Loaded when it is needed first: whoever has no certificate starts faster. */
function crypto(): typeof import("node:crypto") {
  return process.getBuiltinModule("node:crypto");
}
