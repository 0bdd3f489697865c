// The client with several servers, and with one that comes and goes.

import {
  echo,
  type ParleyServer,
  serve,
  type ServeOptions,
} from "../../lib/mod.ts";
import { EXPIRED, ONE, ONE_CA } from "../support/certificates.ts";
import { NOBODY, ownAddress, text } from "../support/fixtures.ts";
import {
  cleanEnv,
  commandLine,
  Lines,
  ROOT,
  run,
  shareOf,
  testPrograms,
  type Way,
} from "../support/programs.ts";
import { assert, assertEquals, assertMatch, toText } from "../support/std.ts";
import { Terminal, testPrompt } from "../support/terminal.ts";

const plain = { hostname: "127.0.0.1", port: 0 };

function placeOf({ addr }: { addr: Deno.Addr }): string {
  const { hostname, port } = addr as Deno.NetAddr;
  return `${hostname}:${port}`;
}

/** A server that says who it is. */
function named(name: string, place: ServeOptions = plain): ParleyServer {
  return serve(place, (request) => `${name} ${text(request)}`);
}

/** The client with a pipe that a test writes to, line by line. */
class Pipe implements AsyncDisposable {
  readonly stdout: Lines;
  readonly #stderr: Promise<string>;
  readonly #child: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;

  constructor(way: Way, ...args: string[]) {
    const [command, ...flags] = commandLine(way, "client");
    this.#child = new Deno.Command(command, {
      args: [...flags, ...args],
      cwd: ROOT,
      clearEnv: true,
      env: cleanEnv(),
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.stdout = new Lines(this.#child.stdout);
    this.#stderr = toText(this.#child.stderr);
    this.#stdin = this.#child.stdin.getWriter();
  }

  async send(...lines: string[]): Promise<void> {
    const all = lines.map((line) => `${line}\n`).join("");
    await this.#stdin.write(new TextEncoder().encode(all));
  }

  async ask(line: string): Promise<string> {
    await this.send(line);
    return await this.stdout.next();
  }

  /** The end of its input; gives how it ended. */
  async end(): Promise<[code: number, stderr: string]> {
    await this.#stdin.close().catch(() => {});
    return [(await this.#child.status).code, await this.#stderr];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.end();
    await this.stdout.cancel();
  }
}

testPrograms(
  "client goes on to the next server when it connects",
  async (way) => {
    await using server = named("one");
    const down = placeOf({ addr: NOBODY });
    const refused = `Cannot connect to ${down}: connection refused`;
    const leftOut = `client: left out for now: ${refused}\n`;
    for (const place of [placeOf(server), `tcp://${placeOf(server)}`]) {
      assertEquals(await run(way, "client", [`${down},${place}`, "a", "b"]), {
        code: 0,
        stdout: "one a\none b\n",
        stderr: leftOut,
      });
    }
    assertEquals(await run(way, "client", [`${down},${down}`, "a"]), {
      code: 1,
      stdout: "",
      stderr: `${leftOut}${leftOut}client: No server is there: ` +
        `${refused}; ${refused}\n`,
    });
  },
);

testPrograms("client goes past a server that refuses it", async (way) => {
  await using denying = serve({ ...plain, deny: "127.0.0.1" }, echo);
  await using good = named("good");
  const places = `${placeOf(denying)},${placeOf(good)}`;
  assertEquals(await run(way, "client", ["wait", places, "x"]), {
    code: 0,
    stdout: "",
    stderr: "",
  });
  const asked = good.requests;
  assertEquals(asked, 1);
  const args = ["bench", "-c", "2", "-n", "10", "--json", places, "x"];
  const { stdout } = await run(way, "client", args);
  const { done, connections_refused: refused } = JSON.parse(stdout);
  // The second one may be made when the first has been refused already.
  assert(refused === 1 || refused === 2, `${refused} were refused`);
  assertEquals([done, good.requests], [10 - refused, asked + done]);
});

testPrompt("prompt goes past a server that refuses it", async (way) => {
  await using denying = serve({ ...plain, deny: "127.0.0.1" }, echo);
  await using good = named("good");
  const places = `${placeOf(denying)},${placeOf(good)}`;
  const command = [...commandLine(way, "client"), places];
  await using terminal = new Terminal(command, { PARLEY_HISTORY: "" });
  await terminal.shows("not connected> ");
  await terminal.types("x\r");
  await terminal.shows("\ngood x\n");
});

testPrograms("client spreads its requests by --balance", async (way) => {
  await using one = named("one");
  await using two = named("two");
  const args = ["--balance", "round-robin", `${placeOf(one)},${placeOf(two)}`];
  const { code, stdout, stderr } = await run(way, "client", args, {
    stdin: Array.from({ length: 100 }, (_, i) => `${i}\n`).join(""),
  });
  assertEquals([code, stderr], [0, ""]);
  assertEquals([one.requests, two.requests], [50, 50]);
  const numbers = stdout.trimEnd().split("\n").map((line) =>
    line.split(" ")[1]
  );
  assertEquals(numbers, Array.from({ length: 100 }, (_, i) => `${i}`));
  const counts = await run(way, "client", [
    ...["bench", "-c", "4", "-n", "40", "--json", ...args, "x"],
  ]);
  assertEquals(JSON.parse(counts.stdout).done, 40);
  assertEquals([one.connectionsTotal, two.connectionsTotal], [3, 3]);
});

testPrograms(
  "client in a pipe connects again where nothing was in flight",
  async (way) => {
    const hostname = ownAddress();
    const first = named("first", { hostname, port: 0 });
    const { port } = first.addr as Deno.NetAddr;
    await using pipe = new Pipe(way, placeOf(first));
    assertEquals(await pipe.ask("a"), "first a");
    await first.shutdown();
    // Nobody is there yet: the request waits.
    await pipe.send("b");
    await using second = named("second", { hostname, port });
    assertEquals(await pipe.stdout.next(), "second b");
    assertEquals(second.connectionsTotal, 1);
    assertEquals(await pipe.end(), [0, ""]);

    await using other = new Pipe(way, "--timeout", "1s", placeOf(second));
    assertEquals(await other.ask("c"), "second c");
    await second.shutdown();
    await other.send("d");
    const refused = `Cannot connect to ${placeOf(second)}: connection refused`;
    const [code, stderr] = await other.end();
    assertEquals(code, 1);
    assertMatch(
      stderr,
      /^client: no reply to request 2.*: No connection in time/,
    );
    assertEquals(stderr.includes(refused), true, stderr);
  },
);

testPrograms(
  "client keeps a whole window of requests while nobody is there",
  async (way) => {
    const first = named("first");
    const { port } = first.addr as Deno.NetAddr;
    await using pipe = new Pipe(way, placeOf(first));
    assertEquals(await pipe.ask("a"), "first a");
    await first.shutdown();
    const lines = Array.from(Array(3000).keys(), String);
    await pipe.send(...lines);
    await using _second = named("second", { ...plain, port });
    for (const line of lines) {
      assertEquals(await pipe.stdout.next(), `second ${line}`);
    }
    assertEquals(await pipe.end(), [0, ""]);
  },
);

testPrograms(
  "client sends again what --retry says may be done twice",
  async (way) => {
    const start = () => {
      const { promise: held, resolve } = Promise.withResolvers<void>();
      const place = { hostname: ownAddress(), port: 0 };
      const server = serve({ ...place, drainTimeout: 1 }, () => {
        resolve();
        return new Promise(() => {});
      });
      return { server, held };
    };
    const { server: first, held } = start();
    await using second = named("second");
    const places = `${placeOf(first)},${placeOf(second)}`;
    await using pipe = new Pipe(way, "--retry", "1", places);
    await pipe.send("a", "b");
    await held;
    await first.shutdown();
    assertEquals(await pipe.stdout.next(), "second a");
    assertEquals(await pipe.stdout.next(), "second b");
    const [code, stderr] = await pipe.end();
    assertEquals(code, 0);
    assertMatch(stderr, /^client: left out for now: Connection .*\n/);

    // Without it, what was in flight may have been done.
    const { server: third, held: heldToo } = start();
    await using other = new Pipe(way, `${placeOf(third)},${placeOf(second)}`);
    await other.send("a", "b");
    await heldToo;
    await third.shutdown();
    const [failed, said] = await other.end();
    assertEquals(failed, 1);
    assertMatch(
      said,
      /\nclient: no reply to request.*: Connection .*\n$/,
    );
  },
);

testPrograms(
  "client takes a scheme for --tls, and warns of --insecure",
  async (way) => {
    const ca = await Deno.makeTempFile();
    await Deno.writeTextFile(ca, ONE_CA);
    try {
      await using server = serve({ ...plain, ...ONE }, echo);
      await using expired = serve({ ...plain, ...EXPIRED }, echo);
      const [good, bad] = [server, expired].map((it) => `tls://${placeOf(it)}`);
      assertEquals(
        await run(way, "client", ["--tls-ca", ca, good, "PING"]),
        { code: 0, stdout: "PING\n", stderr: "" },
      );
      const warning = "client: --insecure: the server's certificate is not " +
        "checked, so whoever is on the way can read and change everything\n";
      for (const place of [good, bad, `${good},${bad}`]) {
        assertEquals(
          await run(way, "client", ["--insecure", place, "a", "b"]),
          { code: 0, stdout: "a\nb\n", stderr: warning },
        );
      }
      const bench = [
        "bench",
        "-c",
        "2",
        "-n",
        "10",
        "--insecure",
        "--json",
        bad,
      ];
      const measured = await run(way, "client", bench);
      assertEquals([measured.code, measured.stderr], [0, warning]);
      assertEquals(JSON.parse(measured.stdout).tls, true);
    } finally {
      await Deno.remove(ca);
    }
  },
);

testPrograms("client refuses servers that do not go together", async (way) => {
  for (
    const [args, said] of shareOf(way, [
      [
        ["tls://a,b"],
        'server is "tls://a,b", expected tls:// for all or for none',
      ],
      [["--tls", "tcp://a"], "tcp:// and --tls are given, expected only one"],
      [["--tls", "unix:/a"], "unix: and --tls are given, expected only one"],
      [["--insecure", "a"], "--insecure is given without --tls"],
      [["--tls-ca", "x", "tcp://a"], "--tls-ca is given without --tls"],
      [["--insecure", "--tls-ca", "x", "tls://a"], "--insecure and --tls-ca"],
      [["--balance", "random", "a"], '--balance is "random", expected one of'],
      [["--retry", "-1", "a"], '--retry is "-1", expected a whole number'],
    ] as [string[], string][])
  ) {
    const { code, stdout, stderr } = await run(way, "client", [...args, "x"]);
    assertEquals([code, stdout], [2, ""]);
    assertMatch(stderr, /^client: [^\n]+\n$/);
    assertEquals(stderr.includes(said), true, stderr);
  }
});

testPrograms("client reaches a Unix socket by unix:", async (way) => {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/s.sock`;
    await using _server = serve({ path }, echo);
    assertEquals(
      await run(way, "client", [
        `${placeOf({ addr: NOBODY })},unix:${path}`,
        "a",
      ])
        .then(({ code, stdout }) => [code, stdout]),
      [0, "a\n"],
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

testPrograms(
  "client ends with 2 at an option that no server can have",
  async (way) => {
    const wrong = ["--framing=fixed:9", "--max-frame=8", "a:1,b:2"];
    const commands = [[], ["bench"], ["latency"], ["wait"]];
    for (const command of shareOf(way, commands)) {
      const args = [...command, ...wrong];
      const { code, stdout, stderr } = await run(way, "client", args);
      assertEquals([code, stdout], [2, ""], args.join(" "));
      assertMatch(stderr, /^client: Cannot use framing "fixed:9": [^\n]+\n$/);
    }
  },
);

testPrompt(
  "prompt ends with 2 at an option that no server can have",
  async (way) => {
    const wrong = ["--framing=fixed:9", "--max-frame=8", "a:1,b:2"];
    const command = [...commandLine(way, "client"), ...wrong];
    await using terminal = new Terminal(command, { PARLEY_HISTORY: "" });
    await terminal.shows('client: Cannot use framing "fixed:9": ');
    assertEquals(await terminal.code(), 2);
  },
);
