/** The servers on the command line. */

import { isIPv6 } from "node:net";

import type { Client, ServersOptions } from "../../client/api.ts";
import {
  connect,
  connectDefaults,
  type ConnectOptions,
} from "../../client/client.ts";
import type { Place } from "../../client/dial.ts";
import { ConnectError } from "../../core/errors.ts";
import { messageOf, quote } from "../../core/text.ts";
import { isSocketPath, SOCKET_PATH_FORM } from "../../net/unix.ts";
import { refuse } from "../flags/flags.ts";

/** A name or an IPv4 address; names are the resolver's to judge. */
const HOST = /^[^\s:/[\]]+$/;

/**
 * Reads servers, and the requests behind them: `host`, `host:port`, `host port`,
 * `[::1]:8080`, `::1`, `tcp://host:port`, `tls://host:port`, `unix:/path`, or
 * several with commas between. A second argument of digits only is the port of
 * one that has none: such a request goes behind `host:port`.
 */
export function parseTarget(args: readonly string[]) {
  const [given = "", ...requests] = args;
  if (given === "") {
    refuse("no server given, expected client HOST[:PORT] (try --help)");
  }
  const schemes = new Set<string>();
  const servers = given.split(",").map((text): Place => {
    const [, scheme, place] = /^(tcp:\/\/|tls:\/\/|unix:|)(.*)$/s.exec(text)!;
    schemes.add(scheme);
    if (scheme === "unix:") {
      if (isSocketPath(place)) return { path: place };
      refuse(
        `server is ${quote(text)}, expected unix: and ${SOCKET_PATH_FORM}`,
      );
    }
    let [hostname, port] = splitPlace(place);
    const isHost = HOST.test(hostname) && !place.includes("://");
    if (!isHost && !isIPv6(hostname)) {
      refuse(`server is ${quote(text)}, expected HOST[:PORT] or [IPV6]:PORT`);
    }
    if (port === undefined && text === given && /^\d+$/.test(requests[0])) {
      port = requests.shift();
    }
    return {
      hostname,
      port: port === undefined ? connectDefaults.port : parsePort(port),
    };
  });
  if (schemes.has("tls://") && schemes.size > 1) {
    refuse(`server is ${quote(given)}, expected tls:// for all or for none`);
  }
  // The scheme that decides on TLS, if one does.
  const [scheme = ""] = [...schemes].filter(Boolean);
  return { servers, scheme, requests };
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

/** Makes what connects to one of the servers: the next if one does not let us. */
export function connector(
  servers: readonly Place[],
  balance: ServersOptions["balance"],
  options: ConnectOptions,
) {
  let turn = 0;
  return async (
    signal?: AbortSignal,
    more?: ConnectOptions,
  ): Promise<Client> => {
    const first = balance === "failover" ? 0 : turn++ % servers.length;
    const errors: unknown[] = [];
    for (const at of [...servers.slice(first), ...servers.slice(0, first)]) {
      try {
        return await connect({ ...at, ...options, ...more, signal });
      } catch (error) {
        signal?.throwIfAborted();
        errors.push(error);
      }
    }
    if (errors.length === 1) throw errors[0];
    throw new ConnectError(errors.map(messageOf).join("; "));
  };
}
