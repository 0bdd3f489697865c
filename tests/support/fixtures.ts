/**
 * What several tests share: a clock that stands still until it is told, and a
 * peer that speaks bytes.
 *
 * @module
 */

import { createConnection, type Socket } from "node:net";

import { toBytes } from "./std.ts";

import { PipelinedClient } from "../../lib/client/pipelined_client.ts";
import type { Clock } from "../../lib/core/clock.ts";
import type {
  CloseReason,
  ConnectionCloseEvent,
  EventListeners,
  ServerEvent,
} from "../../lib/events/events.ts";
import {
  type Framing,
  type FramingName,
  framingOf,
} from "../../lib/framing/mod.ts";
import type { Acceptor } from "../../lib/net/listen.ts";
import type { AnyOptions } from "../../lib/server/options.ts";
import type { ParleyServer } from "../../lib/server/parley_server.ts";
import { startServer, taskOptions } from "../../lib/server/serve.ts";
import type { Service, Surroundings } from "../../lib/server/server.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Text as bytes. */
export function bytes(text: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(text);
}

/** Bytes as text. */
export function text(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

/** Numbers that look random and are the same for the same seed (mulberry32). */
export function random(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** A clock that moves only by `advance`. */
export class FakeClock implements Clock {
  #now = 1000;
  readonly #timers = new Set<
    { at: number; tick: () => void; background: boolean }
  >();

  /** How many timers are set that keep the process alive. */
  get timers(): number {
    return this.#timers.values().filter((timer) => !timer.background)
      .toArray().length;
  }

  now(): number {
    return this.#now;
  }

  after(
    ms: number,
    tick: () => void,
    { background } = { background: false },
  ): () => void {
    const timer = { at: this.#now + ms, tick, background };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  }

  /** Moves on without calling anything, as if the process had been stopped. */
  jump(ms: number): void {
    this.#now += ms;
  }

  /** Moves on, calling what is due on the way in its order. */
  advance(ms: number): void {
    const end = this.#now + ms;
    while (true) {
      const [next] = [...this.#timers].sort((a, b) => a.at - b.at);
      if (next === undefined || next.at > end) break;
      this.#timers.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.tick();
    }
    this.#now = end;
  }
}

/** Where nobody listens: no system gives this port to who asks for any. */
export const NOBODY: Deno.NetAddr = {
  transport: "tcp",
  hostname: "127.0.0.1",
  port: 1,
};

/**
 * An address of this machine for one test alone. A port that is given back
 * there stays free, while other tests take those of 127.0.0.1 at any time.
 */
export function ownAddress(): string {
  // Not every system has the whole of 127.0.0.0/8.
  if (Deno.build.os !== "linux") return "127.0.0.1";
  const [b, c, d] = crypto.getRandomValues(new Uint8Array(3));
  return `127.${1 + b % 254}.${c}.${1 + d % 254}`;
}

/** A plain connection to a server under test. */
export class Peer implements Disposable {
  readonly conn: Deno.Conn;
  #received = new Uint8Array();

  constructor(conn: Deno.TcpConn | Deno.TlsConn | Deno.UnixConn) {
    this.conn = conn;
    if ("setNoDelay" in conn) conn.setNoDelay(true);
  }

  /** Connects to a server. */
  static async to({ addr }: { addr: Deno.Addr }): Promise<Peer> {
    if ("path" in addr) {
      const { path } = addr;
      return new Peer(await Deno.connect({ transport: "unix", path }));
    }
    const { hostname, port } = addr as Deno.NetAddr;
    const own = hostname.startsWith("127.") ? hostname : "127.0.0.1";
    return new Peer(await Deno.connect({ hostname: own, port }));
  }

  /** Sends all of some text or bytes. */
  async send(data: string | Uint8Array): Promise<void> {
    const all = typeof data === "string" ? bytes(data) : data;
    for (let done = 0; done < all.length;) {
      done += await this.conn.write(all.subarray(done));
    }
  }

  /** Receives so many bytes, or all there are, as text. */
  async receive(length: number): Promise<string> {
    const chunks = [this.#received];
    let have = this.#received.length;
    while (have < length) {
      const chunk = new Uint8Array(65_536);
      const n = await this.conn.read(chunk);
      if (n === null) break;
      chunks.push(chunk.subarray(0, n));
      have += n;
    }
    const all = new Uint8Array(have);
    let at = 0;
    for (const chunk of chunks) {
      all.set(chunk, at);
      at += chunk.length;
    }
    this.#received = all.slice(length);
    return text(all.subarray(0, length));
  }

  /** Sends a text and receives as much as the expected answer has. */
  async ask(request: string, expected: string): Promise<string> {
    await this.send(request);
    return await this.receive(bytes(expected).length);
  }

  /** Receives until the other side ends. */
  async rest(): Promise<string> {
    return text(this.#received) + text(await toBytes(this.conn.readable));
  }

  /** Ends our side: nothing more will be sent. */
  async finish(): Promise<void> {
    await this.conn.closeWrite();
  }

  [Symbol.dispose](): void {
    try {
      this.conn.close();
    } catch {
      // Reading to the end has closed it.
    }
  }
}

/** What {@linkcode clientAndPeer} takes. */
export interface ClientOptions {
  clock?: FakeClock;
  framing?: FramingName | Framing;
  timeout?: number;
  maxFrame?: number;
  keepAfterTimeout?: boolean;
}

/** A client, and the plain connection at the other side of it. */
export async function clientAndPeer(
  {
    clock = new FakeClock(),
    framing = "line",
    timeout = 1000,
    maxFrame = 1000,
    keepAfterTimeout,
  }: ClientOptions = {},
): Promise<[PipelinedClient, Peer, FakeClock]> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const [peer, conn] = await Promise.all([
    listener.accept(),
    Deno.connect({ hostname: "127.0.0.1", port }),
  ]);
  listener.close();
  const client = new PipelinedClient(conn, {
    framing: framingOf(framing),
    maxFrame,
    timeout,
    keepAfterTimeout,
  }, clock);
  return [client, new Peer(peer), clock];
}

/** What a promise rejects with, or else what it gives. */
export function outcome(promise: Promise<Uint8Array>): Promise<unknown> {
  return promise.then(text, (error) => error);
}

/**
 * A peer that can reset its connection: Deno's own sockets finish (FIN) before
 * they are closed, even with bytes unread.
 */
export class RudePeer {
  readonly #socket: Socket;

  private constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** Connects to a server. */
  static async to({ addr }: { addr: Deno.Addr }): Promise<RudePeer> {
    const { port } = addr as Deno.NetAddr;
    const socket = createConnection(port, "127.0.0.1");
    await new Promise((done, fail) => {
      socket.once("connect", done);
      socket.once("error", fail);
    });
    // From here on an error comes with "close", which is enough.
    socket.on("error", () => {});
    return new RudePeer(socket);
  }

  /** Sends a text, and waits until the system has it. */
  async send(data: string): Promise<void> {
    await new Promise((done) => this.#socket.write(data, done));
  }

  /** Passes on what each side sends, until one of them is gone. */
  async relay(conn: Deno.Conn): Promise<void> {
    this.#socket.on("data", (data) => void conn.write(data).catch(() => {}));
    try {
      const space = new Uint8Array(65_536);
      for (let n; (n = await conn.read(space)) !== null;) {
        this.#socket.write(space.slice(0, n));
      }
    } catch {
      // It is closed.
    }
  }

  /** Sends RST: all that is under way is lost. */
  async reset(): Promise<void> {
    const closed = new Promise((done) => this.#socket.once("close", done));
    this.#socket.resetAndDestroy();
    await closed;
  }
}

/** The events of a server, to look at and to wait for. */
export class Events {
  readonly all: ServerEvent[] = [];
  readonly #waiting = new Set<() => void>();

  /** To be given to the server. */
  readonly listeners: EventListeners = Object.fromEntries(
    ([
      "listening",
      "connection_open",
      "connection_close",
      "connection_rejected",
      "request",
      "handler_error",
      "accept_error",
      "pre_drain",
      "drain",
      "finished",
      "thread_lost",
      "certificate_expiry",
    ] as const).map((type) => [type, (event: ServerEvent) => {
      this.all.push(event);
      for (const wake of this.#waiting) wake();
    }]),
  );

  /** Those of one type so far. */
  of<Type extends ServerEvent["type"]>(
    type: Type,
  ): Extract<ServerEvent, { type: Type }>[] {
    return this.all.filter((event) => event.type === type) as Extract<
      ServerEvent,
      { type: Type }
    >[];
  }

  /** Waits until there are `count` of one type, and gives the last of them. */
  async next<Type extends ServerEvent["type"]>(
    type: Type,
    count = 1,
  ): Promise<Extract<ServerEvent, { type: Type }>> {
    while (this.of(type).length < count) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.add(resolve);
      await promise;
      this.#waiting.delete(resolve);
    }
    return this.of(type)[count - 1];
  }

  /** How the first connection ended. */
  async closed(): Promise<ConnectionCloseEvent> {
    return await this.next("connection_close");
  }

  /** How each connection so far ended. */
  get reasons(): CloseReason[] {
    return this.of("connection_close").map(({ reason }) => reason);
  }
}

/** A server under test, on a port of the system's choice. */
export interface TestServer extends AsyncDisposable {
  server: ParleyServer;
  addr: Deno.Addr;
  events: Events;
}

/** Starts a server under test. */
export function serveTest(
  service: Service,
  options: AnyOptions = {},
  surroundings: Surroundings = {},
): TestServer {
  const events = new Events();
  if (typeof service === "object") options = taskOptions(options);
  const server = startServer(
    {
      hostname: "127.0.0.1",
      port: 0,
      // A test that forgets a connection ends, and shows it as forced.
      drainTimeout: 2000,
      events: events.listeners,
      ...options,
    },
    service,
    surroundings,
  );
  return {
    server,
    addr: server.addr,
    events,
    async [Symbol.asyncDispose]() {
      let ended = false;
      const finished = server.shutdown().finally(() => ended = true);
      // A clock that stands still would keep the listener open, and never
      // force what a test that fails has left.
      const { clock } = surroundings;
      while (clock instanceof FakeClock && !ended) {
        clock.advance(10);
        await turnOfLoop();
      }
      await finished;
    },
  };
}

/** A listener whose `accept` does what a test says. */
export class FakeListener implements Acceptor {
  readonly addr: Deno.Addr = {
    transport: "tcp",
    hostname: "127.0.0.1",
    port: 1,
  };
  closed = false;
  #script: (Error | Deno.TcpConn)[] = [];
  #pending: PromiseWithResolvers<Deno.TcpConn> | undefined;

  /** What the next `accept` gives or throws. */
  next(step: Error | Deno.TcpConn): void {
    this.#script.push(step);
    this.#step();
  }

  accept(): Promise<Deno.TcpConn> {
    this.#pending = Promise.withResolvers();
    const { promise } = this.#pending;
    this.#step();
    return promise;
  }

  close(): void {
    this.closed = true;
    this.#pending?.reject(new Deno.errors.BadResource("Listener is closed"));
  }

  #step(): void {
    if (this.#pending === undefined) return;
    const step = this.#script.shift();
    if (step === undefined) return;
    const { resolve, reject } = this.#pending;
    this.#pending = undefined;
    if (step instanceof Error) reject(step);
    else resolve(step);
  }
}

/** Lets everything that is already settled take its course. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

/** One turn of the event loop: a round trip through the system's sockets. */
export async function turnOfLoop(): Promise<void> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const conn = await Deno.connect({ hostname: "127.0.0.1", port });
  (await listener.accept()).close();
  conn.close();
  listener.close();
}
