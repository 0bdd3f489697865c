/**
 * Certificates and keys as text, checked before anybody relies on them.
 *
 * The runtime takes from such a text what it can read and passes over the rest
 * in silence: a block behind a byte order mark, behind spaces, or behind
 * another one on the same line. So the blocks are found here, each that counts
 * is read, and what is handed on is written anew.
 */

import type { KeyObject, X509Certificate } from "node:crypto";
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
  /** What stands between its BEGIN and its END. */
  readonly body: string;
}

/** Makes the error that says what was found. */
type Refuse = (found: unknown) => OptionError;

/**
 * What begins and what ends a block; and what was meant to, for a block whose
 * BEGIN and END nobody recognizes would be passed over.
 */
const MARKER =
  /-----(BEGIN|END) ((?:[A-Z0-9]+ )*[A-Z0-9]+)-----|(?:BEGIN|END) [A-Z0-9 ]*(?:CERTIFICATE|KEY)/g;

/** The labels of a certificate; the second is OpenSSL's older one. */
const CERTIFICATE = /^(X509 )?CERTIFICATE$/;

/** What may stand beside certificates and is not needed, as HAProxy has it. */
const BESIDE = /PRIVATE KEY$| PARAMETERS$/;

/** How a private key is encoded, by its label; `ENCRYPTED` is not among them. */
const KEY_TYPES: Readonly<
  Record<string, "pkcs8" | "pkcs1" | "sec1" | undefined>
> = {
  "PRIVATE KEY": "pkcs8",
  "RSA PRIVATE KEY": "pkcs1",
  "EC PRIVATE KEY": "sec1",
};

/** The curves of ECDSA keys that the runtime can sign with. */
const CURVES: readonly unknown[] = ["prime256v1", "secp384r1", "secp521r1"];

/** The sizes of RSA keys that the runtime can sign with, in bits. */
const RSA_MIN = 2048;
const RSA_MAX = 8192;

const KEY_FORM = "one private key in PEM, not encrypted: " +
  `RSA of ${RSA_MIN} to ${RSA_MAX} bits, ` +
  "ECDSA with P-256, P-384 or P-521, or Ed25519";

/**
 * Checks a certificate and its key. Either text may have other things around
 * its blocks, also the other's.
 *
 * @returns Both of them, and nothing else that was in the texts.
 * @throws {OptionError} One of them cannot be used. The key is not in it.
 */
export function checkKeyPair(cert: unknown, key: unknown): TlsKeyPair {
  const found = readCertificates("cert", cert);
  const certificates = found.map(({ certificate }) => certificate);
  const { privateKey, name } = readKey("key", key);
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

/**
 * @returns All certificates, and nothing else that was in the text.
 * @throws {OptionError} There is none, or one that cannot be read.
 */
export function checkCertificates(option: string, pem: unknown): string {
  return certificatesOf(pem, option).join("");
}

/** The certificates of a text. */
export function certificatesOf(
  pem: unknown,
  option = "cert",
): X509Certificate[] {
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

function readKey(
  option: string,
  pem: unknown,
): { privateKey: KeyObject; name: string } {
  const refuse: Refuse = (found) => new OptionError(option, found, KEY_FORM);
  const blocks = findBlocks(pem, refuse);
  const keys = blocks.filter(({ label }) => label.endsWith("PRIVATE KEY"));
  if (keys.length === 0) throw refuse(nameOf(blocks[0]));
  const name = keys.map(nameOf).join(" and ");
  if (keys.length > 1) throw refuse(name);
  const type = KEY_TYPES[keys[0].label];
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

function isUsable({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject) {
  const { modulusLength = 0, namedCurve } = asymmetricKeyDetails ?? {};
  switch (asymmetricKeyType) {
    case "rsa":
      return modulusLength >= RSA_MIN && modulusLength <= RSA_MAX;
    case "ec":
      return CURVES.includes(namedCurve);
    default:
      return asymmetricKeyType === "ed25519";
  }
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
  let der;
  try {
    der = Uint8Array.fromBase64(body);
  } catch {
    throw refuse(`${nameOf(block)} that is not base64`);
  }
  if (der.length === 0) throw refuse(`empty ${nameOf(block)}`);
  return der;
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
