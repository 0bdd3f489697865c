/**
 * The programs that the benchmark starts. Each is remembered until it has
 * ended, so that none outlives the benchmark.
 *
 * @module
 */

const running = new Set<Deno.ChildProcess>();

/** How long a server may take until it says where it listens. */
const PORT_LIMIT_MS = 20_000;

/** What a peer says of its port: a number alone, or words of Parley or Redis. */
const PORT = /^(\d+)$|listening on \S*:(\d+)|port=(\d+)/m;

/** What Parley's program says of its admin port. */
const ADMIN = /^admin on http:\S*:(\d+)/m;

/** A program that listens. */
export interface RunningServer {
  /** Its process. */
  readonly pid: number;
  /** Where it listens, on 127.0.0.1. */
  readonly port: number;
  /** Where its admin port is, on 127.0.0.1 too, if it has one. */
  readonly admin?: number;
  /** Ends it at once. */
  stop(): Promise<void>;
}

/** A program and its arguments. */
export type Command = readonly [program: string, ...args: string[]];

/**
 * Starts a program whose output is read, or forgotten.
 *
 * @param command What to start.
 * @param options Variables of its environment, and whether its messages show.
 */
export function spawn(
  [program, ...args]: Command,
  { env = {}, quiet = true }: {
    env?: Record<string, string>;
    quiet?: boolean;
  } = {},
): Deno.ChildProcess {
  const child = new Deno.Command(program, {
    args,
    env,
    stdin: "null",
    stdout: "piped",
    stderr: quiet ? "null" : "inherit",
  }).spawn();
  running.add(child);
  child.status.then(() => running.delete(child));
  return child;
}

/**
 * Runs a program to its end.
 *
 * @param command What to run.
 * @param limit How long it may take, in milliseconds.
 * @param options As for {@linkcode spawn}.
 * @returns What it printed.
 * @throws {Error} It failed, or took longer.
 */
export async function run(
  command: Command,
  limit: number,
  options?: { env?: Record<string, string>; quiet?: boolean },
): Promise<string> {
  const child = spawn(command, options);
  const timer = setTimeout(() => kill(child), limit);
  const [text, { code, signal }] = await Promise.all([
    new Response(child.stdout).text(),
    child.status,
  ]);
  clearTimeout(timer);
  if (code === 0) return text;
  throw new Error(
    `Cannot run ${nameOf(command)}: it ends with ${signal ?? `code ${code}`}`,
  );
}

/**
 * Starts a server and waits until it listens.
 *
 * @param command What to start; it prints its port.
 * @param ready What it has printed once it listens.
 * @throws {Error} It ended or printed no port in time.
 */
export async function serverOf(
  command: Command,
  ready: RegExp = PORT,
): Promise<RunningServer> {
  const child = spawn(command);
  const timer = setTimeout(() => kill(child), PORT_LIMIT_MS);
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let lines = "";
  let text = "";
  while (!ready.test(lines)) {
    const { done, value } = await reader.read();
    if (done) break;
    text += value;
    // Only whole lines: a number could go on.
    lines = text.slice(0, text.lastIndexOf("\n") + 1);
  }
  clearTimeout(timer);
  const port = PORT.exec(lines)?.slice(1).find((port) => port !== undefined);
  const [, admin] = ADMIN.exec(lines) ?? [];
  if (port === undefined || !ready.test(lines)) {
    kill(child);
    throw new Error(`Cannot start ${nameOf(command)}: it printed no port`);
  }
  // Whatever else it prints is taken, so that it never waits for us.
  forget(reader);
  return {
    pid: child.pid,
    port: Number(port),
    ...(admin !== undefined && { admin: Number(admin) }),
    async stop() {
      kill(child);
      await child.status;
    },
  };
}

/** Ends every program that is still running, at once, and sees it gone. */
export async function killAll(): Promise<void> {
  const children = [...running];
  for (const child of children) kill(child);
  await Promise.all(children.map(({ status }) => status));
}

async function forget(
  reader: ReadableStreamDefaultReader<string>,
): Promise<void> {
  while (!(await reader.read()).done);
}

function kill(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch (error) {
    // It may have ended a moment ago.
    if (!(error instanceof TypeError)) throw error;
  }
}

function nameOf([program, ...args]: Command): string {
  const name = program.slice(program.lastIndexOf("/") + 1);
  return [name, ...args.filter((arg) => !arg.includes("/"))].join(" ");
}
