/**
 * The servers that are measured: how each is started, and what it needs.
 *
 * @module
 */

import { at, BUILD, CERT, exists, KEY } from "./paths.ts";
import { type Command, run } from "./processes.ts";

/** What a scenario asks of a server. */
export interface Job {
  /** How frames are told apart; a server without framing ignores it. */
  readonly framing: "line" | "length";
  /** The payload of a frame in bytes. */
  readonly payload: number;
  /** Whether it speaks TLS. */
  readonly tls?: boolean;
}

/** One server. What work it does stands at the top of its source. */
export interface Peer {
  /** How it is called in tables. */
  readonly label: string;
  /** A program on the `PATH` to start it with, if it needs one. */
  readonly tool?: string;
  /** A file that must be there, if one must. */
  readonly file?: string;
  /** How it is started. */
  command(job: Job): Command;
}

/** A frame of this size is always allowed, as it is by default. */
const LEAST_MAX_FRAME = 64 * 1024;

const RUN = ["run", "--quiet", "--no-prompt", "--allow-net=127.0.0.1"];

/** All peers, in the order that tables have them. */
export const peers: Readonly<Record<string, Peer>> = {
  epoll: {
    label: "C, epoll, no framing",
    command: () => [at(`${BUILD}epoll_echo`)],
  },
  threads: {
    label: "C++, thread per connection, no framing",
    command: () => [at(`${BUILD}threads`)],
  },
  bare: {
    label: "Deno, read/write loop, no framing",
    command: (job) => deno("bench/peers/deno_bare.ts", job),
  },
  streams: {
    label: "Deno, Web Streams, no framing",
    command: (job) => deno("bench/peers/deno_streams.ts", job),
  },
  node: {
    label: "Node",
    tool: "node",
    command: (job) => onNode("node", job),
  },
  bun: {
    label: "Bun",
    tool: "bun",
    command: (job) => onNode("bun", job),
  },
  erlang: {
    label: "Erlang, gen_tcp",
    tool: "escript",
    command: (
      { framing },
    ) => ["escript", at("bench/peers/erlang_echo.escript"), framing],
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
  server: {
    label: "Parley, ./server",
    file: "server",
    command: (job) => [
      at("server"),
      "--hostname=127.0.0.1",
      "--port=0",
      "--handler=echo",
      "--max-connections=15000",
      `--framing=${job.framing}`,
      `--max-frame=${maxFrame(job)}`,
      ...(job.tls ? [`--tls-cert=${at(CERT)}`, `--tls-key=${at(KEY)}`] : []),
    ],
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
    file: `${BUILD}hello`,
    command: () => [at(`${BUILD}hello`)],
  },
};

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
    const { label, tool, file } = peers[name];
    if (tool !== undefined && !await onPath(tool)) {
      console.error(`bench: leaving out "${label}": no ${tool} on the PATH`);
    } else if (file !== undefined && !await exists(file)) {
      console.error(`bench: leaving out "${label}": ${file} is not built`);
    } else {
      available.add(name);
    }
  }
  return available;
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

function onNode(tool: "node" | "bun", { framing, tls }: Job): Command {
  const files = tls ? [at(CERT), at(KEY)] : [];
  return [tool, at("bench/peers/node_net.mjs"), framing, ...files];
}

function parley(job: Job, limits: "off" | "default" | "on"): Command {
  const size = String(maxFrame(job));
  return deno("bench/peers/parley.ts", job, job.framing, size, limits);
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

function maxFrame({ payload }: Job): number {
  return Math.max(payload, LEAST_MAX_FRAME);
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
