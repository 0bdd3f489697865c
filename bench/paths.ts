/**
 * Where the benchmark finds and leaves its files.
 *
 * @module
 */

import { fileURLToPath } from "node:url";

/** The repository. */
const ROOT = new URL("../", import.meta.url);

/**
 * The path of a file of the repository, wherever the benchmark is started.
 *
 * @param name Its name, from the repository's root.
 */
export function at(name: string): string {
  return fileURLToPath(new URL(name, ROOT));
}

/** Programs built, and what is no full result. Ignored by git. */
export const BUILD = "bench/.build/";

/** What TLS servers show: made with the programs, and worth nothing to anybody. */
export const CERT = `${BUILD}cert.pem`;

/** The private key of {@linkcode CERT}. */
export const KEY = `${BUILD}key.pem`;

/** The executable that gives the second opinion. */
export const CLIENT = "client";

/** Results of the last full run, and of the last that has measured all growth. */
export const RESULTS = "bench/results/";

/** Charts of the last full run. */
export const CHARTS = "docs/bench/";

/** Where a few results of the last full run are shown. */
export const README = "README.md";

/** Where all of its results are shown. */
export const PAGE = "docs/performance.md";

/**
 * Whether a file is there.
 *
 * @param name Its name, from the repository's root.
 */
export async function exists(name: string): Promise<boolean> {
  try {
    await Deno.stat(at(name));
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
