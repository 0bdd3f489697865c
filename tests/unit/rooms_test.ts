// `lib/` has a folder for each purpose. Which may import which?

import { posix } from "node:path";

import { testAllowed } from "../support/permissions.ts";
import { assertEquals } from "../support/std.ts";

/** The folders, in an order in which each may import those before it. */
const FOLDERS = [
  ...["core", "framing", "events", "net", "tls", "server", "client"],
  ...["threads", "observe", "admin", "handlers", "cli", "mod.ts", "programs"],
];

/** What a folder may not import all the same. */
const APART: Readonly<Record<string, readonly string[]>> = {
  events: ["framing"],
  net: ["events"],
  tls: ["events"],
  client: ["server"],
  "mod.ts": ["cli"],
};

/** The most lines of a module. */
const MOST_LINES = 400;

const ROOT = new URL("../../", import.meta.url);

function mayImport(from: string, to: string): boolean {
  if (to === "deno.json") return from === "lib/core/version.ts";
  const [folder, other] = [folderOf(from), folderOf(to)];
  if (folder === other) return true;
  if (folder === "handlers") {
    return other === "core" || to === "lib/server/handler.ts";
  }
  return FOLDERS.includes(other) && !APART[folder]?.includes(other) &&
    FOLDERS.indexOf(other) < FOLDERS.indexOf(folder);
}

function folderOf(path: string): string {
  return path.startsWith("lib/") ? path.split("/")[1] : "programs";
}

function* modulesIn(folder: string): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(new URL(folder, ROOT))) {
    if (isDirectory) yield* modulesIn(`${folder}${name}/`);
    else if (/\.(ts|js)$/.test(name)) yield folder + name;
  }
}

/** What a module imports, and on which line. Examples are in comments. */
function importsOf(path: string): { at: string; to: string }[] {
  return linesOf(path).flatMap((line, i) =>
    /^\s*(\*|\/\/ (?!@ts-types))/.test(line) ? [] : Array.from(
      line.matchAll(/(?:from |import |import\(|URL\(|types=)"(\.[^"]*)"/g),
      ([, specifier]) => ({
        at: `${path}:${i + 1}`,
        to: posix.join(posix.dirname(path), specifier),
      }),
    )
  );
}

function linesOf(path: string): string[] {
  return Deno.readTextFileSync(new URL(path, ROOT)).split("\n");
}

/** Registers a test of all modules of the programs. */
function testModules(name: string, fn: (paths: string[]) => void): void {
  testAllowed(
    name,
    ["read"],
    () => fn(["server.ts", "client.ts", ...modulesIn("lib/")]),
  );
}

testModules("folders import in one direction", (paths) => {
  const broken = paths.flatMap((from) =>
    importsOf(from)
      .filter(({ to }) => !mayImport(from, to))
      .map(({ at, to }) => `${at}: ${folderOf(from)} may not import ${to}`)
  );
  assertEquals(broken, []);
});

testModules("no module imports itself, whatever the way around", (paths) => {
  const circles: string[] = [];
  const done = new Set<string>();
  const visit = (path: string, way: string[]) => {
    const start = way.findIndex((at) => at.startsWith(`${path}:`));
    if (start !== -1) circles.push(way.slice(start).join(" → "));
    if (start !== -1 || done.has(path) || !paths.includes(path)) return;
    for (const { at, to } of importsOf(path)) visit(to, [...way, at]);
    done.add(path);
  };
  for (const path of paths) visit(path, []);
  assertEquals(circles, []);
});

testModules("no module has more than 400 lines", (paths) => {
  const longer = paths.filter((path) => linesOf(path).length > MOST_LINES + 1);
  assertEquals(longer, []);
});
