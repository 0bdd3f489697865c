/**
 * The servers that are measured: how each is started, and what it needs.
 *
 * @module
 */

import { at, BUILD, CERT, CLIENT, KEY } from "./paths.ts";
import { type Command, run } from "./processes.ts";

/** What a scenario asks of a server. */
export interface Job {
  /** How frames are told apart; a server without framing ignores it. */
  readonly framing: "line" | "length";
  /** The payload of a frame in bytes. */
  readonly payload: number;
  /** Whether it speaks TLS. */
  readonly tls?: boolean;
  /** What answers the requests of Parley's program, `echo` by default. */
  readonly handler?: "echo" | "commands";
  /** Whether Parley's program has an admin port. */
  readonly admin?: boolean;
  /** Further flags of Parley's program. */
  readonly flags?: readonly string[];
  /** What a peer does that is no server, but drives one. */
  readonly load?: Load;
}

/** How a generator is to drive a server on 127.0.0.1. */
export interface Load {
  /** Where the server listens. */
  readonly port: number;
  /** How many connections. */
  readonly connections: number;
  /** How many frames are sent before the replies are awaited. */
  readonly depth: number;
  /** For how long. */
  readonly seconds: number;
}

/** One server. What work it does stands at the top of its source. */
export interface Peer {
  /** How it is called in tables. */
  readonly label: string;
  /** A program on the `PATH` to start it with, if it needs one. */
  readonly tool?: string;
  /** A file that must be there, if one must. */
  readonly file?: string;
  /** Where the tool, or what makes the file, comes from. */
  readonly from?: string;
  /** How it is started. */
  command(job: Job): Command;
  /** What it prints once it listens, if its port is not enough. */
  readonly ready?: RegExp;
  /** What comes back for a line; without this, the line does. */
  answer?(line: string, job: Job): string;
}

/** A frame of this size is always allowed, as it is by default. */
const LEAST_MAX_FRAME = 64 * 1024;

/** What `server` prints last of all as it starts. */
const READY = /^ready/m;

/** Parley's library, in a checkout. */
const PARLEY = "bench/peers/parley.ts";

const GO = at(`${BUILD}go_lines`);

const RUST = at(`${BUILD}rust/release/rust_lines`);

const NODE_NET = "bench/peers/node_net.mjs";

const DENO_CLIENT: Command = [
  Deno.execPath(),
  ...["run", "--quiet", "--no-prompt", "--no-lock", "--allow-net=127.0.0.1"],
  ...["--allow-env=PARLEY_*,HOME,TERM", "--allow-read", "--allow-write"],
];

const DENO_SERVER: Command = [
  Deno.execPath(),
  ...["run", "--quiet", "--no-prompt", "--allow-net", "--allow-env"],
  ...["--allow-read", "--allow-write"],
];

const RUN = ["run", "--quiet", "--no-prompt", "--allow-net=127.0.0.1"];

/** What stands behind the name of a peer that is another checkout's. */
const OTHER = "@";

/** All peers, in the order that tables have them. */
export const peers: Record<string, Peer> = {
  epoll: {
    label: "C, epoll, less work",
    command: () => [at(`${BUILD}epoll_echo`)],
  },
  threads: {
    label: "C++, thread per connection, less work",
    command: () => [at(`${BUILD}threads`)],
  },
  bare: {
    label: "Deno, read/write loop, less work",
    command: (job) => deno("bench/peers/deno_bare.ts", job),
  },
  streams: {
    label: "Deno, Web Streams, less work",
    command: (job) => deno("bench/peers/deno_streams.ts", job),
  },
  node: {
    label: "Node, net",
    tool: "node",
    from: "on Debian nodejs",
    command: (job) => onNode("node", job),
  },
  denoNet: {
    label: "Deno, node:net",
    command: (job) => deno(NODE_NET, job, job.framing, maxFrame(job)),
  },
  bun: {
    label: "Bun, net",
    tool: "bun",
    from: "from bun.sh",
    command: (job) => onNode("bun", job),
  },
  erlang: {
    label: "Erlang, gen_tcp",
    tool: "escript",
    from: "on Debian erlang-base",
    command: (
      { framing },
    ) => ["escript", at("bench/peers/erlang_echo.escript"), framing],
  },
  lines: {
    label: "C, epoll, lines",
    command: (job) => [at(`${BUILD}epoll_lines`), maxFrame(job)],
  },
  redis: {
    label: "Redis, inline PING",
    tool: "redis-server",
    from: "on Debian redis-server",
    command: () => redis(),
    ready: /Ready to accept connections/,
    answer: pong,
  },
  go: {
    label: "Go, bufio, 1 processor",
    file: GO,
    from: "go builds it, on Debian golang-go",
    command: (job) => [GO, maxFrame(job), goBuffer(job)],
  },
  rust: {
    label: "Rust, Tokio, LinesCodec",
    file: RUST,
    from: "cargo builds it, on Debian with librust-tokio-dev, " +
      "librust-tokio-util-dev, librust-futures-util-dev",
    command: () => [RUST],
  },
  parley: { label: "Parley", command: (job) => parley(job, "default") },
  parleyOff: {
    label: "Parley, all off",
    command: (job) => parley(job, "off"),
  },
  parleyOn: { label: "Parley, all on", command: (job) => parley(job, "on") },
  cpu1: {
    label: "Parley, handler of 0.5 ms, 1 thread",
    command: () => threads("1"),
  },
  cpu2: {
    label: "Parley, handler of 0.5 ms, 2 threads",
    command: () => threads("2"),
  },
  bareLoad: {
    label: "Deno, bare generator, less work",
    command: (job) => deno("bench/peers/deno_load.ts", job, ...loadArgs(job)),
  },
  client: {
    label: "Parley, client.ts bench",
    command: (job) => [...DENO_CLIENT, at("client.ts"), ...clientFlags(job)],
  },
  clientBuilt: {
    label: "Parley, ./client bench",
    file: at(CLIENT),
    from: "deno task compile builds it",
    command: (job) => [at(CLIENT), ...clientFlags(job)],
  },
  program: {
    label: "Parley, server.ts",
    command: (job) => [...DENO_SERVER, at("server.ts"), ...serverFlags(job)],
    ready: READY,
    answer: answerOf,
  },
  server: {
    label: "Parley, ./server",
    file: at("server"),
    from: "deno task compile builds it",
    command: (job) => [at("server"), ...serverFlags(job)],
    ready: READY,
    answer: answerOf,
  },
  short: {
    label: "a frame of 4 KiB",
    command: (job) => deno("bench/peers/byte_by_byte.ts", job, "4096"),
  },
  long: {
    label: "a frame of 64 KiB",
    command: (job) => deno("bench/peers/byte_by_byte.ts", job, "65536"),
  },
  hello: {
    label: "compiled hello-world, run to its end",
    file: at(`${BUILD}hello`),
    command: () => [at(`${BUILD}hello`)],
  },
};

/**
 * Adds those of another checkout: its library and its programs, to be measured
 * beside this one's. They have the same names with "@" behind.
 *
 * @param root The other checkout's folder.
 * @throws {Error} It is no checkout.
 */
export async function addOther(root: string): Promise<void> {
  if (!await isFile(`${root}/${PARLEY}`)) {
    throw new Error(`--against is "${root}": there is no ${PARLEY} in it`);
  }
  const config = `--config=${root}/deno.json`;
  const ours = { ready: READY, answer: answerOf };
  const [runtime, run, ...flags] = DENO_SERVER;
  const others: Record<string, Peer> = {
    parley: {
      label: "Parley, other",
      command: (job) => {
        const [deno, run, ...args] = parley(job, "default");
        return [deno, run, config, ...args.map(moved)];
      },
    },
    program: {
      label: "Parley, server.ts, other",
      command: (job) => [
        ...[runtime, run, config, ...flags] as const,
        `${root}/server.ts`,
        ...serverFlags(job),
      ],
      ...ours,
    },
    server: {
      label: "Parley, ./server, other",
      file: `${root}/server`,
      from: "deno task compile builds it there",
      command: (job) => [`${root}/server`, ...serverFlags(job)],
      ...ours,
    },
  };
  for (const [name, peer] of Object.entries(others)) peers[name + OTHER] = peer;

  function moved(arg: string): string {
    return arg === at(PARLEY) ? `${root}/${PARLEY}` : arg;
  }
}

/**
 * The names of some peers, each of this checkout's with the other's behind it.
 *
 * @param names Their names.
 */
export function withOthers(names: readonly string[]): string[] {
  return names.flatMap((name) =>
    [name, name + OTHER].filter((name) => name in peers)
  );
}

/**
 * Of some peers, those of the other checkout.
 *
 * @param names Their names.
 */
export function othersOf(names: readonly string[]): string[] {
  return names.filter((name) => name.endsWith(OTHER));
}

/**
 * Says which peers can run here, and prints one line for each that cannot.
 *
 * @param names The peers wanted.
 * @returns Those that can run.
 */
export async function availablePeers(
  names: readonly string[],
): Promise<Set<string>> {
  const available = new Set<string>();
  for (const name of names) {
    const { label, tool, file, from } = peers[name];
    const hint = from === undefined ? "" : ` (${from})`;
    if (tool !== undefined && !await onPath(tool)) {
      console.error(
        `bench: leaving out "${label}": no ${tool} on the PATH${hint}`,
      );
    } else if (file !== undefined && !await isFile(file)) {
      console.error(`bench: leaving out "${label}": no ${file}${hint}`);
    } else {
      available.add(name);
    }
  }
  return available;
}

/** By a program, for another checkout is outside of what may be read here. */
async function isFile(path: string): Promise<boolean> {
  try {
    await run(["test", "-f", path], 5000);
    return true;
  } catch {
    return false;
  }
}

/** Only TLS needs files, and of all files these two. */
function deno(script: string, { tls }: Job, ...args: string[]): Command {
  const [cert, key] = [at(CERT), at(KEY)];
  return tls
    ? [
      Deno.execPath(),
      ...RUN,
      `--allow-read=${cert},${key}`,
      at(script),
      ...args,
      cert,
      key,
    ]
    : [Deno.execPath(), ...RUN, at(script), ...args];
}

function onNode(tool: "node" | "bun", job: Job): Command {
  const files = job.tls ? [at(CERT), at(KEY)] : [];
  return [tool, at(NODE_NET), job.framing, maxFrame(job), ...files];
}

/** As large as a line, within reason: `bufio` reads no more at a time. */
function goBuffer({ payload }: Job): string {
  return `${Math.min(Math.max(payload + 1, 4096), 64 * 1024)}`;
}

function loadArgs({ load, payload }: Job): string[] {
  const { port, connections, depth, seconds } = loadOf(load);
  return [port, connections, depth, payload, seconds].map(String);
}

/**
 * How `client bench` is told the same.
 *
 * @param job What is asked for, with a load.
 */
export function clientFlags({ load, payload, framing }: Job): string[] {
  const { port, connections, depth, seconds } = loadOf(load);
  return [
    ...["bench", "-q", "--json", `--framing=${framing}`],
    ...["-c", `${connections}`, "-P", `${depth}`, "-d", `${payload}`],
    ...["-z", `${Math.ceil(seconds * 1000)}ms`, `127.0.0.1:${port}`],
  ];
}

function loadOf(load: Load | undefined): Load {
  if (load === undefined) throw new Error("a generator is given no server");
  return load;
}

function parley(job: Job, limits: "off" | "default" | "on"): Command {
  return deno(PARLEY, job, job.framing, maxFrame(job), limits);
}

function serverFlags(job: Job): string[] {
  return [
    "--hostname=127.0.0.1",
    "--port=0",
    ...(job.admin ? ["--admin=127.0.0.1:0"] : []),
    `--handler=${job.handler ?? "echo"}`,
    "--max-connections=16000",
    `--framing=${job.framing}`,
    `--max-frame=${maxFrame(job)}`,
    ...(job.tls ? [`--tls-cert=${at(CERT)}`, `--tls-key=${at(KEY)}`] : []),
    ...job.flags ?? [],
  ];
}

/** What the handler says to `PING`, the one command that is asked for here. */
function answerOf(line: string, { handler }: Job): string {
  return handler === "commands" ? line.replace("PING", "PONG") : line;
}

/** Redis cannot choose a port by itself: one is taken that was free just now. */
function redis(): Command {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  return [
    "redis-server",
    ...["--bind", "127.0.0.1", "--port", `${port}`, "--save", ""],
    ...["--tcp-backlog", "4096", "--maxclients", "16000"],
    // Else it refuses 127.0.0.2, from where the generator comes too.
    ...["--protected-mode", "no"],
  ];
}

/** What Redis says to `PING` in a line, with a text or without. */
function pong(line: string): string {
  const text = line.trimEnd().slice("PING ".length);
  return text === "" ? "+PONG\r\n" : `$${text.length}\r\n${text}\r\n`;
}

function threads(count: string): Command {
  return [
    Deno.execPath(),
    ...RUN,
    `--allow-read=${["bench/peers", "lib", "deno.json"].map(at)}`,
    at("bench/peers/parley_threads.ts"),
    count,
  ];
}

function maxFrame({ payload }: Job): string {
  return `${Math.max(payload, LEAST_MAX_FRAME)}`;
}

async function onPath(tool: string): Promise<boolean> {
  try {
    // Any ending will do: not all of them know how to say their version.
    await run([tool, "--version"], 5000);
    return true;
  } catch (error) {
    return !(error instanceof Deno.errors.NotFound);
  }
}
