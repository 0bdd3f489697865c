/**
 * `deno task pressure -- SERVER…`: what peers that hold memory cost a server.
 * Some ask for large replies and never read, some send half a frame, others
 * `PING` meanwhile. Each scene has a server of its own, started by the command
 * line behind `--`, and prints
 *
 * - the server's resident memory before, at its peak, while the peers are held,
 *   and a minute after they have gone;
 * - the longest that a `PING` has waited, from the call of connect to its reply;
 * - how many peers were refused with a line, and how many were closed.
 *
 * The command must be the server itself and no `deno task`, whose memory it
 * would be. Its address, port and connection limit come from the environment,
 * unless its flags say otherwise; its handler must be `commands`.
 *
 * @module
 */

import { parseArgs } from "node:util";

const MiB = 1024 ** 2;

/** How many peers never read, and how much each asks for. */
const UNREAD = 60;
const REPLY = 16 * MiB;

/** How many connections are opened at the same time. */
const OPENING = 256;

/** How long a server may take to start, and to end. */
const LIMIT_MS = 20_000;

const HELP = `Usage: deno task pressure [flags] -- SERVER [ARGUMENT…]

  --only NAME       only the scenes whose names start so
  --connections N   peers with half a frame (default 10000)
  --hold S          seconds that the peers are held (default 10)
  --after S         seconds until memory is read again (default 60)
  --json            print a line of JSON for each scene
  --help            print this and end

Scenes: unread, half-600, half-30k, half-40k, mix`;

/** What the peers of a scene do: those that never read, and the half frames. */
interface Scene {
  readonly name: string;
  readonly unread: number;
  /** The bytes of each half frame. */
  readonly halves: readonly number[];
}

interface Settings {
  readonly command: readonly string[];
  readonly hold: number;
  readonly after: number;
}

/** One peer. It is held until the scene ends, or the server closes it. */
interface Peer {
  readonly conn: Deno.TcpConn;
  readonly port: number;
  /** What it was told before the server closed it. */
  text: string;
}

/** What came of a scene; memory in MiB. */
interface Outcome {
  readonly scene: string;
  readonly before: number;
  readonly peak: number;
  readonly held: number;
  readonly after: number;
  readonly pings: number;
  readonly longestPingMs: number;
  readonly failedPings: number;
  readonly peers: number;
  readonly unconnected: number;
  readonly refused: number;
  readonly closed: number;
}

/** What the worker tells of its pings. */
export interface Pings {
  readonly count: number;
  readonly failed: number;
  readonly longest: number;
}

class UsageError extends Error {}

try {
  await main();
} catch (error) {
  console.error(`pressure: ${error instanceof Error ? error.message : error}`);
  Deno.exit(error instanceof UsageError ? 2 : 1);
}

async function main(): Promise<void> {
  const { flags, command } = parse();
  if (flags.help) return console.log(HELP);
  const connections = numberOf("--connections", flags.connections, 1);
  const hold = numberOf("--hold", flags.hold, 0);
  const after = numberOf("--after", flags.after, 0);
  const scenes = scenesOf(connections)
    .filter(({ name }) => name.startsWith(flags.only));
  if (scenes.length === 0) {
    throw new UsageError(`--only is "${flags.only}": no scene starts so`);
  }
  if (command.length === 0) {
    throw new UsageError("there is no server behind --");
  }
  for (const scene of scenes) {
    const outcome = await play(scene, { command, hold, after });
    console.log(flags.json ? JSON.stringify(outcome) : inWords(outcome, after));
  }
}

function parse() {
  try {
    const { values, positionals } = parseArgs({
      args: Deno.args,
      allowPositionals: true,
      options: {
        only: { type: "string", default: "" },
        connections: { type: "string", default: "10000" },
        hold: { type: "string", default: "10" },
        after: { type: "string", default: "60" },
        json: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
    return { flags: values, command: positionals };
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function scenesOf(connections: number): Scene[] {
  const third = Math.floor(connections / 3);
  const halves = (count: number, size: number) => Array(count).fill(size);
  return [
    { name: "unread", unread: UNREAD, halves: [] },
    { name: "half-600", unread: 0, halves: halves(connections, 600) },
    { name: "half-30k", unread: 0, halves: halves(connections, 30 * 1024) },
    { name: "half-40k", unread: 0, halves: halves(connections, 40 * 1024) },
    {
      name: "mix",
      unread: UNREAD,
      halves: [600, 30 * 1024, 40 * 1024].flatMap((n) => halves(third, n)),
    },
  ];
}

async function play(
  { name, unread, halves }: Scene,
  { command, hold, after }: Settings,
): Promise<Outcome> {
  const server = await start(command, unread + halves.length + 100);
  const probe = new Worker(
    import.meta.resolve("./memory_pressure_probe.ts"),
    { type: "module" },
  );
  try {
    probe.postMessage(server.port);
    const before = await residentOf(server.pid);
    const asks = [
      ...Array(unread).fill(`SIZE ${REPLY}\n`),
      ...halves.map((size) => "x".repeat(size)),
    ];
    const { peers, unconnected } = await openAll(server.port, asks, unread);
    await pause(hold * 1000);
    const held = await residentOf(server.pid);
    const alive = await openPorts(server.port);
    const gone = peers.filter(({ port }) => !alive.has(port));
    const refused = gone.filter(({ text }) => text.startsWith("ERR ")).length;
    const pings = await pingsOf(probe);
    for (const { conn } of peers) close(conn);
    await pause(after * 1000);
    return {
      scene: name,
      before,
      peak: await residentOf(server.pid, "VmHWM"),
      held,
      after: await residentOf(server.pid),
      pings: pings.count,
      longestPingMs: Math.round(pings.longest),
      failedPings: pings.failed,
      peers: peers.length,
      unconnected,
      refused,
      closed: gone.length - refused,
    };
  } finally {
    probe.terminate();
    await server.stop();
  }
}

/** Starts a server on a port of the system's choice. */
async function start([program, ...args]: readonly string[], limit: number) {
  const child = new Deno.Command(program, {
    args,
    env: {
      PARLEY_HOSTNAME: "127.0.0.1",
      PARLEY_PORT: "0",
      PARLEY_MAX_CONNECTIONS: `${limit}`,
    },
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), LIMIT_MS);
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (!text.includes("ready")) {
    const { value, done } = await reader.read();
    if (done) break;
    text += value;
  }
  clearTimeout(timer);
  // What it prints later is taken, so that it never waits for us.
  (async () => {
    while (!(await reader.read()).done);
  })();
  const port = Number(/listening on \S*:(\d+)/.exec(text)?.[1]);
  if (!(port > 0)) {
    await child.status;
    throw new Error(`Cannot start ${program}: it named no port`);
  }
  return {
    port,
    pid: child.pid,
    async stop() {
      const timer = setTimeout(() => child.kill("SIGKILL"), LIMIT_MS);
      // It may have ended, or been killed for want of memory.
      try {
        child.kill("SIGTERM");
      } catch { /* It has. */ }
      await child.status;
      clearTimeout(timer);
    },
  };
}

/** Opens a connection for each text, and sends it. */
async function openAll(port: number, asks: readonly string[], unread: number) {
  const encoder = new TextEncoder();
  const peers: Peer[] = [];
  let unconnected = 0;
  let next = 0;
  await Promise.all(Array.from({ length: OPENING }, async () => {
    while (next < asks.length) {
      const i = next++;
      let conn;
      try {
        conn = await Deno.connect({ hostname: "127.0.0.1", port });
      } catch {
        unconnected++;
        continue;
      }
      const peer = { conn, port: conn.localAddr.port, text: "" };
      peers.push(peer);
      // The first ones never read, so nothing tells them of their end.
      if (i >= unread) listen(peer);
      // One that is closed while it sends is counted as such later.
      await send(conn, encoder.encode(asks[i])).catch(() => {});
    }
  }));
  return { peers, unconnected };
}

async function send(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    done += await conn.write(bytes.subarray(done));
  }
}

/** Keeps the first of what a peer is told, until it is closed. */
async function listen(peer: Peer): Promise<void> {
  const decoder = new TextDecoder();
  const space = new Uint8Array(256);
  try {
    for (let n; (n = await peer.conn.read(space)) !== null;) {
      if (peer.text === "") peer.text = decoder.decode(space.subarray(0, n));
    }
  } catch {
    // It was reset, or the scene is over.
  }
}

/**
 * Our ports whose connections a server has not closed, by the kernel's table of
 * its sockets: to a peer that never reads, the close does not get through.
 */
async function openPorts(port: number): Promise<Set<number>> {
  const ESTABLISHED = "01";
  const server = port.toString(16).toUpperCase().padStart(4, "0");
  const table = await Deno.readTextFile("/proc/net/tcp");
  const ports = new Set<number>();
  for (const line of table.split("\n").slice(1)) {
    const [, local = "", remote = "", state] = line.trim().split(/\s+/);
    if (state === ESTABLISHED && local.endsWith(`:${server}`)) {
      ports.add(parseInt(remote.split(":")[1], 16));
    }
  }
  return ports;
}

/** The memory of a process that is resident now, or was at its peak, in MiB. */
async function residentOf(
  pid: number,
  name: "VmRSS" | "VmHWM" = "VmRSS",
): Promise<number> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  const KiB = new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1];
  if (KiB === undefined) throw new Error(`The server has ended (${pid})`);
  return Math.round(Number(KiB) / 1024);
}

async function pingsOf(probe: Worker): Promise<Pings> {
  const { promise, resolve } = Promise.withResolvers<Pings>();
  probe.onmessage = ({ data }) => resolve(data);
  probe.postMessage("stop");
  return await promise;
}

function inWords(outcome: Outcome, after: number): string {
  const { scene, before, peak, held, pings, longestPingMs } = outcome;
  const { failedPings, peers, unconnected, refused, closed } = outcome;
  return [
    `${scene}: ${peers} peers`,
    `  resident memory: ${before} MiB before, ${peak} at its peak, ${held} ` +
    `while held, ${outcome.after} after ${after} s without them`,
    `  ${pings} pings: ${failedPings} failed, the longest wait ` +
    `${longestPingMs} ms`,
    `  peers not connected ${unconnected}, refused ${refused}, closed ${closed}`,
  ].join("\n");
}

function close(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch { /* The server's close has done it. */ }
}

function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}

function numberOf(name: string, text: string, least: number): number {
  const number = Number(text);
  if (text !== "" && number >= least) return number;
  throw new UsageError(
    `${name} is "${text}", expected a number from ${least}`,
  );
}
