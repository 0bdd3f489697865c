/** Checks of options that more than one part has. */

import { OptionError } from "./errors.ts";

const GIB = 1024 ** 3;

/** What a timer holds, in milliseconds: about 24 days. */
const MAX_TIMEOUT = 2 ** 31 - 1;

/** The ranges of the numeric options, ends included. */
export const ranges = Object.freeze({
  port: [0, 65_535],
  unixMode: [0, 0o777],
  tcpBacklog: [1, 2 ** 31 - 1],
  maxFrame: [1, GIB],
  maxReply: [1, GIB],
  maxConnections: [0, 2 ** 31 - 1],
  maxConnectionsPerIp: [0, 2 ** 31 - 1],
  maxMemory: [0, 1024 * GIB],
  maxBuffered: [0, 1024 * GIB],
  ipPrefix: [1, 128],
  idleTimeout: [0, MAX_TIMEOUT],
  requestTimeout: [0, MAX_TIMEOUT],
  writeTimeout: [0, MAX_TIMEOUT],
  slowRequest: [0, MAX_TIMEOUT],
  drainTimeout: [0, MAX_TIMEOUT],
  preDrainDelay: [0, MAX_TIMEOUT],
  timeout: [0, MAX_TIMEOUT],
  threads: [1, 256],
});

/** @throws {OptionError} It is not a whole number in the option's range. */
export function checkNumber(option: keyof typeof ranges, value: number) {
  return checkRange(option, ranges[option], value);
}

export function checkRange(
  option: string,
  [least, most]: readonly number[],
  value: number,
): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  const expected = `a whole number from ${least} to ${most}`;
  throw new OptionError(option, value, expected);
}

export function checkHostname(hostname: unknown): string {
  if (typeof hostname === "string" && hostname !== "") return hostname;
  throw new OptionError("hostname", hostname, "an address or a host name");
}

export function checkOneOf<Word>(
  option: string,
  word: Word,
  words: readonly Word[],
): Word {
  if (words.includes(word)) return word;
  throw new OptionError(option, word, `one of ${words.join(", ")}`);
}

/** Refuses options that mean nothing where they stand, such as beside `path`. */
export function refuse(
  options: object,
  names: readonly string[],
  where: string,
): void {
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || !names.includes(name)) continue;
    throw new OptionError(name, value, `no such option ${where}`);
  }
}

/** What `typeof` says of an option's value, or its class; 0 is not looked at. */
export type Kind =
  | (0 | "boolean" | "function" | "string")
  | typeof Array
  | NewableFunction;

/**
 * Refuses options whose names nobody knows, as they would do nothing, and values
 * of another kind.
 *
 * @param what What all of them together are called, and may be.
 */
export function checkOptions<Options extends object>(
  options: Options,
  known: Readonly<Record<keyof Options, Kind>>,
  what = "options",
  expected = "an object",
): void {
  if (typeof options !== "object" || !options || Array.isArray(options)) {
    throw new OptionError(what, options, expected);
  }
  for (const [name, value] of Object.entries(options)) {
    if (!Object.hasOwn(known, name)) {
      const names = Object.keys(known).join(", ");
      throw new OptionError(name, value, `no such option, but one of ${names}`);
    }
    const kind: Kind = known[name as keyof Options];
    if (kind === 0 || value === undefined) continue;
    const type = typeof value;
    const isWord = typeof kind === "string";
    if (isWord ? type === kind : value instanceof kind) continue;
    const wanted = `a value of type ${isWord ? kind : kind.name}`;
    throw new OptionError(name, value, wanted);
  }
}
