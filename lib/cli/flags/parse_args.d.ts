// Types of what Parley uses of @std/cli, whose npm build comes without any.

export interface ParseOptions {
  string?: readonly string[];
  boolean?: readonly string[];
  alias?: Readonly<Record<string, string>>;
  "--"?: boolean;
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

export interface Args {
  _: (string | number)[];
  "--"?: string[];
  [name: string]: unknown;
}

export function parseArgs(
  args: readonly string[],
  options?: ParseOptions,
): Args;
