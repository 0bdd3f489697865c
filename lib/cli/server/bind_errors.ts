/**
 * Why a program cannot listen, in words that say which flag mends it.
 *
 * @module
 */

import { OptionError } from "../../core/errors.ts";
import { messageOf } from "../../core/text.ts";

/** The flags that say where to listen. */
export interface BindFlags {
  /** The one with the address. */
  readonly host: string;
  /** The one with the port. */
  readonly port: string;
  /** Who says where to listen: the subject and its verb. */
  readonly both: string;
}

/** The flags of the public port. */
export const publicFlags: BindFlags = {
  host: "--hostname",
  port: "--port",
  both: "--hostname and --port say",
};

/** The flag of the admin port. */
export const adminFlags: BindFlags = {
  host: "--admin",
  port: "--admin",
  both: "--admin says",
};

/**
 * Says why an address and a port cannot be bound.
 *
 * @param error What the runtime threw.
 * @param flags The flags that say where to listen.
 */
export function whyNotBound(
  error: unknown,
  { host, port, both }: BindFlags = publicFlags,
): string {
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

/**
 * Says why a Unix socket cannot be bound.
 *
 * @param error What the runtime threw.
 * @param flag The flag that says where to listen.
 */
export function whyNotUnix(
  error: unknown,
  flag: "--unix" | "--admin" = "--unix",
): string {
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
