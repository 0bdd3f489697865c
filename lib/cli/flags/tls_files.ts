/** Certificates and keys from the files that flags name. */

import { OptionError, ParleyError } from "../../core/errors.ts";
import { quote, systemReason } from "../../core/text.ts";
import { checkCertificates, checkKeyPair } from "../../tls/pem.ts";

/**
 * Reads and checks the files of the flags of TLS, such as `--tls-client-ca`,
 * which is `clientCa` here. An empty path stands for no file.
 */
export async function readTlsFiles<Name extends string>(
  paths: Readonly<Record<Name, string>>,
  read: (path: string) => Promise<string>,
): Promise<Partial<Record<Name, string>>> {
  const texts: Record<string, string> = {};
  for (const [name, path] of Object.entries<string>(paths)) {
    if (path !== "") texts[name] = await readFile(flagOf(name), path, read);
  }
  try {
    const { cert, key, ...authorities } = texts;
    for (const [name, pem] of Object.entries(authorities)) {
      texts[name] = checkCertificates(name, pem);
    }
    if (cert !== undefined) Object.assign(texts, checkKeyPair(cert, key));
    return texts as Partial<Record<Name, string>>;
  } catch (error) {
    if (!(error instanceof OptionError)) throw error;
    const { option, value, expected } = error;
    const file = `${flagOf(option)} ${quote(paths[option as Name])}`;
    const found = `it has ${quote(value)}, expected ${expected}`;
    throw new ParleyError(`cannot use ${file}: ${found}`, { cause: error });
  }
}

const flagOf = (option: string) => `--tls-${option.replace("C", "-c")}`;

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
      : error instanceof Deno.errors.PermissionDenied ||
          error instanceof Deno.errors.NotCapable
      ? "the system does not allow it"
      : systemReason(error);
    const message = `cannot read ${flag} ${quote(path)}: ${why}`;
    throw new ParleyError(message, { cause: error });
  }
}
