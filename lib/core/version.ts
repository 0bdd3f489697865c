/** Which Parley this is, and what the runtime below it can do. */

import config from "../../deno.json" with { type: "json" };

export const VERSION: string = config.version;

/** What this runtime cannot do that Parley relies on, if there is anything. */
export function runtimeWarning(version: string): string | undefined {
  // https://github.com/denoland/deno releases: 2.9.5 made close() end a
  // blocked write.
  if (version.localeCompare("2.9.5", "en", { numeric: true }) >= 0) return;
  return `runtime ${version} is older than 2.9.5: a connection closed ` +
    "while its peer does not read keeps its descriptor until the peer is gone";
}
