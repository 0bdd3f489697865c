/**
 * Signals to a server that is starting, and while a file does not answer. Pipes
 * stand for the files, because opening one waits for its other side: so a test
 * knows that the server is at it.
 *
 * @module
 */

import { assert, assertEquals, assertRejects } from "../support/std.ts";

import { openKeeper } from "../../lib/cli/server/keeper.ts";
import { listenForSignals } from "../../lib/cli/server/signals.ts";
import { connect, TimeoutError } from "../../lib/mod.ts";
import { fileId } from "../../lib/net/unix.ts";
import { ONE, TWO, TWO_CA } from "../support/certificates.ts";
import { bytes, FakeClock, settle, text } from "../support/fixtures.ts";
import {
  runCommand,
  Running,
  RunningServer,
  testPrograms,
  testWithTools,
  type Way,
} from "../support/programs.ts";
import { leaveStale } from "../support/socket_files.ts";

/** A folder with a key, and a pipe or a file for its certificate. */
class Files implements AsyncDisposable {
  readonly path = Deno.makeTempDirSync();
  readonly cert = `${this.path}/cert.pem`;
  readonly key = `${this.path}/key.pem`;
  readonly flags = ["--tls-cert", this.cert, "--tls-key", this.key];

  async write(pair: typeof ONE): Promise<void> {
    await Deno.remove(this.cert).catch(() => {});
    await Deno.writeTextFile(this.cert, pair.cert);
    await Deno.writeTextFile(this.key, pair.key);
  }

  /** Puts a pipe where the certificate is read from. */
  async pipe(): Promise<void> {
    await Deno.remove(this.cert).catch(() => {});
    assertEquals((await runCommand(["mkfifo", this.cert])).code, 0);
  }

  /** Waits until the server reads the pipe; it then waits for what we write. */
  reader(): Promise<Deno.FsFile> {
    return Deno.open(this.cert, { write: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}

function starting(way: Way, flags: string[]): Running {
  return new Running(way, "server", flags, {
    PARLEY_HOSTNAME: "127.0.0.1",
    PARLEY_PORT: "0",
  });
}

testPrograms("server holds a SIGHUP until it is there", async (way) => {
  await using files = new Files();
  await files.write(ONE);
  await files.pipe();
  await using server = starting(way, files.flags);
  using atStart = await files.reader();
  server.kill("SIGHUP");
  await atStart.write(bytes(ONE.cert));
  atStart.close();
  await server.stdout.until(/^ready/);
  using again = await files.reader();
  await again.write(bytes(ONE.cert));
  again.close();
  await server.logged("certificate reloaded");
}, ["mkfifo"]);

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  testPrograms(
    `server that is starting ends with 0 at ${signal}`,
    async (way) => {
      await using files = new Files();
      await files.write(ONE);
      await files.pipe();
      await using server = starting(way, files.flags);
      using _reader = await files.reader();
      server.kill(signal);
      assertEquals(await server.code(), 0);
      assertEquals(
        await server.stderr.next(),
        "server: stopped before it was ready",
      );
      await assertRejects(() => server.stdout.next(), Error, "output ended");
    },
    ["mkfifo"],
  );
}

Deno.test("a signal that comes again at once is the same one", async () => {
  const { addSignalListener, exit } = Deno;
  const handlers = new Map<Deno.Signal, () => void>();
  const did: unknown[] = [];
  let now = 0;
  Deno.addSignalListener = (signal, handler) => handlers.set(signal, handler);
  Deno.exit = (code) => void did.push(code) as never;
  const at = async (ms: number, signal: Deno.Signal) => {
    now = ms;
    handlers.get(signal)!();
    await settle();
    return did.splice(0);
  };
  const cleanUp = () => Promise.resolve(void did.push("cleaned up"));
  const drain = (by: string) => void did.push(by);
  try {
    const serving = listenForSignals(() => now);
    serving.hold(cleanUp);
    serving.serve({ drain, reload() {} });
    assertEquals(await at(0, "SIGINT"), ["SIGINT"]);
    // Such as what a task runner passes on.
    assertEquals(await at(0, "SIGINT"), []);
    assertEquals(await at(249, "SIGINT"), []);
    assertEquals(await at(250, "SIGINT"), ["cleaned up", 130]);

    // While it binds: nothing of that may stay.
    const starting = listenForSignals(() => now);
    starting.hold(cleanUp);
    assertEquals(await at(0, "SIGINT"), []);
    assertEquals(await at(300, "SIGINT"), ["cleaned up", 130]);
  } finally {
    Object.assign(Deno, { addSignalListener, exit });
  }
});

testWithTools(
  "server listens for signals before it loads the rest",
  [],
  async () => {
    const { stdout } = await runCommand([
      ...[Deno.execPath(), "info", "--json", "server.ts"],
    ]);
    const { modules, roots } = JSON.parse(stdout) as {
      modules: {
        specifier: string;
        dependencies?: { code?: { specifier: string }; isDynamic?: boolean }[];
      }[];
      roots: string[];
    };
    const first = new Set(roots);
    for (const root of first) {
      const found = modules.find(({ specifier }) => specifier === root);
      for (const { code, isDynamic } of found?.dependencies ?? []) {
        if (code !== undefined && !isDynamic) first.add(code.specifier);
      }
    }
    assertEquals(
      [...first].map((module) => module.split("/").at(-1)),
      ["server.ts", "signals.ts", "standard_streams.ts", "text.ts"],
    );
    assert(modules.length > 20);
  },
);

testPrograms(
  "server whose certificate does not answer still reads the next, and ends",
  async (way) => {
    await using files = new Files();
    await files.write(ONE);
    const socket = `${files.path}/admin.sock`;
    await using server = await RunningServer.start(way, [
      ...files.flags,
      ...["--admin", `unix:${socket}`],
    ]);
    const { port } = server.addr;
    await files.pipe();
    server.kill("SIGHUP");
    using silent = await files.reader();
    await files.write(TWO);
    server.kill("SIGHUP");
    await server.logged("certificate reloaded");
    await using client = await connect({ port, tls: { caCerts: [TWO_CA] } });
    assertEquals(text(await client.request("PING")), "PONG");
    // What the first one gets now is older than what is shown.
    await silent.write(bytes(ONE.cert));
    silent.close();
    await using fresh = await connect({ port, tls: { caCerts: [TWO_CA] } });
    assertEquals(text(await fresh.request("PING")), "PONG");

    await files.pipe();
    server.kill("SIGHUP");
    using _silent = await files.reader();
    server.kill("SIGTERM");
    assertEquals(await server.code(), 0);
    await assertRejects(() => Deno.lstat(socket), Deno.errors.NotFound);
  },
  ["mkfifo"],
);

/** It waits out the server's five seconds, so both ways do at once. */
testWithTools(
  "server gives a certificate up that does not answer, and reads the next",
  ["mkfifo", "./server"],
  async () => {
    await Promise.all((["deno run", "executable"] as const).map(async (way) => {
      await using files = new Files();
      await files.write(ONE);
      await using server = await RunningServer.start(way, files.flags);
      await files.pipe();
      server.kill("SIGHUP");
      const { error } = await server.logged("certificate not reloaded");
      assertEquals(
        error,
        `cannot read --tls-cert "${files.cert}": no answer within 5000 ms`,
      );
      await files.write(TWO);
      server.kill("SIGHUP");
      await server.logged("certificate reloaded");
    }));
  },
);

testWithTools(
  "keeper gives up a file that does not answer, and does the rest",
  ["mkfifo"],
  async () => {
    await using files = new Files();
    await files.write(ONE);
    await files.pipe();
    const socket = `${files.path}/s.sock`;
    leaveStale(socket);
    const clock = new FakeClock();
    const { cert, key } = files;
    using keeper = await openKeeper(
      { read: [cert, key], sockets: [socket] },
      clock,
    );
    const hung = keeper.readText(cert);
    using silent = await files.reader();
    clock.advance(4999);
    assertEquals(await keeper.readText(key), ONE.key);
    await keeper.removeSocket(socket, fileId(socket));
    await assertRejects(() => Deno.lstat(socket), Deno.errors.NotFound);
    clock.advance(1);
    await assertRejects(() => hung, TimeoutError, "no answer within 5000 ms");
    assertEquals(clock.timers, 0);
    await files.write(TWO);
    assertEquals(await keeper.readText(cert), TWO.cert);
    // Its late answer is nobody's.
    silent.close();
    assertEquals(await keeper.readText(key), TWO.key);
  },
);
