/**
 * The kinds of values that flags take.
 *
 * @module
 */

import { isIPv6 } from "node:net";

import { isToken, TOKEN_FORM } from "../../admin/access.ts";
import { formatHostPort } from "../../core/address.ts";
import { ranges } from "../../core/checks.ts";
import { CIDR_FORM, CidrError, parseCidrList } from "../../core/cidr.ts";
import {
  DURATION_FORM,
  parseDuration,
  parseSize,
  SIZE_FORM,
} from "../../core/units.ts";
import { isListenPath, LISTEN_PATH_FORM } from "../../net/unix.ts";
import type { ValueFlag } from "./flags.ts";

/** A file's permissions as `chmod` takes them, such as 0660. */
const MODE = /^0?[0-7]{3}$/;

/** What all kinds have in common. */
interface Common<Value> {
  /** What the flag is for. */
  help: string;
  /** The value if the flag is not given. */
  default: Value;
  /** How the help shows the default, if not as it is. */
  shown?: string;
  /** Whether the environment may set it; it may unless this is false. */
  env?: boolean;
}

/**
 * A flag that takes any text but none.
 *
 * @param placeholder What stands for the value in the help.
 * @param expected What is allowed, as a noun phrase.
 */
export function textFlag(
  placeholder: string,
  expected: string,
  common: Common<string>,
): ValueFlag<string> {
  return flag(placeholder, expected, common, (text) => text || undefined);
}

/**
 * A flag that takes a whole number.
 *
 * @param range The option whose range it has.
 */
export function numberFlag(
  range: keyof typeof ranges,
  common: Common<number>,
): ValueFlag<number> {
  const [least, most] = ranges[range];
  return flag(
    "N",
    `a whole number from ${least} to ${most}`,
    common,
    (text) => inRange(range, /^\d+$/.test(text) ? Number(text) : undefined),
  );
}

/**
 * A flag that takes a whole number in a range that is no option's.
 *
 * @param least The least that is allowed.
 * @param most The most that is allowed.
 */
export function countFlag<Default extends number | undefined>(
  least: number,
  most: number,
  common: Common<Default>,
): ValueFlag<number | Default> {
  return flag<number | Default>(
    "N",
    `a whole number from ${least} to ${most}`,
    common,
    (text) => {
      const value = /^\d+$/.test(text) ? Number(text) : -1;
      return value >= least && value <= most ? value : undefined;
    },
  );
}

/** A flag that takes a number of threads, or `auto` for the machine's. */
export function threadsFlag(common: Common<number>): ValueFlag<number> {
  const [least, most] = ranges.threads;
  return flag(
    "N|auto",
    `a whole number from ${least} to ${most}, or auto`,
    common,
    (text) =>
      text === "auto"
        ? Math.min(navigator.hardwareConcurrency, most)
        : inRange("threads", /^\d+$/.test(text) ? Number(text) : undefined),
  );
}

/**
 * A flag that takes a size in bytes.
 *
 * @param range The option whose range it has.
 */
export function sizeFlag(
  range: keyof typeof ranges,
  common: Common<number>,
): ValueFlag<number> {
  const [least, most] = ranges[range];
  return flag(
    "SIZE",
    `${SIZE_FORM}, from ${least} to ${most} bytes`,
    common,
    (text) => inRange(range, parseSize(text)),
  );
}

/**
 * A flag that takes a duration; 0 turns its limit off.
 *
 * @param range The option whose range it has.
 */
export function durationFlag(
  range: keyof typeof ranges,
  common: Common<number>,
): ValueFlag<number> {
  return flag(
    "TIME",
    `${DURATION_FORM}, or 0 for no limit`,
    common,
    (text) => inRange(range, parseDuration(text)),
  );
}

/** A flag that takes how long something goes on, or is not used. */
export function spanFlag(
  common: Omit<Common<undefined>, "default" | "shown">,
): ValueFlag<number | undefined> {
  return flag<number | undefined>(
    "TIME",
    `${DURATION_FORM}, and more than 0`,
    { ...common, default: undefined, shown: "none" },
    (text) => inRange("timeout", parseDuration(text)) || undefined,
  );
}

/**
 * A flag that takes one of a few words.
 *
 * @param words What is allowed.
 */
export function choiceFlag<Word extends string>(
  words: readonly Word[],
  common: Common<Word>,
): ValueFlag<Word> {
  return flag(
    words.join("|"),
    `one of ${words.join(", ")}`,
    common,
    (text) => words.find((word) => word === text),
  );
}

/**
 * A flag that takes the path of a Unix socket, or is not used.
 *
 * @param expected What is allowed, as a noun phrase.
 * @param isPath Whether a path is.
 */
export function pathFlag(
  expected: string,
  isPath: (path: string) => boolean,
  common: Omit<Common<string>, "default">,
): ValueFlag<string> {
  return flag(
    "PATH",
    expected,
    { shown: "none", ...common, default: "" },
    (text) => isPath(text) ? text : undefined,
  );
}

/** A flag that takes the permissions of a file, in octal. */
export function modeFlag(common: Common<number>): ValueFlag<number> {
  return flag(
    "MODE",
    "a file's permissions in octal, from 0000 to 0777",
    common,
    (text) => MODE.test(text) ? parseInt(text, 8) : undefined,
  );
}

/** A flag that takes a list of addresses and CIDR blocks, or nothing. */
export function cidrsFlag(
  common: Omit<Common<string>, "default">,
): ValueFlag<string> {
  return flag(
    "CIDR,…",
    `a list, separated by commas, of ${CIDR_FORM}`,
    { ...common, default: "" },
    (text) => {
      try {
        parseCidrList(text);
        return text;
      } catch (error) {
        if (error instanceof CidrError) return undefined;
        throw error;
      }
    },
  );
}

/** What comes before a Unix socket's path where an address may be, too. */
const UNIX = "unix:";

/** An address or a Unix socket to listen on. */
export type Place =
  | { readonly hostname: string; readonly port: number }
  | { readonly path: string };

/**
 * Formats a place as the flag takes it.
 *
 * @param place The place.
 */
export function formatPlace(place: Place): string {
  return "path" in place
    ? `${UNIX}${place.path}`
    : formatHostPort(place.hostname, place.port);
}

/** A flag that takes an address or a Unix socket to listen on, or is off. */
export function placeFlag(
  common: Omit<Common<undefined>, "default" | "shown">,
): ValueFlag<Place | undefined> {
  return flag(
    "HOST:PORT|unix:PATH",
    "HOST:PORT or [IPV6]:PORT with a port from 0 to 65535, " +
      `or unix:PATH with ${LISTEN_PATH_FORM}`,
    { ...common, default: undefined, shown: "off" },
    (text) => {
      if (text.startsWith(UNIX)) {
        const path = text.slice(UNIX.length);
        return isListenPath(path) ? { path } : undefined;
      }
      const [, ipv6, name, digits] =
        /^(?:\[([^\]]+)\]|([^\s:/[\]]+)):(\d{1,5})$/.exec(text) ?? [];
      const port = inRange("port", digits === undefined ? undefined : +digits);
      if (port === undefined) return undefined;
      if (ipv6 !== undefined && !isIPv6(ipv6)) return undefined;
      return { hostname: ipv6 ?? name, port };
    },
  );
}

/** A flag that takes a secret token, or nothing. */
export function tokenFlag(
  common: Omit<Common<string>, "default" | "shown">,
): ValueFlag<string> {
  const value = flag(
    "TOKEN",
    TOKEN_FORM,
    { ...common, default: "", shown: "none" },
    (text) => isToken(text) ? text : undefined,
  );
  return { ...value, secret: true };
}

function flag<Value>(
  placeholder: string,
  expected: string,
  { help, default: value, shown = String(value), env = true }: Common<Value>,
  parse: (text: string) => Value | undefined,
): ValueFlag<Value> {
  return { placeholder, expected, help, default: value, shown, env, parse };
}

function inRange(
  range: keyof typeof ranges,
  value: number | undefined,
): number | undefined {
  const [least, most] = ranges[range];
  return value !== undefined && value >= least && value <= most
    ? value
    : undefined;
}
