/**
 * Command-line flags from a table, each with its default, its twin in the
 * environment, and one clear line for a bad value.
 */

import { parseArgs, type ParseArgsOptionsConfig } from "node:util";

import { quote } from "../../core/text.ts";

/** The command line is not right; the message says what is expected. */
export class UsageError extends Error {
  override name = "UsageError";
}

/** A flag that takes a value. */
export interface ValueFlag<Value> {
  /** What stands for the value in the help. */
  readonly placeholder: string;
  readonly help: string;
  readonly default: Value;
  /** How the help shows the default, if not as it is. */
  readonly shown?: string;
  /** What is allowed, as a noun phrase. */
  readonly expected: string;
  /** Whether no message may show its value. */
  readonly secret?: boolean;
  /** A letter that it may be given by as well. */
  readonly short?: string;
  /** Reads a value; `undefined` means that it is not allowed. */
  parse(text: string): Value | undefined;
}

/** A flag that is there or not. */
interface SwitchFlag {
  readonly help: string;
  readonly short?: undefined;
  /** Tells it from a flag with a value. */
  readonly placeholder?: undefined;
}

export function onlyOneOf(one: string, other: string): never {
  throw new UsageError(
    `${one} and ${other} are given, expected only one of them`,
  );
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
   * `--max-frame` or `PARLEY_MAX_FRAME`, or its letter if that was given.
   */
  readonly given: ReadonlyMap<string, string>;
  /** What is no flag, and all that stands behind `--`. */
  readonly rest: readonly string[];
}

/**
 * Reads a command line. A flag beats its twin in the environment, where `env`
 * reads that; of a flag that is given twice, the last counts.
 *
 * @throws {UsageError} A flag is unknown, or a value is not allowed.
 */
export function parseFlags<Table extends FlagTable>(
  table: Table,
  args: readonly string[],
  env?: (name: string) => string | undefined,
): CommandLine<Table> {
  const values: Record<string, unknown> = {};
  const written = new Map<string, [source: string, text: string]>();
  const rest: string[] = [];
  for (const token of tokensOf(table, args)) {
    if (token.kind === "positional") rest.push(token.value);
    if (token.kind !== "option") continue;
    const { name, rawName, value = "", inlineValue } = token;
    const arg = args[token.index];
    if (!Object.hasOwn(table, name)) {
      throw new UsageError(`unknown flag ${quote(arg)} (try --help)`);
    }
    if (table[name].placeholder !== undefined) {
      // A letter's value may follow it at once, or behind a sign: -c50, -c=50.
      const isLetter = rawName.length === 2 && inlineValue;
      written.set(name, [rawName, isLetter ? value.replace(/^=/, "") : value]);
    } else if (arg.startsWith(`${rawName}=`)) {
      const given = quote(arg.slice(rawName.length + 1));
      throw new UsageError(`${dashed(name)} is ${given}, expected no value`);
    } else {
      values[name] = true;
    }
  }
  // Whoever asks for help may need it for the value that is wrong.
  const asked = values.help === true || values.version === true;
  const given = new Map<string, string>();
  for (const [name, flag] of Object.entries(table)) {
    if (flag.placeholder === undefined) {
      values[name] ??= false;
      continue;
    }
    values[name] = flag.default;
    const twin = envName(name);
    // An empty variable is how many shells and unit files unset one.
    const [source, text] = written.get(name) ??
      [twin, env?.(twin) || undefined];
    if (text === undefined || asked) continue;
    given.set(name, source);
    values[name] = valueOf(flag, source, text);
  }
  return { flags: values as FlagValues<Table>, given, rest };
}

/** Takes arguments apart. A value may begin with a dash, but not with two. */
function tokensOf(table: FlagTable, args: readonly string[]) {
  const options: ParseArgsOptionsConfig = {};
  for (const [name, { placeholder, short }] of Object.entries(table)) {
    options[name] = { type: placeholder === undefined ? "boolean" : "string" };
    const letter = name.length === 1 ? name : short;
    if (letter !== undefined) options[name].short = letter;
  }
  const { tokens = [] } = parseArgs({
    args: [...args],
    options,
    allowPositionals: true,
    strict: false,
    tokens: true,
  });
  const lacking = tokens.find((token) =>
    token.kind === "option" && token.inlineValue === false &&
    token.value.startsWith("--")
  );
  if (lacking === undefined) return tokens;
  // It has no value: what follows is a flag, or ends the flags.
  const { index } = lacking;
  return tokensOf(table, args.with(index, `${args[index]}=`));
}

function valueOf(flag: ValueFlag<unknown>, source: string, text: string) {
  const value = flag.parse(text);
  if (value !== undefined) return value;
  const shown = flag.secret ? "not allowed" : quote(text);
  throw new UsageError(`${source} is ${shown}, expected ${flag.expected}`);
}

/** The help text of a table; `twins` names those in the environment too. */
export function flagHelp(table: FlagTable, twins = false): string {
  const rows = Object.entries(table).map(([name, flag]) => {
    if (flag.placeholder === undefined) return [dashed(name), flag.help];
    const twin = twins ? `, ${envName(name)}` : "";
    const letter = flag.short === undefined ? "" : `-${flag.short}, `;
    return [
      `${letter}${dashed(name)} ${flag.placeholder}`,
      `${flag.help} (default ${flag.shown ?? flag.default}${twin})`,
    ];
  });
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`)
    .join("\n");
}

/** The name of a flag's twin in the environment, such as `PARLEY_MAX_FRAME`. */
export function envName(name: string): string {
  return "PARLEY_" + name.toUpperCase().replaceAll("-", "_");
}

/** A flag's name as it is written. */
export function dashed(name: string): string {
  return name.length === 1 ? `-${name}` : `--${name}`;
}
