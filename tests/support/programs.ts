/**
 * The programs as the tests run them: by `deno run` with the flags of the
 * tasks, and as executables. One behaviour, tested both ways.
 *
 * @module
 */

import { fileURLToPath } from "node:url";

import config from "../../deno.json" with { type: "json" };
import { isAllowed, leaveOut, testAllowed } from "./permissions.ts";
import { assertMatch, TextLineStream, toText } from "./std.ts";

/** A program's name. */
export type Program = "server" | "client";

/** How a program is run. */
export type Way = "deno run" | "executable";

/** What a program is given beside its arguments. */
export interface Surroundings {
  /** Variables, on top of those of the tests. */
  env?: Record<string, string>;
  /** Standard input from begin to end; without it there is none. */
  stdin?: string | Uint8Array<ArrayBuffer>;
}

/** Where a program runs. */
export interface Place {
  /** The folder of the sources and the executables, with a slash. */
  root?: string;
  /** How many descriptors it may have; as many as the tests without it. */
  descriptors?: number;
}

/** How a program ended. */
export interface Result {
  code: number;
  stdout: string;
  stderr: string;
}

/** The root folder, with a slash at its end. */
export const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** Programs need all of these; where one is missing, no tool is looked for. */
const NEEDED = ["run", "read", "write", "env"] as const;
const ALLOWED = isAllowed(NEEDED);

/** Where everything can be installed, nothing that is missing is excused. */
export const IN_CI = ALLOWED && (Deno.env.get("CI") ?? "") !== "";

/**
 * Registers a test that needs more than the network.
 *
 * @param name The test's name.
 * @param tools What has to be on the PATH, or in the root folder (`./server`).
 * @param fn The test.
 */
export function testWithTools(
  name: string,
  tools: readonly string[],
  fn: (t: Deno.TestContext) => Promise<void>,
): void {
  // They go by Linux's tools, signals and /proc.
  if (Deno.build.os !== "linux") return leaveOut("Linux");
  const missing = ALLOWED ? tools.filter((tool) => !isThere(tool)) : [];
  if (missing.length === 0) {
    return testAllowed(name, NEEDED, fn);
  }
  const hint = missing.some((tool) => tool.startsWith("./"))
    ? ", deno task compile builds it"
    : "";
  const reason = `${missing.join(" and ")} is missing${hint}`;
  Deno.test({
    name: `${name} [${reason}]`,
    ignore: !IN_CI,
    fn: () => Promise.reject(new Error(`${reason}; CI excuses nothing`)),
  });
}

/**
 * Registers a test once for each way to run the programs.
 *
 * @param name The test's name.
 * @param fn The test.
 * @param tools What it needs beside the programs.
 */
export function testPrograms(
  name: string,
  fn: (way: Way) => Promise<void>,
  tools: readonly string[] = [],
): void {
  testWithTools(`${name} (deno run)`, tools, () => fn("deno run"));
  testWithTools(
    `${name} (executable)`,
    ["./server", "./client", ...tools],
    () => fn("executable"),
  );
}

/**
 * Shares out command lines whose flags are wrong: both ways run the same code
 * before a program has begun anything, so each line is tried in one of them,
 * and most of them where a start takes less.
 */
export function shareOf<Case>(way: Way, cases: readonly Case[]): Case[] {
  if (!isThere("./server")) return [...cases];
  return cases.filter((_, i) => (i % 4 === 0) === (way === "deno run"));
}

/**
 * The tools of a test that makes namespaces. Only root may; for others that
 * counts as a missing tool.
 */
export function namespaceTools(...tools: string[]): string[] {
  const mayAsk = Deno.permissions.querySync({ name: "sys", kind: "uid" });
  const root = mayAsk.state === "granted" && Deno.uid() === 0;
  return root ? tools : [...tools, "being root"];
}

/**
 * The command line that runs a program.
 *
 * @param root The folder of the sources and the executables, with a slash.
 */
export function commandLine(
  way: Way,
  program: Program,
  root = ROOT,
): string[] {
  if (way === "executable") return [root + program];
  // What comes before the last command fills the cache, as the tests have.
  const command = config.tasks[program].split(" && ").at(-1)!;
  const [, ...flags] = command.split(" ");
  return [Deno.execPath(), ...flags];
}

/** The tests' own environment without any setting of the programs. */
export function cleanEnv(): Record<string, string> {
  const all = Object.entries(Deno.env.toObject());
  return Object.fromEntries(
    all.filter(([name]) => !name.startsWith("PARLEY_")),
  );
}

/** Runs a program to its end. */
export function run(
  way: Way,
  program: Program,
  args: readonly string[],
  surroundings: Surroundings = {},
): Promise<Result> {
  return runCommand([...commandLine(way, program), ...args], surroundings);
}

/** Runs any command to its end, in the root folder. */
export async function runCommand(
  [command, ...args]: string[],
  { env = {}, stdin }: Surroundings = {},
): Promise<Result> {
  const child = new Deno.Command(command, {
    args,
    cwd: ROOT,
    clearEnv: true,
    env: { ...cleanEnv(), ...env },
    stdin: stdin === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const [stdout, stderr, { code }] = await Promise.all([
    toText(child.stdout),
    toText(child.stderr),
    child.status,
    // A program may end before it has read all.
    stdin === undefined ? undefined : feed(child, stdin).catch(() => {}),
  ]);
  return { code, stdout, stderr };
}

async function feed(
  child: Deno.ChildProcess,
  stdin: string | Uint8Array<ArrayBuffer>,
): Promise<void> {
  const bytes = typeof stdin === "string"
    ? new TextEncoder().encode(stdin)
    : stdin;
  await ReadableStream.from([bytes]).pipeTo(child.stdin);
}

/** Lines of a program's output, as they come. */
export class Lines {
  readonly #reader: ReadableStreamDefaultReader<string>;

  constructor(bytes: ReadableStream<Uint8Array<ArrayBuffer>>) {
    this.#reader = bytes
      .pipeThrough(new TextDecoderStream())
      .pipeThrough(new TextLineStream())
      .getReader();
  }

  /** The next line; fails if there is none. */
  async next(): Promise<string> {
    const { value, done } = await this.#reader.read();
    if (done) throw new Error("The output ended, expected another line");
    return value;
  }

  /** Skips lines up to one that matches. */
  async until(pattern: RegExp): Promise<string> {
    while (true) {
      const line = await this.next();
      if (pattern.test(line)) return line;
    }
  }

  async cancel(): Promise<void> {
    await this.#reader.cancel();
  }
}

/** A program that runs. Disposing ends it, if it has not ended by itself. */
export class Running implements AsyncDisposable {
  readonly stdout: Lines;
  readonly stderr: Lines;
  readonly #child: Deno.ChildProcess;

  constructor(
    way: Way,
    program: Program,
    args: readonly string[],
    env: Record<string, string> = {},
    { root = ROOT, descriptors }: Place = {},
  ) {
    const limited = descriptors === undefined
      ? []
      // The shell lowers its own limit, then becomes the program.
      : ["sh", "-c", `ulimit -n ${descriptors}; exec "$@"`, "sh"];
    const [command, ...flags] = [
      ...limited,
      ...commandLine(way, program, root),
    ];
    this.#child = new Deno.Command(command, {
      args: [...flags, ...args],
      cwd: root,
      clearEnv: true,
      env: { ...cleanEnv(), ...env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.stdout = new Lines(this.#child.stdout);
    this.stderr = new Lines(this.#child.stderr);
  }

  /** The number of its process. */
  get pid(): number {
    return this.#child.pid;
  }

  /** The exit code; death by a signal counts as in a shell. */
  async code(): Promise<number> {
    return (await this.#child.status).code;
  }

  kill(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  /** Skips the log, as JSON, up to a record with this message. */
  async logged(msg: string): Promise<Record<string, unknown>> {
    while (true) {
      const record = JSON.parse(await this.stderr.next());
      if (record.msg === msg) return record;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.#child.status;
    await Promise.all([this.stdout.cancel(), this.stderr.cancel()]);
  }
}

/** A server program that is ready. */
export class RunningServer extends Running {
  /** The line that names the bound address. */
  listening = "";
  addr: Deno.NetAddr = { transport: "tcp", hostname: "", port: 0 };
  /** Where the admin port is, if there is one. */
  admin: string | undefined;

  /**
   * Starts a server on a port of the loopback, unless the flags say otherwise:
   * these defaults are in the environment, which flags beat.
   */
  static async start(
    way: Way,
    flags: readonly string[] = [],
    env: Record<string, string> = {},
    place: Place = {},
  ): Promise<RunningServer> {
    const server = new RunningServer(way, "server", flags, {
      PARLEY_HOSTNAME: "127.0.0.1",
      PARLEY_PORT: "0",
      ...env,
    }, place);
    try {
      server.listening = await server.stdout.next();
      const [, hostname, port] =
        /listening on \[?([^\] ]+)\]?:(\d+) /.exec(server.listening) ?? [];
      server.addr = { transport: "tcp", hostname, port: Number(port) };
      let line = await server.stdout.next();
      server.admin = /^admin on ((?:http|unix):.*)$/.exec(line)?.[1];
      if (server.admin !== undefined) line = await server.stdout.next();
      assertMatch(line, /ready/);
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
    return server;
  }
}

function isThere(tool: string): boolean {
  if (tool.startsWith("./")) return isFile(ROOT + tool.slice(2));
  const separator = Deno.build.os === "windows" ? ";" : ":";
  return (Deno.env.get("PATH") ?? "").split(separator)
    .some((folder) => isFile(`${folder}/${tool}`));
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}
