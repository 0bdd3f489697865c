/**
 * Whether everybody gets a share: greedy clients beside newcomers, closed loops
 * of many connections, and connections that ask once a second.
 *
 * These are no part of a full run: `deno task bench --only fair`.
 *
 * @module
 */

import { floodColumns } from "./flood.ts";
import type { Flood, Scenario } from "./scenarios.ts";

/** They find lines, all but "bare", each in the way of its runtime. */
const LOADED = [
  "lines",
  "redis",
  "go",
  "rust",
  "bare",
  "node",
  "parley",
  "server",
];

/** Parley's program in place of its library, for it has an admin port. */
const FLOODED = LOADED.map((name) => name === "parley" ? "program" : name);

const PROGRAM = ["program", "server"];

const common = {
  framing: "line",
  payload: 64,
  connections: 1,
  depth: 1,
  baselines: [],
} as const;

/** All of them. */
export const fairScenarios: readonly Scenario[] = [
  flooded("empty", "empty lines", { size: 0 }),
  flooded("64", "64-byte lines", {}),
  flooded("1k", "1 KiB lines", { size: 1024 }),
  flooded("64k", "64 KiB lines", { size: 64 * 1024 }, {
    // Redis takes no line that long.
    peers: FLOODED.filter((name) => name !== "redis"),
  }),
  flooded("two", "64-byte lines, two clients", { flooders: 2 }),
  flooded("threads", "64-byte lines, two threads", {}, {
    peers: PROGRAM,
    flags: ["--threads=2"],
  }),
  flooded("tls", "64-byte lines by TLS", {}, {
    peers: ["bare", "node", ...PROGRAM],
    tls: true,
  }),
  commanded("commands", "empty lines, which are answered with ERR", {
    line: "",
    size: 0,
  }),
  commanded("reverse", "REVERSE of 64,000 letters", {
    line: "REVERSE ",
    size: "REVERSE ".length + 64_000,
  }),
  commanded("size", "SIZE 16777216", { line: "SIZE 16777216" }),
  commanded("size-refused", "SIZE 16777216 with a limit of 64 KiB", {
    line: "SIZE 16777216",
  }, ["--max-reply=64KiB"]),
  loop("64-1", 64, 1),
  loop("64-16", 64, 16),
  loop("1000", 1000, 1),
  loop("9000", 9000, 1),
  {
    ...common,
    name: "fair-paced",
    mode: "paced",
    connections: 1000,
    peers: LOADED,
    figures: [{
      name: "fair-paced",
      title: "1,000 connections that ask once a second: processor time",
      unit: "ms/s",
      better: "lower",
    }],
  },
];

/** Newcomers beside clients that send all they can. */
function flooded(
  name: string,
  what: string,
  flood: Partial<Flood>,
  changes: Partial<Scenario> = {},
): Scenario {
  return {
    ...common,
    name: `fair-flood-${name}`,
    mode: "flood",
    admin: true,
    flood: {
      line: flood.size === 0 ? "" : "PING ",
      size: 64,
      flooders: 1,
      ...flood,
    },
    peers: FLOODED,
    ...changes,
    figures: [{
      name: `fair-flood-${name}`,
      title: `A flood of ${what}: a newcomer's longest wait`,
      unit: "ms",
      better: "lower",
      beside: floodColumns,
    }],
  };
}

/** The same on the commands of Parley's program. */
function commanded(
  name: string,
  what: string,
  flood: Partial<Flood>,
  flags: readonly string[] = [],
): Scenario {
  return flooded(name, what, { size: flood.line?.length, ...flood }, {
    handler: "commands",
    peers: PROGRAM,
    flags,
  });
}

/** A closed loop, and who is served least and most in it. */
function loop(name: string, connections: number, depth: number): Scenario {
  const many = connections.toLocaleString("en");
  return {
    ...common,
    name: `fair-${name}`,
    mode: "echo",
    connections,
    depth,
    peers: LOADED,
    baselines: ["node", "bare", "lines"],
    figures: [{
      name: `fair-${name}`,
      title: `64-byte lines, ${depth} at a time, ${many} connections`,
      unit: "requests/s",
      better: "higher",
      beside: [
        { name: "least", heading: "least %", of: "median" },
        { name: "most", heading: "most %", of: "median" },
      ],
    }],
  };
}
