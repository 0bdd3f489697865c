// What scripts use of the programs: client wait and latency, repeated and
// expected replies, and completion in a shell.

import { sampleLatency } from "../../lib/cli/client/latency.ts";
import { waitFor } from "../../lib/cli/client/target.ts";
import { EncodeError, serve } from "../../lib/mod.ts";
import {
  bytes,
  FakeClock,
  ownAddress,
  Peer,
  settle,
} from "../support/fixtures.ts";
import {
  run,
  runCommand,
  Running,
  shareOf,
  testPrograms,
  testWithTools,
  type Way,
} from "../support/programs.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
} from "../support/std.ts";

const PING = bytes("PING");

/** A server that counts in its replies how many requests there were. */
function counting() {
  let count = 0;
  const server = serve(
    { hostname: "127.0.0.1", port: 0 },
    (request) => `${new TextDecoder().decode(request)} ${++count}`,
  );
  return {
    place: `127.0.0.1:${(server.addr as Deno.NetAddr).port}`,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** A place where nobody listens. */
function deserted(): string {
  const hostname = ownAddress();
  using listener = Deno.listen({ hostname, port: 0 });
  return `${hostname}:${listener.addr.port}`;
}

// ------------------------------------------------------------------- wait

/** Tries as a test has them end, one after the other. */
function waiting(timeout: number, request: Uint8Array | null = PING) {
  const clock = new FakeClock();
  const tries: {
    signal: AbortSignal;
    connect: (error?: Error) => void;
    reply: (error?: Error) => void;
    closed: boolean;
  }[] = [];
  const finished = waitFor({
    request: request ?? undefined,
    timeout,
    place: "there:1",
    clock,
    connect(signal) {
      const connecting = Promise.withResolvers<void>();
      const replying = Promise.withResolvers<Uint8Array<ArrayBuffer>>();
      const end = ({ resolve, reject }: {
        resolve: (value: never) => void;
        reject: (error: unknown) => void;
      }) =>
      (error?: Error) => error ? reject(error) : resolve(undefined as never);
      const tried = {
        signal,
        connect: end(connecting),
        reply: end(replying),
        closed: false,
      };
      tries.push(tried);
      signal.addEventListener("abort", () => {
        connecting.reject(signal.reason);
        replying.reject(signal.reason);
      });
      replying.promise.catch(() => {});
      return connecting.promise.then(() => ({
        request: () => replying.promise,
        close: () => tried.closed = true,
      }));
    },
  });
  finished.catch(() => {});
  return { clock, tries, finished };
}

Deno.test("waitFor ends with the first reply, and closes its connection", async () => {
  const { clock, tries, finished } = waiting(30_000);
  tries[0].connect(new Error("refused"));
  await settle();
  assertEquals(tries.length, 1);
  clock.advance(100);
  await settle();
  assertEquals(tries.length, 2);
  tries[1].connect();
  await settle();
  tries[1].reply();
  await finished;
  assertEquals(tries[1].closed, true);
  assertEquals(clock.timers, 0);
});

Deno.test("waitFor takes a connection for enough where there is no request", async () => {
  const { tries, finished } = waiting(0, null);
  tries[0].connect();
  await finished;
  assertEquals([tries.length, tries[0].closed], [1, true]);
});

Deno.test("waitFor tries again where a server is silent, and says what was wrong", async () => {
  const { clock, tries, finished } = waiting(8000);
  tries[0].connect(new Error("refused"));
  await settle();
  clock.advance(100);
  await settle();
  tries[1].connect();
  await settle();
  clock.advance(5000);
  await settle();
  assertEquals([tries[1].signal.aborted, tries[1].closed], [true, true]);
  clock.advance(100);
  await settle();
  assertEquals(tries.length, 3);
  clock.advance(2800);
  await assertRejects(
    () => finished,
    Error,
    "no answer from there:1 within 8s: refused",
  );
  assertEquals(clock.timers, 0);
});

Deno.test("waitFor does not try again what the framing cannot carry", async () => {
  const { tries, finished } = waiting(0);
  tries[0].connect();
  await settle();
  tries[0].reply(new EncodeError("too long"));
  await assertRejects(() => finished, EncodeError);
  assertEquals(tries.length, 1);
});

testPrograms("client wait ends with 0 once a server answers", async (way) => {
  const place = deserted();
  await using client = new Running(way, "client", ["wait", place]);
  const [hostname, port] = place.split(":");
  const options = { hostname, port: Number(port) };
  await using _server = serve(options, () => "ERR no");
  assertEquals(await client.code(), 0);
  const { code, stdout, stderr } = await run(way, "client", [
    ...["wait", "--tcp", "--timeout=9s", place],
  ]);
  assertEquals([code, stdout, stderr], [0, "", ""]);
});

testPrograms("client wait --tcp sends nothing", async (way) => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const place = `127.0.0.1:${listener.addr.port}`;
  const running = run(way, "client", ["wait", "--tcp", place]);
  using peer = new Peer(await listener.accept());
  assertEquals(await peer.rest(), "");
  assertEquals(await running, { code: 0, stdout: "", stderr: "" });
});

testPrograms("client wait ends with 1 and one line in time", async (way) => {
  const place = deserted();
  const args = ["wait", "--timeout", "150ms", place];
  const { code, stdout, stderr } = await run(way, "client", args);
  assertEquals([code, stdout], [1, ""]);
  assertEquals(
    stderr,
    `client: no answer from ${place} within 150ms: ` +
      `Cannot connect to ${place}: connection refused\n`,
  );
});

// ---------------------------------------------------------------- latency

Deno.test("sampleLatency asks at even moments, and counts each reply", async () => {
  const clock = new FakeClock();
  const delays = [1, 3, 2500, 2];
  const asked: number[] = [];
  const start = clock.now();
  const lines: string[] = [];
  const done = (async () => {
    const samples = sampleLatency({
      request: () =>
        new Promise((resolve) => {
          asked.push(clock.now() - start);
          clock.after(
            delays[asked.length - 1],
            () => resolve(new Uint8Array()),
          );
        }),
    }, { payload: PING, interval: 1000, count: 4, json: true, clock });
    for await (const line of samples) lines.push(line);
  })();
  await settle();
  while (lines.length < 4) {
    clock.advance(1);
    await settle();
  }
  await done;
  // The third reply took longer than the pause: the fourth request came in the
  // clock's next millisecond.
  assertEquals(asked, [0, 1000, 2000, 4501]);
  assertEquals(lines.map((line) => JSON.parse(line)).at(-1), {
    ...{ samples: 4, last_ms: 2, min_ms: 1, avg_ms: 626.5 },
    ...{ p99_ms: 2500, max_ms: 2500 },
  });
});

testPrograms("client latency prints a line for each reply", async (way) => {
  await using server = counting();
  const args = ["latency", "-n3", "-i1ms", server.place];
  const { code, stdout, stderr } = await run(way, "client", args);
  assertEquals([code, stderr], [0, ""]);
  const lines = stdout.trimEnd().split("\n");
  assertEquals(lines.length, 3);
  assertMatch(
    lines[2],
    /^3: last [\d.]+, min [\d.]+, avg [\d.]+, p99 [\d.]+, max [\d.]+ ms$/,
  );
  const json = await run(way, "client", [...args, "--json"]);
  const last = JSON.parse(json.stdout.trimEnd().split("\n")[2]);
  assertEquals(Object.keys(last), [
    ...["samples", "last_ms", "min_ms", "avg_ms", "p99_ms", "max_ms"],
  ]);
  assert(last.min_ms <= last.last_ms && last.last_ms <= last.max_ms);
});

// ---------------------------------------------------- repeated and expected

testPrograms("client -r repeats the requests", async (way) => {
  await using server = counting();
  const args = [server.place, "a", "b", "-r3", "-i", "1ms"];
  assertEquals(await run(way, "client", args), {
    code: 0,
    stdout: "a 1\nb 2\na 3\nb 4\na 5\nb 6\n",
    stderr: "",
  });
});

testPrograms(
  "client --expect ends with 1 at a reply that does not match",
  async (way) => {
    await using server = counting();
    const args = [server.place, "a", "b", "c", "--expect"];
    const result = await run(way, "client", [...args, "^a|3$"]);
    assertEquals(result, {
      code: 1,
      stdout: "a 1\nb 2\nc 3\n",
      stderr: 'client: reply 2 is "b 2", expected what matches "^a|3$"\n',
    });
    const fine = await run(way, "client", [...args, "^[abc] \\d+$"]);
    assertEquals([fine.code, fine.stderr], [0, ""]);
  },
);

const badLines: [string[], string][] = [
  [["h", "x", "--expect", "("], '--expect is "(", expected a regular expr'],
  [["h", "x", "--expect"], '--expect is "", expected a regular expr'],
  [["h", "x", "--expect", "--json"], '--expect is "", expected a regular'],
  [["h", "-r5"], "-r is given, expected a request to repeat"],
  [["h", "x", "-i1s"], "-i is given, expected -r beside it"],
  [["h", "x", "-r0"], '-r is "0", expected a whole number from 1'],
  [["wait", "--tcp", "h", "x"], "--tcp and a request are given"],
  [["wait", "--tcp", "--tls", "h"], "--tcp and --tls are given"],
  [["wait"], "no server given"],
  [["latency", "h", "x", "y"], "2 requests are given, expected at most one"],
  [["latency", "-i0", "h"], '-i is "0", expected a duration'],
  [["completion"], "expected one of bash, zsh, fish"],
  [["completion", "tcsh"], "expected one of bash, zsh, fish"],
  [["completion", "bash", "x"], "expected one of bash, zsh, fish"],
];

testPrograms("client ends with 2 at wrong flags of scripts", async (way) => {
  for (const [args, said] of shareOf(way, badLines)) {
    const { code, stdout, stderr } = await run(way, "client", args);
    assertEquals([code, stdout], [2, ""], args.join(" "));
    assertMatch(stderr, /^client: [^\n]+\n$/);
    assert(stderr.includes(said), stderr);
  }
});

// -------------------------------------------------------------- completion

/** Command lines, and what completes their last word. */
const completed: ["server" | "client", string[], string[]][] = [
  ["client", ["be"], ["bench"]],
  ["client", ["bench", "--dur"], ["--duration"]],
  ["client", ["--dur"], []],
  ["client", ["latency", "--"], []],
  ["client", ["bench", "-c", ""], []],
  ["client", ["--no-h"], ["--no-history"]],
  ["client", ["wait", "--tc"], ["--tcp"]],
  ["client", ["--balance", "r"], ["round-robin"]],
  ["server", ["--log-level", ""], ["debug", "info", "warn", "error"]],
  ["server", ["--log-level", "=", "w"], ["warn"]],
  ["server", ["--log-level", "="], ["debug", "info", "warn", "error"]],
  ["server", ["--tls-key", "deno.j"], ["deno.json"]],
  ["server", ["--thr"], ["--threads"]],
];

/** The script of a shell, and what has it complete all of these. */
async function scriptOf(way: Way, program: "server" | "client", shell: string) {
  const { code, stdout, stderr } = await run(way, program, [
    ...["completion", shell],
  ]);
  assertEquals([code, stderr], [0, ""]);
  return stdout;
}

testPrograms("completion bash has bash complete words", async (way) => {
  for (const program of ["server", "client"] as const) {
    const lines = completed.filter(([name]) => name === program);
    const asked = lines.map(([, words]) => {
      const all = [program, ...words].map((word) => `'${word}'`).join(" ");
      return `COMP_WORDS=(${all}) COMP_CWORD=${words.length} COMPREPLY=()
_${program}
echo "\${COMPREPLY[*]}"`;
    });
    const script = await scriptOf(way, program, "bash");
    const said = await runCommand(
      ["bash", "-uc", [script, ...asked].join("\n")],
    );
    assertEquals([said.code, said.stderr], [0, ""]);
    const replies = said.stdout.split("\n").slice(0, -1);
    for (const [i, [, words, expected]] of lines.entries()) {
      const line = words.join(" ");
      if (line === "latency --") {
        assertMatch(replies[i], /^--json --unix --framing .*--help$/);
      } else {assertEquals(
          replies[i].split(" ").filter(Boolean),
          expected,
          line,
        );}
    }
  }
}, ["bash"]);

testWithTools("completion fish has fish complete words", ["fish"], async () => {
  for (const [program, words, expected] of completed) {
    // Fish reads a value behind "=" by itself.
    if (words.includes("=") || words.at(-1) === "--") continue;
    const script = await scriptOf("deno run", program, "fish");
    const line = [program, ...words].join(" ");
    const said = await runCommand([
      ...["fish", "--no-config", "-c"],
      `${script}\ncomplete -C '${line}'`,
    ]);
    assertEquals([said.code, said.stderr], [0, ""]);
    const found = said.stdout.trimEnd().split("\n").filter(Boolean)
      .map((line) => line.split("\t")[0]);
    assertEquals(found.sort(), [...expected].sort(), line);
  }
});

testWithTools("completion zsh is a script of zsh", ["zsh"], async () => {
  for (const program of ["server", "client"] as const) {
    const script = await scriptOf("deno run", program, "zsh");
    const setUp = "autoload -U compinit && compinit -u -D\n";
    const said = await runCommand([
      ...["zsh", "-f", "-c"],
      `${setUp}${script}\nprint $_comps[${program}]`,
    ]);
    assertEquals([said.code, said.stderr], [0, ""]);
    assertMatch(said.stdout, /_bash_complete -F _(server|client)\n$/);
  }
});
