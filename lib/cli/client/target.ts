/** The server's place on the command line. */

import { isIPv6 } from "node:net";

import { connectDefaults } from "../../client/client.ts";
import { quote } from "../../core/text.ts";
import { refuse } from "../flags/flags.ts";

/** A name or an IPv4 address; names are the resolver's to judge. */
const HOST = /^[^\s:/[\]]+$/;

/**
 * Reads `host`, `host:port`, `host port`, `[::1]:8080` or `::1`, and the
 * requests behind it. A second argument of digits only is a port, unless the
 * first has one: such a request goes behind `host:port`.
 */
export function parseTarget(args: readonly string[]) {
  const [place, ...rest] = args;
  if (place === undefined || place === "") {
    refuse("no server given, expected client HOST[:PORT] (try --help)");
  }
  let [hostname, port] = splitPlace(place);
  if (!HOST.test(hostname) && !isIPv6(hostname)) {
    refuse(`server is ${quote(place)}, expected HOST[:PORT] or [IPV6]:PORT`);
  }
  if (port === undefined && /^\d+$/.test(rest[0])) port = rest.shift();
  return {
    hostname,
    port: port === undefined ? connectDefaults.port : parsePort(port),
    requests: rest,
  };
}

function splitPlace(place: string): [string, string | undefined] {
  const bracketed = /^\[([^\]]+)\](?::(.*))?$/.exec(place);
  if (bracketed !== null) return [bracketed[1], bracketed[2]];
  const colon = place.indexOf(":");
  // More than one colon is an IPv6 address without brackets, and no port.
  if (colon === -1 || place.includes(":", colon + 1)) return [place, undefined];
  return [place.slice(0, colon), place.slice(colon + 1)];
}

function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port >= 1 && port <= 65_535) return port;
  refuse(`port is ${quote(text)}, expected a whole number from 1 to 65535`);
}
