/** The servers on the command line: to read, connect to and wait for them. */

import type { Client, ServersOptions } from "../../client/api.ts";
import {
  connect,
  connectDefaults,
  type ConnectOptions,
} from "../../client/connect.ts";
import { formatAddr, type Place } from "../../core/address.ts";
import { type Clock, systemClock } from "../../core/clock.ts";
import * as errors from "../../core/errors.ts";
import { messageOf, quote } from "../../core/text.ts";
import { formatDuration } from "../../core/units.ts";
import { isSocketPath, SOCKET_PATH_FORM } from "../../net/unix.ts";
import { refuse } from "../flags/flags.ts";
import { splitHostPort } from "../flags/values.ts";

/**
 * Reads servers, and the requests after them: `host`, `host:port`, `host port`,
 * `[::1]:8080`, `::1`, `tcp://host:port`, `tls://host:port`, `unix:/path`, or
 * several with commas between. A second argument of digits only is the port of
 * one that has none: a request like that must come after `host:port`.
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
    const found = splitHostPort(place);
    if (found === undefined) {
      refuse(`server is ${quote(text)}, expected HOST[:PORT] or [IPV6]:PORT`);
    }
    const isPort = text === given && /^\d+$/.test(requests[0]);
    const port = found.port ?? (isPort ? requests.shift() : undefined);
    return { hostname: found.hostname, port: parsePort(port) };
  });
  if (schemes.has("tls://") && schemes.size > 1) {
    refuse(`server is ${quote(given)}, expected tls:// for all or for none`);
  }
  // The scheme that decides on TLS, if one does.
  const [scheme = ""] = [...schemes].filter(Boolean);
  return { servers, scheme, requests };
}

function parsePort(text = `${connectDefaults.port}`): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port >= 1 && port <= 65_535) return port;
  refuse(`port is ${quote(text)}, expected a whole number from 1 to 65535`);
}

export type Target = ReturnType<typeof targetOf>;

/** Gives the name of servers together, and what connects to one of them. */
export function targetOf(
  servers: readonly Place[],
  balance: ServersOptions["balance"],
  options: ConnectOptions,
) {
  /** Which one is tried first. */
  let first = 0;
  return {
    place: servers
      .map((place) => formatAddr({ transport: "tcp", ...place } as Deno.Addr))
      .join(","),
    /** Tries each; one that has refused is the last one from then on. */
    async connect(
      signal?: AbortSignal,
      more?: ConnectOptions,
    ): Promise<Client> {
      const from = balance === "failover" ? first : first++;
      const failures: unknown[] = [];
      for (const i of servers.keys()) {
        const next = from + i + 1;
        const at = servers[(from + i) % servers.length];
        try {
          const client = await connect({ ...at, ...options, ...more, signal });
          client.closed.then((error) => {
            if (error instanceof errors.RefusedError) first = next;
          });
          return client;
        } catch (error) {
          signal?.throwIfAborted();
          // A wrong option is wrong for all servers.
          if (error instanceof errors.OptionError) throw error;
          failures.push(error);
        }
      }
      if (failures.length === 1) throw failures[0];
      throw new errors.ConnectError(failures.map(messageOf).join("; "));
    },
  };
}

/** How long a try may take, and the pause after it, in milliseconds. */
const TRY = 5000;
const PAUSE = 100;

/**
 * Resolves as soon as a server has answered, whatever it says.
 *
 * @throws It has not in time; or no try can succeed.
 */
export async function waitFor(
  { connect, request, timeout, place, clock = systemClock }: {
    connect: (
      signal: AbortSignal,
    ) => Promise<Pick<Client, "request" | "close">>;
    /** Without it a connection is enough. */
    request: Uint8Array | undefined;
    /** In milliseconds; 0 means no limit. */
    timeout: number;
    place: string;
    clock?: Clock;
  },
): Promise<void> {
  const end = clock.now() + (timeout || Infinity);
  let reason = "nothing came";
  while (true) {
    const late = new AbortController();
    const limit = Math.min(end - clock.now(), TRY);
    const cancel = clock.after(limit, () => late.abort());
    try {
      const client = await connect(late.signal);
      try {
        if (request) await client.request(request, { signal: late.signal });
        return;
      } finally {
        client.close();
      }
    } catch (error) {
      if (
        error instanceof errors.OptionError ||
        error instanceof errors.EncodeError
      ) {
        throw error;
      }
      // That this try was cut off says less than why the one before failed.
      if (!late.signal.aborted) reason = messageOf(error);
    } finally {
      cancel();
    }
    if (clock.now() + PAUSE >= end) {
      const limit = formatDuration(timeout);
      throw new Error(`no answer from ${place} within ${limit}: ${reason}`);
    }
    await new Promise<void>((resolve) => clock.after(PAUSE, resolve));
  }
}
