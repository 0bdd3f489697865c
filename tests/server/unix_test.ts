// Unix sockets: the file that stands for one, from its first moment to its
// last, and stock tools as clients. They need to read and write files; what
// does not is tested without.

import {
  type CommandLine,
  parseFlags,
  UsageError,
} from "../../lib/cli/flags/flags.ts";
import { checkTogether, serverFlags } from "../../lib/cli/server/flags.ts";
import { openKeeper } from "../../lib/cli/server/keeper.ts";
import {
  commands,
  connect,
  ConnectError,
  OptionError,
  removeStaleSocket,
  serve,
  type ServeOptions,
} from "../../lib/mod.ts";
import { serveThreads } from "../../lib/threads/mod.ts";
import { fileId } from "../../lib/net/unix.ts";
import { bytes, Events, Peer, text } from "../support/fixtures.ts";
import {
  run,
  runCommand,
  Running,
  testPrograms,
  testWithTools,
  type Way,
} from "../support/programs.ts";
import { Folder, leaveStale, permissions } from "../support/socket_files.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertThrows,
} from "../support/std.ts";

/** Registers a test that has a folder. */
function testFiles(
  name: string,
  fn: (folder: Folder) => Promise<void>,
  tools: readonly string[] = [],
): void {
  testWithTools(name, tools, async () => {
    await using folder = await Folder.make();
    await fn(folder);
  });
}

/** Registers a test of the programs that has a folder. */
function testProgramFiles(
  name: string,
  fn: (way: Way, folder: Folder) => Promise<void>,
): void {
  testPrograms(name, async (way) => {
    await using folder = await Folder.make();
    await fn(way, folder);
  });
}

/** Starts the program at a path. */
async function startAt(
  way: Way,
  path: string,
  flags: readonly string[] = [],
): Promise<Running> {
  const server = new Running(way, "server", ["--unix", path, ...flags]);
  try {
    assertMatch(await server.stdout.next(), /listening on \/.* \(line/);
    assertEquals(await server.stdout.next(), "ready to accept connections");
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
  return server;
}

/** What a server at a path replies to PING. */
async function ping(path: string): Promise<string> {
  await using client = await connect({ path });
  return text(await client.request("PING"));
}

// ------------------------------------------------------------- the library

testFiles("serve listens at a path, and connect finds it", async (folder) => {
  const { path } = folder;
  const addr = { transport: "unix", path } as const;
  const events = new Events();
  const server = serve({ path, events: events.listeners }, commands);
  assertEquals(server.addr, addr);
  assertEquals(folder.files, ["s.sock"]);
  await using client = await connect({ path });
  assertEquals(client.remoteAddr, addr);
  assertEquals(
    text(await client.request("WHOAMI")),
    "id=1 peer=unix framing=line",
  );
  const { remoteAddr } = await events.next("connection_open");
  assertEquals(remoteAddr, { transport: "unix", path: "" });
  await server.shutdown();
  assertEquals((await events.closed()).reason, "shutdown");
  assertMatch((await client.closed)?.message ?? "", new RegExp(path));
  assertEquals(folder.files, []);
});

testFiles(
  "serve shows both ends' paths to a handler",
  async ({ path, name }) => {
    await using _server = serve(
      { path },
      (_request, { localAddr, remoteAddr }) =>
        JSON.stringify([localAddr, remoteAddr]),
    );
    const bound = `${name}/peer`;
    const { stdout } = await runCommand(
      ["socat", "-t", "5", "-", `UNIX-CONNECT:${path},bind=${bound}`],
      { stdin: "x\n" },
    );
    assertEquals(JSON.parse(stdout), [
      { transport: "unix", path },
      { transport: "unix", path: bound },
    ]);
  },
  ["socat"],
);

testFiles("serve gives the socket's file its mode", async ({ path }) => {
  for (
    const [unixMode, shown] of [
      [undefined, "600"],
      [0o600, "600"],
      [0o660, "660"],
      [0o666, "666"],
    ] as const
  ) {
    await using _server = serve({ path, unixMode }, commands);
    assertEquals(permissions(path), shown);
    assertEquals(await ping(path), "PONG");
  }
});

testFiles("serve keeps out whom the mode does", async (folder) => {
  await Deno.chmod(folder.name, 0o755);
  const { path } = folder;
  const asNobody = async () => {
    const { code, stdout } = await new Deno.Command("nc", {
      args: ["-N", "-U", path],
      uid: 65_534,
      gid: 65_534,
      stdin: "null",
    }).output();
    return [code, text(stdout)];
  };
  {
    await using _server = serve({ path }, commands);
    assertEquals(await asNobody(), [1, ""]);
  }
  await using _server = serve({ path, unixMode: 0o666 }, commands);
  assertEquals(await asNobody(), [0, ""]);
}, isRoot() ? ["nc"] : ["nc", "being root"]);

/** Only root starts programs as others; else that counts as missing. */
function isRoot(): boolean {
  const mayAsk = Deno.permissions.querySync({ name: "sys", kind: "uid" });
  return mayAsk.state === "granted" && Deno.uid() === 0;
}

Deno.test("serve refuses what goes by addresses beside a path", () => {
  const path = "/nowhere/s";
  const beside: ServeOptions[] = [
    { hostname: "127.0.0.1" },
    { port: 0 },
    { tcpBacklog: 1 },
    { reusePort: true },
    { maxConnectionsPerIp: 1 },
    { maxConnectionRate: "1/s" },
    { maxRequestRate: "1/s" },
    { ipPrefix: 64 },
    { allow: "127.0.0.1" },
    { deny: "127.0.0.1" },
    { proxyProtocol: "v1" },
    { proxyTrust: "127.0.0.1" },
  ];
  for (const options of beside) {
    const [name] = Object.keys(options);
    const error = assertThrows(
      () => serve({ path, ...options }, commands),
      OptionError,
      "expected no such option beside path",
    );
    assertEquals(error.option, name);
  }
});

Deno.test("serveThreads refuses a path", async () => {
  await assertRejects(
    () =>
      serveThreads({
        path: "/nowhere/s",
        threads: 2,
        worker: new URL("file:///nowhere.ts"),
      }),
    OptionError,
    Deno.build.os === "linux" ? "no path beside threads" : "threads",
  );
});

Deno.test("serve and connect refuse what is no path of a socket", async () => {
  const long = (bytes: number) => "/" + "x".repeat(bytes - 1);
  for (const path of ["", "\0abstract", "/a\0b", long(108)]) {
    assertThrows(() => serve({ path }, commands), OptionError, "path");
    await assertRejects(() => connect({ path }), OptionError, "path");
  }
  // The folder is what has to leave room.
  assertThrows(() => serve({ path: long(98) + "/s" }, commands), OptionError);
  for (const unixMode of [-1, 0o1000, 1.5, NaN]) {
    assertThrows(
      () => serve({ path: "/nowhere/s", unixMode }, commands),
      OptionError,
      "unixMode",
    );
  }
  assertThrows(() => serve({ unixMode: 0o600 }, commands), OptionError);
  for (const options of [{ port: 1 }, { hostname: "::1" }]) {
    await assertRejects(
      () => connect({ path: "/nowhere/s", ...options }),
      OptionError,
      "expected no such option beside path",
    );
  }
});

testFiles("serve takes paths as long as the system does", async (folder) => {
  const max = Deno.build.os === "linux" ? 107 : 103;
  const path = folder.path.padEnd(max, "x");
  await using _server = serve({ path }, commands);
  assertEquals(await ping(path), "PONG");
});

testFiles("serve leaves what is at the path already", async (folder) => {
  const { path } = folder;
  {
    await using _first = serve({ path }, commands);
    assertThrows(() => serve({ path }, commands), Deno.errors.AddrInUse, path);
    assertEquals(await removeStaleSocket(path), false);
    assertEquals(await ping(path), "PONG");
  }
  leaveStale(path);
  assertThrows(() => serve({ path }, commands), Deno.errors.AddrInUse, path);
  assertEquals(folder.files, ["s.sock"]);
});

testFiles(
  "serve and removeStaleSocket leave what is no socket",
  async (folder) => {
    const { path } = folder;
    const kept = `${folder.name}/kept`;
    for (
      const make of [
        () => Deno.writeTextFileSync(path, "precious"),
        () => Deno.mkdirSync(path),
        () => Deno.symlinkSync(kept, path),
      ]
    ) {
      make();
      const before = fileId(path);
      assertEquals(await removeStaleSocket(path), false);
      assertThrows(() => serve({ path }, commands), OptionError, path);
      assertEquals(fileId(path), before);
      Deno.removeSync(path);
    }
    // Not even one that points at a stale socket.
    leaveStale(kept);
    Deno.symlinkSync(kept, path);
    assertEquals(await removeStaleSocket(path), false);
    assertEquals(folder.files.sort(), ["kept", "s.sock"]);
  },
);

testFiles(
  "removeStaleSocket makes room where nobody listens",
  async (folder) => {
    const { path } = folder;
    assertEquals(await removeStaleSocket(path), false);
    leaveStale(path);
    assertEquals(await removeStaleSocket(path), true);
    assertEquals(folder.files, []);
    await using _server = serve({ path }, commands);
    assertEquals(await ping(path), "PONG");
  },
);

testFiles("serve removes its own file only", async (folder) => {
  const { path } = folder;
  const first = serve({ path }, commands);
  await Deno.remove(path);
  await using _second = serve({ path }, commands);
  await first.shutdown();
  assertEquals(await ping(path), "PONG");
});

testFiles("serve says that there is no such folder", ({ name }) => {
  assertThrows(
    () => serve({ path: `${name}/none/s` }, commands),
    Deno.errors.NotFound,
  );
  return Promise.resolve();
});

testFiles("connect says why there is no connection", async ({ path }) => {
  await assertRejects(
    () => connect({ path }),
    ConnectError,
    `Cannot connect to ${path}: there is no such socket`,
  );
  leaveStale(path);
  await assertRejects(
    () => connect({ path }),
    ConnectError,
    `Cannot connect to ${path}: connection refused`,
  );
});

testFiles(
  "connect gives up at once where its signal is aborted",
  async ({ path }) => {
    await using _server = serve({ path }, commands);
    const signal = AbortSignal.abort(new Error("no more"));
    await assertRejects(() => connect({ path, signal }), Error, "no more");
  },
);

testFiles("a reset at a Unix socket ends its request", async ({ path }) => {
  const events = new Events();
  await using server = serve({ path, events: events.listeners }, commands);
  const { conn } = await Peer.to(server);
  await conn.write(bytes("PING\nDELAY 60000 late\n"));
  // Closing with some of a reply unread is what resets.
  assertEquals(await conn.read(new Uint8Array(1)), 1);
  conn.close();
  assertEquals((await events.closed()).reason, "peer_reset");
});

// -------------------------------------------------------------- the keeper

testFiles(
  "keeper reads what it was told, as it is by now",
  async ({ name }) => {
    const mine = `${name}/mine`;
    const other = `${name}/other`;
    for (const file of [mine, other]) await Deno.writeTextFile(file, "old");
    using keeper = await openKeeper({ read: [mine] });
    assertEquals(await keeper.readText(mine), "old");
    await Deno.writeTextFile(mine, "new");
    assertEquals(await keeper.readText(mine), "new");
    await assertRejects(() => keeper.readText(other), Error, "read access");
    await Deno.remove(mine);
    await assertRejects(() => keeper.readText(mine), Error, "No such file");
    // What is too large, or has no end, takes no memory.
    await Deno.symlink("/dev/zero", mine);
    await assertRejects(() => keeper.readText(mine), Error, "a file or a pipe");
    await Deno.remove(mine);
    await Deno.writeTextFile(mine, "x");
    await Deno.truncate(mine, 16 * 1024 * 1024 + 1);
    await assertRejects(() => keeper.readText(mine), Error, "at most 16 MiB");
    await assertRejects(
      () => keeper.removeSocket(other, fileId(other)),
      Error,
      "read access",
    );
  },
);

testFiles("keeper removes the one file that is meant", async (folder) => {
  const { path } = folder;
  leaveStale(path);
  const first = fileId(path);
  using keeper = await openKeeper({ read: [], sockets: [path] });
  await Deno.remove(path);
  // There is nothing to remove, and nothing to say.
  await keeper.removeSocket(path, first);
  leaveStale(path);
  await keeper.removeSocket(path, first);
  assertEquals(folder.files, ["s.sock"]);
  await keeper.removeSocket(path, fileId(path));
  assertEquals(folder.files, []);
});

testFiles("keeper that is disposed says so", async ({ path }) => {
  const keeper = await openKeeper({ read: [path] });
  keeper[Symbol.dispose]();
  await assertRejects(() => keeper.readText(path), Error, "has ended");
});

// ------------------------------------------------------------ the programs

Deno.test("server refuses flags that go by addresses beside --unix", () => {
  const parse = (args: string[], env: Record<string, string> = {}) =>
    checkTogether(
      parseFlags(serverFlags, args, (name) => env[name]) as CommandLine<
        typeof serverFlags
      >,
    );
  const beside = {
    hostname: "127.0.0.1",
    port: "0",
    backlog: "1",
    threads: "2",
    "max-connections-per-ip": "1",
    "max-connection-rate": "1/s",
    "max-request-rate": "1/s",
    "ip-prefix": "64",
    allow: "127.0.0.1",
    deny: "127.0.0.1",
    "proxy-protocol": "v1",
    "proxy-trust": "127.0.0.1",
  };
  for (const [name, value] of Object.entries(beside)) {
    const twin = `PARLEY_${name.toUpperCase().replaceAll("-", "_")}`;
    assertThrows(
      () => parse(["--unix", "/s", `--${name}`, value]),
      UsageError,
      `--unix and --${name} are given, expected only one of them`,
    );
    assertThrows(
      () => parse(["--unix", "/s"], { [twin]: value }),
      UsageError,
      `--unix and ${twin} are given, expected only one of them`,
    );
    assertThrows(
      () => parse([`--${name}`, value], { PARLEY_UNIX: "/s" }),
      UsageError,
      `PARLEY_UNIX and --${name} are given, expected only one of them`,
    );
  }
  assertThrows(
    () => parse(["--unix-mode", "0660"]),
    UsageError,
    "--unix-mode is given, expected --unix beside it",
  );
  // An empty variable is one that is not set.
  parse(["--unix", "/s"], { PARLEY_PORT: "" });
});

testProgramFiles(
  "server ends with 2 at a bad path or mode",
  async (way, { path }) => {
    const long = "/" + "x".repeat(107);
    for (
      const [args, ...parts] of [
        [["--unix", ""], '--unix is ""', "a path of at most"],
        [["--unix", long], '--unix is "/xxx', "a path of at most"],
        [["--unix", path, "--unix-mode", "9"], '--unix-mode is "9"', "octal"],
        [["--unix", path, "--unix-mode", "01777"], '"01777"', "octal"],
        [["--unix", path, "--unix-mode", "rw"], '"rw"', "octal"],
        [["--unix", path, "--port", "0"], "--unix and --port"],
      ] as [string[], ...string[]][]
    ) {
      const { code, stdout, stderr } = await run(way, "server", args);
      assertEquals([code, stdout], [2, ""], stderr);
      assertOneLine(stderr, "server: ", ...parts);
    }
  },
);

testProgramFiles(
  "server serves a path, and removes it at the end",
  async (way, folder) => {
    const { path } = folder;
    await using server = await startAt(way, path);
    assertEquals(folder.files, ["s.sock"]);
    assertEquals(permissions(path), "600");
    assertEquals(
      await run(way, "client", ["--unix", path, "WHOAMI", "ECHO hi"]),
      {
        code: 0,
        stdout: "id=1 peer=unix framing=line\nhi\n",
        stderr: "",
      },
    );
    assertEquals(
      await run(way, "client", ["--unix", path], { stdin: "PING\nUPPER a\n" }),
      { code: 0, stdout: "PONG\nA\n", stderr: "" },
    );
    // It is still the same file.
    await Deno.utime(path, 1, 1);
    server.kill("SIGTERM");
    assertEquals((await server.logged("finished")).forced, 0);
    assertEquals(await server.code(), 0);
    assertEquals(folder.files, []);
  },
);

testProgramFiles(
  "server takes the path and mode from the environment",
  async (way, { path }) => {
    const env = { PARLEY_UNIX: path, PARLEY_UNIX_MODE: "0666" };
    await using server = new Running(way, "server", [], env);
    await server.stdout.until(/ready/);
    assertEquals(permissions(path), "666");
    assertEquals(await ping(path), "PONG");
  },
);

testProgramFiles(
  "server keeps its file for as long as it accepts",
  async (way, folder) => {
    const { path } = folder;
    await using server = await startAt(way, path, ["--pre-drain-delay", "5m"]);
    server.kill("SIGTERM");
    assertEquals(await ping(path), "PONG");
    // Another signal, for two of a kind may arrive as one.
    server.kill("SIGINT");
    assert([130, 143].includes(await server.code()));
    assertEquals(folder.files, []);
  },
);

testProgramFiles(
  "server removes its file at a second signal",
  async (way, folder) => {
    const { path } = folder;
    await using server = await startAt(way, path);
    using peer = await Peer.to({ addr: { transport: "unix", path } });
    await peer.ask("PING\nDELAY 60000 late\n", "PONG\n");
    server.kill("SIGTERM");
    assertEquals((await server.logged("draining")).connections, 1);
    // Another one, for the same one again may have been sent only once.
    server.kill("SIGINT");
    assertEquals(await server.code(), 130);
    assertEquals(folder.files, []);
  },
);

testProgramFiles("server starts where one was killed", async (way, folder) => {
  const { path } = folder;
  {
    await using killed = await startAt(way, path);
    killed.kill("SIGKILL");
    await killed.code();
  }
  assertEquals(folder.files, ["s.sock"]);
  const gone = await run(way, "client", ["--unix", path, "PING"]);
  assertEquals([gone.code, gone.stdout], [1, ""]);
  assertOneLine(gone.stderr, "client: ", path, "connection refused");
  await using _server = await startAt(way, path);
  assertEquals(await ping(path), "PONG");
  assertEquals(folder.files, ["s.sock"]);
});

testProgramFiles(
  "server ends with 1 where the path is taken",
  async (way, folder) => {
    const { path } = folder;
    const start = async (place: string, ...parts: string[]) => {
      const { code, stdout, stderr } = await run(way, "server", [
        "--unix",
        place,
      ]);
      assertEquals([code, stdout], [1, ""], stderr);
      assertOneLine(stderr, "server: cannot listen on ", place, ...parts);
    };
    {
      await using _server = await startAt(way, path);
      await start(path, "in use", "--unix");
      assertEquals(await ping(path), "PONG");
    }
    await Deno.remove(path);
    await Deno.writeTextFile(path, "precious");
    await start(path, "no socket", "left alone");
    assertEquals(await Deno.readTextFile(path), "precious");
    await start(folder.name, "no socket", "left alone");
    await start(`${folder.name}/none/s`, "no such folder");
    assertEquals(folder.files, ["s.sock"]);
  },
);

testProgramFiles(
  "server leaves the file of one that took its path",
  async (way, folder) => {
    const { path } = folder;
    await using first = await startAt(way, path);
    await Deno.remove(path);
    await using _second = await startAt(way, path);
    first.kill("SIGTERM");
    assertEquals(await first.code(), 0);
    assertEquals(await ping(path), "PONG");
  },
);

testProgramFiles(
  "client ends with 1 where nobody listens",
  async (way, { path }) => {
    const { code, stdout, stderr } = await run(way, "client", [
      "--unix",
      path,
      "PING",
    ]);
    assertEquals([code, stdout], [1, ""]);
    assertOneLine(stderr, "client: ", path, "no such socket");
  },
);

testPrograms("client ends with 2 at a path that can be none", async (way) => {
  for (const path of ["", "/" + "x".repeat(107)]) {
    const { code, stderr } = await run(way, "client", ["--unix", path]);
    assertEquals(code, 2);
    assertOneLine(stderr, "client: --unix is ", "a path of at most");
  }
});

testWithTools(
  "server's socket has its mode under any umask",
  ["sh"],
  async () => {
    for (const [umask, mode] of [["000", "600"], ["077", "666"]]) {
      await using folder = await Folder.make();
      const flags = ["--unix", folder.path, "--unix-mode", mode];
      const lib = new URL("../../lib/mod.ts", import.meta.url).href;
      const program = `
      import { echo, serve } from ${JSON.stringify(lib)};
      const path = ${JSON.stringify(flags[1])};
      const server = serve({ path, unixMode: 0o${mode} }, echo);
      console.log((Deno.lstatSync(path).mode & 0o777).toString(8));
      await server.shutdown();
    `;
      const { stdout, stderr } = await runCommand([
        "sh",
        "-c",
        `umask ${umask}; exec "$@"`,
        "sh",
        Deno.execPath(),
        "eval",
        "--no-check",
        "--ext=ts",
        program,
      ]);
      assertEquals(stdout, `${mode}\n`, stderr);
      assertEquals(folder.files, []);
    }
  },
);

// ------------------------------------------------------------- stock tools

for (
  const [tool, command] of [
    ["nc", (path: string) => ["nc", "-N", "-U", path]],
    ["ncat", (path: string) => ["ncat", "-U", path]],
    ["socat", (path: string) => [
      "socat",
      "-t",
      "30",
      "-",
      `UNIX-CONNECT:${path}`,
    ]],
  ] as const
) {
  testFiles(`${tool} talks to a Unix socket`, async ({ path }) => {
    await using _server = serve({ path }, commands);
    const { code, stdout } = await runCommand(command(path), {
      stdin: "PING\nECHO hi\nSIZE 100000\nQUIT\n",
    });
    assertEquals(code, 0);
    const [pong, hi, size, bye] = stdout.split("\n");
    assertEquals([pong, hi, size.length, bye], ["PONG", "hi", 100_000, "BYE"]);
  }, [tool]);
}

testFiles("connect talks to a Unix socket of socat", async ({ path }) => {
  const child = new Deno.Command("socat", {
    args: ["-d", "-d", `UNIX-LISTEN:${path}`, "EXEC:cat"],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const said = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
  let all = "";
  while (!all.includes("listening on")) all += (await said.read()).value ?? "";
  {
    await using client = await connect({ path });
    assertEquals(text(await client.request("hello")), "hello");
  }
  await said.cancel();
  await child.status;
}, ["socat", "cat"]);

/** One line, with all of `parts` in it. */
function assertOneLine(line: string, ...parts: string[]): void {
  assertEquals(line.split("\n").length, 2, `not one line: ${line}`);
  for (const part of parts) {
    assert(line.includes(part), `${JSON.stringify(line)} lacks ${part}`);
  }
}
