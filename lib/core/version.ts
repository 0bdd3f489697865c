/**
 * Which Parley this is, and what the runtime below it can do.
 *
 * @module
 */

import config from "../../deno.json" with { type: "json" };

/** Parley's version, as in `deno.json`. */
export const VERSION: string = config.version;

/**
 * What this runtime cannot do that Parley relies on.
 *
 * @returns One line, or `undefined` where there is nothing to say.
 */
export function runtimeWarning(version: string): string | undefined {
  const [major, minor, patch] = version.split(".").map((n) => parseInt(n));
  // https://github.com/denoland/deno releases: 2.9.5 made close() end a
  // blocked write.
  const enough = major > 2 ||
    (major === 2 && (minor > 9 || (minor === 9 && patch >= 5)));
  if (enough) return undefined;
  return `runtime ${version} is older than 2.9.5: a connection closed ` +
    "while its peer does not read keeps its descriptor until the peer is gone";
}
