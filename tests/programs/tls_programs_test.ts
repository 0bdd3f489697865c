/**
 * TLS by the programs: their flags, their files, the signal that reads those
 * again, and the stock tools that speak it with them.
 *
 * @module
 */

import { assert, assertEquals, assertMatch } from "../support/std.ts";
import { commands, connect, echo } from "../../lib/mod.ts";
import {
  ENCRYPTED_KEY,
  HOSTILE,
  ONE,
  ONE_CA,
  TWO,
  TWO_CA,
} from "../support/certificates.ts";
import { Peer, serveTest, turnOfLoop } from "../support/fixtures.ts";
import {
  Lines,
  run,
  runCommand,
  RunningServer,
  shareOf,
  testPrograms,
  testWithTools,
} from "../support/programs.ts";

/** Files of a test's own. */
class Files implements AsyncDisposable {
  readonly path: string;
  readonly cert: string;
  readonly key: string;
  readonly ca: string;

  private constructor(path: string) {
    this.path = path;
    this.cert = `${path}/cert.pem`;
    this.key = `${path}/key.pem`;
    this.ca = `${path}/ca.pem`;
  }

  static async make(): Promise<Files> {
    const files = new Files(await Deno.makeTempDir());
    await Deno.writeTextFile(files.cert, ONE.cert);
    await Deno.writeTextFile(files.key, ONE.key);
    await Deno.writeTextFile(files.ca, ONE_CA);
    return files;
  }

  /** The flags of `server` that name them. */
  get flags(): string[] {
    return ["--tls-cert", this.cert, "--tls-key", this.key];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}

/** Asks a server over TLS. */
async function ask(port: number, caCerts: string[]): Promise<string> {
  await using client = await connect({ port, tls: { caCerts } });
  return new TextDecoder().decode(await client.request("PING"));
}

testPrograms("server and client speak TLS", async (way) => {
  await using files = await Files.make();
  await using server = await RunningServer.start(way, files.flags);
  assertMatch(server.listening, / \(line framing, commands handler, TLS\)$/);
  const place = `127.0.0.1:${server.addr.port}`;
  const trusting = ["--tls", "--tls-ca", files.ca];
  assertEquals(
    await run(way, "client", [...trusting, place, "PING", "ECHO x"]),
    { code: 0, stdout: "PONG\nx\n", stderr: "" },
  );
  const named = [...trusting, "--tls-server-name", "one.test", place, "PING"];
  assertEquals((await run(way, "client", named)).stdout, "PONG\n");
  for (
    const [args, reason] of [
      [["--tls", place], "vouches for it (--tls-ca FILE trusts one)\n"],
      [
        [...trusting, "--tls-server-name", "x.test", place],
        'it is for "localhost", "one.test", 127.0.0.1, and not for "x.test" ' +
        "(--tls-server-name NAME expects another)\n",
      ],
      [[place], "it speaks TLS, and this client does not (--tls)\n"],
    ] satisfies [string[], string][]
  ) {
    const { code, stdout, stderr } = await run(
      way,
      "client",
      [...args, "PING"],
    );
    assertEquals([code, stdout], [1, ""]);
    assertMatch(stderr, /^client: [^\n]+\n$/);
    assertEquals(stderr.includes(reason), true, stderr);
  }
});

testPrograms("client escapes the names in a certificate", async (way) => {
  await using files = await Files.make();
  await Deno.writeTextFile(files.ca, HOSTILE.cert);
  await using server = serveTest(echo, HOSTILE);
  const { port } = server.addr as Deno.NetAddr;
  const args = ["--tls", "--tls-ca", files.ca, `127.0.0.1:${port}`, "PING"];
  const { code, stdout, stderr } = await run(way, "client", args);
  assertEquals([code, stdout], [1, ""]);
  assertMatch(stderr, /^client: [\x20-\x7e]+\n$/);
  assert(stderr.includes('"\\x1b]0;x\\x07.test"'), stderr);
  assert(stderr.includes('"a\\x9b1m\\u202e.test"'), stderr);
});

testPrograms(
  "client ends with 1 where the server speaks otherwise",
  async (way) => {
    await using server = await RunningServer.start(way);
    const place = `127.0.0.1:${server.addr.port}`;
    assertEquals(await run(way, "client", ["--tls", place, "PING"]), {
      code: 1,
      stdout: "",
      stderr: `client: Cannot connect to ${place}: ` +
        "the server does not speak TLS on this port\n",
    });
    // Its length, 10, is an LF to the server: so that is a line to reply to.
    const other = ["--framing", "length", place, "ten bytes!"];
    const { code, stderr } = await run(way, "client", other);
    assertEquals(code, 1);
    assertMatch(stderr, /^client: [^\n]+ as a line \(--framing line\)\n$/);
  },
);

testPrograms("server takes its certificate from variables", async (way) => {
  await using files = await Files.make();
  await using server = await RunningServer.start(way, [], {
    PARLEY_TLS_CERT: files.cert,
    PARLEY_TLS_KEY: files.key,
  });
  assertEquals(await ask(server.addr.port, [ONE_CA]), "PONG");
});

testPrograms("server and client end with 2 at half of TLS", async (way) => {
  for (
    const [program, args, said] of shareOf(
      way,
      [
        ["server", ["--tls-cert", "x"], "--tls-key is missing, expected"],
        ["server", ["--tls-key", "x"], "--tls-cert is missing, expected"],
        ["server", ["--tls-cert="], '--tls-cert is "", expected'],
        [
          "client",
          ["--tls-ca", "x", "host"],
          "--tls-ca is given without --tls",
        ],
        [
          "client",
          ["--tls-server-name", "x", "host"],
          "--tls-server-name is given without --tls",
        ],
      ] as const,
    )
  ) {
    const { code, stdout, stderr } = await run(way, program, args);
    assertEquals([code, stdout], [2, ""]);
    assertMatch(stderr, /^[^\n]+\n$/);
    assertEquals(stderr.startsWith(`${program}: ${said}`), true, stderr);
  }
});

testPrograms(
  "server and client end with 1 at files that are no use",
  async (way) => {
    await using files = await Files.make();
    const other = `${files.path}/other.pem`;
    await Deno.writeTextFile(other, TWO.key);
    const locked = `${files.path}/locked.pem`;
    await Deno.writeTextFile(locked, ENCRYPTED_KEY);
    const none = `${files.path}/none.pem`;
    const { cert, key } = files;
    for (
      const [program, args, said] of [
        [
          "server",
          ["--tls-cert", none, "--tls-key", key],
          `cannot read --tls-cert "${none}": there is no such file`,
        ],
        [
          "server",
          ["--tls-cert", cert, "--tls-key", none],
          `cannot read --tls-key "${none}": there is no such file`,
        ],
        [
          "server",
          ["--tls-cert", key, "--tls-key", key],
          `cannot use --tls-cert "${key}": it has "PRIVATE KEY at line 1", ` +
          "expected a certificate in PEM",
        ],
        [
          "server",
          ["--tls-cert", cert, "--tls-key", other],
          `cannot use --tls-key "${other}": it has "PRIVATE KEY at line 1", ` +
          "expected the key of the certificate",
        ],
        [
          "server",
          ["--tls-cert", cert, "--tls-key", locked],
          `cannot use --tls-key "${locked}": it has "ENCRYPTED PRIVATE KEY at line 1", ` +
          "expected one private key in PEM, not encrypted: " +
          "RSA of 2048 to 8192 bits, ECDSA with P-256, P-384 or P-521, or Ed25519",
        ],
        [
          "client",
          ["--tls", "--tls-ca", none, "127.0.0.1:1", "x"],
          `cannot read --tls-ca "${none}": there is no such file`,
        ],
        [
          "client",
          ["--tls", "--tls-ca", key, "127.0.0.1:1", "x"],
          `cannot use --tls-ca "${key}": it has "PRIVATE KEY at line 1", ` +
          "expected a certificate in PEM",
        ],
      ] as const
    ) {
      const { code, stdout, stderr } = await run(way, program, args);
      assertEquals([code, stdout, stderr], [
        1,
        "",
        expectedLine(program, said),
      ]);
    }
  },
);

function expectedLine(program: string, said: string): string {
  return `${program}: ${said}\n`;
}

testPrograms("server reads its certificate again at SIGHUP", async (way) => {
  await using files = await Files.make();
  await using server = await RunningServer.start(way, files.flags);
  const { port } = server.addr;
  await using old = await connect({ port, tls: { caCerts: [ONE_CA] } });
  assertEquals(await ask(port, [ONE_CA]), "PONG");

  await Deno.writeTextFile(files.cert, TWO.cert);
  server.kill("SIGHUP");
  assertEquals(
    (await server.logged("certificate not reloaded")).error,
    `cannot use --tls-key "${files.key}": ` +
      'it has "PRIVATE KEY at line 1", expected the key of the certificate',
  );
  assertEquals(await ask(port, [ONE_CA]), "PONG");

  await Deno.remove(files.key);
  server.kill("SIGHUP");
  assertEquals(
    (await server.logged("certificate not reloaded")).error,
    `cannot read --tls-key "${files.key}": there is no such file`,
  );

  await Deno.writeTextFile(files.key, TWO.key);
  server.kill("SIGHUP");
  await server.logged("certificate reloaded");
  assertEquals(await ask(port, [TWO_CA]), "PONG");
  await old.request("PING");
  server.kill("SIGTERM");
  assertEquals(await server.code(), 0);
});

testPrograms(
  "server fails no connection while it reads its certificate again",
  async (way) => {
    await using files = await Files.make();
    await using server = await RunningServer.start(way, files.flags);
    const { port } = server.addr;
    let storming = 8;
    const storm = Array.from({ length: storming }, async () => {
      for (let i = 0; i < 50; i++) {
        assertEquals(await ask(port, [ONE_CA, TWO_CA]), "PONG");
        // The runtime closes a TLS connection in a task of its own, which a
        // loop that never rests would keep from its turn.
        await turnOfLoop();
      }
      storming--;
    });
    let reloads = 0;
    do {
      reloads++;
      const { cert, key } = reloads % 2 === 1 ? TWO : ONE;
      await Deno.writeTextFile(files.cert, cert);
      await Deno.writeTextFile(files.key, key);
      server.kill("SIGHUP");
      await server.logged("certificate reloaded");
      assertEquals(
        await ask(port, [reloads % 2 === 1 ? TWO_CA : ONE_CA]),
        "PONG",
      );
    } while (storming > 0);
    await Promise.all(storm);
    assert(reloads > 1, "a second one was under the storm from begin to end");
  },
);

testPrograms(
  "server outlives a broken handshake in one segment with the PROXY header",
  async (way) => {
    await using files = await Files.make();
    await using server = await RunningServer.start(way, [
      ...files.flags,
      ..."--proxy-protocol v1 --proxy-trust 127.0.0.1".split(" "),
    ]);
    using peer = await Peer.to(server);
    await peer.send("PROXY UNKNOWN\r\n\x16\x03\x01\0\x08\x01\0\0\x04abcd");
    await peer.rest();
    server.kill("SIGTERM");
    assertEquals(await server.code(), 0);
  },
);

testPrograms("server without a certificate outlives SIGHUP", async (way) => {
  await using server = await RunningServer.start(way);
  server.kill("SIGHUP");
  await server.logged("SIGHUP, but there is no --tls-cert to read again");
  await using client = await connect({ port: server.addr.port });
  await client.request("PING");
});

// Tools that nobody here wrote.

for (const version of ["-tls1_2", "-tls1_3"]) {
  testWithTools(
    `openssl s_client ${version} gets its replies`,
    ["openssl"],
    async () => {
      await using files = await Files.make();
      await using running = serveTest(commands, ONE);
      const { port } = running.addr as Deno.NetAddr;
      const long = "x".repeat(60_000);
      const { code, stdout } = await runCommand([
        ..."openssl s_client -quiet -verify_return_error".split(" "),
        ...[version, "-connect", `127.0.0.1:${port}`, "-CAfile", files.ca],
        ...["-verify_hostname", "localhost"],
      ], { stdin: `ECHO ${long}\nPING\nQUIT\n` });
      assertEquals([code, stdout === `${long}\nPONG\nBYE\n`], [0, true]);
      assertEquals((await running.events.closed()).reason, "handler_closed");
    },
  );
}

testWithTools(
  "openssl s_client of an old version is turned away",
  ["openssl"],
  async () => {
    await using running = serveTest(echo, ONE);
    const { port } = running.addr as Deno.NetAddr;
    const { code, stderr } = await runCommand([
      ..."openssl s_client -tls1_1 -cipher ALL:@SECLEVEL=0".split(" "),
      ...["-connect", `127.0.0.1:${port}`],
    ], { stdin: "" });
    assertEquals(code, 1);
    assertMatch(stderr, /alert handshake failure/);
    const { reason } = await running.events.next("connection_rejected");
    assertEquals(reason, "tls_error");
  },
);

testWithTools("ncat --ssl gets its replies", ["ncat"], async () => {
  await using files = await Files.make();
  await using running = serveTest(echo, ONE);
  const { port } = running.addr as Deno.NetAddr;
  const { code, stdout } = await runCommand([
    ..."ncat --ssl-verify --ssl-trustfile".split(" "),
    ...[files.ca, "localhost", "-4", String(port)],
  ], { stdin: `one\n${"x".repeat(60_000)}\nlast\n` });
  assertEquals(code, 0);
  assertEquals(stdout === `one\n${"x".repeat(60_000)}\nlast\n`, true);
  assertEquals((await running.events.closed()).reason, "peer_closed");
});

testPrograms("client gets the replies of openssl s_server", async (way) => {
  await using files = await Files.make();
  await using child = new Deno.Command("openssl", {
    args: [
      ..."s_server -rev -accept 127.0.0.1:0".split(" "),
      ...["-cert", files.cert, "-key", files.key],
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const lines = new Lines(child.stdout);
  const place = (await lines.until(/^ACCEPT/)).replace("ACCEPT ", "");
  assertEquals(
    await run(
      way,
      "client",
      ["--tls", "--tls-ca", files.ca, place, "hello", "again"],
    ),
    { code: 0, stdout: "olleh\nniaga\n", stderr: "" },
  );
  const { code, stderr } = await run(way, "client", [place, "hello"]);
  assertEquals(code, 1);
  assertMatch(stderr, /^client: no reply to request 1: [^\n]+\n$/);
  await lines.cancel();
}, ["openssl"]);
