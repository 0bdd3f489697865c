/** Completion for shells, made from the flags of a program's commands. */

import { VERSION } from "../../core/version.ts";
import {
  commonFlags,
  dashed,
  type FlagTable,
  HELP_LINE,
  helpOf,
  parseFlags,
  refuse,
} from "./flags.ts";

/** A program's commands by their first word; `""` is what has none. */
type Commands = Readonly<
  Record<string, { readonly flags: FlagTable; readonly help: string }>
>;

export const completionHelp = (program: string): string =>
  `Usage: ${program} completion [flags] bash|zsh|fish

Prints a script that has a shell complete commands, flags and their values.

  source <(${program} completion bash)      in ~/.bashrc
  source <(${program} completion zsh)       in ~/.zshrc, behind compinit
  ${program} completion fish | source       in ~/.config/fish/config.fish

--version  print the version and end
--help  print this and end

Exit codes: 0 done, 2 usage.`;

const shells: Readonly<
  Record<string, (program: string, commands: Commands) => string>
> = {
  bash,
  zsh: (...args) =>
    `autoload -U +X bashcompinit && bashcompinit\n${bash(...args)}`,
  fish,
};

/** What the command `completion` of a program prints, by its arguments. */
export function completion(
  program: string,
  commands: Commands,
  args: readonly string[],
): string {
  const { flags, rest: [shell = "", ...more] } = parseFlags(commonFlags, args);
  if (flags.help) return helpOf(commonFlags, commands.completion.help);
  if (flags.version) return `parley ${VERSION}`;
  if (Object.hasOwn(shells, shell) && more.length === 0) {
    return shells[shell](program, commands);
  }
  refuse(
    `${program} completion is given, expected one of bash, zsh, fish behind it`,
  );
}

/** What a value may be: words, the name of a file, or something else. */
function valuesOf(placeholder: string): readonly string[] | "file" | "other" {
  if (/^(FILE|PATH)$/.test(placeholder)) return "file";
  const words = placeholder.split("|");
  return words.every((word) => /^[a-z\d.]+$/.test(word)) ? words : "other";
}

const quote = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;

function namesOf([name, { short }]: [string, FlagTable[string]]): string[] {
  return [...short === undefined ? [] : [dashed(short)], dashed(name)];
}

function bash(program: string, { "": plain, ...others }: Commands): string {
  const branches = Object.entries({ ...others, "*": plain })
    .map(([command, { flags }]) => {
      const cases = Object.entries(flags).flatMap(([name, flag]) => {
        if (flag.placeholder === undefined) return [];
        const values = valuesOf(flag.placeholder);
        const does = values === "file"
          ? 'COMPREPLY=($(compgen -f -- "$word")); return'
          : `words=${values === "other" ? "" : quote(values.join(" "))}`;
        return [`  ${namesOf([name, flag]).join("|")}) ${does} ;;`];
      });
      const all = Object.entries(flags).flatMap(namesOf).join(" ");
      return `  ${command}) case $before in\n${cases.join("\n")}\n` +
        `  *) words=${quote(all)} ;;\n  esac ;;`;
    });
  return `_${program}() {
  local word=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]} words
  if [ "$word" = = ]; then word=; fi
  if [ "$before" = = ]; then before=\${COMP_WORDS[COMP_CWORD-2]}; fi
  case \${COMP_WORDS[1]} in
${branches.join("\n")}
  esac
  if [ "$COMP_CWORD" = 1 ]; then words="$words ${
    Object.keys(others).join(" ")
  }"; fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -F _${program} ${program}`;
}

function fish(program: string, commands: Commands): string {
  const names = Object.keys(commands).filter((name) => name !== "");
  const first = "$(commandline -opc)[2]";
  const lines = Object.entries(commands).flatMap(
    ([command, { flags, help }]) => {
      const texts = new Map(
        Array.from(help.matchAll(HELP_LINE), ([, flag, text]) => [flag, text]),
      );
      const condition = command === ""
        ? `not contains -- "${first}" ${names.join(" ")}`
        : `test "${first}" = ${command}`;
      return Object.entries(flags).map(([name, flag]) => {
        const values = flag.placeholder && valuesOf(flag.placeholder);
        const takes = typeof values === "object"
          ? ` -xa ${quote(values.join(" "))}`
          : values && (values === "file" ? " -rF" : " -x");
        const letters = namesOf([name, flag])
          .map((as) => as.replace("--", "-l ").replace(/^-(?=.$)/, "-s "));
        return `-n ${quote(condition)} ${letters.join(" ")}${takes ?? ""} ` +
          `-d ${quote(texts.get(name) ?? "")}`;
      });
    },
  );
  const isFirst = "test (count (commandline -opc)) -eq 1";
  return ["-f", `-n '${isFirst}' -a '${names.join(" ")}'`, ...lines]
    .map((line) => `complete -c ${program} ${line}`).join("\n");
}
