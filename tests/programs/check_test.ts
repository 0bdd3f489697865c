// `server --check`, and what a server says of an environment that is mistaken.

import { ONE, TWO } from "../support/certificates.ts";
import { freePorts } from "../support/cluster.ts";
import { ownAddress, Peer } from "../support/fixtures.ts";
import {
  commandLine,
  run,
  runCommand,
  RunningServer,
  shareOf,
  testPrograms,
} from "../support/programs.ts";
import { Folder } from "../support/socket_files.ts";
import { assert, assertEquals, assertMatch } from "../support/std.ts";

const HERE = ["--hostname", "127.0.0.1", "--port", "0"];

testPrograms(
  "server --check says what it found good, and keeps nothing",
  async (way) => {
    await using folder = await Folder.make();
    const cert = `${folder.name}/cert.pem`;
    const key = `${folder.name}/key.pem`;
    await Deno.writeTextFile(cert, ONE.cert);
    await Deno.writeTextFile(key, ONE.key);
    const tls = [...HERE, "--tls-cert", cert, "--tls-key", key];
    const sockets = ["--unix", folder.path, "--admin", `unix:${folder.path}2`];
    const admin = ["--admin", "127.0.0.1:0", "--max-connections", "100"];
    const attempts: [string[], RegExp][] = [
      [
        [...HERE, ...admin],
        /^127\.0\.0\.1:0, admin 127\.0\.0\.1:0, descriptors/,
      ],
      [tls, /^127\.0\.0\.1:0, certificate of CN=\S+ until 2\d{3}-\S+Z, descr/],
      [sockets, /^unix:\S+s\.sock, admin unix:\S+s\.sock2, descriptors for/],
    ];
    for (const [args, said] of attempts) {
      const { code, stdout, stderr } = await run(way, "server", [
        "--check",
        ...args,
      ]);
      assertEquals([code, stderr], [0, ""], said.source);
      const start = "good: line framing, commands handler, ";
      assertEquals(stdout.slice(0, start.length), start);
      assertMatch(stdout.slice(start.length), said);
      assertEquals(stdout.split("\n").length, 2);
    }
    assertEquals(folder.files.sort(), ["cert.pem", "key.pem"]);
  },
);

testPrograms(
  "server --check says which address is in use, and lets it be",
  async (way) => {
    await using folder = await Folder.make();
    const admin = ["--admin", `unix:${folder.path}`];
    await using server = await RunningServer.start(way, admin);
    const { hostname, port } = server.addr;
    const { code, stdout, stderr } = await run(way, "server", [
      ...["--check", "--hostname", hostname, "--port", `${port}`],
      ...admin,
    ]);
    assertEquals([code, stderr], [0, ""]);
    assertMatch(
      stdout,
      new RegExp(`${port} \\(in use now\\), admin unix:\\S+ \\(in use now\\)`),
    );
    using peer = await Peer.to(server);
    assertEquals(await peer.ask("PING\n", "PONG\n"), "PONG\n");
    assertEquals(folder.files, ["s.sock"]);
  },
);

testPrograms("server --check ends with 2 at whatever is wrong", async (way) => {
  await using folder = await Folder.make();
  const cert = `${folder.name}/cert.pem`;
  const key = `${folder.name}/key.pem`;
  await Deno.writeTextFile(cert, ONE.cert);
  await Deno.writeTextFile(key, TWO.key);
  const gone = `${folder.name}/gone`;
  const attempts: [string[], Record<string, string>, RegExp][] = [
    [["--tls-cert", gone, "--tls-key", key], {}, /cannot read|gone/],
    [["--tls-cert", cert, "--tls-key", key], {}, /key/],
    [["--hostname", "203.0.113.1"], {}, /address is not this machine's/],
    [["--hostname", "a\nb\x1b[31m"], {}, /listen on a\\nb\\x1b\[31m:0: /],
    [["--admin", `unix:${gone}/s`], {}, /no such folder/],
    [["--framing", "fixed:1000", "--max-frame", "10"], {}, /fixed/],
    [[], { PARLEY_PROT: "1" }, /PARLEY_PROT is unknown: .* PARLEY_PORT$/],
  ];
  for (const [args, env, said] of shareOf(way, attempts)) {
    const { code, stdout, stderr } = await run(
      way,
      "server",
      ["--check", "--port=0", ...args],
      { env },
    );
    assertEquals([code, stdout], [2, ""], `${args} ${stderr}`);
    assertMatch(stderr, /^server: [^\n]+\n$/);
    assertMatch(stderr.trim(), said);
  }
});

testPrograms(
  "server --check refuses one address for both ports",
  async (way) => {
    await using folder = await Folder.make();
    const hostname = ownAddress();
    const [port] = freePorts(hostname, 1);
    const both = [
      [`--port=${port}`, `--admin=${hostname}:${port}`],
      [`--unix=${folder.path}`, `--admin=unix:${folder.path}`],
    ];
    for (const args of both) {
      const all = ["--check", ...args];
      const { code, stdout, stderr } = await run(way, "server", all);
      assertEquals([code, stdout], [2, ""], stderr);
      const [, place] = args[1].split("=");
      assertMatch(stderr, /^server: [^\n]+ in use \(--admin takes [^\n]+\n$/);
      assert(stderr.includes(`cannot listen on ${place} for --admin`), stderr);
    }
    assertEquals(folder.files, []);
  },
);

testPrograms(
  "server serves with an unknown variable, and warns",
  async (way) => {
    // The other is the client's.
    const env = { PARLEY_MAX_CONECTIONS: "5", PARLEY_HISTORY: "" };
    await using server = await RunningServer.start(way, [], env);
    const { level } = await server.logged(
      "PARLEY_MAX_CONECTIONS is unknown: the nearest is PARLEY_MAX_CONNECTIONS",
    );
    assertEquals(level, "warn");
  },
);

testPrograms(
  "server refuses an empty variable where unset is weaker",
  async (way) => {
    const guards = ["ALLOW", "DENY", "PROXY_TRUST", "ADMIN_TOKEN"];
    const names = [...guards, "TLS_CLIENT_CA"];
    for (const name of shareOf(way, names)) {
      const { code, stdout, stderr } = await run(way, "server", HERE, {
        env: { [`PARLEY_${name}`]: "" },
      });
      assertEquals([code, stdout], [2, ""], name);
      assertMatch(stderr, new RegExp(`^server: PARLEY_${name} is [^\n]+\n$`));
    }
  },
);

testPrograms(
  "server refuses a variable that is no text, and does not show it",
  async (way) => {
    const shell = `PARLEY_ADMIN_TOKEN=$(printf 'secret\\377') exec "$@"`;
    const command = ["sh", "-c", shell, "sh", ...commandLine(way, "server")];
    const { code, stdout, stderr } = await runCommand(command);
    assertEquals({ code, stdout, stderr }, {
      code: 2,
      stdout: "",
      stderr: "server: PARLEY_ADMIN_TOKEN is no text, expected UTF-8\n",
    });
  },
  ["sh"],
);
