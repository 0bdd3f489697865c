/** The kinds of values that flags take. */

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

type Range = keyof typeof ranges;

/** What all kinds have in common. */
interface Common<Value> {
  help: string;
  default: Value;
  /** How the help shows the default, if not as it is. */
  shown?: string;
}

/** What those have that nothing stands for where they are not given. */
type Unset = Pick<Common<unknown>, "help">;

/** A flag that takes the path of a file, or is not used. */
export function fileFlag(expected: string, common: Unset): ValueFlag<string> {
  return textFlag("FILE", expected, { ...common, default: "", shown: "none" });
}

/** A flag that takes any text but none. */
export function textFlag(
  placeholder: string,
  expected: string,
  common: Common<string>,
): ValueFlag<string> {
  return flag(placeholder, expected, common, (text) => text || undefined);
}

/** A flag that takes a whole number in the range of an option. */
export function numberFlag(range: Range, common: Common<number>) {
  const [least, most] = ranges[range];
  return countFlag(least, most, common);
}

/** A flag that takes a whole number in a range that is no option's. */
export function countFlag<Default extends number | undefined>(
  least: number,
  most: number,
  common: Common<Default>,
): ValueFlag<number | Default> {
  return flag<number | Default>(
    "N",
    `a whole number from ${least} to ${most}`,
    common,
    (text) => within(least, most, wholeNumber(text)),
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
        : within(least, most, wholeNumber(text)),
  );
}

export function sizeFlag(range: Range, common: Common<number>) {
  const [least, most] = ranges[range];
  return flag(
    "SIZE",
    `${SIZE_FORM}, from ${least} to ${most} bytes`,
    common,
    (text) => inRange(range, parseSize(text)),
  );
}

/** A flag that takes a duration; 0 turns its limit off. */
export function durationFlag(range: Range, common: Common<number>) {
  return flag(
    "TIME",
    `${DURATION_FORM}, or 0 for no limit`,
    common,
    (text) => inRange(range, parseDuration(text)),
  );
}

/** A flag that takes how long something goes on, or is not used. */
export function spanFlag(common: Unset): ValueFlag<number | undefined> {
  return flag<number | undefined>(
    "TIME",
    `${DURATION_FORM}, and more than 0`,
    { ...common, default: undefined, shown: "none" },
    (text) => inRange("timeout", parseDuration(text)) || undefined,
  );
}

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

/** A flag that takes the path of a Unix socket, or is not used. */
export function pathFlag(
  expected: string,
  isPath: (path: string) => boolean,
  common: Unset,
): ValueFlag<string> {
  return flag(
    "PATH",
    expected,
    { ...common, default: "", shown: "none" },
    (text) => isPath(text) ? text : undefined,
  );
}

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

export type Place =
  | { readonly hostname: string; readonly port: number }
  | { readonly path: string };

export function formatPlace(place: Place): string {
  return "path" in place
    ? `${UNIX}${place.path}`
    : formatHostPort(place.hostname, place.port);
}

/** A flag that takes an address or a Unix socket to listen on, or is off. */
export function placeFlag(common: Unset): ValueFlag<Place | undefined> {
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

export function tokenFlag(common: Unset): ValueFlag<string> {
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
  { help, default: value, shown = String(value) }: Common<Value>,
  parse: (text: string) => Value | undefined,
): ValueFlag<Value> {
  return { placeholder, expected, help, default: value, shown, parse };
}

function inRange(
  range: Range,
  value: number | undefined,
): number | undefined {
  const [least, most] = ranges[range];
  return within(least, most, value);
}

function within(
  least: number,
  most: number,
  value: number | undefined,
): number | undefined {
  return value !== undefined && value >= least && value <= most
    ? value
    : undefined;
}

function wholeNumber(text: string): number | undefined {
  return /^\d+$/.test(text) ? Number(text) : undefined;
}
