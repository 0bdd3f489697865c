// The server's log from outside: where nobody reads it, where it cannot be
// written, and what is in it at the end.

import { Peer } from "../support/fixtures.ts";
import {
  commandLine,
  RunningServer,
  testPrograms,
  testWithTools,
  type Way,
} from "../support/programs.ts";
import { assert, assertEquals, TextLineStream } from "../support/std.ts";

/** Far more lines than a pipe and the server's own buffer hold. */
const REQUESTS = 20_000;

/** Asks a server that logs each request. */
async function askMany(server: { addr: Deno.Addr }): Promise<void> {
  using peer = await Peer.to(server);
  const replies = peer.receive(REQUESTS * 5);
  await peer.send("PING\n".repeat(REQUESTS));
  assertEquals(await replies, "PONG\n".repeat(REQUESTS));
  await peer.finish();
  assertEquals(await peer.rest(), "");
}

/** Asks something and expects an answer. */
async function ask(server: { addr: Deno.Addr }): Promise<void> {
  using peer = await Peer.to(server);
  assertEquals(await peer.ask("PING\n", "PONG\n"), "PONG\n");
}

testPrograms(
  "server goes on though nobody reads its log, and says what was lost",
  async (way) => {
    await using server = await RunningServer.start(way, ["--log-level=debug"]);
    await askMany(server);
    await ask(server);
    // Now somebody reads.
    const messages = new Map<string, number>();
    let lost = 0;
    const read = async (until: string) => {
      while (true) {
        const { msg, level, count } = JSON.parse(await server.stderr.next());
        messages.set(msg, (messages.get(msg) ?? 0) + 1);
        if (msg === "log lines lost") {
          assertEquals(level, "warn");
          lost += count;
        }
        if (msg === until) return;
      }
    };
    await read("log lines lost");
    assert(lost > 0);
    server.kill("SIGTERM");
    await read("finished");
    assertEquals(await server.code(), 0);
    // Each line was read or is among those that were counted.
    const said = (msg: string) => messages.get(msg) ?? 0;
    assertEquals(
      said("request") + said("connection opened") + said("connection closed") +
        lost,
      REQUESTS + 1 + 2 * 2,
    );
  },
);

testPrograms("server ends though nobody reads its log", async (way) => {
  await using server = await RunningServer.start(way, ["--log-level=debug"]);
  await askMany(server);
  server.kill("SIGTERM");
  assertEquals(await server.code(), 0);
});

testPrograms("server goes on though its log's reader is gone", async (way) => {
  await using server = await RunningServer.start(way, ["--log-level=debug"]);
  await server.stderr.cancel();
  await askMany(server);
  await ask(server);
  server.kill("SIGTERM");
  assertEquals(await server.code(), 0);
});

for (
  const [where, redirection] of [["a full disk", ">/dev/full"], [
    "nothing",
    ">&-",
  ]]
) {
  testPrograms(
    `server serves with ${where} for its log`,
    (way) => assertServes(way, `exec "$@" 2${redirection}`),
    ["sh"],
  );
}

// Deno itself writes files of its own at the start, and would not get to this.
testWithTools(
  "server serves with a file that may not grow for its log (executable)",
  ["./server", "sh", "mktemp", "rm"],
  () =>
    assertServes(
      "executable",
      'log=$(mktemp); exec 2>"$log"; rm "$log"; ulimit -f 0; exec "$@"',
    ),
);

/** Asserts that a server whose log goes where a shell says serves as ever. */
async function assertServes(way: Way, shell: string): Promise<void> {
  const child = new Deno.Command("sh", {
    args: [
      "-c",
      shell,
      "sh",
      ...commandLine(way, "server"),
      "--hostname=127.0.0.1",
      "--port=0",
      "--log-level=debug",
    ],
    cwd: new URL("../../", import.meta.url),
    stdin: "null",
    stdout: "piped",
  }).spawn();
  const stdout = child.stdout.pipeThrough(new TextDecoderStream())
    .pipeThrough(new TextLineStream()).getReader();
  try {
    const { value } = await stdout.read();
    const port = Number(/:(\d+) /.exec(value!)![1]);
    const addr = { transport: "tcp", hostname: "127.0.0.1", port } as const;
    await askMany({ addr });
    await ask({ addr });
    child.kill("SIGTERM");
    assertEquals((await child.status).code, 0);
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  } finally {
    await child.status;
    await stdout.cancel();
  }
}

for (const threads of Deno.build.os === "linux" ? [1, 2] : [1]) {
  testPrograms(
    `server's log is whole when it ends, threads: ${threads}`,
    (way) => assertWholeLog(way, threads),
  );
}

async function assertWholeLog(way: Way, threads: number): Promise<void> {
  const flags = ["--log-level=debug", `--threads=${threads}`];
  await using server = await RunningServer.start(way, flags);
  await ask(server);
  const messages: string[] = [];
  while (messages.at(-1) !== "finished") {
    const { msg } = JSON.parse(await server.stderr.next());
    // What an older runtime cannot do is not what this is about.
    if (!/^runtime /.test(msg)) messages.push(msg);
    if (msg === "connection closed") server.kill("SIGTERM");
  }
  assertEquals(messages, [
    "listening",
    "ready",
    "connection opened",
    "request",
    "connection closed",
    "draining",
    "finished",
  ]);
  assertEquals(await server.code(), 0);
}
