// What goes wrong outside: descriptors run out, the server is killed, a handler
// reaches for what it may not have. These start programs of their own.

import {
  assert,
  assertEquals,
  assertMatch,
  TextLineStream,
  toText,
} from "../support/std.ts";

import { Peer, turnOfLoop } from "../support/fixtures.ts";
import {
  commandLine,
  namespaceTools,
  testWithTools,
} from "../support/programs.ts";

const ROOT = new URL("../../", import.meta.url);

/** A server of its own process, with what it prints line by line. */
class Child implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #lines: ReadableStreamDefaultReader<string>;
  readonly #stderr: Promise<string>;

  constructor(command: string, args: string[]) {
    this.#child = new Deno.Command(command, {
      args,
      cwd: ROOT,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#lines = this.#child.stdout
      .pipeThrough(new TextDecoderStream())
      .pipeThrough(new TextLineStream())
      .getReader();
    this.#stderr = toText(this.#child.stderr);
  }

  async line(): Promise<string> {
    return (await this.#lines.read()).value ?? "";
  }

  /** Where it listens, once it says so. */
  async place(): Promise<{ addr: Deno.Addr }> {
    const line = await this.line();
    const port = Number(/:(\d+)/.exec(line)?.[1]);
    return { addr: { transport: "tcp", hostname: "127.0.0.1", port } };
  }

  /** Sends a signal, and waits for the end. */
  async end(signal: Deno.Signal): Promise<string> {
    this.#child.kill(signal);
    await this.#child.status;
    return await this.#stderr;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.#child.status;
    await this.#lines.cancel();
    await this.#stderr;
  }
}

const server = [
  ...commandLine("deno run", "server"),
  "--hostname",
  "127.0.0.1",
  "--port",
  "0",
];

testWithTools(
  "server lives through a lack of descriptors, and serves again",
  ["sh"],
  async () => {
    // The shell lowers its own limit, then becomes the server.
    await using child = new Child("sh", [
      "-c",
      `ulimit -n 60; exec "$@" --max-connections 0`,
      "sh",
      ...server,
    ]);
    const place = await child.place();
    // More than it has descriptors for: the rest wait in the kernel's queue.
    const peers: Peer[] = [];
    for (let i = 0; i < 120; i++) peers.push(await Peer.to(place));
    const replies = peers.map((peer) => peer.ask("PING\n", "PONG\n"));
    assertEquals(await replies[0], "PONG\n");
    const answered = new Set<number>();
    replies.forEach((reply, i) => reply.then(() => answered.add(i)));
    // As those who have their reply leave, those who wait get theirs.
    for (let i = 0; i < peers.length; i++) {
      assertEquals(await replies[i], "PONG\n");
      peers[i].conn.close();
    }
    assertEquals(answered.size, 120);
    const stderr = await child.end("SIGTERM");
    assertMatch(
      stderr,
      /"level":"warn","msg":"cannot accept",.*Too many open files/,
    );
    assertMatch(stderr, /"msg":"finished","forced":0/);
  },
);

testWithTools(
  "server tells those over its limit so, at the limit of descriptors, too",
  ["sh"],
  async () => {
    await using child = new Child("sh", [
      "-c",
      `ulimit -n 80; exec "$@" --max-connections 20`,
      "sh",
      ...server,
    ]);
    const place = await child.place();
    const held = await Promise.all(
      Array.from({ length: 20 }, () => Peer.to(place)),
    );
    for (const peer of held) {
      assertEquals(await peer.ask("PING\n", "PONG\n"), "PONG\n");
    }
    for (let i = 0; i < 200; i++) {
      using peer = await Peer.to(place);
      assertEquals(
        await peer.rest(),
        "ERR busy: connection limit of 20 reached\n",
      );
    }
    for (const peer of held) {
      assertEquals(await peer.ask("PING\n", "PONG\n"), "PONG\n");
      peer.conn.close();
    }
    await child.end("SIGTERM");
  },
);

testWithTools(
  "client says which requests have no reply when the server is killed",
  ["sh"],
  async () => {
    await using child = new Child(server[0], server.slice(1));
    const { addr } = await child.place();
    const client = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--no-prompt",
        "--allow-net",
        "--allow-env=PARLEY_*,HOME,TERM",
        "client.ts",
        `127.0.0.1:${(addr as Deno.NetAddr).port}`,
      ],
      cwd: ROOT,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const stderr = toText(client.stderr);
    const output = client.stdout
      .pipeThrough(new TextDecoderStream())
      .pipeThrough(new TextLineStream())
      .getReader();
    const input = client.stdin.getWriter();
    let asked = 0;
    // It asks on and on, until nobody takes its requests any more.
    const asking = (async () => {
      while (true) {
        await input.write(new TextEncoder().encode(`ECHO ${++asked}\n`));
      }
    })().catch(() => {});
    let replies = 0;
    const next = async () => {
      const { value } = await output.read();
      if (value === undefined) return false;
      assertEquals(value, String(++replies));
      return true;
    };
    while (replies < 2000) assert(await next());
    await child.end("SIGKILL");
    while (await next());
    const { code } = await client.status;
    await asking;
    input.releaseLock();
    assertEquals(code, 1);
    const said = await stderr;
    const [, first] =
      /^client: no reply to requests? (\d+)(?: to \d+)?(?:, requests from \d+ on not sent)?: Connection (?:closed|reset) by 127/
        .exec(said) ?? [];
    // Killed between two requests, it may owe nothing, and says only that.
    if (first === undefined) {
      assertMatch(
        said,
        /^client: (requests from \d+ on not sent: )?Connection /,
      );
    } else assertEquals(Number(first), replies + 1);
  },
);

for (const kind of ["tcp", "unix"] as const) {
  testWithTools(
    `server leaves a handler no file, no program and no other host (${kind})`,
    ["sh"],
    async () => {
      const folder = await Deno.makeTempDir();
      await using _ = { [Symbol.asyncDispose]: () => removeAll(folder) };
      const path = `${folder}/s`;
      const options = kind === "tcp"
        ? { hostname: "127.0.0.1", port: 0 }
        : { path };
      // What `server` does, with a handler that tries it all.
      const program = `
        import { confine, openKeeper } from "./lib/cli/server/keeper.ts";
        import { serve } from "./lib/mod.ts";
        const path = ${JSON.stringify(path)};
        const tries = {
          read: () => Deno.readTextFileSync("deno.json"),
          write: () => Deno.writeTextFileSync("x", ""),
          stat: () => Deno.lstatSync(path),
          remove: () => Deno.removeSync(path),
          run: () => new Deno.Command("true").outputSync(),
          env: () => Deno.env.get("PARLEY_PORT"),
          connect: () => Deno.connect({ port: 1 }),
          listen: () => Deno.listen({ port: 0 }),
          unix: () => Deno.connect({ transport: "unix", path }),
        };
        const keeper = ${kind === "unix"} &&
          await openKeeper({ read: [], sockets: [path] });
        const server = serve(${JSON.stringify(options)}, async (request) => {
          try {
            await tries[new TextDecoder().decode(request)]();
            return "done";
          } catch (error) {
            return error.name;
          }
        });
        confine(1);
        console.log(\`:\${server.addr.port}\`);
      `;
      await using child = new Child(Deno.execPath(), [
        "run",
        "--no-prompt",
        "--no-check",
        "--ext=ts",
        "--unstable-worker-options",
        ...server.filter((arg) => arg.startsWith("--allow")),
        "data:application/typescript," +
        encodeURIComponent(
          program.replaceAll("./lib/", new URL("lib/", ROOT).href),
        ),
      ]);
      const place = await child.place();
      using peer = await Peer.to(
        kind === "tcp" ? place : { addr: { transport: "unix", path } },
      );
      for (
        const what of [
          "read",
          "write",
          "stat",
          "remove",
          "run",
          "env",
          "connect",
          "listen",
          "unix",
        ]
      ) {
        assertEquals(
          await peer.ask(`${what}\n`, "NotCapable\n"),
          "NotCapable\n",
          what,
        );
      }
    },
  );
}

async function removeAll(folder: string): Promise<void> {
  await Deno.remove(folder, { recursive: true });
}

testWithTools(
  "serve holds the process, unless it is unref'd",
  ["sh"],
  async () => {
    const lib = new URL("lib/mod.ts", ROOT).href;
    const run = async (calls: string) => {
      const program = `
        import { echo, serve } from ${JSON.stringify(lib)};
        const server = serve({ hostname: "127.0.0.1", port: 0 }, echo);
        ${calls}
        console.log(\`:\${server.addr.port}\`);
      `;
      const child = new Child(Deno.execPath(), [
        "run",
        "--no-check",
        "--allow-net",
        "data:application/typescript," + encodeURIComponent(program),
      ]);
      return { child, place: await child.place() };
    };
    {
      const { child } = await run("server.unref();");
      await using _ = child;
      // It ends by itself: the rest of its output is nothing.
      assertEquals(await child.line(), "");
    }
    {
      const { child, place } = await run("server.unref(); server.ref();");
      await using _ = child;
      using peer = await Peer.to(place);
      assertEquals(await peer.ask("x\n", "x\n"), "x\n");
    }
  },
);

testWithTools(
  "a link that is cut in the middle frees the server's place in time",
  namespaceTools("ip", "ss", "sh"),
  async () => {
    const name = `parley${Deno.pid}`;
    const script = `
      set -e
      ip netns add ${name}
      trap 'ip netns delete ${name}' EXIT
      ip netns exec ${name} ip link set lo up
      ip link add ${name}a type veth peer name ${name}b netns ${name}
      ip addr add 10.255.255.1/30 dev ${name}a
      ip link set ${name}a up
      ip netns exec ${name} ip addr add 10.255.255.2/30 dev ${name}b
      ip netns exec ${name} ip link set ${name}b up
      echo ready
      # Until it is told that the link may be cut.
      read -r cut
      ip link set ${name}a down
      echo cut
      read -r end
    `;
    const net = new Deno.Command("sh", {
      args: ["-c", script],
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const said = net.stdout.pipeThrough(new TextDecoderStream())
      .pipeThrough(new TextLineStream()).getReader();
    const tell = net.stdin.getWriter();
    try {
      assertEquals((await said.read()).value, "ready");
      await using child = new Child("ip", [
        "netns",
        "exec",
        name,
        ...server.map((arg) => arg === "127.0.0.1" ? "10.255.255.2" : arg),
        "--idle-timeout",
        "300ms",
      ]);
      const { addr } = await child.place();
      const { port } = addr as Deno.NetAddr;
      const conn = await Deno.connect({ hostname: "10.255.255.2", port });
      using peer = new Peer(conn);
      assertEquals(await peer.ask("PING\n", "PONG\n"), "PONG\n");
      await tell.write(new TextEncoder().encode("cut\n"));
      assertEquals((await said.read()).value, "cut");
      // Nothing of the peer can reach the server any more, not even its end;
      // the server frees the place by its own clock, and so drains at once.
      while (await connections(name, port) > 0) await turnOfLoop();
      const stderr = await child.end("SIGTERM");
      assertMatch(stderr, /"msg":"draining","connections":0/);
    } finally {
      await tell.close();
      await said.cancel();
      await net.status;
    }
  },
);

/** How many connections a port in a namespace has. */
async function connections(name: string, port: number): Promise<number> {
  const { stdout } = await new Deno.Command("ip", {
    args: [
      "netns",
      "exec",
      name,
      "ss",
      "-Htn",
      "state",
      "established",
      `sport = :${port}`,
    ],
    stderr: "null",
  }).output();
  return new TextDecoder().decode(stdout).split("\n").filter(Boolean).length;
}
