/** Command-line flags from a table, each with its twin in the environment. */

// @ts-types="../std.d.ts"
import { parseArgs } from "@std/cli";
// @ts-types="../std.d.ts"
import { closestString } from "@std/text";

import { quote } from "../../core/text.ts";

export class UsageError extends Error {
  override name = "UsageError";
}

export interface ValueFlag<Value> {
  readonly placeholder: string;
  readonly default: Value;
  readonly shown?: string;
  /** What is allowed, as a noun phrase. */
  readonly expected: string;
  readonly secret?: boolean;
  /** Whether it keeps somebody out: an empty twin is a mistake, then. */
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

export interface CommandLine<Table extends FlagTable> {
  readonly flags: FlagValues<Table>;
  /**
   * Where each value that is no default comes from, by the flag's name: such as
   * `--max-frame`, `PARLEY_MAX_FRAME` or `-z`.
   */
  readonly given: ReadonlyMap<string, string>;
  readonly rest: readonly string[];
}

/**
 * Reads a command line. A flag beats its twin in the environment, where `env`
 * reads that. Of a flag that is given twice the last counts, or it is refused
 * where there are twins: nobody types such a command line for once.
 */
export function parseFlags<Table extends FlagTable>(
  table: Table,
  args: readonly string[],
  env?: (name: string) => string | undefined,
): CommandLine<Table> {
  const names = Object.keys(table);
  const { joined, written, twice } = joinValues(table, args);
  if (env !== undefined && twice !== undefined) {
    refuse(`${twice} is given twice, expected only once`);
  }
  const parsed = parseArgs(joined, {
    // "_" keeps what is no flag from being read as numbers.
    string: ["_", ...names.filter((name) => !isSwitch(table, name))],
    boolean: names.filter((name) => isSwitch(table, name)),
    "--": true,
    unknown(arg, key) {
      if (key === undefined) return true;
      refuse(`unknown flag ${quote(arg)} (try --help)`);
    },
  });
  const values: Record<string, unknown> = {};
  const given = new Map<string, string>();
  for (const [name, flag] of Object.entries(table)) {
    if (flag.placeholder === undefined) {
      values[name] = parsed[name] === true;
      continue;
    }
    values[name] = flag.default;
    // Whoever asks for help may need it for the value that is wrong.
    if (parsed.help === true || parsed.version === true) continue;
    let source = written.get(name) ?? dashed(name);
    let text = parsed[name] as string | undefined;
    if (text === undefined && env !== undefined) {
      source = envName(name);
      text = env(source);
      // An empty variable is how many shells and unit files unset one.
      if (text === "" && !flag.guards) text = undefined;
    }
    if (text === undefined) continue;
    given.set(name, source);
    values[name] = flag.parse(text);
    if (values[name] !== undefined) continue;
    const shown = flag.secret ? "not allowed" : quote(text);
    refuse(`${source} is ${shown}, expected ${flag.expected}`);
  }
  return {
    flags: values as FlagValues<Table>,
    given,
    rest: [...parsed._.map(String), ...parsed["--"] ?? []],
  };
}

/**
 * Writes `--name value` as `--name=value`, so that a value may begin with a
 * dash and be told as what it is: a bad value, not an unknown flag. A letter
 * becomes the name that it stands for; `written` says what stood there.
 */
function joinValues(table: FlagTable, args: readonly string[]) {
  const joined: string[] = [];
  const written = new Map<string, string>();
  let twice: string | undefined;
  const names = new Map<string, string>();
  for (const [name, { short = name }] of Object.entries(table)) {
    for (const as of [`--${name}`, dashed(short)]) names.set(as, name);
  }
  for (let i = 0; i < args.length; i++) {
    let arg = args[i];
    if (arg === "--") {
      joined.push(...args.slice(i));
      break;
    }
    // Letters may be written in one, as in -qP16: each is looked at by itself.
    for (; /^-\w[^=]/.test(arg); arg = `-${arg.slice(2)}`) {
      const name = names.get(arg.slice(0, 2));
      if (name === undefined || !isSwitch(table, name)) break;
      joined.push(dashed(name));
    }
    // The value of a letter may follow it at once, as in -c50.
    const [, as, equals, value] = /^(--[^=]+|-[^-=])(=?)(.*)$/s.exec(arg) ?? [];
    const name = names.get(as);
    if (name === undefined) {
      joined.push(arg);
    } else if (isSwitch(table, name)) {
      if (equals !== "") refuse(`${as} is ${quote(value)}, expected no value`);
      joined.push(value === "" ? dashed(name) : arg);
    } else {
      if (written.has(name)) twice ??= as;
      written.set(name, as);
      const next = args[i + 1] ?? "--";
      const taken = equals + value === "" && !next.startsWith("--");
      joined.push(`--${name}=${taken ? next : value}`);
      if (taken) i++;
    }
  }
  return { joined, written, twice };
}

function isSwitch(table: FlagTable, name: string): boolean {
  return Object.hasOwn(table, name) && table[name].placeholder === undefined;
}

/** As wide as a terminal always is. */
const COLUMNS = 80;

/** Flags that take more room than this have a line of their own. */
const LEFT_COLUMNS = 24;

/** A line of a help text that is about a flag: its name, and words. */
export const HELP_LINE = /^--?([\w-]+) +(.+)$/gm;

/** Puts what the table knows into the lines of a help text that name a flag. */
export function helpOf(table: FlagTable, text: string): string {
  return text.replace(HELP_LINE, (line, name, words) => {
    if (!Object.hasOwn(table, name)) return line;
    const { short, ...flag } = table[name];
    const letter = short === undefined ? "" : `-${short}, `;
    let left = `  ${letter}${dashed(name)}`;
    const pieces: string[] = words.split(" ");
    if (flag.placeholder !== undefined) {
      left += ` ${flag.placeholder}`;
      const value = flag.shown ?? flag.default;
      if (value !== "none") pieces.push(`(default ${value})`);
    }
    const lines = left.length > LEFT_COLUMNS ? [left] : [];
    let row = lines.length > 0 ? "" : left;
    for (const piece of pieces) {
      if (row.length + piece.length >= COLUMNS) {
        lines.push(row);
        row = "";
      }
      row = `${row.padEnd(LEFT_COLUMNS + 1)} ${piece}`;
    }
    return [...lines, row].join("\n");
  });
}

/** The client's, and no twin. */
const HISTORY = "PARLEY_HISTORY";

/** Says of names of variables that look like twins, and are none. */
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
