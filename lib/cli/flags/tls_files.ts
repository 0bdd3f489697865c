/** Certificates and keys from the files that flags name. */

import { OptionError, ParleyError } from "../../core/errors.ts";
import { messageOf, quote } from "../../core/text.ts";
import {
  checkCertificates,
  checkKeyPair,
  type TlsKeyPair,
} from "../../tls/pem.ts";

type ReadText = (path: string) => Promise<string>;

export async function readKeyPair(
  files: TlsKeyPair,
  read: ReadText,
): Promise<TlsKeyPair> {
  const cert = await readFile("--tls-cert", files.cert, read);
  const key = await readFile("--tls-key", files.key, read);
  return used(
    () => checkKeyPair(cert, key),
    ({ option }) => [`--tls-${option}`, files[option as keyof TlsKeyPair]],
  );
}

export async function readCertificates(
  flag: "--tls-ca" | "--tls-client-ca",
  file: string,
  read: ReadText,
): Promise<string> {
  const pem = await readFile(flag, file, read);
  return used(() => checkCertificates(flag, pem), () => [flag, file]);
}

/** Reads a file that a flag names. */
export async function readFile<Content>(
  flag: string,
  path: string,
  read: (path: string) => Promise<Content>,
): Promise<Content> {
  try {
    return await read(path);
  } catch (error) {
    const why = error instanceof Deno.errors.NotFound
      ? "there is no such file"
      : error instanceof Deno.errors.PermissionDenied
      ? "the system does not allow it"
      : messageOf(error);
    const message = `cannot read ${flag} ${quote(path)}: ${why}`;
    throw new ParleyError(message, { cause: error });
  }
}

/** Runs a check; `fileOf` says which flag and file an error of it is about. */
function used<Checked>(
  check: () => Checked,
  fileOf: (error: OptionError) => [flag: string, path: string],
): Checked {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof OptionError)) throw error;
    const [flag, path] = fileOf(error);
    const found = `it has ${quote(error.value)}, expected ${error.expected}`;
    const message = `cannot use ${flag} ${quote(path)}: ${found}`;
    throw new ParleyError(message, { cause: error });
  }
}
