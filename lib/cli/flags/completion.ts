/** Completion for shells, made from the flags of a program's commands. */

import { VERSION } from "../../core/version.ts";
import {
  type Command,
  commonFlags,
  dashed,
  HELP_LINE,
  helpOf,
  parseFlags,
  refuse,
} from "./flags.ts";

/** A program's commands by their first word; `""` is the one without. */
type Commands = Readonly<Record<string, Command>>;

export const completionHelp = (program: string): string =>
  `Usage: ${program} completion [flags] bash|zsh|fish

Prints a script with which a shell completes commands, flags and their values.

  source <(${program} completion bash)      in ~/.bashrc
  source <(${program} completion zsh)       in ~/.zshrc, after compinit
  ${program} completion fish | source       in ~/.config/fish/config.fish

--version  print the version and end
--help  print this and end

Exit codes: 0 done, 2 wrong command line.`;

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
    `${program} completion is given, expected one of bash, zsh, fish after it`,
  );
}

/** The flags of a command, as the scripts need them. */
function flagsOf({ flags, help }: Command) {
  const texts = new Map(
    Array.from(help.matchAll(HELP_LINE), ([, name, text]) => [name, text]),
  );
  return Object.entries(flags).map(([name, { short, placeholder }]) => {
    const words = placeholder?.split("|");
    const isChoice = words?.every((word) => /^[a-z\d.-]+$/.test(word));
    return {
      names: short ? [dashed(short), dashed(name)] : [dashed(name)],
      text: quote(texts.get(name) ?? ""),
      takesFile: /^(FILE|PATH)$/.test(placeholder ?? ""),
      /** The words to choose from, if any; nothing where it takes no value. */
      values: words && quote(isChoice ? words.join(" ") : ""),
    };
  });
}

const quote = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;

function bash(program: string, { "": plain, ...others }: Commands): string {
  const branches = Object.entries({ ...others, "*": plain })
    .map(([name, command]) => {
      const flags = flagsOf(command);
      const cases = flags.filter(({ values }) => values !== undefined)
        .map(({ names, takesFile, values }) =>
          `  ${names.join("|")}) words=${values} files=${takesFile ? 1 : ""} ;;`
        );
      const all = flags.flatMap(({ names }) => names).join(" ");
      return `  ${name}) case $before in
${cases.join("\n")}
  *) words=${quote(all)} ;;
  esac ;;`;
    });
  return `_${program}() {
  local word=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]}
  local words files=
  if [ "$word" = = ]; then word=; fi
  if [ "$before" = = ]; then before=\${COMP_WORDS[COMP_CWORD-2]}; fi
  case \${COMP_WORDS[1]} in
${branches.join("\n")}
  esac
  if [ "$COMP_CWORD" = 1 ]; then
    words="$words ${Object.keys(others).join(" ")}"
  fi
  COMPREPLY=($(compgen \${files:+-f} -W "$words" -- "$word"))
}
complete -F _${program} ${program}`;
}

function fish(program: string, commands: Commands): string {
  const words = Object.keys(commands).filter(Boolean).join(" ");
  const first = '"$(commandline -opc)[2]"';
  const lines = Object.entries(commands).flatMap(([name, command]) => {
    const condition = name === ""
      ? `not contains -- ${first} ${words}`
      : `test ${first} = ${name}`;
    return flagsOf(command).map(({ names, text, takesFile, values }) => {
      const as = names.map((name) =>
        name.replace(/^--?/, (dashes) => dashes === "-" ? "-s " : "-l ")
      ).join(" ");
      const takes = takesFile ? "-rF" : values ? `-xa ${values}` : "";
      return `-n ${quote(condition)} ${as} ${takes} -d ${text}`;
    });
  });
  const isFirst = "test (count (commandline -opc)) -eq 1";
  return ["-f", `-n '${isFirst}' -a '${words}'`, ...lines]
    .map((line) => `complete -c ${program} ${line}`).join("\n");
}
