// The admin port of the program: its flags, the order in which things are
// bound and end, and what Prometheus' own tool says of its metrics.

import { parseFlags, UsageError } from "../../lib/cli/flags/flags.ts";
import { serverFlags } from "../../lib/cli/server/flags.ts";
import { Peer } from "../support/fixtures.ts";
import {
  run,
  runCommand,
  Running,
  RunningServer,
  shareOf,
  testPrograms,
  testWithTools,
  type Way,
} from "../support/programs.ts";
import { Folder, permissions } from "../support/socket_files.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertThrows,
} from "../support/std.ts";

const TOKEN = "0123456789abcdef";
const ADMIN = ["--admin", "127.0.0.1:0"];

async function get(
  { admin }: { admin?: string },
  path: string,
  init: RequestInit = {},
): Promise<[number, string]> {
  const socket = /^unix:(.*)$/.exec(admin!)?.[1];
  using client = Deno.createHttpClient({
    poolMaxIdlePerHost: 0,
    ...socket && { proxy: { transport: "unix", path: socket } },
  });
  // A host that no port by an address would take.
  const place = socket ? "http://admin.example" : admin;
  const answer = await fetch(`${place}${path}`, { ...init, client });
  return [answer.status, await answer.text()];
}

function post(): RequestInit {
  return { method: "POST", headers: { authorization: `Bearer ${TOKEN}` } };
}

testPrograms("server has no admin port unless it is told to", async (way) => {
  await using server = await RunningServer.start(way);
  assertEquals(server.admin, undefined);
});

testPrograms(
  "server says where its admin port is, between its other lines",
  async (way) => {
    const env = { PARLEY_ADMIN: "127.0.0.1:0" };
    await using server = await RunningServer.start(way, [], env);
    assertMatch(server.admin!, /^http:\/\/127\.0\.0\.1:[1-9]\d*$/);
    assertEquals(await get(server, "/readyz"), [200, "ready\n"]);
    const [, stats] = await get(server, "/stats.json");
    const { address, handler, actions } = JSON.parse(stats);
    assertEquals(
      [address, handler, actions],
      [`127.0.0.1:${server.addr.port}`, "commands", false],
    );
  },
);

testPrograms(
  "server ends with 1 where the admin port is in use, before it binds another",
  async (way) => {
    using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = taken.addr;
    const place = `127.0.0.1:${port}`;
    // Both are in use: the line names the one that was tried.
    const args = ["--hostname=127.0.0.1", `--port=${port}`, "--admin", place];
    const { code, stdout, stderr } = await run(way, "server", args);
    assertEquals({ code, stdout, stderr }, {
      code: 1,
      stdout: "",
      stderr: `server: cannot listen on ${place} for --admin: ` +
        "the port is in use (--admin takes another, 0 picks a free one)\n",
    });
  },
);

testPrograms(
  "server ends with 1 where the public port is in use, admin port or not",
  async (way) => {
    using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const args = [
      "--hostname=127.0.0.1",
      `--port=${taken.addr.port}`,
      ...ADMIN,
    ];
    const { code, stdout, stderr } = await run(way, "server", args);
    assertEquals([code, stdout], [1, ""]);
    assertMatch(stderr, /^server: cannot listen on [^\n]+--port[^\n]+\n$/);
  },
);

testPrograms(
  "server never shows a token, and takes none without its port",
  async (way) => {
    const secret = "my short one";
    const attempts: [string[], Record<string, string>, string][] = [
      [[...ADMIN, "--admin-token", secret], {}, "--admin-token is not allowed"],
      [
        ADMIN,
        { PARLEY_ADMIN_TOKEN: secret },
        "PARLEY_ADMIN_TOKEN is not allowed",
      ],
      [["--admin-token", TOKEN], {}, "--admin-token is given"],
      [[], { PARLEY_ADMIN_TOKEN: TOKEN }, "PARLEY_ADMIN_TOKEN is given"],
    ];
    for (const [args, env, said] of shareOf(way, attempts)) {
      const { code, stdout, stderr } = await run(way, "server", args, { env });
      assertEquals([code, stdout], [2, ""], said);
      assert(stderr.startsWith(`server: ${said}, expected `), stderr);
      assertEquals(stderr.split("\n").length, 2);
      assert(!stderr.includes(secret) && !stderr.includes(TOKEN), stderr);
    }
  },
);

testPrograms(
  "server is not ready but accepts before its drain, and ends with 0",
  async (way) => {
    await using server = await RunningServer.start(
      way,
      [...ADMIN, "--pre-drain-delay=3s", "--drain-timeout=30s"],
    );
    using early = await Peer.to(server);
    assertEquals(await early.ask("PING\n", "PONG\n"), "PONG\n");
    // As a probe has it: it asks again and again, and its connection stays open.
    const client = Deno.createHttpClient({});
    using _closed = { [Symbol.dispose]: () => client.close() };
    const ready = await fetch(`${server.admin}/readyz`, { client });
    assertEquals(await ready.text(), "ready\n");

    server.kill("SIGTERM");
    let answer;
    do answer = await get(server, "/readyz"); while (answer[0] === 200);
    assertEquals(answer, [503, "draining\n"]);
    using late = await Peer.to(server);
    assertEquals(await late.ask("PING\n", "PONG\n"), "PONG\n");
    // The drain closes both, as idle connections.
    assertEquals([await early.rest(), await late.rest()], ["", ""]);
    assertEquals(await server.code(), 0);
  },
);

testPrograms("server drains and ends with 0 at POST /drain", async (way) => {
  await using server = await RunningServer.start(way, ADMIN, {
    PARLEY_ADMIN_TOKEN: TOKEN,
  });
  using peer = await Peer.to(server);
  assertEquals(await peer.ask("PING\n", "PONG\n"), "PONG\n");
  const closing = await get(server, "/connections/1/close", post());
  assertEquals(closing, [200, "closed\n"]);
  assertEquals(await peer.rest(), "");
  assertEquals(await get(server, "/drain"), [405, "method not allowed\n"]);
  assertEquals(await get(server, "/drain", post()), [202, "draining\n"]);
  assertEquals(await server.code(), 0);
});

testPrograms(
  "server says who drains it, which actions were asked for, and wrong tokens",
  async (way) => {
    {
      const env = { PARLEY_ADMIN_TOKEN: TOKEN };
      await using server = await RunningServer.start(way, ADMIN, env);
      const wrong = { method: "POST", headers: { authorization: "Bearer x" } };
      assertEquals((await get(server, "/drain", wrong))[0], 401);
      const refused = await server.logged("admin action");
      assertEquals([refused.level, refused.status], ["info", 401]);
      await get(server, "/connections/7/close", post());
      const { action, status, remote } = await server.logged("admin action");
      assertEquals([action, status], ["/connections/7/close", 404]);
      assertMatch(remote as string, /^127\.0\.0\.1:\d+$/);
      await get(server, "/drain", post());
      assertEquals((await server.logged("admin action")).status, 202);
      const { by } = await server.logged("draining");
      assertMatch(by as string, /^admin 127\.0\.0\.1:\d+$/);
      assertEquals(await server.code(), 0);
    }
    for (const threads of Deno.build.os === "linux" ? ["1", "2"] : ["1"]) {
      const flags = ["--threads", threads, "--pre-drain-delay=1ms"];
      await using server = await RunningServer.start(way, flags);
      server.kill("SIGINT");
      assertEquals((await server.logged("about to drain")).by, "SIGINT");
      assertEquals((await server.logged("draining")).by, "SIGINT");
      assertEquals(await server.code(), 0);
    }
  },
);

testPrograms("server logs slow requests if it is told to", async (way) => {
  const flags = ["--slow-request=20ms"];
  for (const threads of Deno.build.os === "linux" ? ["1", "2"] : ["1"]) {
    const all = [...flags, "--threads", threads];
    await using server = await RunningServer.start(way, all);
    using peer = await Peer.to(server);
    assertEquals(await peer.ask("DELAY 30 late\n", "late\n"), "late\n");
    const { level, conn_id, remote, requests, request_bytes, duration_ms } =
      await server.logged("slow request");
    const { port } = peer.conn.localAddr as Deno.NetAddr;
    assertEquals(
      [level, conn_id, remote, requests, request_bytes],
      ["info", 1, `127.0.0.1:${port}`, 1, 13],
    );
    assert(duration_ms as number >= 20);
  }
});

testWithTools(
  "promtool finds nothing to say about /metrics",
  ["promtool"],
  async () => {
    await using server = await RunningServer.start("deno run", ADMIN);
    using peer = await Peer.to(server);
    assertEquals(await peer.ask("PING\n", "PONG\n"), "PONG\n");
    const [, stdin] = await get(server, "/metrics");
    assertMatch(stdin, /^parley_requests_total\{status="ok"\} 1$/m);
    assertEquals(
      await runCommand(["promtool", "check", "metrics"], { stdin }),
      { code: 0, stdout: "", stderr: "" },
    );
  },
);

testPrograms(
  "server with threads has one admin port, with the numbers of all",
  async (way) => {
    await using server = await RunningServer.start(way, [
      ...ADMIN,
      "--threads=2",
    ], { PARLEY_ADMIN_TOKEN: TOKEN });
    using first = await Peer.to(server);
    using second = await Peer.to(server);
    for (const peer of [first, second]) {
      assertEquals(await peer.ask("PING\n", "PONG\n"), "PONG\n");
    }
    assertEquals(await get(server, "/readyz"), [200, "ready\n"]);
    const stats = JSON.parse((await get(server, "/stats.json"))[1]);
    assertEquals(
      [stats.threads, stats.threadsLost, stats.ready, stats.draining],
      [2, 0, true, false],
    );
    assertEquals(
      [stats.framing, stats.limits.connections],
      ["line", 10_000],
    );
    assertEquals([stats.connections.active, stats.requests.ok], [2, 2]);
    const { rows } = JSON.parse((await get(server, "/connections.json"))[1]);
    assertEquals(rows.length, 2);
    const close = `/connections/${rows[1][0]}/close`;
    assertEquals(await get(server, close, post()), [200, "closed\n"]);
    assertEquals(await get(server, "/drain", post()), [202, "draining\n"]);
    assertEquals(await server.code(), 0);
  },
);

// ------------------------------------------------------------ Unix sockets

/** Registers a test of the programs that has a folder. */
function testSocket(
  name: string,
  fn: (way: Way, folder: Folder) => Promise<void>,
): void {
  testPrograms(name, async (way) => {
    await using folder = await Folder.make();
    await fn(way, folder);
  });
}

Deno.test("server takes a path for --admin if it can listen there", () => {
  const parse = (place: string) =>
    parseFlags(serverFlags, ["--admin", place], () => undefined).flags.admin;
  assertEquals(parse("unix:/run/a.sock"), { path: "/run/a.sock" });
  // Relative ones, even such as look like a port.
  assertEquals(parse("unix:9090"), { path: "9090" });
  assertEquals(parse("[::1]:9090"), { hostname: "::1", port: 9090 });
  for (const path of ["", "/" + "x".repeat(107), "/a\0b"]) {
    assertThrows(
      () => parse(`unix:${path}`),
      UsageError,
      "or unix:PATH with a path of at most",
    );
  }
});

testSocket(
  "server has its admin port at a path, and removes that at the end",
  async (way, folder) => {
    const { path } = folder;
    await using server = await RunningServer.start(way, [], {
      PARLEY_ADMIN: `unix:${path}`,
      PARLEY_ADMIN_TOKEN: TOKEN,
    });
    assertEquals(server.admin, `unix:${path}`);
    assertEquals([folder.files, permissions(path)], [["s.sock"], "600"]);
    assertEquals(await get(server, "/livez"), [200, "ok\n"]);
    assertEquals(await get(server, "/readyz"), [200, "ready\n"]);
    const [, stats] = await get(server, "/stats.json");
    const { address, actions } = JSON.parse(stats);
    assertEquals(
      [address, actions],
      [`127.0.0.1:${server.addr.port}`, true],
    );
    assertEquals(await get(server, "/drain", post()), [202, "draining\n"]);
    assertEquals(await server.code(), 0);
    assertEquals(folder.files, []);
  },
);

testSocket(
  "server with threads removes its admin port's file at SIGTERM",
  async (way, folder) => {
    const args = ["--admin", `unix:${folder.path}`, "--threads=2"];
    await using server = await RunningServer.start(way, args);
    const [, stats] = await get(server, "/stats.json");
    assertEquals(JSON.parse(stats).threads, 2);
    server.kill("SIGTERM");
    assertEquals(await server.code(), 0);
    assertEquals(folder.files, []);
  },
);

testSocket(
  "server keeps its admin port's file through the drain, beside --unix",
  async (way, folder) => {
    const admin = `${folder.name}/admin.sock`;
    const args = ["--unix", folder.path, "--admin", `unix:${admin}`];
    const env = { PARLEY_ADMIN_TOKEN: TOKEN };
    await using server = new Running(way, "server", args, env);
    assertMatch(await server.stdout.next(), /listening on \/.*s\.sock \(line/);
    assertEquals(await server.stdout.next(), `admin on unix:${admin}`);
    assertEquals(await server.stdout.next(), "ready to accept connections");
    assertEquals(folder.files.sort(), ["admin.sock", "s.sock"]);
    const place = { admin: `unix:${admin}` };
    using peer = await Peer.to({
      addr: { transport: "unix", path: folder.path },
    });
    await peer.ask("PING\nDELAY 60000 late\n", "PONG\n");
    server.kill("SIGTERM");
    assertEquals((await server.logged("draining")).connections, 1);
    assertEquals(await get(place, "/readyz"), [503, "draining\n"]);
    // Another signal, for two of a kind may arrive as one.
    server.kill("SIGINT");
    assertEquals(await server.code(), 130);
    assertEquals(folder.files, []);
  },
);

testSocket(
  "server starts where one with an admin port was killed",
  async (way, folder) => {
    const args = ["--admin", `unix:${folder.path}`];
    {
      await using killed = await RunningServer.start(way, args);
      killed.kill("SIGKILL");
      await killed.code();
    }
    assertEquals(folder.files, ["s.sock"]);
    await using server = await RunningServer.start(way, args);
    assertEquals(await get(server, "/readyz"), [200, "ready\n"]);
    assertEquals(folder.files, ["s.sock"]);
  },
);

testSocket(
  "server ends with 1 where the admin port's path is taken, and binds no other",
  async (way, folder) => {
    const { path } = folder;
    const start = async (admin: string, said: string) => {
      const flags = ["--unix", `${folder.name}/public`, "--admin", admin];
      const { code, stdout, stderr } = await run(way, "server", flags);
      assertEquals({ code, stdout, stderr }, {
        code: 1,
        stdout: "",
        stderr: `server: cannot listen on ${admin} for --admin: ${said}\n`,
      });
    };
    {
      await using server = await RunningServer.start(way, [
        "--admin",
        `unix:${path}`,
      ]);
      await start(
        `unix:${path}`,
        "the socket is in use (--admin takes another path)",
      );
      assertEquals(await get(server, "/livez"), [200, "ok\n"]);
    }
    await Deno.remove(path);
    await Deno.writeTextFile(path, "precious");
    await start(
      `unix:${path}`,
      "what is there is no socket, and is left alone (--admin takes another path)",
    );
    assertEquals(await Deno.readTextFile(path), "precious");
    await start(
      `unix:${folder.name}/none/s`,
      "there is no such folder (--admin takes a path in one that is there)",
    );
    assertEquals(folder.files, ["s.sock"]);
  },
);

testSocket(
  "server leaves no file of its admin port where the public one is in use",
  async (way, folder) => {
    using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const args = [
      "--hostname=127.0.0.1",
      `--port=${taken.addr.port}`,
      `--admin=unix:${folder.path}`,
    ];
    const { code, stdout, stderr } = await run(way, "server", args);
    assertEquals([code, stdout], [1, ""]);
    assertMatch(stderr, /^server: cannot listen on [^\n]+--port[^\n]+\n$/);
    assertEquals(folder.files, []);
  },
);

testSocket(
  "server leaves the admin port's file of one that took its path",
  async (way, { path }) => {
    const args = ["--admin", `unix:${path}`];
    await using first = await RunningServer.start(way, args);
    await Deno.remove(path);
    await using second = await RunningServer.start(way, args);
    first.kill("SIGTERM");
    assertEquals(await first.code(), 0);
    assertEquals(await get(second, "/readyz"), [200, "ready\n"]);
  },
);
