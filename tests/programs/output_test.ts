// Where the programs' output goes wrong: a full disk, a reader that is gone, a
// limit on files, and streams that are not there.

import { commands, type Handler, serve } from "../../lib/mod.ts";
import { Events, Peer } from "../support/fixtures.ts";
import {
  commandLine,
  namespaceTools,
  type Program,
  type Result,
  runCommand,
  Running,
  testPrograms,
  testWithTools,
  type Way,
} from "../support/programs.ts";
import { assert, assertEquals, assertMatch } from "../support/std.ts";

/** A server in this process, and the client's name for it. */
function serveHere(handler: Handler = commands, events = new Events()) {
  const server = serve(
    { hostname: "127.0.0.1", port: 0, events: events.listeners },
    handler,
  );
  const { port } = server.addr as Deno.NetAddr;
  return {
    place: `127.0.0.1:${port}`,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** Runs a program by a shell, which has the program as `"$@"`. */
function runBy(
  shell: string,
  way: Way,
  program: Program,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<Result> {
  const command = [...commandLine(way, program), ...args];
  return runCommand(["sh", "-c", shell, "sh", ...command], { env });
}

/** A program's one line about its output. */
function cannotWrite(program: Program, reason: string): RegExp {
  return new RegExp(`^${program}: cannot write [a-z ]+: ${reason}\n$`);
}

/** A command line of the client for all that it prints. */
function printingLines(place: string): string[][] {
  const bench = ["bench", "-n", "10", "-c", "2"];
  return [
    ["--help"],
    ["--version"],
    [place, "PING"],
    [place, "--json", "PING"],
    [place, "SIZE 1000000", "PING"],
    ["latency", "-i", "1ms", place],
    [...bench, place],
    [...bench, "--json", place],
    [...bench, "--csv", place],
  ];
}

testPrograms("client says in one line that its output is lost", async (way) => {
  await using server = serveHere();
  for (const args of printingLines(server.place)) {
    const result = await runBy('"$@" >/dev/full', way, "client", args);
    assertEquals(result.code, 1, args.join(" "));
    assertMatch(
      result.stderr,
      cannotWrite("client", "no space left on device"),
    );
  }
}, ["sh"]);

testPrograms(
  "client ends when the first of its output is lost",
  async (way) => {
    // Nothing follows the first reply.
    await using server = serve(
      { hostname: "127.0.0.1", port: 0, drainTimeout: 1 },
      (request) => request.length === 1 ? request : new Promise(() => {}),
    );
    const place = `127.0.0.1:${(server.addr as Deno.NetAddr).port}`;
    for (const args of [["a", "bb"], ["--listen", "a"]]) {
      const shell = '"$@" >/dev/full';
      const client = [place, ...args];
      const { code, stderr } = await runBy(shell, way, "client", client);
      assertEquals(code, 1, args.join(" "));
      assertMatch(stderr, cannotWrite("client", "no space left on device"));
    }
  },
  ["sh"],
);

testPrograms("client says that an interrupted report is lost", async (way) => {
  const events = new Events();
  await using server = serveHere(commands, events);
  const client = [...commandLine(way, "client"), "bench", "-z", "60s"];
  const child = new Deno.Command("sh", {
    args: ["-c", 'exec "$@" >/dev/full', "sh", ...client, server.place],
    stdin: "null",
    stderr: "piped",
  }).spawn();
  await events.next("request");
  child.kill("SIGINT");
  const { code, stderr } = await child.output();
  assertEquals(code, 1);
  assertMatch(
    new TextDecoder().decode(stderr),
    cannotWrite("client", "no space left on device"),
  );
}, ["sh"]);

testPrograms("server says that its output is lost, and ends", async (way) => {
  const folder = await Deno.makeTempDir();
  try {
    for (
      const args of [
        ["--help"],
        ["--version"],
        ["--hostname=127.0.0.1", "--port=0"],
        [`--unix=${folder}/s`, `--admin=unix:${folder}/admin`],
      ]
    ) {
      const result = await runBy('"$@" >/dev/full', way, "server", args);
      assertEquals(result.code, 1, result.stderr);
      assertMatch(
        // Without its log.
        result.stderr.replaceAll(/^\{.*\}\n/gm, ""),
        cannotWrite("server", "no space left on device"),
      );
      assertEquals([...Deno.readDirSync(folder)], [], "a socket is left");
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}, ["sh"]);

testPrograms("client ends quietly with 0 for a closed pipe", async (way) => {
  await using server = serveHere();
  for (const args of printingLines(server.place)) {
    const shell = '{ "$@"; echo "code $?" >&2; } | true';
    const result = await runBy(shell, way, "client", args);
    assertEquals(result, { code: 0, stdout: "", stderr: "code 0\n" });
  }
}, ["sh"]);

testPrograms("server goes on for a closed pipe", async (way) => {
  const flags = ["--hostname=127.0.0.1", "--port=0"];
  await using server = new Running(way, "server", flags);
  await server.stdout.cancel();
  const { addr } = await server.logged("listening");
  await server.logged("ready");
  const [hostname, port] = `${addr}`.split(":");
  {
    using peer = new Peer(await Deno.connect({ hostname, port: Number(port) }));
    assertEquals(await peer.ask("PING\n", "PONG\n"), "PONG\n");
  }
  server.kill("SIGTERM");
  assertEquals(await server.code(), 0);
});

testPrograms("client notices a closed pipe at the next reply", async (way) => {
  const events = new Events();
  await using server = serveHere(commands, events);
  const [command, ...flags] = commandLine(way, "client");
  const child = new Deno.Command(command, {
    args: [...flags, server.place],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  await child.stdout.cancel();
  const input = child.stdin.getWriter();
  let ended = false;
  const status = child.status.finally(() => ended = true);
  let sent = 0;
  // Its input stays open, so that it is for the client to end.
  while (!ended && sent < 1000) {
    await input.write(new TextEncoder().encode("PING\n")).catch(() => {});
    sent++;
    await Promise.race([status, events.next("request", sent)]);
  }
  // It has ended, or it ends by this.
  await input.close().catch(() => {});
  assertEquals((await status).code, 0);
  assert(sent < 1000, "1000 replies were not enough");
});

testPrograms("programs end as ever without standard error", async (way) => {
  await using server = serveHere();
  const cases: [Program, string[], number, string][] = [
    ["client", ["--bogus"], 2, ""],
    ["client", [server.place, "--timeout=x"], 2, ""],
    ["client", ["nope.invalid", "PING"], 1, ""],
    ["client", [server.place, "PING"], 0, "PONG\n"],
    ["server", ["--bogus"], 2, ""],
    ["server", ["--hostname=nope.invalid"], 1, ""],
  ];
  for (const [program, args, code, stdout] of cases) {
    for (const redirection of ["2>/dev/full", "2>&-"]) {
      const result = await runBy(`"$@" ${redirection}`, way, program, args);
      assertEquals(result, { code, stdout, stderr: "" }, args.join(" "));
    }
  }
}, ["sh"]);

testPrograms("client takes closed streams for empty ones", async (way) => {
  await using server = serveHere();
  const cases: [string, string[], string][] = [
    ["<&-", [server.place, "PING"], "PONG\n"],
    ["<&-", [server.place], ""],
    [">&-", [server.place, "PING"], ""],
    [">&-", ["--version"], ""],
    ["<&- >&- 2>&-", [server.place, "PING"], ""],
  ];
  for (const [redirection, args, stdout] of cases) {
    const result = await runBy(`"$@" ${redirection}`, way, "client", args);
    assertEquals(result, { code: 0, stdout, stderr: "" }, redirection);
  }
}, ["sh"]);

testPrograms("client says that its input cannot be read", async (way) => {
  await using server = serveHere();
  const result = await runBy('"$@" </', way, "client", [server.place]);
  assertEquals(result, {
    code: 1,
    stdout: "",
    stderr: "client: requests from 1 on not sent: " +
      "cannot read standard input: is a directory\n",
  });
}, ["sh"]);

/** Many requests, and the replies to them. */
const requests = Array.from({ length: 5000 }, (_, i) => `ECHO reply ${i}`);
const replies = requests.map((line) => line.replace("ECHO ", "") + "\n")
  .join("");

/** Asserts that a file has the first of the replies, as many as it has room. */
function assertBegun(path: string, size: number): void {
  const text = Deno.readTextFileSync(path);
  assertEquals(text.length, size);
  assert(replies.startsWith(text), "the replies differ");
}

testPrograms("client fills a disk, and says that it is full", async (way) => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/input`, requests.join("\n"));
    await Deno.mkdir(`${folder}/disk`);
    // Once before the namespace, where nothing could be fetched any more.
    await runBy('"$@"', way, "client", ["--version"]);
    const script = `
      set -e
      mount -t tmpfs -o size=32k none "$FOLDER/disk"
      code=0
      "$@" <"$FOLDER/input" >"$FOLDER/disk/output" || code=$?
      cp "$FOLDER/disk/output" "$FOLDER/output"
      exit $code
    `;
    await using server = serveHere();
    const client = [...commandLine(way, "client"), server.place];
    const { code, stderr } = await runCommand(
      ["unshare", "-m", "sh", "-c", script, "sh", ...client],
      { env: { FOLDER: folder } },
    );
    assertMatch(stderr, cannotWrite("client", "no space left on device"));
    assertEquals(code, 1);
    assertBegun(`${folder}/output`, 32 * 1024);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}, namespaceTools("unshare", "mount", "cp", "sh"));

// Deno itself writes files of its own at the start, and would not get to this.
testWithTools(
  "client outlives the limit on a file's size (executable)",
  ["./client", "sh"],
  async () => {
    const folder = await Deno.makeTempDir();
    try {
      await Deno.writeTextFile(`${folder}/input`, requests.join("\n"));
      await using server = serveHere();
      const { code, stderr } = await runBy(
        // In units of half a KiB.
        'ulimit -f 64; "$@" <"$FOLDER/input" >"$FOLDER/output"',
        "executable",
        "client",
        [server.place],
        { FOLDER: folder },
      );
      assertMatch(stderr, cannotWrite("client", "file too large"));
      assertEquals(code, 1);
      assertBegun(`${folder}/output`, 32 * 1024);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);
