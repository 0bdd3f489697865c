/**
 * The programs at a terminal that `script` gives them: its input is what is
 * typed, and its output what the screen gets.
 *
 * @module
 */

import { commands, type Handler, serve } from "../../lib/mod.ts";
import { Peer } from "./fixtures.ts";
import { cleanEnv, commandLine, testPrograms, type Way } from "./programs.ts";
import { assertEquals } from "./std.ts";

/** What a terminal takes. */
export const TOOLS = ["script", "stty", "sh"];

/** Keys, as a terminal sends them. */
export const UP = "\x1b[A";
export const LEFT = "\x1b[D";
export const CTRL_C = "\x03";
export const CTRL_D = "\x04";
export const CTRL_G = "\x07";
export const CTRL_L = "\x0c";
export const CTRL_R = "\x12";
export const CTRL_Z = "\x1a";

/** The surroundings at a terminal with colours, wherever the tests run. */
function terminalEnv(): Record<string, string> {
  const { NO_COLOR: _, ...env } = cleanEnv();
  // What Deno says of itself now and then is not what is tested.
  const quiet = { DENO_NO_UPDATE_CHECK: "1" };
  return { ...env, SHELL: "/bin/sh", TERM: "xterm-256color", ...quiet };
}

/** A terminal with one program in it. */
export class Terminal implements AsyncDisposable {
  /** All that came, with what moves the cursor. */
  raw = "";
  readonly #child: Deno.ChildProcess;
  readonly #keys: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #screen: ReadableStreamDefaultReader<string>;
  /** How much of the screen's text has been looked at. */
  #seen = 0;

  constructor(
    command: string[],
    env: Record<string, string> = {},
    columns = 80,
  ) {
    const quoted = command.map((word) => `'${word.replaceAll("'", "'\\''")}'`);
    const shell = `stty cols ${columns} rows 24; exec ${quoted.join(" ")}`;
    this.#child = new Deno.Command("script", {
      args: ["-qefc", shell, "/dev/null"],
      cwd: new URL("../../", import.meta.url),
      clearEnv: true,
      env: { ...terminalEnv(), ...env },
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#keys = this.#child.stdin.getWriter();
    this.#screen = this.#child.stdout
      .pipeThrough(new TextDecoderStream())
      .getReader();
  }

  /** Waits until the screen shows a text, below what was waited for before. */
  async shows(text: string): Promise<void> {
    while (true) {
      const at = this.#text().indexOf(text, this.#seen);
      if (at !== -1) {
        this.#seen = at + text.length;
        return;
      }
      await this.more(`"${text}"`);
    }
  }

  /** Waits for more to come; at the end it says what is missing. */
  async more(missing: string): Promise<void> {
    const { value, done } = await this.#screen.read();
    if (done) {
      throw new Error(`The screen does not show ${missing}:\n${this.#text()}`);
    }
    this.raw += value;
  }

  /** Forgets what came before a text: Deno's own words, and what was not it. */
  startAt(text: string): void {
    this.raw = this.raw.slice(this.raw.lastIndexOf(text));
    this.#seen = 0;
  }

  async types(keys: string): Promise<void> {
    await this.#keys.write(new TextEncoder().encode(keys));
  }

  /** Waits for the program's end, for its exit code. */
  async code(): Promise<number> {
    for (let chunk; !(chunk = await this.#screen.read()).done;) {
      this.raw += chunk.value;
    }
    return (await this.#child.status).code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      // The terminal goes, and what runs in it is told so by SIGHUP.
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.#child.status;
    await this.#screen.cancel();
    await this.#keys.abort().catch(() => {});
  }

  #text(): string {
    // deno-lint-ignore no-control-regex
    return this.raw.replace(/\x1b\[[0-9;?]*[A-Za-z]|\r/g, "");
  }
}

/** A server in this process that a client at a terminal can be told about. */
export function serveHere(
  port = 0,
  handler: Handler = commands,
  hostname = "127.0.0.1",
) {
  const server = serve({ hostname, port }, handler);
  const { port: bound } = server.addr as Deno.NetAddr;
  return { server, port: bound, place: `${hostname}:${bound}` };
}

/** A client that is at its prompt. */
export async function prompt(
  way: Way,
  place: string,
  { env = { PARLEY_HISTORY: "" }, flags = [] }: {
    env?: Record<string, string>;
    flags?: string[];
  } = {},
): Promise<Terminal> {
  const command = [...commandLine(way, "client"), ...flags, place];
  const terminal = new Terminal(command, env);
  try {
    await terminal.shows(`${place}> `);
  } catch (error) {
    await terminal[Symbol.asyncDispose]();
    throw error;
  }
  return terminal;
}

/** Registers a test of a client at its prompt. */
export function testPrompt(
  name: string,
  fn: (way: Way) => Promise<void>,
): void {
  testPrograms(name, fn, TOOLS);
}

/** A client at its prompt, and the server's side of its connection. */
export async function promptAndPeer(way: Way) {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const place = `127.0.0.1:${listener.addr.port}`;
  const terminal = await prompt(way, place);
  return { place, terminal, peer: new Peer(await listener.accept()) };
}

/** Waits for a line at the server's side. */
export async function assertGets(peer: Peer, line: string): Promise<void> {
  assertEquals(await peer.receive(line.length + 1), `${line}\n`);
}
