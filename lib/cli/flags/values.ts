/** The kinds of values that flags take. */

import { isIPv6 } from "node:net";

import { connectDefaults } from "../../client/connect.ts";
import { formatHostPort, type Place } from "../../core/address.ts";
import { ranges } from "../../core/checks.ts";
import { CIDR_FORM, CidrList } from "../../core/cidr.ts";
import * as units from "../../core/units.ts";
import {
  FRAMING_FORM,
  type FramingName,
  parseFraming,
} from "../../framing/mod.ts";
import { isListenPath, LISTEN_PATH_FORM } from "../../net/unix.ts";
import { defaults } from "../../server/options.ts";
import { ALPN_FORM, checkAlpn } from "../../tls/settings.ts";
import { refuse, type ValueFlag } from "./flags.ts";

/** An option that is a number in a range. */
type Option = keyof typeof ranges;

const usual: Readonly<Record<Option, number>> = {
  ...defaults,
  timeout: connectDefaults.timeout,
  threads: 1,
};

/** A flag that takes a text if it `fits`; without it, that is empty. */
export function textFlag(
  placeholder: string,
  expected: string,
  fits = (text: string) => text !== "",
): ValueFlag<string> {
  const parse = (text: string) => fits(text) ? text : undefined;
  return { placeholder, expected, default: "", shown: "none", parse };
}

/** The flags of a program's own certificate. */
export const certificateFlags = {
  "tls-cert": textFlag("FILE", "the file of a certificate in PEM"),
  "tls-key": textFlag("FILE", "the file of its private key in PEM"),
};

/** @throws {UsageError} One of them is given without the other. */
export function checkCertificateFlags(given: ReadonlyMap<string, string>) {
  if (given.has("tls-cert") === given.has("tls-key")) return;
  const missing = given.has("tls-cert") ? "key" : "cert";
  refuse(`--tls-${missing} is missing, expected a certificate and its key`);
}

export function cidrsFlag(shown: string): ValueFlag<string> {
  const expected = `a list, separated by commas, of ${CIDR_FORM}`;
  const parse = (text: string) => new CidrList("", text);
  const fits = (text: string) => Boolean(unlessRefused(parse, text));
  return { ...textFlag("CIDR,…", expected, fits), shown, guards: true };
}

/** Calls what throws at a wrong text, and gives nothing then. */
function unlessRefused<Value>(parse: (text: string) => Value, text: string) {
  try {
    return parse(text);
  } catch {
    return undefined;
  }
}

export const framingFlag: ValueFlag<FramingName> = {
  placeholder: "NAME",
  expected: FRAMING_FORM,
  default: defaults.framing,
  parse: (text) => parseFraming(text)?.name as FramingName | undefined,
};

export function choiceFlag<Word extends string>(
  words: readonly Word[],
  value: Word,
): ValueFlag<Word> {
  return {
    placeholder: words.join("|"),
    expected: `one of ${words.join(", ")}`,
    default: value,
    parse: (text) => words.find((word) => word === text),
  };
}

export function countFlag<Default extends number | undefined>(
  [least, most]: readonly number[],
  value: Default,
): ValueFlag<number | Default> {
  return {
    placeholder: "N",
    expected: `a whole number from ${least} to ${most}`,
    default: value,
    parse: (text) =>
      /^\d+$/.test(text) ? inRange([least, most], Number(text)) : undefined,
  };
}

export function numberFlag(option: Option): ValueFlag<number> {
  return countFlag(ranges[option], usual[option]);
}

const threads = numberFlag("threads");

export const threadsFlag: ValueFlag<number> = {
  ...threads,
  placeholder: "N|auto",
  expected: `${threads.expected}, or auto`,
  parse: (text) =>
    text === "auto"
      ? Math.min(navigator.hardwareConcurrency, ranges.threads[1])
      : threads.parse(text),
};

export function sizeFlag(
  option: Option,
  value: number = usual[option],
): ValueFlag<number> {
  const [least, most] = ranges[option];
  return {
    placeholder: "SIZE",
    expected: `${units.SIZE_FORM}, from ${least} to ${most} bytes`,
    default: value,
    shown: units.formatSize(value),
    parse: (text) => inRange(ranges[option], units.parseSize(text)),
  };
}

export function durationFlag(option: Option): ValueFlag<number> {
  return {
    placeholder: "TIME",
    expected: `${units.DURATION_FORM}, or 0 for no limit`,
    default: usual[option],
    shown: units.formatDuration(usual[option]),
    parse: (text) => inRange(ranges[option], units.parseDuration(text)),
  };
}

const isRate = (text: string) =>
  text === "0" || units.parseRate(text) !== undefined;

export const rateFlag: ValueFlag<string> = {
  ...textFlag("RATE", `${units.RATE_FORM}, or 0 for no limit`, isRate),
  shown: "0",
};

export const spanFlag: ValueFlag<number | undefined> = {
  placeholder: "TIME",
  expected: `${units.DURATION_FORM}, and more than 0`,
  default: undefined,
  shown: "none",
  parse: (text) =>
    inRange(ranges.timeout, units.parseDuration(text)) || undefined,
};

export const patternFlag: ValueFlag<RegExp | undefined> = {
  placeholder: "REGEX",
  expected: "a regular expression of JavaScript",
  default: undefined,
  shown: "none",
  // An empty one matches all replies: most likely its value was forgotten.
  parse: (text) =>
    unlessRefused(() => text ? new RegExp(text, "su") : undefined, text),
};

export const modeFlag: ValueFlag<number> = {
  placeholder: "MODE",
  expected: "a file's permissions in octal, from 0000 to 0777",
  default: defaults.unixMode,
  shown: `0${defaults.unixMode.toString(8)}`,
  parse: (text) => /^0?[0-7]{3}$/.test(text) ? parseInt(text, 8) : undefined,
};

export const alpnFlag: ValueFlag<string[]> = {
  placeholder: "NAME,…",
  expected: ALPN_FORM,
  default: [],
  shown: "none",
  parse: (text) => unlessRefused(() => checkAlpn(text.split(",")), text),
};

/** Tells the path of a Unix socket from an address. */
const UNIX = "unix:";

export function formatPlace(place: Place): string {
  return "path" in place
    ? `${UNIX}${place.path}`
    : formatHostPort(place.hostname, place.port);
}

export const placeFlag: ValueFlag<Place | undefined> = {
  placeholder: "HOST:PORT|unix:PATH",
  expected: "HOST:PORT or [IPV6]:PORT with a port from 0 to 65535, " +
    `or unix:PATH with ${LISTEN_PATH_FORM}`,
  default: undefined,
  shown: "off",
  parse(text) {
    if (text.startsWith(UNIX)) {
      const path = text.slice(UNIX.length);
      return isListenPath(path) ? { path } : undefined;
    }
    const { hostname, port: digits = "" } = splitHostPort(text) ?? {};
    const port = countFlag(ranges.port, 0).parse(digits);
    if (hostname !== undefined && port !== undefined) return { hostname, port };
  },
};

/** Splits a name or an address (IPv6 in brackets, or alone) from its port. */
export function splitHostPort(
  text: string,
): { hostname: string; port?: string } | undefined {
  if (isIPv6(text)) return { hostname: text };
  const [, ipv6 = "", name, port] =
    /^(?:\[([^\]]+)\]|([^\s:/[\]]+))(?::([^:/]*))?$/.exec(text) ?? [];
  const hostname = isIPv6(ipv6) ? ipv6 : name;
  return hostname === undefined ? undefined : { hostname, port };
}

function inRange([least, most]: readonly number[], value = NaN) {
  return value >= least && value <= most ? value : undefined;
}
