/** Which Parley this is, and what the runtime below it can do. */

import config from "../../deno.json" with { type: "json" };

export const VERSION: string = config.version;

export function isOlder(version: string, than: readonly number[]): boolean {
  // A comparison by locale would take 25 ms of each start.
  const [major, minor, patch] = version.split(".").map((part) =>
    parseInt(part)
  );
  const [a, b, c] = than;
  return major * 1e6 + minor * 1e3 + patch < a * 1e6 + b * 1e3 + c;
}

/** What this runtime cannot do that Parley relies on, if there is anything. */
export function runtimeWarning(version: string): string | undefined {
  // https://github.com/denoland/deno releases: 2.9.5 made close() end a
  // blocked write.
  if (!isOlder(version, [2, 9, 5])) return;
  return `runtime ${version} is older than 2.9.5: a connection closed ` +
    "while its peer does not read keeps its descriptor until the peer is gone";
}
