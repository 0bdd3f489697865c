/**
 * Three servers in processes of their own behind a real HAProxy, which runs
 * with `deploy/haproxy.cfg`.
 *
 * @module
 */

import { assert, toText } from "./std.ts";

import { ownAddress } from "./fixtures.ts";
import { Lines, RunningServer, type Way } from "./programs.ts";

type Place = Pick<Deno.NetAddr, "hostname" | "port">;

/** The names that the configuration gives its servers. */
const NAMES = ["one", "two", "three"] as const;

/** Where HAProxy keeps what it logs: all of a test's lines have room in it. */
const RING = `
ring events
  format raw
  maxlen 1200
  size 8388608
`;

/** The lines that a program prints, to look at and to wait for. */
export class Log {
  readonly all: string[] = [];
  readonly ended: Promise<void>;
  #over = false;
  #news = Promise.withResolvers<void>();

  constructor(lines: Lines) {
    this.ended = this.#collect(lines);
  }

  /** The first line from number `from` on that matches; waits for it. */
  async find(pattern: RegExp, from = 0): Promise<string> {
    for (let i = from;; i++) {
      while (i === this.all.length) {
        assert(!this.#over, `The output ended, expected ${pattern}`);
        await this.#news.promise;
      }
      if (pattern.test(this.all[i])) return this.all[i];
    }
  }

  async #collect(lines: Lines): Promise<void> {
    try {
      while (true) {
        this.all.push(await lines.next());
        this.#tell();
      }
    } catch {
      this.#over = true;
      this.#tell();
    }
  }

  #tell(): void {
    this.#news.resolve();
    this.#news = Promise.withResolvers();
  }
}

/** One of the servers: its places stay the same when it is started anew. */
export class Member {
  readonly name: string;
  readonly hostname = ownAddress();
  readonly port: number;
  readonly adminPort: number;
  /** What this life of the server says on standard error. */
  log: Log | undefined;
  #running: RunningServer | undefined;
  readonly #way: Way;
  readonly #preDrainDelay: string;

  constructor(name: string, way: Way, preDrainDelay: string) {
    this.name = name;
    [this.port, this.adminPort] = freePorts(this.hostname, 2);
    this.#way = way;
    this.#preDrainDelay = preDrainDelay;
  }

  /** Starts it, and returns when it is ready. */
  async start(): Promise<void> {
    this.#running = await RunningServer.start(this.#way, [
      "--hostname",
      this.hostname,
      "--port",
      String(this.port),
      "--admin",
      `${this.hostname}:${this.adminPort}`,
      "--pre-drain-delay",
      this.#preDrainDelay,
      "--proxy-protocol",
      "v2",
      "--proxy-trust",
      "127.0.0.1",
    ]);
    this.log = new Log(this.#running.stderr);
  }

  kill(signal: Deno.Signal): void {
    this.#running?.kill(signal);
  }

  /** The exit code. */
  async code(): Promise<number | undefined> {
    return await this.#running?.code();
  }

  async end(): Promise<void> {
    await this.#running?.[Symbol.asyncDispose]();
    await this.log?.ended;
  }
}

/** See the module's text. */
export class Cluster implements AsyncDisposable {
  /**
   * Where clients connect. It is not where they come from, 127.0.0.1: whoever
   * tries a port there before HAProxy has it may connect to itself.
   */
  readonly hostname: string;
  readonly port: number;
  readonly members: readonly Member[];
  /** What HAProxy logs: each session at its end, each server's ups and downs. */
  readonly log: Log;
  readonly #proxy: Deno.ChildProcess;
  readonly #lines: Lines;
  readonly #folder: string;

  private constructor(
    { hostname, port }: Place,
    members: readonly Member[],
    proxy: Deno.ChildProcess,
    folder: string,
    lines: Lines,
  ) {
    this.hostname = hostname;
    this.port = port;
    this.members = members;
    this.#proxy = proxy;
    this.#folder = folder;
    this.#lines = lines;
    this.log = new Log(lines);
  }

  /**
   * Starts servers and HAProxy, which asks them every 100 ms.
   *
   * @param way How the servers are run.
   * @param preDrainDelay Their flag's value.
   * @param checkPort Where a server's checks go instead of its admin port.
   */
  static async start(
    way: Way,
    preDrainDelay: string,
    checkPort = (member: Member) => member.adminPort,
  ): Promise<Cluster> {
    const members = NAMES.map((name) => new Member(name, way, preDrainDelay));
    const hostname = ownAddress();
    const [port] = freePorts(hostname, 1);
    const folder = await Deno.makeTempDir();
    try {
      for (const member of members) await member.start();
      const file = `${folder}/haproxy.cfg`;
      await Deno.writeTextFile(
        file,
        RING + await localConfig({
          "bind :8080": `bind ${hostname}:${port}`,
          "/run/haproxy/admin.sock": `${folder}/admin.sock`,
          // What needs no privilege.
          "maxconn 30000": "maxconn 1000",
          // All clients of a test have one address.
          "sc_conn_rate(0) gt 200": "sc_conn_rate(0) gt 1000000",
          "sc_conn_cur(0) gt 100": "sc_conn_cur(0) gt 1000000",
          // Standard output drops what it cannot write at once.
          "log stdout": "log ring@events",
          "inter 2s fastinter 500ms": "inter 100ms fastinter 100ms",
          ...Object.fromEntries(members.map((member, i) => [
            `192.0.2.1${i + 1}:8080`,
            `${member.hostname}:${member.port} port ${checkPort(member)}`,
          ])),
        }),
      );
      const proxy = new Deno.Command("haproxy", {
        args: ["-db", "-f", file],
        stdin: "null",
        stdout: "null",
        stderr: "null",
      }).spawn();
      const place = { hostname, port };
      (await connected(proxy, () => Deno.connect(place))).close();
      const lines = new Lines(
        await connected(proxy, () => ask(folder, "show events events -w")),
      );
      return new Cluster(place, members, proxy, folder, lines);
    } catch (error) {
      for (const member of members) await member.end();
      throw error;
    }
  }

  /** How many lines HAProxy has logged: where to look for the next. */
  get mark(): number {
    return this.log.all.length;
  }

  /** Waits until HAProxy says that a server is up, or down. */
  async until(member: Member, state: "UP" | "DOWN", from: number) {
    await this.log.find(
      new RegExp(`Server parley/${member.name} is ${state}\\b`),
      from,
    );
  }

  /** Which server a client's connection went to; waits until it has ended. */
  async serverOf(clientPort: number): Promise<string> {
    const line = await this.log.find(new RegExp(`\\b127.0.0.1:${clientPort} `));
    return / parley\/(\S+) /.exec(line)?.[1] ?? line;
  }

  /** HAProxy's numbers by server, and `BACKEND` for all. */
  async stats(): Promise<Record<string, Record<string, string>>> {
    const text = await toText(await ask(this.#folder, "show stat"));
    const [head, ...rows] = text.trim().split("\n");
    const columns = head.replace("# ", "").split(",");
    return Object.fromEntries(
      rows.map((row) => row.split(","))
        .filter(([proxy, name]) => proxy === "parley" && name !== "FRONTEND")
        .map((row) => [
          row[1],
          Object.fromEntries(columns.map((column, i) => [column, row[i]])),
        ]),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#proxy.kill("SIGTERM");
    await this.#proxy.status;
    await this.log.ended;
    await this.#lines.cancel();
    for (const member of this.members) await member.end();
    await Deno.remove(this.#folder, { recursive: true });
  }
}

/**
 * The configuration as it is shipped, with places of this test in it.
 *
 * @param places What stands there, and what takes its place.
 */
export async function localConfig(
  places: Readonly<Record<string, string>>,
): Promise<string> {
  let config = await Deno.readTextFile(
    new URL("../../deploy/haproxy.cfg", import.meta.url),
  );
  for (const [shipped, local] of Object.entries(places)) {
    assert(config.includes(shipped), `deploy/haproxy.cfg has no ${shipped}`);
    config = config.replaceAll(shipped, local);
  }
  return config;
}

/** Tries until HAProxy is there; it may bind its places in any order. */
export async function connected<Conn>(
  proxy: Deno.ChildProcess,
  connect: () => Promise<Conn>,
): Promise<Conn> {
  let ended = false;
  proxy.status.then(() => ended = true);
  while (true) {
    try {
      return await connect();
    } catch (error) {
      if (
        !(error instanceof Deno.errors.ConnectionRefused) &&
        !(error instanceof Deno.errors.NotFound)
      ) throw error;
      assert(!ended, "HAProxy has ended, expected it to listen");
    }
  }
}

/** What HAProxy answers on its administration socket. */
async function ask(folder: string, command: string) {
  const path = `${folder}/admin.sock`;
  const conn = await Deno.connect({ transport: "unix", path });
  await conn.write(new TextEncoder().encode(`${command}\n`));
  return conn.readable;
}

/** Ports that were free a moment ago; HAProxy cannot say which it picked. */
export function freePorts(hostname: string, count: number): number[] {
  const listeners = Array.from(
    { length: count },
    () => Deno.listen({ hostname, port: 0 }),
  );
  const ports = listeners.map(({ addr }) => addr.port);
  for (const listener of listeners) listener.close();
  return ports;
}
