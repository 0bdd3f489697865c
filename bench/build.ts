/**
 * Builds what the benchmark measures with and against.
 *
 * @module
 */

import { at, BUILD, exists } from "./paths.ts";
import { run } from "./processes.ts";

const LIMIT_MS = 60_000;

const FLAGS = ["-O2", "-Wall", "-Wextra"];

/**
 * Builds the programs in C and C++ with `cc` and `c++`.
 *
 * @throws {Error} There is no compiler, or it failed.
 */
export async function buildPrograms(): Promise<void> {
  await Deno.mkdir(at(BUILD), { recursive: true });
  const programs = [
    ["cc", "load", "bench/load.c"],
    ["cc", "epoll_echo", "bench/peers/epoll_echo.c"],
    ["c++", "threads", "bench/peers/threads.cpp", "-pthread"],
  ];
  await Promise.all(programs.map(async ([compiler, name, source, ...more]) => {
    const out = at(BUILD + name);
    await run(
      [compiler, ...FLAGS, ...more, "-o", out, at(source)],
      LIMIT_MS,
      { quiet: false },
    );
  }));
}

/**
 * Compiles the program that only says hello, on the same runtime as `./server`:
 * the time it takes is what an executable cannot go below.
 *
 * @returns Whether it is there.
 */
export async function buildHello(): Promise<boolean> {
  if (!await exists("server")) return false;
  const out = at(`${BUILD}hello`);
  if (await newer(out, at("server"))) return true;
  const older = await olderRuntime();
  const flags = ["--quiet", "--no-check", "--no-config", "--no-lock"];
  try {
    await run(
      [
        older?.deno ?? Deno.execPath(),
        "compile",
        ...flags,
        "--output",
        out,
        at("bench/peers/hello.ts"),
      ],
      LIMIT_MS,
      older === undefined ? {} : { env: { DENORT_BIN: older.denort } },
    );
  } catch {
    return false;
  }
  return true;
}

async function newer(one: string, other: string): Promise<boolean> {
  try {
    const [a, b] = await Promise.all([Deno.stat(one), Deno.stat(other)]);
    return a.mtime !== null && b.mtime !== null && a.mtime > b.mtime;
  } catch {
    return false;
  }
}

/** What `deno task compile` has left where it built on an older runtime. */
async function olderRuntime(): Promise<
  { deno: string; denort: string } | undefined
> {
  if (!await exists(".denort")) return undefined;
  for await (const { name } of Deno.readDir(at(".denort"))) {
    if (!name.startsWith("deno-")) continue;
    const denort = name.replace("deno-", "denort-");
    if (!await exists(`.denort/${denort}`)) continue;
    return { deno: at(`.denort/${name}`), denort: at(`.denort/${denort}`) };
  }
}
