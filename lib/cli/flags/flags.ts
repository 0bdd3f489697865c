/** Command-line flags from a table, each with its twin in the environment. */

// @ts-types="../std.d.ts"
import { parseArgs } from "@std/cli";
// @ts-types="../std.d.ts"
import { closestString } from "@std/text";

import { ParleyError } from "../../core/errors.ts";
import { quote } from "../../core/text.ts";

export class UsageError extends ParleyError {}

export interface ValueFlag<Value> {
  readonly placeholder: string;
  readonly default: Value;
  readonly shown?: string;
  /** What is allowed, as a noun phrase. */
  readonly expected: string;
  readonly secret?: boolean;
  /** Whether it keeps somebody out: then an empty twin is a mistake. */
  readonly guards?: boolean;
  readonly short?: string;
  /** Reads a value; `undefined` means that it is not allowed. */
  parse(text: string): Value | undefined;
}

interface SwitchFlag {
  readonly placeholder?: undefined;
  readonly short?: string;
}

/** What every command has. */
export const commonFlags = {
  version: { short: "V" },
  help: { short: "h" },
} as const satisfies FlagTable;

export function refuse(message: string): never {
  throw new UsageError(message);
}

export function onlyOneOf(one: string, other: string): never {
  refuse(`${one} and ${other} are given, expected only one of them`);
}

export type FlagTable = Readonly<
  Record<string, ValueFlag<unknown> | SwitchFlag>
>;

export type FlagValues<Table extends FlagTable> = {
  readonly [Name in keyof Table]: Table[Name] extends ValueFlag<infer Value>
    ? Value
    : boolean;
};

/** What the first word of a program's command line may ask for. */
export interface Command {
  readonly flags: FlagTable;
  readonly help: string;
  /** Pairs of flags that do not go together. */
  readonly apart?: readonly (readonly [string, string])[];
}

export interface CommandLine<Table extends FlagTable> {
  readonly flags: FlagValues<Table>;
  /** How each flag that is given is written, such as `-z` or `PARLEY_PORT`. */
  readonly given: ReadonlyMap<string, string>;
  readonly rest: readonly string[];
}

/**
 * Reads a command line. A flag beats its twin in the environment, which `env`
 * reads. If a flag is given twice, the last one counts; but with `env` it is
 * refused, since such a command line stands in a file, and is a mistake there.
 */
export function parseFlags<Table extends FlagTable>(
  table: Table,
  args: readonly string[],
  env?: (name: string) => string | undefined,
): CommandLine<Table> {
  const { given, joined } = joinValues(table, args, env !== undefined);
  const parsed = parseArgs(joined, {
    // "_" keeps what is no flag from being read as numbers.
    string: ["_", ...Object.keys(table)],
    "--": true,
    unknown(arg, key) {
      if (key === undefined) return true;
      refuse(`unknown flag ${quote(arg)} (try --help)`);
    },
  });
  // A user with a wrong value may ask for help because of it.
  const isAsking = given.has("help") || given.has("version");
  const flags = Object.entries(table).map(([name, flag]) => {
    if (flag.placeholder === undefined) return [name, given.has(name)];
    if (isAsking) return [name, flag.default];
    let text = parsed[name] as string | undefined;
    if (text === undefined && env !== undefined) {
      text = env(envName(name));
      // An empty variable is how many shells and unit files unset one.
      if (text === "" && !flag.guards) text = undefined;
      if (text !== undefined) given.set(name, envName(name));
    }
    if (text === undefined) return [name, flag.default];
    const value = flag.parse(text);
    if (value !== undefined) return [name, value];
    const shown = flag.secret ? "not allowed" : quote(text);
    refuse(`${given.get(name)} is ${shown}, expected ${flag.expected}`);
  });
  const rest = [...parsed._, ...parsed["--"]];
  return { flags: Object.fromEntries(flags), given, rest };
}

/**
 * Writes a value as `--name=value`, so that it may begin with a dash and be told
 * as what it is: a bad value, not an unknown flag. `given` says how each flag is
 * written.
 */
function joinValues(
  table: FlagTable,
  args: readonly string[],
  onlyOnce: boolean,
) {
  const names = new Map<string, string>();
  for (const [name, { short = name }] of Object.entries(table)) {
    for (const as of [`--${name}`, dashed(short)]) names.set(as, name);
  }
  const given = new Map<string, string>();
  const joined: string[] = [];
  const rest = [...args];
  while (rest.length > 0 && rest[0] !== "--") {
    const arg = rest.shift()!;
    // The value of a letter may follow it at once, as in -c50.
    const [, as, value] = /^(--[^=]+|-[^-=])(.*)$/s.exec(arg) ?? [];
    const name = names.get(as);
    if (name === undefined) {
      joined.push(arg);
      continue;
    }
    if (table[name].placeholder !== undefined) {
      if (onlyOnce && given.has(name)) {
        refuse(`${as} is given twice, expected only once`);
      }
      const isNext = value === "" && !(rest[0] ?? "--").startsWith("--");
      const text = isNext ? rest.shift() : value.replace(/^=/, "");
      joined.push(`--${name}=${text}`);
    } else if (/^\w/.test(value)) {
      // Letters may be written in one, as in -qP16.
      rest.unshift(`-${value}`);
    } else if (value !== "") {
      refuse(`${as} is ${quote(value.replace(/^=/, ""))}, expected no value`);
    }
    given.set(name, as);
  }
  return { given, joined: [...joined, ...rest] };
}

/** The width that every terminal has. */
const COLUMNS = 80;

/** A flag that is longer has a line of its own. */
const LEFT_COLUMNS = 24;

/** A line of a help text about a flag: its name, and words. */
export const HELP_LINE = /^--?([\w-]+) +(.+)$/gm;

/** Completes the lines of a help text that name a flag, from the table. */
export function helpOf(table: FlagTable, text: string): string {
  return text.replace(HELP_LINE, (line, name, words) => {
    if (!Object.hasOwn(table, name)) return line;
    const flag = table[name];
    let row = `  ${flag.short ? `-${flag.short}, ` : ""}${dashed(name)}`;
    const pieces: string[] = words.split(" ");
    if (flag.placeholder !== undefined) {
      row += ` ${flag.placeholder}`;
      const value = flag.shown ?? flag.default;
      if (value !== "none") pieces.push(`(default ${value})`);
    }
    let rows = "";
    for (const [i, piece] of pieces.entries()) {
      const most = i === 0 ? LEFT_COLUMNS : COLUMNS - piece.length - 1;
      if (row.length > most) {
        rows += `${row}\n`;
        row = "";
      }
      row = `${row.padEnd(LEFT_COLUMNS + 1)} ${piece}`;
    }
    return rows + row;
  });
}

/** A variable of the client, and the twin of no flag. */
const HISTORY = "PARLEY_HISTORY";

/** Gives a warning for each variable that looks like a twin, but is none. */
export function unknownTwins(
  table: FlagTable,
  variables: readonly string[],
): string[] {
  const known = Object.entries(table)
    .filter(([, { placeholder }]) => placeholder !== undefined)
    .map(([name]) => envName(name));
  return variables
    .filter((name) => /^PARLEY_/.test(name) && name !== HISTORY)
    .filter((name) => !known.includes(name))
    .map((name) =>
      `${name} is unknown: the nearest is ${closestString(name, known)}`
    );
}

/** The name of a flag's twin in the environment, such as `PARLEY_MAX_FRAME`. */
export function envName(name: string): string {
  return "PARLEY_" + name.toUpperCase().replaceAll("-", "_");
}

export function dashed(name: string): string {
  return name.length === 1 ? `-${name}` : `--${name}`;
}
