/** Where `server` listens: whether it can, and why not. */

import type { Place } from "../../client/dial.ts";
import { OptionError } from "../../core/errors.ts";
import { messageOf } from "../../core/text.ts";
import { listenUnix } from "../../net/unix.ts";
import { formatPlace } from "../flags/values.ts";

/**
 * Listens for a moment, and says where: an address that is in use is one that a
 * server has.
 */
export function tryAddress(place: Place): string {
  const name = formatPlace(place);
  try {
    if ("path" in place) listenUnix({ ...place, mode: 0o600 }).close();
    else Deno.listen({ hostname: place.hostname, port: place.port }).close();
    return name;
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) return `${name} (in use now)`;
    throw error;
  }
}

export function cannotListen(place: Place, error: unknown, admin = false) {
  const isPath = "path" in place;
  const where = isPath && !admin ? place.path : formatPlace(place);
  const reason = isPath
    ? whyNotUnix(error, admin ? "--admin" : "--unix")
    : admin
    ? whyNotBound(error, "--admin", "--admin", "--admin says")
    : whyNotBound(error, "--hostname", "--port", "--hostname and --port say");
  return `cannot listen on ${where}${admin ? " for --admin" : ""}: ${reason}`;
}

function whyNotBound(error: unknown, host: string, port: string, both: string) {
  if (error instanceof Deno.errors.AddrInUse) {
    return `the port is in use (${port} takes another, 0 picks a free one)`;
  }
  if (error instanceof Deno.errors.AddrNotAvailable) {
    return `the address is not this machine's (${host} takes one that is)`;
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return `the system allows it to privileged users only (${port} takes 0 or 1024 to 65535)`;
  }
  return `${messageOf(error)} (${both} where to listen)`;
}

function whyNotUnix(error: unknown, flag: string): string {
  if (error instanceof Deno.errors.AddrInUse) {
    return `the socket is in use (${flag} takes another path)`;
  }
  if (error instanceof OptionError) {
    return `what is there is no socket, and is left alone (${flag} takes another path)`;
  }
  if (error instanceof Deno.errors.NotFound) {
    return `there is no such folder (${flag} takes a path in one that is there)`;
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return `this user may not write to the folder (${flag} takes another path)`;
  }
  return `${messageOf(error)} (${flag} says where to listen)`;
}
