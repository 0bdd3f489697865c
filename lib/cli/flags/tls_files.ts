/** Certificates and keys from the files that flags name. */

import { OptionError, ParleyError } from "../../core/errors.ts";
import { messageOf, quote } from "../../core/text.ts";
import {
  checkCertificates,
  checkKeyPair,
  type TlsKeyPair,
} from "../../tls/pem.ts";

/** Such as `Deno.readTextFile`. */
type ReadText = (path: string) => Promise<string>;

/**
 * Reads and checks the files of `--tls-cert` and `--tls-key`.
 *
 * @throws {ParleyError} One cannot be read or used; the message names it.
 */
export async function readKeyPair(
  files: TlsKeyPair,
  read: ReadText,
): Promise<TlsKeyPair> {
  const cert = await readFile("--tls-cert", files.cert, read);
  const key = await readFile("--tls-key", files.key, read);
  try {
    return checkKeyPair(cert, key);
  } catch (error) {
    if (!(error instanceof OptionError)) throw error;
    const name = error.option === "cert" ? "cert" : "key";
    throw notUsable(`--tls-${name}`, files[name], error);
  }
}

/**
 * Reads and checks the file of a flag that takes authorities.
 *
 * @throws {ParleyError} It cannot be read or used; the message names it.
 */
export async function readCertificates(
  flag: "--tls-ca" | "--tls-client-ca",
  file: string,
  read: ReadText,
): Promise<string> {
  const pem = await readFile(flag, file, read);
  try {
    return checkCertificates(flag, pem);
  } catch (error) {
    if (!(error instanceof OptionError)) throw error;
    throw notUsable(flag, file, error);
  }
}

async function readFile(
  flag: string,
  path: string,
  read: ReadText,
): Promise<string> {
  try {
    return await read(path);
  } catch (error) {
    throw new ParleyError(
      `cannot read ${flag} ${quote(path)}: ${whyNotRead(error)}`,
      { cause: error },
    );
  }
}

function whyNotRead(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "there is no such file";
  if (error instanceof Deno.errors.PermissionDenied) {
    return "the system does not allow it";
  }
  return messageOf(error);
}

function notUsable(flag: string, path: string, error: OptionError) {
  const { value, expected } = error;
  return new ParleyError(
    `cannot use ${flag} ${quote(path)}: it has ${quote(value)}, ` +
      `expected ${expected}`,
    { cause: error },
  );
}
