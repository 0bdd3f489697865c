// Options whose names nobody knows are refused, as they would be ignored in
// silence, and so are values of another type, before anything is started.

import { serveAdmin } from "../../lib/admin/mod.ts";
import {
  connect,
  createPool,
  echo,
  length,
  OptionError,
  rateLimit,
  serve,
  serveConnections,
} from "../../lib/mod.ts";
import { serveThreads } from "../../lib/threads/mod.ts";
import { assertEquals, assertRejects, assertThrows } from "../support/std.ts";

const wrong = { port: 0, maxFrames: 1 };
const WORDS = "Cannot use maxFrames 1: expected no such option, but one of ";

Deno.test("serve refuses an option that it does not have", () => {
  assertThrows(() => serve(wrong, echo), OptionError, WORDS);
});

Deno.test("serveThreads refuses an option that it does not have", async () => {
  const options = { ...wrong, worker: new URL("file:///none") };
  await assertRejects(() => serveThreads(options), OptionError, WORDS);
});

Deno.test("serveAdmin refuses an option that it does not have", () => {
  assertThrows(() => serveAdmin(wrong), OptionError, WORDS);
});

Deno.test("connect refuses an option that it does not have", async () => {
  await assertRejects(() => connect(wrong), OptionError, WORDS);
});

// deno-lint-ignore no-explicit-any
type Start = (options: any) => unknown;

const pool: Start = (options) => createPool({ servers: [{}], ...options });
const worker = new URL("file:///none");
const threads: Start = (options) => serveThreads({ worker, ...options });
const task = () => {};

/** What starts something, what it is given, and which option is to blame. */
const WRONG: Record<
  string,
  [start: Start, [options: unknown, blamed: string][]]
> = {
  serve: [(options) => serve(options, echo), [
    ...[7000, "7000", null, [], true].map((options) =>
      [options, "options"] as [unknown, string]
    ),
    ...["state", "onOpen", "onClose", "onError", "onRefuse", "onListen"]
      .flatMap((name) =>
        [5, "f", null, {}, NaN].map((value) =>
          [{ port: 0, [name]: value }, name] as [unknown, string]
        )
      ),
    [{ reusePort: "yes" }, "reusePort"],
    [{ httpGuard: "off" }, "httpGuard"],
    [{ halfOpen: "false" }, "halfOpen"],
    [{ halfOpen: 0 }, "halfOpen"],
    [{ allow: 5 }, "allow"],
    [{ deny: null }, "deny"],
    [{ deny: ["10.0.0.1"] }, "deny"],
    [{ proxyProtocol: "v2", proxyTrust: {} }, "proxyTrust"],
    [{ signal: {} }, "signal"],
    [{ signal: new AbortController() }, "signal"],
    [{ events: null }, "events"],
    [{ events: () => {} }, "events"],
    [{ events: { request: 5 } }, "request"],
    [{ events: { connection_closed: () => {} } }, "connection_closed"],
    [{ port: Object.create(null) }, "port"],
    [{ framing: {} }, "framing"],
    [{ startTls: true }, "startTls"],
  ]],
  serveConnections: [(options) => serveConnections(options, task), [
    [7000, "options"],
    ["7000", "options"],
    [[], "options"],
    [{ startTls: "yes" }, "startTls"],
    [{ state: {} }, "state"],
    [{ onOpen: task }, "onOpen"],
  ]],
  serveThreads: [threads, [
    [{ worker: "./worker.ts" }, "worker"],
    [{ name: 5 }, "name"],
    [{ confine: "yes" }, "confine"],
    [{ startTls: 1 }, "startTls"],
    ...["state", "onOpen", "onClose", "onError", "onRefuse"].map((name) =>
      [{ [name]: task }, name] as [unknown, string]
    ),
  ]],
  serveAdmin: [serveAdmin, [
    [9090, "options"],
    [{ port: 0, handler: 5 }, "handler"],
    [{ port: 0, onAction: "log" }, "onAction"],
  ]],
  connect: [connect, [
    [7000, "options"],
    ["127.0.0.1:7000", "options"],
    [{ isPush: 5 }, "isPush"],
    [{ signal: 5 }, "signal"],
    [{ keepAfterTimeout: "no" }, "keepAfterTimeout"],
    [{ tls: "yes" }, "tls"],
    [{ tls: null }, "tls"],
    [{ tls: { caCert: [] } }, "caCert"],
    [{ tls: { caCerts: "PEM" } }, "caCerts"],
    [{ tls: { insecure: "no" } }, "insecure"],
    [{ tls: { serverName: 5 } }, "serverName"],
    [{ servers: null }, "servers"],
    [{ servers: "a,b" }, "servers"],
  ]],
  createPool: [pool, [
    [{ servers: ["127.0.0.1:7000"] }, "servers"],
    [{ servers: [7000] }, "servers"],
    [{ servers: [null] }, "servers"],
    [{ servers: undefined }, "servers"],
    [{ servers: [{ ports: 1 }] }, "ports"],
    [{ onStateChange: {} }, "onStateChange"],
    [{ healthCheck: "PING" }, "healthCheck"],
    [{ healthCheck: { request: "PING", expects: "PONG" } }, "expects"],
    [{ healthCheck: { request: "PING" } }, "expect"],
    [{ healthCheck: { request: 5, expect: "PONG" } }, "request"],
    [{ size: "4" }, "size"],
  ]],
  rateLimit: [(options) => rateLimit("1/s", options), [
    [32, "options"],
    [{ ipPrefx: 32 }, "ipPrefx"],
    [{ ipPrefix: "32" }, "ipPrefix"],
  ]],
  length: [length, [
    [2, "options"],
    [{ byte: 2 }, "byte"],
    [{ includesItself: "no" }, "includesItself"],
  ]],
};

for (const [name, [start, table]] of Object.entries(WRONG)) {
  if (name === "serveThreads" && Deno.build.os !== "linux") continue;
  Deno.test(`${name} refuses values of another type, and says of what`, async () => {
    for (const [options, blamed] of table) {
      const error = await assertRejects(
        async () => void await start(options),
        OptionError,
      );
      assertEquals(error.option, blamed, error.message);
    }
  });
}

Deno.test("what is no handler or no task is refused by its name", () => {
  for (const value of [undefined, null, {}, "f"]) {
    for (
      const [start, name] of [[serve, "handler"], [serveConnections, "task"]]
    ) {
      const error = assertThrows(
        () =>
          (start as Start & typeof serve)({ port: 0 }, value as typeof echo),
        OptionError,
      );
      assertEquals(error.option, name);
    }
  }
});
