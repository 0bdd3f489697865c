/**
 * What is measured.
 *
 * @module
 */

import { measured } from "./codecs.ts";
import type { Job } from "./peers.ts";

/** A number of a sample that stands in the table beside another. */
export interface Column {
  /** The key in a sample's values. */
  readonly name: string;
  /** The heading. */
  readonly heading: string;
  /** What is shown of all turns. */
  readonly of: "median" | "max";
}

/** One number that a scenario gives: one table, one chart. */
export interface Figure {
  /** Names the chart; the key in a sample's values. */
  readonly name: string;
  /** The heading. */
  readonly title: string;
  /** What the number counts. */
  readonly unit: string;
  /** Which way is good. */
  readonly better: "higher" | "lower";
  /** What else the table shows. */
  readonly beside?: readonly Column[];
}

/** What greedy clients do: each sends the same line without an end. */
export interface Flood {
  /** How the line begins. */
  readonly line: string;
  /** How long it is, filled up with letters; at least what it begins with. */
  readonly size: number;
  /** How many do so. */
  readonly flooders: number;
}

/** One kind of load, on several peers. */
export interface Scenario extends Job {
  /** For `--only`. */
  readonly name: string;
  /**
   * What the load generator does. With `start` it does nothing, and the time
   * from the start of the process to the first reply is taken; with `compute`
   * the peer is no server, and prints its figures by their names; with `flood`
   * it is another generator, `fair.c`; with `generate` the peers are generators,
   * and drive the C program that sends back what it reads.
   */
  readonly mode:
    | "echo"
    | "connect"
    | "idle"
    | "paced"
    | "flood"
    | "start"
    | "compute"
    | "client"
    | "generate";
  /** How many connections. */
  readonly connections: number;
  /** How many frames are sent before the replies are awaited. */
  readonly depth: number;
  /** What the greedy clients of mode `flood` do. */
  readonly flood?: Flood;
  /** Bytes that each connection moves before its memory is read again. */
  readonly move?: number;
  /** Seconds of quiet before memory is read. */
  readonly settle?: number;
  /** What comes out. */
  readonly figures: readonly Figure[];
  /** The peers, in the order they take turns. */
  readonly peers: readonly string[];
  /** Those that the others are compared with. */
  readonly baselines: readonly string[];
  /** How often each peer has its turn, if not as often as usual. */
  readonly rounds?: number;
  /** How long a turn is, if not as long as usual, in seconds. */
  readonly seconds?: number;
}

/** Those of the same work first. */
const BASELINES = ["lines", "rust", "go", "node", "bare", "epoll"];

const ALL = [
  ...["epoll", "threads", "bare", "streams"],
  ...["lines", "redis", "rust", "go", "erlang", "node", "denoNet", "bun"],
  ...["parley", "server"],
];

/** Long lines: Redis takes them up to 64 KiB with all that is around them. */
const LINES = ALL.filter((name) =>
  !["threads", "streams", "erlang", "bun"].includes(name)
);
const LONG_LINES = LINES.filter((name) => name !== "redis");

/** Who knows frames with their length in front, and two that know none. */
const FRAMED = [
  ...["epoll", "bare", "erlang", "node", "bun", "parley", "server"],
];

/** Frames with their length in front are what each connection moves. */
const IDLE = FRAMED.filter((name) => !["epoll", "erlang"].includes(name));

/** Where all would take most of the time and tell nothing new. */
const FEWER = ["epoll", "bare", "lines", "go", "node", "parley", "server"];

const KiB = 1024;
const MiB = 1024 ** 2;

const common = {
  mode: "echo",
  framing: "line",
  payload: 64,
  connections: 64,
  depth: 1,
  peers: ALL,
  baselines: BASELINES,
} as const;

const TLS = {
  tls: true,
  peers: ["bare", "node", "bun", "parley", "server"],
  baselines: ["node", "bare"],
} as const;

/** The full run. */
export const scenarios: readonly Scenario[] = [
  echo("depth-1", "64-byte lines, one at a time", {}),
  echo("depth-16", "64-byte lines, 16 at a time", { depth: 16 }),
  echo("line-1k", "1 KiB lines", { payload: KiB, peers: LINES }),
  moved("line-64k", "64 KiB lines", {
    payload: 64 * KiB,
    connections: 16,
    peers: LONG_LINES,
  }),
  moved("frame-64k", "64 KiB frames", {
    framing: "length",
    payload: 64 * KiB,
    connections: 16,
    peers: FRAMED,
  }),
  moved("frame-1m", "1 MiB frames", {
    framing: "length",
    payload: MiB,
    connections: 16,
    peers: FRAMED,
  }),
  crowd(1),
  crowd(10),
  crowd(10_000),
  {
    ...common,
    name: "connect",
    mode: "connect",
    peers: [...FEWER, "rust"],
    figures: [{
      name: "connect",
      title: "Connect, one 64-byte line, close; 64 at a time",
      unit: "connections/s",
      better: "higher",
    }],
  },
  secure("tls-1", "64-byte lines by TLS, one at a time", {}),
  secure("tls-16", "64-byte lines by TLS, 16 at a time", { depth: 16 }),
  {
    ...common,
    ...TLS,
    name: "tls-connect",
    mode: "connect",
    figures: [{
      name: "tls-connect",
      title: "Connect, TLS handshake, one 64-byte line, close; 64 at a time",
      unit: "connections/s",
      better: "higher",
    }],
  },
  byClient("client-1", "64-byte lines, one at a time", 1),
  byClient("client-16", "64-byte lines, 16 at a time", 16),
  byGenerators("ceiling-1", "64-byte lines, one at a time", 1),
  byGenerators("ceiling-16", "64-byte lines, 16 at a time", 16),
  accept(10_000, FEWER),
  // V8 gives back what a burst has left after 12 to 25 s of quiet.
  idle(10_000, IDLE, 30),
  idleByTls(5000, 30),
  {
    ...common,
    name: "start",
    mode: "start",
    figures: [{
      name: "start",
      title: "Start of the process to the first reply",
      unit: "ms",
      better: "lower",
    }],
    peers: ["epoll", "node", "bare", "hello", "parley", "server"],
    baselines: ["hello"],
    rounds: 10,
  },
  {
    ...echo("threads", "64-byte lines, a handler that computes for 0.5 ms", {}),
    peers: ["cpu1", "cpu2"],
    baselines: ["cpu1"],
  },
  options("options-1", 1),
  options("options-16", 16),
  {
    ...common,
    name: "by-byte",
    mode: "compute",
    figures: measured.map((framing) => ({
      name: `by-byte-${framing}`,
      title: `The codec "${framing}", byte by byte`,
      unit: "ns per byte",
      better: "lower",
    })),
    peers: ["short", "long"],
    baselines: ["short"],
  },
];

/** What is run where it is asked for by its name alone. */
export const extraScenarios: readonly Scenario[] = [
  idleOnly(idle(10_000, IDLE, 30)),
];

/** What `--quick` runs: the numbers that change first, on fewer peers. */
export const quickScenarios: readonly Scenario[] = scenarios.flatMap(
  (scenario): Scenario[] => {
    const peers = ["epoll", "bare", "lines", "node", "parley"]
      .filter((name) => scenario.peers.includes(name));
    switch (scenario.name) {
      case "depth-1":
      case "depth-16":
      case "frame-64k":
      case "frame-1m":
      case "connect":
      case "tls-1":
      case "tls-connect":
        return [{ ...scenario, peers }];
      case "idle":
        return [idle(1000, ["bare", "node", "parley"], 0.3)];
      case "start":
      case "options-16":
        return [scenario];
      default:
        return [];
    }
  },
);

function echo(
  name: string,
  what: string,
  changes: Partial<Scenario>,
  unit = "requests/s",
): Scenario {
  const scenario = { ...common, ...changes, name };
  const title = `${what}, ${inWords(scenario.connections)}`;
  return { ...scenario, figures: [{ name, title, unit, better: "higher" }] };
}

/** What Parley's own client measures: a second opinion on the generator. */
function byClient(name: string, what: string, depth: number): Scenario {
  return {
    ...echo(name, `By \`client bench\`: ${what}`, { depth }),
    mode: "client",
    peers: ["epoll", "node", "parley"],
  };
}

/** How fast generators are that drive the fastest server. */
function byGenerators(name: string, what: string, depth: number): Scenario {
  return {
    ...echo(name, `Generators on C epoll: ${what}`, { depth }),
    mode: "generate",
    peers: ["bareLoad", "client", "clientBuilt"],
    baselines: ["bareLoad"],
    // Each turn is a process of its own, and the engine compiles in it.
    seconds: 1.5,
  };
}

/** By TLS, on those who speak it. */
function secure(
  name: string,
  what: string,
  changes: Partial<Scenario>,
): Scenario {
  return echo(name, what, { ...TLS, ...changes });
}

function crowd(connections: number): Scenario {
  return echo(`connections-${connections}`, "64-byte lines", {
    connections,
    peers: FEWER,
  });
}

function moved(
  name: string,
  what: string,
  changes: Partial<Scenario>,
): Scenario {
  return echo(name, what, changes, "MB/s");
}

/** Opens connections in a row, and nothing more. */
function accept(connections: number, peers: readonly string[]): Scenario {
  return {
    ...common,
    name: "accept",
    mode: "idle",
    connections,
    peers,
    figures: [{
      name: "accept",
      title: `Opening ${inWords(connections)} in a row, one reply each`,
      unit: "connections/s",
      better: "higher",
    }],
  };
}

function idle(
  connections: number,
  peers: readonly string[],
  settle: number,
): Scenario {
  const memory = { unit: "KiB per connection", better: "lower" } as const;
  return {
    ...common,
    name: "idle",
    mode: "idle",
    connections,
    move: MiB,
    settle,
    // The frames in which each connection moves its MiB.
    framing: "length",
    payload: 64 * KiB,
    peers,
    // It takes more than a minute, and memory varies little.
    rounds: 1,
    figures: [
      {
        name: "idle",
        title: `Resident memory, ${inWords(connections)}, idle for ${settle} s`,
        ...memory,
      },
      {
        name: "idle-moved",
        title: `Resident memory, ${
          inWords(connections)
        }, idle for ${settle} s after 1 MiB each`,
        ...memory,
      },
    ],
  };
}

/** The same by TLS, before a byte is moved. */
function idleByTls(connections: number, settle: number): Scenario {
  const { figures: [figure], ...scenario } = idle(
    connections,
    TLS.peers,
    settle,
  );
  const title = figure.title.replace("connections", "TLS connections");
  return {
    ...scenario,
    ...TLS,
    name: "idle-tls",
    move: 0,
    peers: TLS.peers.filter((name) => name !== "bare"),
    figures: [{ ...figure, name: "idle-tls", title }],
  };
}

/** Before a byte is moved: half a minute for each peer. */
function idleOnly(scenario: Scenario): Scenario {
  const figures = scenario.figures.slice(0, 1);
  return { ...scenario, name: "idle-only", move: 0, figures };
}

function inWords(connections: number): string {
  const many = connections.toLocaleString("en");
  return `${many} connection${connections === 1 ? "" : "s"}`;
}

function options(name: string, depth: number): Scenario {
  return {
    ...echo(
      name,
      `Limits, deadlines and events; 64-byte lines, depth ${depth}`,
      {
        depth,
      },
    ),
    peers: ["parleyOff", "parley", "parleyOn"],
    baselines: ["parleyOff"],
  };
}
