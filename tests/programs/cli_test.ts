// The programs from outside: what they print, how they end, and that every
// flag has its effect.

import { type AddressInfo, createServer, type Socket } from "node:net";

import config from "../../deno.json" with { type: "json" };
import {
  commands,
  type FramingName,
  type Handler,
  serve,
} from "../../lib/mod.ts";
import { commands as clientCommands } from "../../lib/cli/client/flags.ts";
import {
  dashed,
  envName,
  type FlagTable,
  parseFlags,
  UsageError,
} from "../../lib/cli/flags/flags.ts";
import { serverFlags } from "../../lib/cli/server/flags.ts";
import { NOBODY, ownAddress, Peer } from "../support/fixtures.ts";
import {
  commandLine,
  type Program,
  run,
  runCommand,
  Running,
  RunningServer,
  shareOf,
  testPrograms,
  testWithTools,
} from "../support/programs.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertThrows,
  fail,
} from "../support/std.ts";

/** A duration that a working limit stays far below, and its default above. */
const LONG_MS = 20_000;

/** One line, with all of `parts` in it. */
function assertOneLine(text: string, ...parts: string[]): void {
  assertEquals(text.split("\n").length, 2, `not one line: ${text}`);
  for (const part of parts) {
    assert(text.includes(part), `${JSON.stringify(text)} lacks ${part}`);
  }
}

/** Asserts what a request's reply, or the beginning of it, is. */
async function assertReplies(
  peer: Peer,
  request: string,
  reply: string,
): Promise<void> {
  assertEquals(await peer.ask(request, reply), reply);
}

// ---------------------------------------------------------------- server

const helps: [Program, string[], FlagTable][] = [
  ["server", [], serverFlags],
  ...Object.entries(clientCommands).map((
    [name, { flags }],
  ): [Program, string[], FlagTable] => [
    "client",
    name === "" ? [] : [name],
    flags,
  ]),
];

for (const [program, command, table] of helps) {
  const words = [program, ...command];
  testPrograms(
    `${words.join(" ")} --help has a line for every flag, in 80 columns`,
    async (way) => {
      // Either flag asks for the same.
      const flag = way === "executable" ? "-h" : "--help";
      const { code, stdout, stderr } = await run(way, program, [
        ...command,
        flag,
      ]);
      assertEquals([code, stderr], [0, ""]);
      const lines = stdout.split("\n");
      assertEquals(lines.filter((line) => [...line].length > 80), []);
      assert(lines[0].startsWith(`Usage: ${words.join(" ")} [flags]`));
      const named = lines.flatMap((line) =>
        /^ {2}(?:-\w, )?(-(?:-[\w-]+|\w))(?: |$)/.exec(line)?.[1] ?? []
      );
      assertEquals(named.sort(), Object.keys(table).map(dashed).sort());
    },
  );
}

for (const program of ["server", "client"] as const) {
  testPrograms(`${program} --version prints the version`, async (way) => {
    const flag = way === "executable" ? "-V" : "--version";
    assertEquals(await run(way, program, [flag]), {
      code: 0,
      stdout: `parley ${config.version}\n`,
      stderr: "",
    });
  });
}

const WHOLE_PORT = "a whole number from 0 to 65535";
const DURATION = "500ms, 30s, 5m";
const SIZE = "64KiB";

/** Name, value, what is allowed. */
const badServerValues: [string, string, string][] = [
  ["hostname", "", "address"],
  ["port", "x", WHOLE_PORT],
  ["port", "", WHOLE_PORT],
  ["port", "-1", WHOLE_PORT],
  ["port", "1.5", WHOLE_PORT],
  ["port", "65536", WHOLE_PORT],
  ["framing", "xml", "line, length, netstring"],
  ["framing", "toString", "line, length, netstring"],
  ["framing", "fixed:0", "fixed:BYTES"],
  ["framing", "fixed:-1", "fixed:BYTES"],
  ["framing", "delimiter:", "delimiter:BYTES"],
  ["framing", "delimiter:\\q", "delimiter:BYTES"],
  ["framing", "length:3", "length:1|2|4|8[:little][:itself]"],
  ["framing", "\x1b[2J", "\\u001b[2J"],
  ["handler", "none", "commands, echo"],
  ["max-frame", "0", SIZE],
  ["max-frame", "64kb", SIZE],
  ["max-frame", "2GiB", SIZE],
  ["max-reply", "0", SIZE],
  ["max-reply", "2GiB", SIZE],
  ["max-connections", "-1", "a whole number from 0"],
  ["max-connections", "many", "a whole number from 0"],
  ["idle-timeout", "5", DURATION],
  ["idle-timeout", "600h", "up to 596h"],
  ["request-timeout", "soon", DURATION],
  ["write-timeout", "1d", DURATION],
  ["drain-timeout", "-1s", DURATION],
  ["backlog", "0", "a whole number from 1"],
  ["admin", "9090", "HOST:PORT"],
  ["admin", "127.0.0.1", "HOST:PORT"],
  ["admin", "127.0.0.1:65536", "0 to 65535"],
  ["admin", "::1:9090", "[IPV6]:PORT"],
  ["admin", "[127.0.0.1]:9090", "[IPV6]:PORT"],
  ["admin", "http://127.0.0.1:9090", "HOST:PORT"],
  ["admin", "unix:", "unix:PATH with a path of at most"],
  ["log-format", "xml", "auto, json, pretty"],
  ["log-level", "warning", "debug, info, warn, error"],
];

// A process for each of them, in each way, would take a minute: they are tried
// here, and one of each kind by the programs.
Deno.test("every bad value of a flag or a variable is told as what it is", () => {
  for (const [name, value, allowed] of badServerValues) {
    const told = (source: string, args: string[], env = "") => {
      const twin = (asked: string) => asked === envName(name) ? env : undefined;
      const { message } = assertThrows(
        () => parseFlags(serverFlags, args, twin),
        UsageError,
      );
      const shown = `${source} is ${JSON.stringify(value)}`;
      assertEquals(message.split(", expected ")[0], shown);
      assertOneLine(`${message}\n`, allowed);
    };
    told(`--${name}`, [`--${name}`, value]);
    told(`--${name}`, [`--${name}=${value}`]);
    // An empty variable is one that is not set.
    if (value !== "") told(envName(name), [], value);
  }
});

/** One bad value of each kind, and one that could do harm to a terminal. */
const fewServerValues = badServerValues.filter(([, value, allowed], i) =>
  value.startsWith("\x1b") ||
  badServerValues.findIndex(([, , other]) => other === allowed) === i
);

testPrograms("server ends with 2 at a bad value of a flag", async (way) => {
  for (const [name, value, allowed] of shareOf(way, fewServerValues)) {
    const args = [`--${name}`, value];
    const result = await run(way, "server", args);
    const said = JSON.stringify([args, result]);
    assertEquals([result.code, result.stdout], [2, ""], said);
    assertOneLine(
      result.stderr,
      "server: ",
      `--${name} is ${JSON.stringify(value)}`,
      allowed,
    );
  }
});

testPrograms("server ends with 2 at a bad variable", async (way) => {
  for (
    const [name, value, allowed] of shareOf(way, fewServerValues.slice(-3))
  ) {
    const result = await run(way, "server", [], {
      env: { [envName(name)]: value },
    });
    assertEquals([result.code, result.stdout], [2, ""], `${name} ${value}`);
    assertOneLine(
      result.stderr,
      "server: ",
      `${envName(name)} is ${JSON.stringify(value)}`,
      allowed,
    );
  }
});

const badServerLines: [string[], string][] = [
  [["--bogus"], '"--bogus"'],
  [["--no-port"], '"--no-port"'],
  [["-p"], '"-p"'],
  [["--port"], "--port"],
  [["8080"], '"8080"'],
  [["--", "x"], '"x"'],
  [["--version=x"], "--version"],
];

testPrograms("server ends with 2 at a bad command line", async (way) => {
  for (const [args, named] of shareOf(way, badServerLines)) {
    const result = await run(way, "server", args);
    assertEquals([result.code, result.stdout], [2, ""], args.join(" "));
    assertOneLine(result.stderr, "server: ", named);
  }
});

testPrograms("server ends with 1 where the port is in use", async (way) => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr;
  const args = ["--hostname", "127.0.0.1", "--port", `${port}`];
  const { code, stdout, stderr } = await run(way, "server", args);
  assertEquals([code, stdout], [1, ""]);
  assertOneLine(stderr, "server: ", `127.0.0.1:${port}`, "in use", "--port");
});

testPrograms(
  "server ends with 1 where the address is not ours",
  async (way) => {
    // RFC 5737 gives the first to nobody, RFC 6761 the second.
    for (const hostname of ["192.0.2.1", "nope.invalid"]) {
      const args = ["--hostname", hostname, "--port", "0"];
      const { code, stdout, stderr } = await run(way, "server", args);
      assertEquals([code, stdout], [1, ""]);
      assertOneLine(stderr, "server: ", hostname, "--hostname");
    }
  },
);

testPrograms("server --port 0 prints the bound address", async (way) => {
  const args = ["--hostname", "127.0.0.1", "--port", "0"];
  await using server = new Running(way, "server", args);
  const line = await server.stdout.next();
  assertMatch(line, /listening on 127\.0\.0\.1:[1-9]\d* /);
  assertMatch(line, /\(line framing, commands handler\)/);
  assertEquals(await server.stdout.next(), "ready to accept connections");
});

testPrograms("server writes an IPv6 address in brackets", async (way) => {
  if (!hasIpv6()) return;
  const args = ["--hostname", "::1", "--port"];
  await using server = new Running(way, "server", [...args, "0"]);
  const line = await server.stdout.next();
  const [place, port] = /\[::1\]:(\d+)/.exec(line) ?? fail(line);
  const { code, stderr } = await run(way, "server", [...args, port]);
  assertEquals(code, 1);
  assertOneLine(stderr, place, "in use");
});

testPrograms("server lets a flag beat its variable", async (way) => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const env = {
    PARLEY_HOSTNAME: "127.0.0.1",
    PARLEY_PORT: `${taken.addr.port}`,
  };
  const { code, stderr } = await run(way, "server", [], { env });
  assertEquals(code, 1);
  assertOneLine(stderr, `127.0.0.1:${taken.addr.port}`);
  await using server = await RunningServer.start(way, ["--port", "0"], env);
  assert(server.addr.port !== taken.addr.port);
});

/** A flag that takes effect: its value, and what shows it. */
interface Effect {
  value: string;
  /** Flags that make it show. */
  others?: string[];
  tools?: string[];
  check(server: RunningServer): Promise<void>;
}

const effects: Record<string, Effect> = {
  hostname: {
    value: "127.0.0.2",
    async check({ addr: { hostname, port } }) {
      assertEquals(hostname, "127.0.0.2");
      await assertRejects(
        () => Deno.connect({ hostname: ownAddress(), port }),
        Deno.errors.ConnectionRefused,
      );
    },
  },
  "framing": {
    value: "netstring",
    async check(server) {
      using peer = await Peer.to(server);
      await assertReplies(peer, "7:ECHO hi,4:PING,", "2:hi,4:PONG,");
    },
  },
  "framing  ": {
    value: "fixed:12",
    async check(server) {
      using peer = await Peer.to(server);
      // It is the reply's length, too.
      await assertReplies(peer, "ECHO 1234567PING abcdefg", "");
    },
  },
  "framing   ": {
    value: "delimiter:\\0",
    async check(server) {
      using peer = await Peer.to(server);
      await assertReplies(peer, "ECHO a\nb\0PING\0", "a\nb\0PONG\0");
    },
  },
  "framing    ": {
    value: "length:2:little:itself",
    async check(server) {
      using peer = await Peer.to(server);
      await assertReplies(peer, "\x06\0PING", "\x06\0PONG");
    },
  },
  "framing     ": {
    value: "varint",
    async check(server) {
      using peer = await Peer.to(server);
      await assertReplies(peer, "\x07ECHO hi", "\x02hi");
    },
  },
  "framing ": {
    value: "length",
    async check(server) {
      using peer = await Peer.to(server);
      await assertReplies(
        peer,
        "\0\0\0\x07ECHO hi\0\0\0\x04PING",
        "\0\0\0\x02hi\0\0\0\x04PONG",
      );
    },
  },
  handler: {
    value: "echo",
    async check(server) {
      using peer = await Peer.to(server);
      await assertReplies(peer, "PING\r\nany\n", "PING\r\nany\n");
    },
  },
  "max-frame": {
    value: "5B",
    async check(server) {
      using peer = await Peer.to(server);
      await peer.send("PINGS\nPINGED\n");
      await peer.finish();
      assertMatch(
        await peer.rest(),
        /^ERR unknown .*\nERR frame too large: .*maximum is 5\n$/,
      );
    },
  },
  "max-reply": {
    value: "5B",
    async check(server) {
      using peer = await Peer.to(server);
      await assertReplies(
        peer,
        "SIZE 5\nSIZE 6\nPING\n",
        "xxxxx\n" +
          "ERR reply too large: length is 6, maximum is 5\n" +
          "PONG\n",
      );
      const { conn_id, error } = await server.logged("handler failed");
      assertEquals(conn_id, 1);
      assertMatch(`${error}`, /reply too large: length is 6/i);
    },
  },
  "max-connections": {
    value: "1",
    async check(server) {
      using first = await Peer.to(server);
      await assertReplies(first, "PING\n", "PONG\n");
      using second = await Peer.to(server);
      // So that this ends even if nobody refuses it.
      await second.finish();
      assertMatch(await second.rest(), /^ERR busy: .*1.*\n$/);
      await assertReplies(first, "PING\n", "PONG\n");
    },
  },
  "idle-timeout": {
    value: "50ms",
    async check(server) {
      const from = performance.now();
      using peer = await Peer.to(server);
      assertEquals(await peer.rest(), "");
      assert(performance.now() - from < LONG_MS, "it took the default");
    },
  },
  "request-timeout": {
    value: "50ms",
    async check(server) {
      using peer = await Peer.to(server);
      await peer.send("DELAY 60000 x\n");
      assertMatch(await peer.rest(), /^ERR request timeout: .*50 ms\n$/);
    },
  },
  "write-timeout": {
    value: "50ms",
    // Were it not for the limit, the drain would have to force the connection.
    others: ["--drain-timeout", `${LONG_MS}ms`],
    async check(server) {
      using peer = await Peer.to(server);
      await assertReplies(peer, "PING\nSIZE 16777216\n", "PONG\n");
      server.kill("SIGTERM");
      assertEquals((await server.logged("finished")).forced, 0);
      assertEquals(await server.code(), 0);
    },
  },
  "drain-timeout": {
    value: "50ms",
    async check(server) {
      using peer = await Peer.to(server);
      // Less than the default, which would force nothing.
      await assertReplies(peer, "PING\nDELAY 5000 x\n", "PONG\n");
      server.kill("SIGTERM");
      assertEquals((await server.logged("finished")).forced, 1);
      assertEquals(await server.code(), 0);
    },
  },
  backlog: {
    value: "7",
    tools: ["ss"],
    async check({ addr: { port } }) {
      const { stdout } = await runCommand(
        ["ss", "-H", "-l", "-t", "-n", `sport = :${port}`],
      );
      // State, bytes or connections that wait, how many may.
      assertMatch(stdout, /^LISTEN +0 +7 /);
    },
  },
  "log-format": {
    value: "pretty",
    async check({ stderr }) {
      assertMatch(
        // In a pipe it has no colour.
        await stderr.until(/listening/),
        /^\d{4}-\d\d-\d\d [\d:.]{12} info {2}listening addr=127\.0\.0\.1:\d+$/,
      );
    },
  },
  "log-level": {
    value: "debug",
    async check(server) {
      using peer = await Peer.to(server);
      await assertReplies(peer, "PING\n", "PONG\n");
      const { level, request_bytes } = await server.logged("request");
      assertEquals([level, request_bytes], ["debug", 4]);
    },
  },
};

for (
  const [key, { value, others = [], tools = [], check }] of Object.entries(
    effects,
  )
) {
  const name = key.trim();
  testPrograms(`server --${name} ${value} has its effect`, async (way) => {
    const flags = [`--${name}`, value, ...others];
    await using server = await RunningServer.start(way, flags);
    await check(server);
  }, tools);
  // Both ways read a variable by the same code, and every test's port by it.
  testWithTools(
    `server ${envName(name)}=${value} has its effect (executable)`,
    ["./server", ...tools],
    async () => {
      const env = { [envName(name)]: value };
      await using server = await RunningServer.start(
        "executable",
        others,
        env,
      );
      await check(server);
    },
  );
}

Deno.test("every variable with an effect is as good as its flag", () => {
  for (const [key, { value }] of Object.entries(effects)) {
    const name = key.trim();
    const twin = (asked: string) => asked === envName(name) ? value : undefined;
    const { flags } = parseFlags(serverFlags, [], twin);
    const args = [`--${name}`, value];
    assertEquals(flags, parseFlags(serverFlags, args, () => undefined).flags);
    const { flags: plain } = parseFlags(serverFlags, [], () => undefined);
    assertNotEquals(flags, plain, name);
  }
});

// The runtime that executables may be built on cannot do this before 2.9.5.
testWithTools(
  "server --write-timeout closes the connection for good (deno run)",
  [],
  async () => {
    const flags = ["--write-timeout", "50ms"];
    await using server = await RunningServer.start("deno run", flags);
    using peer = await Peer.to(server);
    const from = performance.now();
    await peer.send("SIZE 16777216\n");
    // Nobody reads on either side, until the server closes with these unread.
    const more = "PING\n".repeat(100_000);
    await assertRejects(
      async () => {
        while (true) await peer.send(more);
      },
      Error,
      "os error",
    );
    assert(performance.now() - from < LONG_MS, "it took the default");
  },
);

testPrograms("server without --max-connections takes many", async (way) => {
  await using server = await RunningServer.start(way, ["--max-connections=0"]);
  using first = await Peer.to(server);
  using second = await Peer.to(server);
  for (const peer of [first, second]) {
    await assertReplies(peer, "PING\n", "PONG\n");
  }
});

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  testPrograms(`server drains at ${signal} and ends with 0`, async (way) => {
    const flags = ["--hostname", ownAddress()];
    await using server = await RunningServer.start(way, flags);
    using idle = await Peer.to(server);
    await assertReplies(idle, "PING\n", "PONG\n");
    using busy = await Peer.to(server);
    // The first reply shows that the second request is being handled.
    await assertReplies(busy, "PING\nDELAY 300 x\n", "PONG\n");

    server.kill(signal);
    assertEquals((await server.logged("draining")).connections, 2);
    await assertRejects(
      () => Peer.to(server),
      Deno.errors.ConnectionRefused,
    );
    assertEquals(await busy.rest(), "x\n");
    assertEquals(await idle.rest(), "");
    assertEquals((await server.logged("finished")).forced, 0);
    assertEquals(await server.code(), 0);
  });
}

const secondSignals: [Deno.Signal, Deno.Signal, number][] = [
  ["SIGTERM", "SIGTERM", 143],
  ["SIGINT", "SIGINT", 130],
  ["SIGTERM", "SIGINT", 130],
];

testPrograms("server leaves at once at a second signal", async (way) => {
  for (const [first, second, code] of secondSignals) {
    await using server = await RunningServer.start(
      way,
      ["--request-timeout", "0", "--drain-timeout", "0"],
    );
    using peer = await Peer.to(server);
    await assertReplies(peer, "PING\nDELAY 60000 x\n", "PONG\n");
    using shorter = await Peer.to(server);
    await assertReplies(shorter, "PING\nDELAY 300 y\n", "PONG\n");
    server.kill(first);
    await server.logged("draining");
    // The user's second thought comes a moment later. What comes together with
    // the first signal may be the same one, sent to the whole process group.
    assertEquals(await shorter.rest(), "y\n");
    server.kill(second);
    assertEquals(await server.code(), code);
  }
});

// ---------------------------------------------------------------- client

/** A server in this process, and the client's name for it. */
function serveHere(
  handler: Handler = commands,
  options: { hostname?: string; framing?: FramingName } = {},
) {
  const server = serve({ hostname: "127.0.0.1", port: 0, ...options }, handler);
  const { hostname, port } = server.addr as Deno.NetAddr;
  return {
    port,
    place: hostname === "::1" ? `[::1]:${port}` : `${hostname}:${port}`,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** Whether this machine has IPv6 at all; containers often have not. */
function hasIpv6(): boolean {
  try {
    Deno.listen({ hostname: "::1", port: 0 }).close();
    return true;
  } catch {
    return false;
  }
}

testPrograms(
  "client sends its arguments and prints the replies",
  async (way) => {
    await using server = serveHere();
    const cases: [string[], string][] = [
      [["ECHO hi"], "hi\n"],
      [["ECHO one", "UPPER two", "PING"], "one\nTWO\nPONG\n"],
      [["", "CHUNK 1 pieces"], "ERR empty request\npieces\n"],
      [["ECHO \x1b[1mraw\x1b[m"], "\x1b[1mraw\x1b[m\n"],
      [["--", "--json"], 'ERR unknown command: "--json" (try HELP)\n'],
      [["QUIT"], "BYE\n"],
    ];
    for (const [requests, stdout] of cases) {
      assertEquals(
        await run(way, "client", [server.place, ...requests]),
        { code: 0, stdout, stderr: "" },
      );
    }
  },
);

testPrograms(
  "client finds the server by every form of its name",
  async (way) => {
    await using server = serveHere();
    const forms = [
      [`127.0.0.1:${server.port}`],
      ["127.0.0.1", `${server.port}`],
      ["localhost", `${server.port}`],
      [`localhost:${server.port}`],
      ["--", `localhost:${server.port}`],
    ];
    for (const form of forms) {
      const result = await run(way, "client", [...form, "PING"]);
      assertEquals(result, { code: 0, stdout: "PONG\n", stderr: "" });
    }
    if (!hasIpv6()) return;
    await using ipv6 = serveHere(commands, { hostname: "::1" });
    for (const form of [[`[::1]:${ipv6.port}`], ["::1", `${ipv6.port}`]]) {
      const result = await run(way, "client", [...form, "PING"]);
      assertEquals(result, { code: 0, stdout: "PONG\n", stderr: "" });
    }
  },
);

testPrograms("client takes a line of a pipe for a request", async (way) => {
  await using server = serveHere();
  const empty = "ERR empty request\n";
  const cases: [string, string][] = [
    ["", ""],
    ["ECHO a\nECHO b\n", "a\nb\n"],
    ["ECHO a\r\nECHO b\r\n", "a\nb\n"],
    ["ECHO a\nECHO no end", "a\nno end\n"],
    ["\nECHO a\n\n\r\nECHO b\n", `${empty}a\n${empty}${empty}b\n`],
    ["FOO\nECHO on\n", 'ERR unknown command: "FOO" (try HELP)\non\n'],
    ["ECHO ä€😀\n", "ä€😀\n"],
  ];
  for (const [stdin, stdout] of cases) {
    assertEquals(
      await run(way, "client", [server.place], { stdin }),
      { code: 0, stdout, stderr: "" },
    );
  }
});

testPrograms("client takes a line of a file for a request", async (way) => {
  await using server = serveHere();
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(path, "ECHO a\n\nECHO b");
    const shell = 'file=$1; shift; exec "$@" < "$file"';
    const client = [...commandLine(way, "client"), server.place];
    assertEquals(
      await runCommand(["sh", "-c", shell, "sh", path, ...client]),
      { code: 0, stdout: "a\nERR empty request\nb\n", stderr: "" },
    );
  } finally {
    await Deno.remove(path);
  }
}, ["sh"]);

testPrograms("client prints the largest reply of the server", async (way) => {
  await using server = serveHere();
  const result = await run(way, "client", [server.place, "SIZE 16777216"]);
  assertEquals([result.code, result.stderr], [0, ""]);
  assertEquals(result.stdout.length, 16_777_217);
});

for (const framing of ["line", "length", "netstring"] as const) {
  testPrograms(`client --framing ${framing} frames the lines`, async (way) => {
    await using server = serveHere(commands, { framing });
    const args = ["--framing", framing, server.place];
    const result = await run(way, "client", args, {
      stdin: "WHOAMI\n\nECHO b",
    });
    assertEquals({ ...result, stdout: "" }, {
      code: 0,
      stdout: "",
      stderr: "",
    });
    assertMatch(
      result.stdout,
      new RegExp(`framing=${framing}\nERR empty request\nb\n$`),
    );
  });
}

for (
  const [framing, name] of [
    ["varint", "varint"],
    ["length:1", "length:1"],
    ["length:8:little:itself", "length:8:little:itself"],
    ["delimiter:\\0", "delimiter:\\x00"],
    ["delimiter:\\r\\n", "delimiter:\\x0d\\x0a"],
  ]
) {
  testPrograms(`server and client speak ${framing}`, async (way) => {
    const flags = ["--framing", framing];
    await using server = await RunningServer.start(way, flags);
    assert(
      server.listening.endsWith(` (${name} framing, commands handler)`),
      server.listening,
    );
    const place = `127.0.0.1:${server.addr.port}`;
    const result = await run(way, "client", [...flags, place], {
      stdin: "WHOAMI\n\nECHO b",
    });
    assertEquals([result.code, result.stderr], [0, ""]);
    const [whoami, ...others] = result.stdout.split("\n");
    assert(whoami.endsWith(` framing=${name}`), whoami);
    assertEquals(others, ["ERR empty request", "b", ""]);

    const bench = ["bench", "--json", "-n", "500", "-c", "2", "-e", place];
    const { code, stdout } = await run(way, "client", [...bench, ...flags]);
    assertEquals(code, 0);
    const report = JSON.parse(stdout);
    assertEquals(
      [report.framing, report.done, report.sent_bytes, report.received_bytes],
      [name, 500, 500 * 64, 500 * 59],
    );
  });
}

testPrograms("server and client speak fixed:16", async (way) => {
  const flags = ["--framing", "fixed:16"];
  const args = [...flags, "--handler", "echo", "--threads", "2"];
  await using server = await RunningServer.start(way, args);
  const place = `127.0.0.1:${server.addr.port}`;
  const lines = "sixteen bytes, 1\nsixteen bytes, 2\n";
  assertEquals(
    await run(way, "client", [...flags, place], { stdin: lines }),
    { code: 0, stdout: lines, stderr: "" },
  );
  const short = await run(way, "client", [...flags, place, "short"]);
  assertEquals([short.code, short.stdout], [1, ""]);
  assertOneLine(short.stderr, "client: ", "Cannot send 5 bytes", "expected 16");
  const bench = ["bench", "--json", "-d16", "-n500", place];
  const { code, stdout } = await run(way, "client", [...bench, ...flags]);
  assertEquals([code, JSON.parse(stdout).sent_bytes], [0, 8000]);
});

testPrograms(
  "server ends with 2 where its limits have no room for a framing",
  async (way) => {
    for (
      const [limit, more] of shareOf(
        way,
        [
          ["--max-frame", []],
          ["--max-reply", []],
          ["--max-frame", ["--threads", "2"]],
        ] as const,
      )
    ) {
      const flags = ["--port", "0", "--framing", "fixed:16", limit, "15"];
      const result = await run(way, "server", [...flags, ...more]);
      assertEquals([result.code, result.stdout], [2, ""]);
      assertOneLine(
        result.stderr,
        "server: ",
        'framing "fixed:16": expected frames of at most 15 bytes, the maximum',
      );
    }
  },
);

testPrograms("client passes 100,000 lines in order", async (way) => {
  await using server = serveHere();
  const numbers = Array.from({ length: 100_000 }, (_, i) => `${i}\n`);
  const result = await run(way, "client", [server.place], {
    stdin: numbers.map((n) => `ECHO ${n}`).join(""),
  });
  assertEquals([result.code, result.stderr], [0, ""]);
  // Not assertEquals: its report of two such texts would not end.
  assert(result.stdout === numbers.join(""), "the replies differ");
});

testPrograms("client --json prints an object per reply", async (way) => {
  await using server = serveHere();
  const args = [server.place, "--json", 'ECHO "a"\ttab', "FOO"];
  const { code, stdout, stderr } = await run(way, "client", args);
  assertEquals({ code, stderr }, { code: 0, stderr: "" });
  const objects = stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
  for (const { ms } of objects) assert(ms >= 0 && ms < LONG_MS, stdout);
  assertEquals(objects.map((o) => ({ ...o, ms: 0 })), [
    { request: 'ECHO "a"\ttab', reply: '"a"\ttab', ms: 0 },
    {
      request: "FOO",
      reply: 'ERR unknown command: "FOO" (try HELP)',
      ms: 0,
    },
  ]);
});

testPrograms("client --json moves no cursor and loses nothing", async (way) => {
  const reply = "\ufeff\x1b]0;x\x07\x7f\u009b1m\u202e\u2028\u{e0041}";
  await using server = serveHere(() => reply);
  const args = [server.place, "--json", "\u009bgo"];
  const { code, stdout, stderr } = await run(way, "client", args);
  assertEquals({ code, stderr }, { code: 0, stderr: "" });
  assertMatch(stdout, /^[\x20-\x7e]+\n$/);
  const { ms: _, ...object } = JSON.parse(stdout);
  assertEquals(object, { request: "\u009bgo", reply });
});

testPrograms("client -e ends with 1 if a reply is an error", async (way) => {
  await using server = serveHere();
  const cases: [string[], number, string][] = [
    [["-e", "PING", "ECHO ERR"], 0, "PONG\nERR\n"],
    [["-e", "", "PING"], 1, "ERR empty request\nPONG\n"],
    [["", "PING"], 0, "ERR empty request\nPONG\n"],
    [["-e", "--json", "ECHO ERR x"], 1, ""],
  ];
  for (const [args, code, replies] of cases) {
    const result = await run(way, "client", [server.place, ...args]);
    assertEquals([result.code, result.stderr], [code, ""]);
    if (replies !== "") assertEquals(result.stdout, replies);
  }
});

const badClientLines: [string[], ...string[]][] = [
  [[], "HOST"],
  [[""], "HOST"],
  [[":80"], '":80"', "HOST"],
  [["127.0.0.1:"], 'port is ""', "1 to 65535"],
  [["127.0.0.1:0"], 'port is "0"', "1 to 65535"],
  [["127.0.0.1:x"], 'port is "x"', "1 to 65535"],
  [["127.0.0.1", "65536"], 'port is "65536"', "1 to 65535"],
  [["[::1]:http"], 'port is "http"', "1 to 65535"],
  [["[::1"], '"[::1"', "HOST"],
  [["--bogus", "x"], '"--bogus"'],
  [["-y", "x"], '"-y"'],
  [["x", "--framing"], "--framing", "line, length, netstring"],
  [["x", "--framing=xml"], '--framing is "xml"', "line, length, netstring"],
  [["x", "--framing=fixed:0"], '--framing is "fixed:0"', "fixed:BYTES"],
  [["x", "--framing=delimiter:\\q"], '"delimiter:\\\\q"', "delimiter:BYTES"],
  [["x", "--framing=length:9"], '"length:9"', "length:1|2|4|8"],
  [
    ["127.0.0.1:1", "--framing=fixed:9", "--max-frame=8", "x"],
    'framing "fixed:9": expected frames of at most 8 bytes',
  ],
  [
    ["bench", "127.0.0.1:1", "--framing=fixed:9", "--max-frame=8", "-d9"],
    'framing "fixed:9": expected frames of at most 8 bytes',
  ],
  [["x", "--timeout", "5"], '--timeout is "5"', DURATION],
  [["x", "--timeout", "-1s"], '--timeout is "-1s"', DURATION],
  [["x", "--max-frame", "0"], '--max-frame is "0"', SIZE],
  [["x", "--json=maybe"], "--json"],
];

testPrograms("client ends with 2 at a bad command line", async (way) => {
  for (const [args, ...named] of shareOf(way, badClientLines)) {
    const result = await run(way, "client", args, { stdin: "" });
    assertEquals([result.code, result.stdout], [2, ""], args.join(" "));
    assertOneLine(result.stderr, "client: ", ...named);
  }
});

testPrograms("client ends with 1 where nobody listens", async (way) => {
  const place = `127.0.0.1:${NOBODY.port}`;
  for (const args of [[place, "PING"], [place]]) {
    const result = await run(way, "client", args, { stdin: "PING\n" });
    assertEquals([result.code, result.stdout], [1, ""]);
    assertOneLine(result.stderr, "client: ", place, "refused");
  }
});

testPrograms("client ends with 1 at an unknown host", async (way) => {
  const { code, stdout, stderr } = await run(
    way,
    "client",
    ["nope.invalid", "PING"],
  );
  assertEquals([code, stdout], [1, ""]);
  assertOneLine(stderr, "client: ", "nope.invalid:8080", "unknown host");
});

testPrograms("client --timeout limits connecting", async (way) => {
  // Nothing accepts here, and the queue has room for one more than it is told
  // to: the kernel leaves the third without an answer.
  using full = Deno.listen({ hostname: "127.0.0.1", port: 0, tcpBacklog: 1 });
  const { hostname, port } = full.addr;
  using _first = await Deno.connect({ hostname, port });
  using _second = await Deno.connect({ hostname, port });
  const { code, stdout, stderr } = await run(
    way,
    "client",
    ["--timeout", "100ms", `${hostname}:${port}`, "PING"],
  );
  assertEquals([code, stdout], [1, ""]);
  assertOneLine(stderr, `connect to ${hostname}:${port}`, "within 100 ms");
});

/** What a broken server does with its one connection, and what is said. */
interface Breakage {
  requests: string[];
  flags?: string[];
  /** The requests on the wire, if they are not lines. */
  wire?: string;
  /** What the server sends once it has the requests. */
  sends: string;
  /** Whether it leaves it to the client to close. */
  stays?: boolean;
  stdout: string;
  stderr: string[];
}

const breakages: Record<string, Breakage> = {
  "closes in mid-batch": {
    requests: ["one", "two", "three", "four"],
    sends: "1\n",
    stdout: "1\n",
    stderr: ["requests 2 to 4: ", "closed"],
  },
  "closes before the last reply": {
    requests: ["one", "two"],
    sends: "1\n",
    stdout: "1\n",
    stderr: ["request 2: ", "closed"],
  },
  "closes in mid-reply": {
    requests: ["one", "two"],
    sends: "1\nhalf",
    stdout: "1\n",
    stderr: ["request 2: ", "closed", "after 4 bytes of a reply"],
  },
  "does not answer in time": {
    requests: ["one", "two"],
    flags: ["--timeout", "100ms"],
    sends: "1\n",
    stays: true,
    stdout: "1\n",
    stderr: ["request 2: ", "within 100 ms"],
  },
  "sends a reply that is too large": {
    requests: ["one", "two"],
    flags: ["--max-frame", "1KiB"],
    sends: `1\n${"x".repeat(1025)}\n`,
    stays: true,
    stdout: "1\n",
    stderr: ["request 2: ", "too large", "1024"],
  },
  "sends what is no reply": {
    requests: ["one"],
    flags: ["--framing", "netstring"],
    wire: "3:one,",
    sends: "HTTP/1.1 400",
    stays: true,
    stdout: "",
    stderr: ["request 1: ", "malformed"],
  },
};

for (const [what, breakage] of Object.entries(breakages)) {
  const { requests, flags = [], sends, stays, stdout, stderr } = breakage;
  const wire = breakage.wire ?? requests.map((line) => `${line}\n`).join("");
  testPrograms(
    `client names the lost requests if a server ${what}`,
    async (way) => {
      using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const place = `127.0.0.1:${listener.addr.port}`;
      const running = run(way, "client", [...flags, place, ...requests]);
      using peer = new Peer(await listener.accept());
      assertEquals(await peer.receive(wire.length), wire);
      await peer.send(sends);
      if (stays) await peer.rest();
      else await peer.finish();
      const result = await running;
      assertEquals([result.code, result.stdout], [1, stdout]);
      assertOneLine(result.stderr, "client: no reply to ", ...stderr);
    },
  );
}

testPrograms(
  "client names the lost requests if a server resets",
  async (way) => {
    // Not a Deno listener: its connections finish (FIN) before they are closed.
    const { promise, resolve } = Promise.withResolvers<Socket>();
    const server = createServer(resolve);
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const place = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    await using client = new Running(way, "client", [place, "1", "2", "3"]);
    const socket = await promise;
    await new Promise((done) => socket.once("data", done));
    socket.write("one\nhalf");
    // A reset can overtake bytes: it waits until the client has had them.
    assertEquals(await client.stdout.next(), "one");
    socket.resetAndDestroy();
    assertOneLine(
      `${await client.stderr.next()}\n`,
      "no reply to requests 2 to 3: ",
      "reset",
      "after 4 bytes of a reply",
    );
    assertEquals(await client.code(), 1);
    await new Promise((done) => server.close(done));
  },
);

testPrograms(
  "client says what is missing after CLOSE in a pipe",
  async (way) => {
    await using server = serveHere();
    const stdin = "ECHO a\nECHO b\nCLOSE\nECHO c\nECHO d\n";
    const result = await run(way, "client", [server.place], { stdin });
    assertEquals([result.code, result.stdout], [1, "a\nb\n"]);
    assertOneLine(result.stderr, "requests 3 to 5", "closed");
  },
);

for (
  const [what, long] of [["by one", "ECHO 123456"], ["by far", "x".repeat(100)]]
) {
  testPrograms(
    `client refuses a line of input too long ${what}`,
    async (way) => {
      await using server = serveHere();
      const args = ["--max-frame", "10", server.place];
      const stdin = `ECHO a\r\nECHO 12345\r\n${long}\r\nECHO b\r\n`;
      const result = await run(way, "client", args, { stdin });
      // What stands before it is as good as ever.
      assertEquals([result.code, result.stdout], [1, "a\n12345\n"]);
      assertOneLine(result.stderr, "client: ", "line 3", "10", "--max-frame");
    },
  );
}

testPrograms(
  "client refuses a request that its framing cannot carry",
  async (way) => {
    await using server = serveHere();
    const args = [server.place, "PING", "ECHO a\nECHO b"];
    const result = await run(way, "client", args);
    assertEquals([result.code, result.stdout], [1, "PONG\n"]);
    assertOneLine(result.stderr, "client: ", "request 2", "LF");
  },
);

testPrograms(
  "client ends quietly when nobody reads its output",
  async (way) => {
    await using server = serveHere();
    const shell = 'yes PING | { "$@"; echo "code $?" >&2; } | head -1';
    const client = commandLine(way, "client");
    assertEquals(
      await runCommand(["sh", "-c", shell, "sh", ...client, server.place]),
      { code: 0, stdout: "PONG\n", stderr: "code 0\n" },
    );
  },
  ["sh", "yes", "head"],
);

testPrograms("client ends with 130 at SIGINT", async (way) => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const place = `127.0.0.1:${listener.addr.port}`;
  await using client = new Running(way, "client", [place, "PING"]);
  using peer = new Peer(await listener.accept());
  assertEquals(await peer.receive(5), "PING\n");
  client.kill("SIGINT");
  assertEquals(await client.code(), 130);
  assertEquals(await peer.rest(), "");
});
