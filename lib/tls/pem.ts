/**
 * Certificates and keys as text, checked before they are used. The runtime skips
 * what it cannot read without a word, such as a block behind spaces. So the
 * blocks are found here, and what is handed on is written anew.
 */

import type { AsymmetricKeyDetails, KeyObject } from "node:crypto";
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
  /** What it is and where, without its content: that may be a secret. */
  readonly name: string;
  readonly body: string;
}

/** Makes the error that says what was found. */
type Refuse = (found: unknown) => OptionError;

/** The begin or the end of a block, or what was meant to be one. */
const MARKER =
  /-----(BEGIN|END) ((?:[A-Z0-9]+ )*[A-Z0-9]+)-----|(?:BEGIN|END) [A-Z0-9 ]*(?:CERTIFICATE|KEY)/g;

/** The labels of a certificate; the second is OpenSSL's older one. */
const CERTIFICATE = /^(X509 )?CERTIFICATE$/;

/** What may stand beside certificates, and is not needed: HAProxy has one file. */
const BESIDE = /PRIVATE KEY$| PARAMETERS$/;

/** How a private key is encoded, by its label; an encrypted one is refused. */
const KEY_TYPES = new Map([
  ["PRIVATE KEY", "pkcs8" as const],
  ["RSA PRIVATE KEY", "pkcs1" as const],
  ["EC PRIVATE KEY", "sec1" as const],
]);

/** The kinds of keys that the runtime can sign with. */
const SIGNING: Readonly<
  Record<string, (details: AsymmetricKeyDetails) => boolean>
> = {
  ec: ({ namedCurve = "" }) =>
    ["prime256v1", "secp384r1", "secp521r1"].includes(namedCurve),
  rsa: ({ modulusLength = 0 }) =>
    modulusLength >= 2048 && modulusLength <= 8192,
  ed25519: () => true,
};

const KEY_FORM = "one private key in PEM, not encrypted: " +
  "RSA of 2048 to 8192 bits, ECDSA with P-256, P-384 or P-521, or Ed25519";

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
  const stray = found.find(({ certificate }, i) =>
    i > 0 &&
    !certificates.slice(0, i).some((one) => one.checkIssued(certificate))
  );
  if (stray !== undefined) {
    const what = `${stray.name}, which vouches for none in front of it`;
    throw new OptionError("cert", what, "each behind the one it vouches for");
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
  // To skip a list of revoked certificates would be to trust them.
  const strange = certificates.length === 0
    ? blocks[0]
    : blocks.find(({ label }) =>
      !CERTIFICATE.test(label) && !BESIDE.test(label)
    );
  if (strange !== undefined) throw refuse(strange.name);
  return certificates.map((block) => {
    const der = decode(block, refuse);
    try {
      const certificate = new (crypto().X509Certificate)(der);
      // The part that serves TLS is stricter, and would fail every handshake.
      Deno.createHttpClient({ caCerts: [certificate.toString()] }).close();
      return { certificate, name: block.name };
    } catch {
      throw refuse(`${block.name} that cannot be read`);
    }
  });
}

function readKey(pem: unknown): { privateKey: KeyObject; name: string } {
  const refuse: Refuse = (found) => new OptionError("key", found, KEY_FORM);
  const blocks = findBlocks(pem, refuse);
  const keys = blocks.filter(({ label }) => label.endsWith("PRIVATE KEY"));
  const name = keys.map(({ name }) => name).join(" and ") || blocks[0].name;
  const type = KEY_TYPES.get(keys[0]?.label);
  if (keys.length !== 1 || type === undefined) throw refuse(name);
  const key = decode(keys[0], refuse) as Buffer;
  let privateKey;
  try {
    privateKey = crypto().createPrivateKey({ key, format: "der", type });
  } catch {
    throw refuse(`${name} that cannot be read`);
  }
  const { asymmetricKeyType: kind = "", asymmetricKeyDetails = {} } =
    privateKey;
  if (!SIGNING[kind]?.(asymmetricKeyDetails)) throw refuse(name);
  return { privateKey, name };
}

/** Finds the blocks of a text, at least one; what is around them is ignored. */
function findBlocks(pem: unknown, refuse: Refuse): Block[] {
  if (typeof pem !== "string") {
    throw refuse(pem === undefined ? pem : typeof pem);
  }
  const blocks: Block[] = [];
  let open: { label: string; name: string; from: number } | undefined;
  let line = 1;
  let counted = 0;
  for (const { 0: marker, 1: kind, 2: label, index } of pem.matchAll(MARKER)) {
    line += pem.slice(counted, index).split(/\r\n?|\n/).length - 1;
    counted = index;
    const at = `at line ${line}`;
    if (kind === undefined) {
      throw refuse(`${marker} ${at} without its five dashes`);
    } else if (kind === "BEGIN") {
      if (open !== undefined) break;
      open = { label, name: `${label} ${at}`, from: index + marker.length };
    } else if (open === undefined) {
      throw refuse(`END ${label} ${at} without its BEGIN`);
    } else if (open.label !== label) {
      throw refuse(`${open.name} that ends as ${label}`);
    } else {
      blocks.push({ ...open, body: pem.slice(open.from, index) });
      open = undefined;
    }
  }
  if (open !== undefined) throw refuse(`${open.name} without its END`);
  if (blocks.length > 0) return blocks;
  // UTF-16, DER and PKCS #12 that were read as UTF-8 have such characters.
  const isBinary = /[\0\ufffd]/.test(pem);
  const what = isBinary ? "no text in UTF-8" : "text without PEM";
  throw refuse(pem.trim() === "" ? "nothing" : what);
}

function decode({ body, name }: Block, refuse: Refuse): Uint8Array {
  // The header of a key with a password, by OpenSSL's older way (RFC 1421).
  if (body.includes("Proc-Type:")) throw refuse(`encrypted ${name}`);
  if (body.trim() === "") throw refuse(`empty ${name}`);
  try {
    return Uint8Array.fromBase64(body);
  } catch {
    throw refuse(`${name} that is not base64`);
  }
}

/** Loaded when it is needed: without a certificate, programs start faster. */
const crypto = () => process.getBuiltinModule("node:crypto");
