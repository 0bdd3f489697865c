/**
 * The examples as the tests run them: by the command that stands at the head of
 * each, with the permissions that it names and no other.
 *
 * @module
 */

import { assert } from "./std.ts";

import { cleanEnv, Lines, ROOT } from "./programs.ts";

/** The flags of the command in an example's head. */
async function flagsOf(name: string): Promise<string[]> {
  const source = await Deno.readTextFile(`${ROOT}examples/${name}.ts`);
  const [, flags] =
    new RegExp(`^//   deno run (.*)examples/${name}\\.ts`, "m").exec(source) ??
      [];
  assert(flags !== undefined, `examples/${name}.ts does not say how to run it`);
  return flags.trim().split(" ");
}

/** An example that runs. Disposing ends it, if it has not ended by itself. */
export class Example implements AsyncDisposable {
  readonly stdout: Lines;
  readonly child: Deno.ChildProcess;
  addr: Deno.NetAddr = { transport: "tcp", hostname: "127.0.0.1", port: 0 };

  private constructor(args: string[]) {
    this.child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-prompt", "--no-check", "--cached-only", ...args],
      cwd: ROOT,
      clearEnv: true,
      env: cleanEnv(),
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.stdout = new Lines(this.child.stdout);
  }

  /** Runs one; it prints something first. */
  static async run(name: string, ...args: string[]): Promise<Example> {
    const flags = await flagsOf(name);
    return new Example([...flags, `examples/${name}.ts`, ...args]);
  }

  /** Starts one that is a server, on a port of the system's choice. */
  static async start(name: string, ...args: string[]): Promise<Example> {
    const example = await Example.run(name, "0", ...args);
    try {
      const line = await example.stdout.until(/^listening on /);
      example.addr.port = Number(line.split(":").at(-1));
      return example;
    } catch (error) {
      await example[Symbol.asyncDispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.child.status;
    await this.stdout.cancel();
  }
}
