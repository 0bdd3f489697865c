/**
 * One turn of `memory.ts`, in a process of its own: serves connections that are
 * in memory, and prints how many nanoseconds a request has taken, as JSON.
 *
 * It imports nothing of `lib/` by itself, so it can measure any checkout: the
 * one whose folder it is given, or, given none, a plain loop.
 *
 * @module
 */

import process from "node:process";
import { setImmediate } from "node:timers";

/** What is measured; `memory.ts` says what each means. */
export interface Turn {
  readonly framing: "line" | "length";
  readonly connections: number;
  readonly depth: number;
  readonly payload: number;
  readonly handler: "echo" | "promise";
  readonly reads: "now" | "poll";
  /**
   * Seconds before the measuring, and of it. They are of processor time: a busy
   * machine must not measure what is still being compiled.
   */
  readonly warmup: number;
  readonly seconds: number;
  /** The checkout's folder; none for the plain loop. */
  readonly root?: string;
  /**
   * Batches between two passes of the calibrating loop, in turns with which the
   * server is measured then; only where reads settle in polls.
   */
  readonly slice?: number;
}

/** What a turn prints. */
export interface Figures {
  /** Nanoseconds for a request. */
  readonly ns: number;
  /** The same of processor time, which other work disturbs least. */
  readonly cpu: number;
  /** Of each slice, if there are any: nanoseconds of it for a request, of the server. */
  readonly work: readonly number[];
  /** The same for a line of the loop. */
  readonly loop: readonly number[];
}

/** The runtime finishes as many socket operations in one poll. */
const MOST_A_POLL = 128;

/** How many batches go by between two looks at the time, which cost too. */
const BATCHES_A_LOOK = 1024;

/** How often the calibrating loop goes over its lines at a time: 0.2 ms and more. */
const PASSES = 1;

/** Where `start` has been, and where it may be after files have moved. */
const STARTERS = [
  ["lib/server.ts", "start"],
  ["lib/server/serve.ts", "startServer"],
  ["lib/server/server.ts", "startServer"],
  ["lib/server/mod.ts", "startServer"],
] as const;

type Handler = (request: Uint8Array) => Uint8Array | Promise<Uint8Array>;

interface Server {
  readonly requests: number;
  shutdown(): Promise<void>;
}

type Start = (
  options: Record<string, unknown>,
  handler: Handler,
  surroundings: { listen: () => unknown },
) => Server;

const turn: Turn = JSON.parse(Deno.args[0]);
const batch = batchOf(turn);
const poll: (() => void)[] = [];
let polling = false;
let over = false;
const measured = Promise.withResolvers<void>();
let batches = 0;
let before = 0;
let from = 0;
let usedBefore = 0;
const work: number[] = [];
const loop: number[] = [];
let sliced = 0;
let usedSliced = 0;

/** An exception would be caught by the server, and the turn never end. */
function fail(what: string): never {
  console.error(`memory: ${what}`);
  Deno.exit(1);
}

/** Processor time of this process, all its threads, in microseconds. */
function cpuUsed(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/** One connection: the peer sends the batch again once all replies are here. */
class Feed {
  readonly localAddr = addrOf(1);
  readonly remoteAddr = addrOf(2);
  closed = false;
  #at = 0;
  #owed = 0;
  #space: Uint8Array | undefined;
  #resolve: ((n: number | null) => void) | undefined;
  #checked = 0;
  readonly #settle = () => {
    const resolve = this.#resolve!;
    this.#resolve = undefined;
    resolve(this.#bring(this.#space!));
  };

  read(space: Uint8Array): Promise<number | null> {
    const { reads } = turn;
    if (reads === "now" && this.#ready) {
      return Promise.resolve(this.#bring(space));
    }
    this.#space = space;
    const pending = new Promise<number | null>((resolve) =>
      this.#resolve = resolve
    );
    if (this.#ready) inNextPoll(this.#settle);
    return pending;
  }

  write(bytes: Uint8Array): Promise<number> {
    const { length } = bytes;
    if (this.#checked < batch.length) this.#check(bytes);
    this.#owed -= length;
    if (this.#owed < 0) fail("more was written than was asked for");
    if (this.#at === 0 && this.#owed === 0) answered();
    if (this.#resolve !== undefined && this.#ready) {
      if (turn.reads === "now") this.#settle();
      else inNextPoll(this.#settle);
    }
    return Promise.resolve(length);
  }

  closeWrite(): Promise<void> {
    return Promise.resolve();
  }

  close(): void {
    if (!over) fail("the server has closed a connection");
    this.closed = true;
  }

  /** Whether the peer has something to send: a rest, or the next batch. */
  get #ready(): boolean {
    return this.#at > 0 || this.#owed === 0;
  }

  #bring(space: Uint8Array): number | null {
    if (over && this.#at === 0) return null;
    const from = this.#at;
    const to = Math.min(batch.length, from + space.length);
    space.set(
      from === 0 && to === batch.length ? batch : batch.subarray(from, to),
    );
    this.#at = to === batch.length ? 0 : to;
    this.#owed += to - from;
    return to - from;
  }

  /** The first replies must be the requests; later ones are only counted. */
  #check(bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length && this.#checked < batch.length; i++) {
      if (bytes[i] !== batch[this.#checked++]) fail("a reply is wrong");
    }
  }
}

/** As the runtime does: one poll, then one task that tells of all it brought. */
function inNextPoll(settle: () => void): void {
  poll.push(settle);
  if (polling) return;
  polling = true;
  setImmediate(endPoll);
}

function endPoll(): void {
  if (turn.slice !== undefined && batches - sliced >= turn.slice) endSlice();
  const ready = poll.splice(0, MOST_A_POLL);
  polling = poll.length > 0;
  if (polling) setImmediate(endPoll);
  for (const settle of ready) settle();
}

/** Between two polls the server has nothing to do: nobody waits for the loop. */
function endSlice(): void {
  const used = cpuUsed();
  const lines = calibrate();
  const after = cpuUsed();
  if (from > 0 && sliced > 0) {
    work.push((used - usedSliced) * 1000 / ((batches - sliced) * turn.depth));
    loop.push((after - used) * 1000 / lines);
  }
  [sliced, usedSliced] = [batches, after];
}

const lines = new Uint8Array(64 * 1024).map((_, i) => i % 64 === 63 ? 10 : 97);
const copies = new Uint8Array(lines.length);
const views: Uint8Array[] = new Array(16).fill(lines);

/** Finds LFs, makes views and copies lines: always the same, and none of `lib`. */
function calibrate(): number {
  let found = 0;
  for (let pass = 0; pass < PASSES; pass++) {
    for (let i = 0, start = 0; i < lines.length; i++) {
      if (lines[i] !== 10) continue;
      const view = new Uint8Array(lines.buffer, start, i - start);
      views[found & 15] = view;
      for (let j = 0; j < view.length; j++) copies[start + j] = view[j];
      copies[i] = 10;
      start = i + 1;
      found++;
    }
  }
  return found;
}

/** All replies of one batch are here. */
function answered(): void {
  if (++batches % BATCHES_A_LOOK > 0 || over) return;
  const used = cpuUsed();
  const { warmup, seconds, depth } = turn;
  if (from === 0) {
    if (used < warmup * 1e6) return;
    from = performance.now();
    before = batches;
    usedBefore = used;
  } else if (used - usedBefore >= seconds * 1e6) {
    over = true;
    measured.resolve();
    const requests = (batches - before) * depth;
    const figures: Figures = {
      ns: (performance.now() - from) * 1e6 / requests,
      cpu: (used - usedBefore) * 1000 / requests,
      work,
      loop,
    };
    console.log(JSON.stringify(figures));
  }
}

const feeds = Array.from({ length: turn.connections }, () => new Feed());
if (turn.root === undefined) await Promise.all(feeds.map(plain));
else await serve(await starterOf(turn.root));
if (!over) fail("it ended before its time");

async function serve(start: Start): Promise<void> {
  const left = [...feeds];
  const closed = Promise.withResolvers<Feed>();
  const listener = {
    addr: addrOf(1),
    accept: () => {
      const next = left.shift();
      return next === undefined ? closed.promise : Promise.resolve(next);
    },
    close: () => closed.reject(new Deno.errors.BadResource("It is closed")),
  };
  const handler: Handler = turn.handler === "echo"
    ? (request) => request
    : (request) => Promise.resolve(request);
  const server = start(
    { framing: turn.framing, maxConnections: 0 },
    handler,
    { listen: () => listener },
  );
  await measured.promise;
  await server.shutdown();
  if (!feeds.every(({ closed }) => closed)) fail("a connection is still open");
  if (server.requests < batches * turn.depth) {
    fail("not all were counted");
  }
}

/** Finds the frames, copies each into one reply: the least a server can do. */
async function plain(feed: Feed): Promise<void> {
  const bytes = new Uint8Array(64 * 1024);
  const reply = new Uint8Array(64 * 1024);
  let end = 0;
  for (let n; (n = await feed.read(bytes.subarray(end))) !== null;) {
    end += n;
    let start = 0;
    for (let next; (next = frameEnd(bytes, start, end)) > 0; start = next) {
      for (let i = start; i < next; i++) reply[i] = bytes[i];
    }
    if (start > 0) await feed.write(reply.subarray(0, start));
    bytes.copyWithin(0, start, end);
    end -= start;
  }
  feed.closed = true;
}

/** Where the frame ends that begins at `start`; 0 while it is not whole. */
function frameEnd(bytes: Uint8Array, start: number, end: number): number {
  if (turn.framing === "line") {
    for (let i = start; i < end; i++) if (bytes[i] === 10) return i + 1;
    return 0;
  }
  if (end - start < 4) return 0;
  const next = start + 4 +
    (bytes[start] << 24 | bytes[start + 1] << 16 | bytes[start + 2] << 8 |
      bytes[start + 3]);
  return next > end ? 0 : next;
}

/** The one place that knows where a checkout keeps what starts a server. */
async function starterOf(root: string): Promise<Start> {
  for (const [file, name] of STARTERS) {
    const url = new URL(file, root);
    if (!await isFile(url)) continue;
    const start = (await import(url.href))[name];
    if (typeof start === "function") return start;
  }
  const places = STARTERS.map(([file, name]) => `${name} of ${file}`);
  throw new Error(`Cannot find ${places.join(", nor ")} in ${root}`);
}

async function isFile(url: URL): Promise<boolean> {
  try {
    return (await Deno.stat(url)).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function batchOf({ framing, payload, depth }: Turn): Uint8Array {
  const header = framing === "line" ? 0 : 4;
  const frame = new Uint8Array(header + payload + (framing === "line" ? 1 : 0));
  if (header > 0) new DataView(frame.buffer).setUint32(0, payload);
  for (let i = 0; i < payload; i++) frame[header + i] = 97 + i % 26;
  if (framing === "line") frame[payload] = 10;
  const all = new Uint8Array(frame.length * depth);
  for (let i = 0; i < depth; i++) all.set(frame, i * frame.length);
  return all;
}

function addrOf(port: number): Deno.NetAddr {
  return { transport: "tcp", hostname: "127.0.0.1", port };
}
