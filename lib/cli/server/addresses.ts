/** What `server` needs of the system: where to listen, and descriptors. */

import type { Place } from "../../core/address.ts";
import { messageOf } from "../../core/text.ts";
import { listenUnix } from "../../net/unix.ts";
import { formatPlace } from "../flags/values.ts";

/** How many descriptors a server has open beside those of its connections. */
const OTHERS = 70;

/**
 * Listens for a moment, and says where: an address that is in use is one that a
 * server has. `meanwhile` is called while it listens.
 */
export function tryAddress(place: Place, meanwhile = () => {}): string {
  const name = formatPlace(place);
  let listener;
  try {
    listener = "path" in place
      ? listenUnix({ ...place, mode: 0o600 })
      : Deno.listen({ hostname: place.hostname, port: place.port });
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) return `${name} (in use now)`;
    throw error;
  }
  try {
    meanwhile();
  } finally {
    listener.close();
  }
  return name;
}

/** Says that listening failed, why, and which flag is to be changed. */
export function cannotListen(place: Place, error: unknown, admin = false) {
  const isPath = "path" in place;
  const [host, port, unix, all] = admin
    ? ["--admin", "--admin", "--admin", "--admin says"]
    : ["--hostname", "--port", "--unix", "--hostname and --port say"];
  const another = `(${unix} takes another path)`;
  // By the names of errors.
  const reasons: Readonly<Record<string, string>> = isPath
    ? {
      AddrInUse: `the socket is in use ${another}`,
      OptionError: `what is there is no socket, and is left alone ${another}`,
      NotFound:
        `there is no such folder (${unix} takes a path in one that is there)`,
      PermissionDenied: `this user may not write to the folder ${another}`,
    }
    : {
      AddrInUse:
        `the port is in use (${port} takes another, 0 picks a free one)`,
      AddrNotAvailable:
        `the address is not this machine's (${host} takes one that is)`,
      PermissionDenied:
        `the system allows it to privileged users only (${port} takes 0 or 1024 to 65535)`,
    };
  const reason = reasons[(error as Error).name] ??
    `${messageOf(error)} (${isPath ? `${unix} says` : all} where to listen)`;
  return admin
    ? `cannot listen on ${formatPlace(place)} for --admin: ${reason}`
    : `cannot listen on ${isPath ? place.path : formatPlace(place)}: ${reason}`;
}

/** Says how many connections there are descriptors for, by trying. */
export function descriptorsFor(connections: number): string {
  const needed = connections + OTHERS;
  // At the limit the runtime cannot load what this loads.
  void new Error().stack;
  const spares = openSpares(needed);
  const count = spares.length;
  for (const spare of spares) spare.close();
  const enough = Math.max(0, count - OTHERS);
  const many = count === needed ? "all" : `${enough} of ${connections}`;
  return `descriptors for ${many} connections`;
}

/** Opens files to be closed when there is no other descriptor left. */
export function openSpares(count: number): Deno.FsFile[] {
  const path = Deno.build.os === "windows" ? "NUL" : "/dev/null";
  const files: Deno.FsFile[] = [];
  try {
    while (files.length < count) files.push(Deno.openSync(path));
  } catch {
    // Nothing can be kept, and nothing else depends on it.
  }
  return files;
}
