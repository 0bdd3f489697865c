// The pages for people: do they lead somewhere, and name what is there?

import { posix } from "node:path";

import { packages } from "../support/packages.ts";
import { testAllowed } from "../support/permissions.ts";
import { assert, assertEquals, assertMatch } from "../support/std.ts";

import { checkFlags } from "../../bench/check.ts";
import { flagTable as benchTaskFlags } from "../../bench/run.ts";
import config from "../../deno.json" with { type: "json" };
import {
  checkPairs,
  checkRequests,
  commandOf,
  commands as clientCommands,
  type ConnectLine,
  type Line,
  speaksTls,
} from "../../lib/cli/client/flags.ts";
import { parseTarget } from "../../lib/cli/client/target.ts";
import {
  type CommandLine,
  dashed,
  envName,
  type FlagTable,
  parseFlags,
  type ValueFlag,
} from "../../lib/cli/flags/flags.ts";
import { checkTogether, serverFlags } from "../../lib/cli/server/flags.ts";
import {
  closeReasons,
  rejectReasons,
  requestStatuses,
} from "../../lib/events/events.ts";
import { acceptFaults } from "../../lib/events/metrics.ts";
import { commands } from "../../lib/handlers/commands.ts";
import { meanings } from "../../lib/observe/numbers.ts";
import type { RequestInfo } from "../../lib/server/handler.ts";
import { serveOptions } from "../../lib/server/config.ts";

/** The most lines of the README: what is read in ten minutes. */
const MOST_LINES = 200;

/** Folders with what is made, or fetched. */
const SKIPPED = /^(\.git|\.denort|\.output|\.build|node_modules|target)$/;

/** Flags of other programs that the pages name, by program. */
const OTHERS: Readonly<Record<string, readonly string[]>> = {
  deno: [
    ...["allow-env", "allow-net", "allow-read", "allow-run", "allow-write"],
    ...["allow-all", "check", "doc", "entrypoint", "filter"],
    ...["frozen", "lock", "v8-flags"],
  ],
  v8: ["max-semi-space-size", "optimize-for-size"],
  curl: ["unix-socket"],
  "redis-cli": [
    ...["cacert", "latency", "latency-history", "no-raw", "pipe", "raw", "sni"],
  ],
  oha: ["disable-keepalive", "latency-correction", "no-tui"],
};

const clientTables = Object.values(clientCommands).map(({ flags }) => flags);

const ROOT = new URL("../../", import.meta.url);

/** A page, and what is in it. */
interface Page {
  readonly path: string;
  readonly text: string;
  /** The text without blocks of code. */
  readonly plain: string;
  /** The text without pieces of code either. */
  readonly prose: string;
  /** Where links may lead to on this page. */
  readonly anchors: readonly string[];
}

function readPage(path: string): Page {
  const text = read(path);
  const plain = text.replaceAll(/^```.*?^```$/gms, "");
  const prose = plain.replaceAll(/`[^`]*`/g, "");
  return { path, text, plain, prose, anchors: anchorsOf(plain) };
}

/** The anchors of headings, as GitHub makes them. */
function anchorsOf(text: string): string[] {
  const anchors: string[] = [];
  for (const [, heading] of text.matchAll(/^#+ (.+)$/gm)) {
    const base = heading.trim().toLowerCase()
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1")
      .replaceAll(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-");
    let anchor = base;
    for (let n = 1; anchors.includes(anchor); n++) anchor = `${base}-${n}`;
    anchors.push(anchor);
  }
  return anchors;
}

function read(path: string): string {
  return Deno.readTextFileSync(new URL(path, ROOT));
}

function isThere(path: string): boolean {
  try {
    Deno.statSync(new URL(path, ROOT));
    return true;
  } catch (error) {
    // Below a file there is nothing, either: `server/` beside the executable.
    if (error instanceof Deno.errors.NotFound) return false;
    if (error instanceof Deno.errors.NotADirectory) return false;
    throw error;
  }
}

function* pagesIn(folder: string): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(new URL(folder, ROOT))) {
    if (isDirectory && !SKIPPED.test(name)) yield* pagesIn(`${folder}${name}/`);
    else if (name.endsWith(".md")) yield folder + name;
  }
}

function* filesIn(folder: string): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(new URL(folder, ROOT))) {
    if (isDirectory) yield* filesIn(`${folder}${name}/`);
    else yield folder + name;
  }
}

/** The cells of the rows of all tables on a page. */
function rowsOf(text: string): string[][] {
  return text.split("\n").filter((line) => /^\|.*\|$/.test(line))
    .map((line) =>
      line.slice(1, -1).split(/(?<!\\)\|/).map((cell) => cell.trim())
    );
}

/** The part of a page under a heading, up to the next one as high. */
function section({ path, text }: Page, heading: string): string {
  const from = text.indexOf(`\n${heading}\n`);
  assert(from !== -1, `${path} has no "${heading}"`);
  const [level] = heading.split(" ", 1);
  const rest = text.slice(from + heading.length + 2);
  const end = rest.search(new RegExp(`^#{1,${level.length}} `, "m"));
  return end === -1 ? rest : rest.slice(0, end);
}

/** Pieces of code in a cell, or in a text. */
function codeIn(text: string): string[] {
  return Array.from(text.matchAll(/`([^`]+)`/g), ([, code]) => code);
}

/** Registers a test of pages: it reads, and does nothing else. */
function testPages(name: string, fn: (pages: Page[]) => void): void {
  testAllowed(name, ["read"], () => fn([...pagesIn("")].sort().map(readPage)));
}

function pageAt(pages: readonly Page[], path: string): Page {
  const page = pages.find((page) => page.path === path);
  assert(page !== undefined, `there is no ${path}`);
  return page;
}

testPages("every link of a page leads to a file, and to a heading", (pages) => {
  const broken = pages.flatMap(({ path, prose }) =>
    Array.from(prose.matchAll(/\]\(([^)\s]+)\)/g), ([, target]) => target)
      .filter((target) => !/^https?:/.test(target))
      .filter((target) => {
        const [file, anchor] = target.split("#");
        const to = file === "" ? path : posix.join(posix.dirname(path), file);
        if (to.startsWith("..") || !isThere(to)) return true;
        return anchor !== undefined &&
          !pages.find((page) => page.path === to)?.anchors.includes(anchor);
      })
      .map((target) => `${path}: ${target}`)
  );
  assertEquals(broken, []);
  const linked = pages.flatMap(({ prose }) => prose.match(/\]\(/g) ?? []);
  assert(linked.length > 50, `${linked.length} links are found`);
});

testPages(
  "every page is in the README's index, or beside its code",
  (pages) => {
    const index = section(pageAt(pages, "README.md"), "## Documents");
    const missing = pages.map(({ path }) => path).filter((path) =>
      path !== "README.md" && !path.startsWith("bench/") &&
      !index.includes(`(${path})`)
    );
    assertEquals(missing, []);
  },
);

testPages("every task that a page names is in deno.json", (pages) => {
  const unknown = pages.flatMap(({ path, text }) =>
    Array.from(text.matchAll(/deno(?:@[\d.]+)? task\s+([\w:-]+)/g))
      .map(([, task]) => task)
      .filter((task) => !Object.hasOwn(config.tasks, task))
      .map((task) => `${path}: deno task ${task}`)
  );
  assertEquals(unknown, []);
});

testPages("every flag that a page names is one of a program's", (pages) => {
  const known = new Set([
    ...[serverFlags, benchTaskFlags, checkFlags, ...clientTables]
      .flatMap((table) => Object.keys(table)),
    ...Object.values(OTHERS).flat(),
  ]);
  const unknown = pages.flatMap(({ path, text }) =>
    Array.from(text.matchAll(/(?<![\w-])--([a-z][\w-]*)/g), ([, name]) => name)
      .filter((name) => !known.has(name))
      .map((name) => `${path}: --${name}`)
  );
  assertEquals(unknown, []);
});

testPages(
  "every command line of the server on a page is one that it takes",
  (pages) => {
    const take = (args: string[]) => {
      const line = parseFlags(serverFlags, args, () => undefined);
      checkTogether(line as CommandLine<typeof serverFlags>);
    };
    const lines = pages.flatMap(({ text }) =>
      Array.from(
        text.matchAll(/^(?:\$ )?(?:\.\/|deno task )server( [^#|&<>\n]*)?/gm),
        ([, args = ""]) => args.trim(),
      )
    );
    assert(lines.length >= 2, `${lines.length} are found`);
    for (const args of lines) take(args === "" ? [] : args.split(/ +/));
    // Pieces of a command line need not be whole, but right.
    const pieces = pages.flatMap(({ path, text }) =>
      codeIn(text.replaceAll(/^```.*?^```$/gms, "")).map((code) => [path, code])
    ).filter(([, code]) => /^--[\w-]+[ =]\S/.test(code));
    assert(pieces.length > 20, `${pieces.length} are found`);
    const wrong = pieces.filter(([, code]) =>
      ![serverFlags, benchTaskFlags, checkFlags, ...clientTables].some(
        (table) => {
          try {
            // What stands for a value is in capitals.
            const args = code.split(/\s+/);
            if (/ [A-Z]{2,}/.test(code)) return args[0].slice(2) in table;
            return parseFlags(table, args).rest.length === 0;
          } catch {
            return false;
          }
        },
      ) && !Object.values(OTHERS).flat().some((name) =>
        code.startsWith(`--${name}`)
      )
    );
    assertEquals(wrong, []);
  },
);

testPages(
  "every command line of the client on a page is one that it takes",
  (pages) => {
    const shown = pages.flatMap(({ text }) =>
      Array.from(text.matchAll(/^```.*?^```$/gms))
        .flatMap(([block]) => Array.from(block.matchAll(/\.\/client (.*)/g)))
    );
    const habits = rowsOf(
      section(pageAt(pages, "docs/client.md"), "## Coming from other tools"),
    ).flatMap(([, , here]) => Array.from(here.matchAll(/`client ([^`]+)`/g)));
    assert(shown.length > 20, `${shown.length} are shown`);
    assert(habits.length > 10, `${habits.length} are habits`);
    for (const [, text] of [...shown, ...habits]) {
      const [words] = text.replace("HOST", "localhost").replace("PORT", "7000")
        .split(/ *[<>|&#)]/, 1);
      takeClientLine(
        Array.from(
          words.matchAll(/'([^']*)'|\S+/g),
          ([word, quoted]) => quoted ?? word,
        ),
      );
    }
  },
);

/** Reads a command line as the client does, without what it would then do. */
function takeClientLine(words: readonly string[]): void {
  const [name, args] = commandOf(words);
  const line = parseFlags<FlagTable>(clientCommands[name].flags, args);
  if (name === "completion") return assertEquals(line.rest.length, 1);
  const connecting = line as unknown as ConnectLine;
  const { scheme, requests } = connecting.flags.unix
    ? { scheme: "unix:", requests: line.rest }
    : parseTarget(line.rest);
  checkPairs(name, line);
  speaksTls(connecting, scheme);
  if (name === "") checkRequests(line as unknown as Line<"">, requests);
}

testPages(
  "each default of a flag that a page tells is the program's",
  (pages) => {
    const said = pages.flatMap(({ path, text }) =>
      Array.from(
        text.matchAll(/`--([\w-]+)`\s\((\d[\d,.]*\s?(?:[KMG]iB|ms|s|m|h)?)\)/g),
        ([, name, value]) => ({ path, name, value }),
      )
    );
    assert(said.length > 0);
    for (const { path, name, value } of said) {
      const flag: ValueFlag<unknown> = Object.hasOwn(serverFlags, name)
        ? serverFlags[name as "port"]
        : clientCommands[""].flags[name as "timeout"];
      assertEquals(
        value.replace(/[,\s]/g, ""),
        String(flag.shown ?? flag.default),
        `${path}: --${name}`,
      );
    }
  },
);

testPages(
  "every metric and variable that a page names is the program's",
  (pages) => {
    const twins = [serverFlags].flatMap((table) =>
      Object.keys(table).map(envName)
    );
    for (const { path, text } of pages) {
      for (
        const [name] of text.matchAll(
          /(?<!\.)\b(?:parley|process)_[a-z_]+[a-z]\b/g,
        )
      ) {
        const known = name.replace(/_(bucket|sum|count)$/, "") in meanings;
        assert(known, `${path}: ${name}`);
      }
      for (const [name] of text.matchAll(/\bPARLEY_[A-Z_]+[A-Z]\b/g)) {
        assert([...twins, "PARLEY_HISTORY"].includes(name), `${path}: ${name}`);
      }
    }
  },
);

testPages("every file of the sources that a page names is there", (pages) => {
  const lost = pages.flatMap(({ path, plain }) =>
    codeIn(plain)
      .filter((code) =>
        /^(bench|deploy|examples|lib|tests|tools)\/[\w./-]+$/.test(code)
      )
      .filter((code) => !code.includes("/.build") && !isThere(code))
      .map((code) => `${path}: ${code}`)
  );
  assertEquals(lost, []);
});

testPages("every module that docs/architecture.md names is there", (pages) => {
  const { text } = pageAt(pages, "docs/architecture.md");
  const names = new Set(text.match(/(?<![.\w/])[\w/]+\.ts\b/g));
  assert(names.size > 20, `${names.size} are found`);
  const all = ["server.ts", "client.ts"]
    .concat(...filesIn("lib/"), ...filesIn("tests/"));
  const lost = [...names].filter((name) =>
    !all.some((file) => `/${file}`.endsWith(`/${name}`))
  );
  assertEquals(lost, []);
});

/** Whether a name is declared in a source, and not only used there. */
function declares(source: string, name: string): boolean {
  const modifiers = "export|static|readonly|protected|private|override|" +
    "abstract|async|get|function|class|const";
  // A method or a function, or else a field.
  const rest = String.raw`(?:(?:<.*>)?\((?:.*\{)?$|[?!]?: | = )`;
  return new RegExp(`^\\s*(?:(?:${modifiers}) )*${name}${rest}`, "m")
    .test(source);
}

testPages(
  "each function that a walk of docs/architecture.md names is in its file",
  (pages) => {
    const page = pageAt(pages, "docs/architecture.md");
    const [, ...walks] = section(page, "## Four walks through the code")
      .split(/^### /m);
    assertEquals(walks.length, 4);
    for (const walk of walks) {
      const [title, ...steps] = walk.split(/^\d+\. /m);
      assert(steps.length > 5, `${steps.length} steps: ${title}`);
      for (const step of steps) {
        const [file, ...names] = codeIn(step);
        assert(isThere(file), `${title}: ${step}`);
        let source = read(file);
        assert(names.some((name) => /^#?\w+$/.test(name)), step);
        for (const name of names) {
          if (name.endsWith(".ts")) source = read(name);
          else assert(declares(source, name), `${title}: ${name} in ${step}`);
        }
      }
    }
  },
);

testPages("docs/architecture.md has each file of a connection", (pages) => {
  const page = pageAt(pages, "docs/architecture.md");
  const [, , ...rows] = rowsOf(section(page, "## The life of a connection"));
  assertEquals(
    rows.map(([file]) => `lib/server/connection/${codeIn(file)[0]}`).sort(),
    [...filesIn("lib/server/connection/")].sort(),
  );
});

testPages("what CONTRIBUTING.md says of a file is in that file", (pages) => {
  const { text } = pageAt(pages, "CONTRIBUTING.md");
  const lost: string[] = [];
  let found = 0;
  for (const [where, what] of rowsOf(text)) {
    const [file] = /(?<=^`)[\w/.]+\.ts(?=`$)/.exec(where) ?? [];
    if (file === undefined) continue;
    const source = read(file);
    const names = codeIn(what).filter((code) => /^\w+(\(\))?$/.test(code))
      .map((code) => code.replace("()", ""));
    const tests = Array.from(what.matchAll(/"([^"]+)"/g), ([, name]) => name);
    for (const name of [...names, ...tests]) {
      found++;
      if (!source.includes(name)) lost.push(`${file}: ${name}`);
    }
  }
  assert(found > 20, `${found} are found`);
  assertEquals(lost, []);
});

testPages("the README has at most 200 lines", (pages) => {
  const { text } = pageAt(pages, "README.md");
  const lines = text.trimEnd().split("\n").length;
  assert(lines <= MOST_LINES, `${lines} lines`);
});

testPages("the README has the three lines that always work", (pages) => {
  const start = section(pageAt(pages, "README.md"), "## Start");
  const lines = "deno task server\n./client 127.0.0.1\ndeno test --allow-net\n";
  assert(start.includes(`\n\`\`\`sh\n${lines}\`\`\`\n`));
});

testPages("the tests that the README names are there", (pages) => {
  const readme = pageAt(pages, "README.md");
  const [, , ...rows] = rowsOf(section(readme, "## From the C++ program"));
  assert(rows.length >= 16, `${rows.length} rows`);
  for (const [what, , shown] of rows) {
    const [, file, name] = /^`(tests\/[\w/]+_test\.ts)`: "([^"]+)"$/
      .exec(shown) ?? [];
    assert(file !== undefined, `${what} is shown by ${shown}`);
    assert(isThere(file), `${what}: there is no ${file}`);
    const registered = Array.from(
      read(file).matchAll(
        /\b(?:Deno\.test|test\w+)\(\s*(?:\{\s*name:\s*)?"([^"]+)"/g,
      ),
      ([, found]) => found,
    );
    assert(registered.includes(name), `${file} has no test "${name}"`);
  }
});

testPages(
  "the packages that tests want are named, and installed by CI",
  (pages) => {
    const wanted = Object.keys(packages).join(" ");
    const setUp = section(pageAt(pages, "CONTRIBUTING.md"), "## Set up");
    assert(codeIn(setUp).includes(wanted), `CONTRIBUTING.md lacks ${wanted}`);
    const ci = read(".ci/run").replaceAll(/\s*\\\n\s*/g, " ");
    assert(ci.includes(` ${wanted} >/dev/null`), `.ci/run lacks ${wanted}`);
  },
);

testPages("the tests that SECURITY.md names are there", (pages) => {
  const { text } = pageAt(pages, "SECURITY.md");
  const files = codeIn(text).filter((code) => code.endsWith("_test.ts"));
  assert(files.length > 50, `${files.length} are found`);
  assertEquals(files.filter((file) => !isThere(`tests/${file}`)), []);
});

/** What a page must say of flags: their names as they are written, and defaults. */
function flagCells(table: FlagTable, twins: boolean): string[][] {
  return Object.entries(table).map(([name, flag]) => {
    const value = flag.placeholder === undefined
      ? ""
      : String(flag.shown ?? flag.default);
    const twin = flag.placeholder === undefined ? "" : envName(name);
    return [dashed(name), value, ...twins ? [twin] : []];
  }).sort();
}

/** What it says. */
function saidCells(text: string, count: number): string[][] {
  return rowsOf(text).filter(([first]) => first.startsWith("`-"))
    // A letter that stands for a longer name is beside it.
    .map(([flags, ...cells]) => [codeIn(flags).at(-1)!, ...cells])
    .map((cells) =>
      cells.slice(0, count).map((cell) => cell.replaceAll("`", ""))
    )
    .sort();
}

testPages(
  "docs/server.md has every flag, its default and its twin",
  (pages) => {
    const text = section(pageAt(pages, "docs/server.md"), "## Flags");
    assertEquals(saidCells(text, 3), flagCells(serverFlags, true));
  },
);

/** The parts of docs/client.md with the flags of a command alone. */
const headings = new Map([
  ["bench", "## To measure a server"],
  ["wait", "### To wait for a server"],
  ["latency", "### To watch single requests"],
  ["completion", "### Completion in a shell"],
]);

testPages("docs/client.md has every flag and its default", (pages) => {
  const page = pageAt(pages, "docs/client.md");
  const general = flagCells(clientCommands[""].flags, false);
  assertEquals(saidCells(section(page, "## Flags"), 2), general);
  for (const [name, { flags }] of Object.entries(clientCommands)) {
    if (name === "") continue;
    const own = flagCells(flags, false)
      .filter(([flag, value]) =>
        !general.some((other) => other[0] === flag && other[1] === value)
      );
    const heading = headings.get(name);
    assert(heading !== undefined, `no part of the page is about ${name}`);
    assertEquals(saidCells(section(page, heading), 2), own, name);
  }
});

testPages("docs/server.md has every command, as HELP has it", (pages) => {
  const text = section(pageAt(pages, "docs/server.md"), "## Commands");
  const [, , ...rows] = rowsOf(text);
  const help = commands(
    new TextEncoder().encode("HELP"),
    {} as RequestInfo,
  ) as string;
  assertEquals(
    rows.map(([command]) => codeIn(command)[0]).sort(),
    help.replace(/ \(.*$/, "").split(" | ").sort(),
  );
});

testPages("docs/operations.md has every word of the metrics", (pages) => {
  const text = section(pageAt(pages, "docs/operations.md"), "## Words");
  const tables = text.split(/\n\n(?=\|)/).slice(1).map((table) =>
    rowsOf(table.split("\n\n", 1)[0]).slice(2).map(([word]) => codeIn(word)[0])
  );
  const states = read("lib/server/parley_server.ts")
    .split("export type ConnectionState =")[1].split(";", 1)[0];
  assertEquals(
    tables.map((words) => words.toSorted()),
    [
      Array.from(states.matchAll(/"(\w+)"/g), ([, state]) => state),
      ...[closeReasons, rejectReasons, requestStatuses, acceptFaults],
    ].map((words) => [...words].sort()),
  );
});

testPages("docs/operations.md has every metric", (pages) => {
  const page = pageAt(pages, "docs/operations.md");
  const text = section(page, "## Metrics, and what to do when");
  const [, , ...rows] = rowsOf(text.split("\n| alert")[0]);
  const said = rows.flatMap(([cell]) => {
    const [first, ...others] = codeIn(cell)
      .map((code) => code.replace(/\{.*\}$/, ""));
    // The beginning of the first is not written again.
    const begin = first.slice(0, first.lastIndexOf("_"));
    return [
      first,
      ...others.map((code) => code.startsWith("_") ? begin + code : code),
    ];
  });
  assertEquals(said.sort(), Object.keys(meanings).sort());
});

testPages(
  "docs/library.md has every option",
  (pages) => {
    const page = pageAt(pages, "docs/library.md");
    const [, , ...rows] = rowsOf(section(page, "## Options"));
    const said = rows.flatMap(([, options]) => codeIn(options));
    assertEquals(said.sort(), Object.keys(serveOptions).sort());
  },
);

testPages("SECURITY.md has the permissions of every task", (pages) => {
  const page = pageAt(pages, "SECURITY.md");
  const rows = rowsOf(section(page, "## Permissions"));
  const cells = new Map(rows.map(([what, flags]) => [codeIn(what)[0], flags]));
  for (const [name, task] of Object.entries(config.tasks)) {
    const allowed: string[] = task.match(/--allow-\S+/g) ?? [];
    // The gate reads the sources alone, and "ok" is two other tasks.
    if (name === "gate" || name === "ok") continue;
    const cell = cells.get(`deno task ${name}`) ?? cells.get(name);
    assert(cell !== undefined, `deno task ${name} has no row`);
    if (allowed.includes("--allow-all")) assertEquals(cell, "all", name);
    else if (allowed.length === 0) assertEquals(cell, "none", name);
    else if (/^`--[^`]*`$/.test(cell)) {
      assertEquals(codeIn(cell)[0].split(" "), allowed, name);
    } else {
      const parts = allowed.flatMap((flag) => {
        const [kind, list] = flag.split("=");
        if (!/read|write/.test(kind)) return [];
        return list?.split(",") ?? [kind];
      });
      const missing = parts.filter((part) => !codeIn(cell).includes(part));
      assertEquals(missing, [], name);
    }
  }
});

testPages("CHANGELOG.md has this version, or what comes after it", (pages) => {
  const { text } = pageAt(pages, "CHANGELOG.md");
  const [first] = /^## .+$/m.exec(text) ?? [""];
  assertMatch(first, /^## \[(Unreleased|\d+\.\d+\.\d+)\]/);
  assert(text.includes(`## [${config.version}]`), config.version);
});
