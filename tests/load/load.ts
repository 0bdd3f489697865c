/**
 * Load that a server holds: many connections at once, many idle ones, and many
 * that come in one burst. The server is the program in a process of its own,
 * the clients are crowds in theirs.
 *
 * @module
 */

import { Lines, RunningServer, type Way } from "../support/programs.ts";
import { nothingYet, type Outcome } from "./crowd.ts";

/** Most clients in one process, far below any usual limit of descriptors. */
const CROWD = 5000;

/** How many connect at the same time where the scene is not the burst. */
const CALMLY = 256;

/** How long a step may take, in milliseconds; what is not done then is lost. */
const LIMIT = 120_000;

/** How many clients do what. */
export interface Sizes {
  /** Clients that are all active at once. */
  active: number;
  /** Clients that are silent. */
  idle: number;
  /** Clients that are active beside them. */
  besideIdle: number;
  /** Clients that connect in one burst. */
  storm: number;
  /** Requests that each active client asks. */
  rounds: number;
}

/** What a scene showed. */
export interface Figures {
  /** What it was. */
  scene: string;
  /** Clients, all told. */
  clients: number;
  /** What went wrong; each has to be 0. */
  failures: {
    /** Connections that could not be made. */
    refused: number;
    /** Connections that ended by a reset. */
    reset: number;
    /** Requests without a reply. */
    lost: number;
    /** Replies that were not the request's. */
    wrong: number;
    /** By how many connections and requests the server's count is off ours. */
    miscounted: number;
    /** Connections that the server had to force in the end. */
    forced: number;
  };
  /** Right replies. */
  replies: number;
  /** How long it took to connect and have the first reply, in milliseconds. */
  connectMs: number;
  /** How long the requests took, in milliseconds; 0 where there were none. */
  askMs: number;
  /** Resident memory of the server with all connected, in KiB. */
  residentKiB: number;
}

/** Plays the scenes one after the other. */
export async function* scenes(way: Way, sizes: Sizes): AsyncGenerator<Figures> {
  const { active, idle, besideIdle, storm, rounds } = sizes;
  const backlog = ["--backlog", "4096"];
  yield await play(
    `${active} active`,
    way,
    [active],
    backlog,
    async (stage) => {
      await stage.connect(0, CALMLY);
      await stage.ask(0, rounds);
    },
  );
  // More than the default allows.
  const room = ["--max-connections", String(idle + besideIdle)];
  yield await play(
    `${idle} idle, ${besideIdle} active`,
    way,
    [idle, besideIdle],
    [...backlog, ...room],
    async (stage) => {
      await stage.connect(0, CALMLY);
      await stage.connect(1, CALMLY);
      await stage.ask(1, rounds * 10);
      // Each of them is still there, and heard.
      await stage.ask(0, 1);
    },
  );
  yield await play(
    `burst of ${storm}`,
    way,
    [storm],
    backlog,
    async (stage) => {
      await stage.connect(0, storm);
    },
  );
}

/** Has groups of clients of the given sizes play against a new server. */
async function play(
  scene: string,
  way: Way,
  groups: number[],
  flags: string[],
  act: (stage: Stage) => Promise<void>,
): Promise<Figures> {
  // Its port is its own, so the ports of earlier clients are no concern.
  await using server = await RunningServer.start(way, flags);
  await using stage = new Stage(groups, server.addr.port);
  await act(stage);
  const { outcome, clients, connectMs, askMs } = stage;
  const { connections, requests } = await stage.stats();
  const residentKiB = await resident(server.pid);
  await stage.leave();
  server.kill("SIGTERM");
  const { forced } = await server.logged("finished");
  await server.code();
  const { replies, refused, reset, lost, wrong } = outcome;
  return {
    scene,
    clients,
    failures: {
      ...{ refused, reset, lost, wrong },
      // The server has counted the question for its numbers, too.
      miscounted: Math.abs(connections - clients) +
        Math.abs(requests - replies - 1),
      forced: Number(forced),
    },
    ...{ replies, connectMs, askMs, residentKiB },
  };
}

/** The clients of a scene. */
class Stage implements AsyncDisposable {
  readonly clients: number;
  readonly outcome = nothingYet();
  connectMs = 0;
  askMs = 0;
  readonly #groups: Crowd[][];

  constructor(groups: number[], port: number) {
    let first = 0;
    this.#groups = groups.map((size) => {
      const crowds: Crowd[] = [];
      for (let left = size; left > 0; left -= CROWD) {
        const count = Math.min(left, CROWD);
        crowds.push(new Crowd(port, ownAddress(), first, count));
        first += count;
      }
      return crowds;
    });
    this.clients = first;
  }

  /** Has a group connect, so many at once. */
  async connect(group: number, atOnce: number): Promise<void> {
    const crowds = this.#groups[group];
    const each = Math.ceil(atOnce / crowds.length);
    const ms = await this.#all(group, `connect ${each}`);
    this.connectMs += ms;
  }

  /** Has each of a group ask so many requests. */
  async ask(group: number, requests: number): Promise<void> {
    this.askMs += await this.#all(group, `ask ${requests}`);
  }

  /** What the server says of itself. */
  async stats(): Promise<{ connections: number; requests: number }> {
    const stats = await this.#groups[0][0].tell("stats") as string;
    const number = (name: string) =>
      Number(new RegExp(`\\b${name}=(\\d+)`).exec(stats)?.[1]);
    return {
      connections: number("connections"),
      requests: number("requests"),
    };
  }

  /** All close, and are gone. */
  async leave(): Promise<void> {
    await Promise.all(this.#groups.flat().map((crowd) => crowd.leave()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      this.#groups.flat().map((crowd) => crowd[Symbol.asyncDispose]()),
    );
  }

  /** Has all crowds of a group begin together; the last one's time counts. */
  async #all(group: number, command: string): Promise<number> {
    const crowds = this.#groups[group];
    await Promise.all(crowds.map((crowd) => crowd.ready));
    const outcomes = await Promise.all(
      crowds.map((crowd) => crowd.tell(command) as Promise<Outcome>),
    );
    for (const { replies, refused, reset, lost, wrong } of outcomes) {
      this.outcome.replies += replies;
      this.outcome.refused += refused;
      this.outcome.reset += reset;
      this.outcome.lost += lost;
      this.outcome.wrong += wrong;
    }
    return Math.max(...outcomes.map(({ ms }) => ms));
  }
}

/** A process full of clients. */
class Crowd implements AsyncDisposable {
  /** Resolves once the process takes commands. */
  readonly ready: Promise<void>;
  readonly #child: Deno.ChildProcess;
  readonly #told: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #said: Lines;

  /**
   * @param port The server's port.
   * @param source The address to connect from.
   * @param first The number of the first client.
   * @param count How many there are.
   */
  constructor(port: number, source: string, first: number, count: number) {
    this.#child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--no-prompt",
        `--allow-net=127.0.0.1,${source}`,
        new URL("./crowd.ts", import.meta.url).href,
        ...[port, source, first, count, LIMIT].map(String),
      ],
      stdin: "piped",
      stdout: "piped",
      // What fails first is named there.
      stderr: "inherit",
    }).spawn();
    this.#told = this.#child.stdin.getWriter();
    this.#said = new Lines(this.#child.stdout);
    this.ready = this.#said.next().then(() => {});
  }

  /** Has all do something; see `crowd.ts`. */
  async tell(command: string): Promise<Outcome | string> {
    await this.#told.write(new TextEncoder().encode(`${command}\n`));
    return JSON.parse(await this.#said.next());
  }

  async leave(): Promise<void> {
    await this.#told.close();
    await this.#child.status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Where a scene failed in the middle, nobody has told it to leave.
    await this.#told.close().catch(() => {});
    await this.#child.status;
    await this.ready.catch(() => {});
    await this.#said.cancel();
  }
}

/** An address of the loopback whose ports no other crowd uses, or has used. */
function ownAddress(): string {
  const [a, b, c] = crypto.getRandomValues(new Uint8Array(3));
  // Neither the net's own address nor 127.0.0.1.
  return `127.${1 + a % 254}.${b}.${c}`;
}

/** Resident memory of a process, in KiB; the kernel's sockets are not in it. */
async function resident(pid: number): Promise<number> {
  // Deno itself lets nobody look into `/proc` who may not do everything.
  const { stdout } = await new Deno.Command("cat", {
    args: [`/proc/${pid}/status`],
  }).output();
  const status = new TextDecoder().decode(stdout);
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]);
}
