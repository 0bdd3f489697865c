/**
 * Client certificates, versions, protocols and the end of a certificate, by the
 * programs and the stock tools that speak TLS with them.
 *
 * @module
 */

import { connect, RefusedError } from "../../lib/mod.ts";
import {
  CLIENT,
  CLIENT_CA,
  CLIENT_MID,
  EXPIRED,
  ONE,
  ONE_CA,
  RSA,
  TWO,
  TWO_CA,
} from "../support/certificates.ts";
import {
  Lines,
  run,
  runCommand,
  RunningServer,
  shareOf,
  testPrograms,
  type Way,
} from "../support/programs.ts";
import { assert, assertEquals, assertMatch } from "../support/std.ts";

/** The clients that connect, and what is said to each where one is required. */
const CLIENTS = {
  good: { pair: CLIENT, said: undefined },
  absent: { pair: undefined, said: "client certificate required" },
  expired: { pair: EXPIRED, said: "client certificate expired" },
  wrong: { pair: TWO, said: "client certificate not trusted" },
} as const;

type Who = keyof typeof CLIENTS;

const EVERYBODY = Object.keys(CLIENTS) as Who[];

/** Files of a test's own. */
class Files implements AsyncDisposable {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async make(): Promise<Files> {
    const files = new Files(await Deno.makeTempDir());
    await files.write("server", ONE.key + ONE.cert);
    await files.write("server-ca", ONE_CA);
    await files.write("client-ca", CLIENT_CA);
    for (const [who, { pair }] of Object.entries(CLIENTS)) {
      if (pair !== undefined) await files.write(who, pair.key + pair.cert);
    }
    return files;
  }

  path(name: string): string {
    return `${this.#folder}/${name}.pem`;
  }

  async write(name: string, text: string): Promise<void> {
    await Deno.writeTextFile(this.path(name), text);
  }

  /** Flags of either program, for its certificate and key in one file. */
  pair(name: string): string[] {
    return ["--tls-cert", this.path(name), "--tls-key", this.path(name)];
  }

  /** Flags of `server`. */
  get serving(): string[] {
    return [...this.pair("server"), "--tls-client-ca", this.path("client-ca")];
  }

  /** Flags of `client` for one of the clients. */
  asking(who: Who): string[] {
    const flags = ["--tls", "--tls-ca", this.path("server-ca")];
    return who === "absent" ? flags : [...flags, ...this.pair(who)];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#folder, { recursive: true });
  }
}

/** What a peer was replied to `WHOAMI` and `QUIT`, or told. */
type Ask = (who: Who, files: Files, port: number) => Promise<string>;

async function openssl(
  files: Files,
  port: number,
  who: Who,
  ...args: string[]
): Promise<string> {
  const own = who === "absent"
    ? []
    : ["-cert", files.path(who), "-cert_chain", files.path(who)];
  const { stdout } = await runCommand([
    ..."openssl s_client -ign_eof -verify_return_error".split(" "),
    ...["-connect", `127.0.0.1:${port}`, "-CAfile", files.path("server-ca")],
    ...own,
    ...args,
  ], { stdin: "WHOAMI\nQUIT\n" });
  return stdout;
}

const PYTHON = `
import socket, ssl, sys
port, ca, own, least = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
if own: context.load_cert_chain(own)
context.minimum_version = ssl.TLSVersion[least]
with socket.create_connection(("127.0.0.1", int(port))) as raw:
    with context.wrap_socket(raw, server_hostname="localhost") as secured:
        secured.sendall(b"WHOAMI\\nQUIT\\n")
        while data := secured.recv(4096): sys.stdout.write(data.decode())
`;

/** The peers, each with a tool of its name. */
const PEERS: [name: string, tool: string, ask: Ask][] = [
  [
    "openssl s_client -tls1_3",
    "openssl",
    (who, files, port) => openssl(files, port, who, "-tls1_3"),
  ],
  [
    "openssl s_client -tls1_2",
    "openssl",
    (who, files, port) =>
      openssl(
        files,
        port,
        who,
        "-tls1_2",
        // The older runtime knows no other for such a key.
        ...["-client_sigalgs", "ECDSA+SHA256"],
      ),
  ],
  ["ncat --ssl", "ncat", async (who, files, port) => {
    const own = who === "absent"
      ? []
      : ["--ssl-cert", files.path(who), "--ssl-key", files.path(who)];
    const { stdout } = await runCommand([
      ..."ncat --ssl-verify --ssl-trustfile".split(" "),
      ...[files.path("server-ca"), ...own, "localhost", "-4", String(port)],
    ], { stdin: "WHOAMI\nQUIT\n" });
    return stdout;
  }],
  ["Python's ssl", "python3", async (who, files, port) => {
    const own = who === "absent" ? "" : files.path(who);
    const { stdout } = await runCommand([
      ...["python3", "-c", PYTHON, String(port), files.path("server-ca"), own],
      "TLSv1_3",
    ]);
    return stdout;
  }],
];

for (const [name, tool, ask] of PEERS) {
  testPrograms(
    `server lets ${name} in by its certificate`,
    async (way) => {
      await using files = await Files.make();
      // Ncat shows no certificate beside its own.
      await files.write("client-ca", CLIENT_CA + CLIENT_MID);
      const flags = [...files.serving, "--log-level", "debug"];
      await using server = await RunningServer.start(way, flags);
      for (const who of EVERYBODY) {
        const { said } = CLIENTS[who];
        const replies = await ask(who, files, server.addr.port);
        if (said === undefined) {
          assertMatch(replies, / subject="CN=ann,O=Example" names=\["DNS:ann/);
          assertMatch(replies, /\nBYE\n/);
          const opened = await server.logged("connection opened");
          assertEquals(opened.subject, "CN=ann,O=Example");
          continue;
        }
        assert(replies.includes(`ERR denied: ${said}\n`), replies);
        assertEquals(/id=\d+ peer=|^BYE$/m.test(replies), false);
        // Those before are told of once more, as a number.
        let record: Record<string, unknown>;
        do record = await server.logged("connection rejected"); while (
          !String(record.error).startsWith(`ClientCertificateError: ${said}`)
        );
        assertEquals(record.reason, "tls_error");
      }
    },
    [tool],
  );
}

testPrograms(
  "client shows its certificate, or says what was wrong",
  async (way) => {
    await using files = await Files.make();
    await using server = await RunningServer.start(way, files.serving);
    const place = `127.0.0.1:${server.addr.port}`;
    for (const who of EVERYBODY) {
      const args = [...files.asking(who), place, "WHOAMI"];
      const { code, stdout, stderr } = await run(way, "client", args);
      const { said } = CLIENTS[who];
      if (said === undefined) {
        assertEquals([code, stderr], [0, ""]);
        assertMatch(stdout, / tls=TLSv1.3 subject="CN=ann,O=Example" names=/);
      } else {
        // It may come before the request is sent, or behind it.
        const line = stderr.replace("no reply to request 1: ", "");
        assertEquals([code, stdout, line], [
          1,
          "",
          `client: Refused by ${place}, which said "ERR denied: ${said}"\n`,
        ]);
      }
    }
  },
);

testPrograms(
  "server --tls-client-auth request takes clients without",
  async (way) => {
    await using files = await Files.make();
    const flags = [...files.serving, "--tls-client-auth", "request"];
    await using server = await RunningServer.start(way, flags);
    const codes: number[] = [];
    for (const who of EVERYBODY) {
      const place = `127.0.0.1:${server.addr.port}`;
      const args = [...files.asking(who), place, "PING"];
      codes.push((await run(way, "client", args)).code);
    }
    assertEquals(codes, [0, 0, 1, 1]);
  },
);

for (const version of ["-tls1_3", "-tls1_2"]) {
  testPrograms(
    `client says what openssl s_server ${version} has against it`,
    async (way) => {
      await using files = await Files.make();
      // The older runtime knows no key on a curve in TLS 1.2.
      await files.write("server", RSA.key + RSA.cert);
      await files.write("server-ca", RSA.cert);
      await using child = new Deno.Command("openssl", {
        args: [
          ..."s_server -rev -accept 127.0.0.1:0 -Verify 1".split(" "),
          ...["-verify_return_error", version, "-cert", files.path("server")],
          ...["-CAfile", files.path("client-ca")],
        ],
        stdin: "null",
        stdout: "piped",
        stderr: "null",
      }).spawn();
      const lines = new Lines(child.stdout);
      const place = (await lines.until(/^ACCEPT/)).replace("ACCEPT ", "");
      const wants = "wants a certificate of this client";
      const refused = "the server refused the certificate of this client: ";
      for (
        const [who, said] of [
          ["good", undefined],
          ["absent", wants],
          ["expired", `${refused}certificate expired`],
          ["wrong", `${refused}unknown ca`],
        ] as const
      ) {
        const args = [...files.asking(who), place, "hello"];
        const { code, stdout, stderr } = await run(way, "client", args);
        if (said === undefined) {
          assertEquals({ code, stdout, stderr }, {
            code: 0,
            stdout: "olleh\n",
            stderr: "",
          });
        } else {
          assertEquals([code, stdout], [1, ""]);
          assert(stderr.endsWith(`${said}\n`), stderr);
          assertMatch(stderr, /^client: [^\n]+\n$/);
        }
      }
      await lines.cancel();
    },
    ["openssl"],
  );
}

/** What an openssl client is shown of a handshake. */
async function agreed(files: Files, port: number, ...args: string[]) {
  const text = await openssl(files, port, "absent", ...args);
  return {
    version: /^New, (\S+),/m.exec(text)?.[1],
    alpn: /^ALPN protocol: (.*)$/m.exec(text)?.[1],
    reply: /^(BYE|ERR .*)$/m.exec(text)?.[1],
  };
}

testPrograms(
  "server keeps its versions and protocols through a reload",
  async (way) => {
    await using files = await Files.make();
    await using server = await RunningServer.start(way, [
      ...files.pair("server"),
      ..."--tls-min-version 1.3 --tls-alpn two,one".split(" "),
    ]);
    const { port } = server.addr;
    for (const _ of ["before", "after"]) {
      const shown = (...args: string[]) => agreed(files, port, ...args);
      const version = "TLSv1.3";
      const reply = "BYE";
      assertEquals(await shown(), { version, alpn: undefined, reply });
      assertEquals(await shown("-alpn", "x,one"), {
        version,
        alpn: "one",
        reply,
      });
      const none = { version: "(NONE)", alpn: undefined, reply: undefined };
      assertEquals(await shown("-tls1_2"), none);
      assertEquals(await shown("-alpn", "x"), none);
      await files.write("server", RSA.key + RSA.cert);
      await files.write("server-ca", RSA.cert);
      server.kill("SIGHUP");
      await server.logged("certificate reloaded");
    }
    const place = `127.0.0.1:${port}`;
    const flags = ["--tls", "--tls-ca", files.path("server-ca"), "--tls-alpn"];
    const who = [...flags, "one", place, "WHOAMI"];
    const { stdout } = await run(way, "client", who);
    assertMatch(stdout, / tls=TLSv1.3 alpn="one"\n$/);
    const { stderr } = await run(way, "client", [...flags, "x", place, "PING"]);
    assertMatch(stderr, /no version, cipher or protocol in common/);
  },
  ["openssl"],
);

testPrograms(
  "server of TLS 1.2 agrees on that where a client has no other",
  async (way) => {
    await using files = await Files.make();
    await using server = await RunningServer.start(way, files.pair("server"));
    const shown = await agreed(files, server.addr.port, "-tls1_2");
    assertEquals([shown.version, shown.reply], ["TLSv1.2", "BYE"]);
  },
  ["openssl"],
);

/** The flags of a server on as many threads. */
function threadFlags(threads: number): string[] {
  return threads === 1 ? [] : ["--threads", String(threads)];
}

for (const threads of [1, 2]) {
  testPrograms(
    `server reads the authorities of clients again at SIGHUP (threads: ${threads})`,
    async (way) => {
      await using files = await Files.make();
      const flags = [...files.serving, ...threadFlags(threads)];
      await using server = await RunningServer.start(way, flags);
      const { port } = server.addr;
      const tls = { caCerts: [ONE_CA, TWO_CA] };
      await using old = await connect({ port, tls: { ...tls, ...CLIENT } });
      await old.request("PING");
      const served = async () => {
        const all: Who[] = [];
        for (const who of ["good", "wrong", "absent"] as const) {
          try {
            const own = { ...tls, ...CLIENTS[who].pair };
            await using client = await connect({ port, tls: own });
            await client.request("PING");
            all.push(who);
          } catch (error) {
            assert(error instanceof RefusedError, `${error}`);
          }
        }
        return all;
      };
      assertEquals(await served(), ["good"]);

      await files.write("client-ca", "nothing");
      server.kill("SIGHUP");
      assertEquals(
        (await server.logged("certificate not reloaded")).error,
        `cannot use --tls-client-ca "${files.path("client-ca")}": ` +
          'it has "text without PEM", expected a certificate in PEM',
      );
      assertEquals(await served(), ["good"]);

      await files.write("client-ca", TWO_CA);
      await files.write("server", TWO.key + TWO.cert);
      await files.write("server-ca", TWO_CA);
      server.kill("SIGHUP");
      const { subject, not_after } = await server.logged(
        "certificate reloaded",
      );
      assertEquals([subject, not_after], [
        "CN=localhost",
        "2126-10-29T21:58:23.000Z",
      ]);
      assertEquals(await served(), ["wrong"]);
      await old.request("PING");
    },
  );

  testPrograms(
    `server takes a session up again, or none, and serves (threads: ${threads})`,
    async (way) => {
      await using files = await Files.make();
      const flags = [...files.serving, ...threadFlags(threads)];
      await using server = await RunningServer.start(way, flags);
      const { port } = server.addr;
      const file = files.path("session");
      const ask = async (...args: string[]) => {
        const text = await openssl(files, port, "good", ...args);
        assertMatch(text, / subject="CN=ann,O=Example" .*\nBYE\n/);
        return /^(Reused|New), /m.exec(text)![1];
      };
      assertEquals(await ask("-sess_out", file), "New");
      const kinds = new Set<string>();
      // Which of two threads it comes to is chance.
      const times = threads === 1 ? 3 : 20;
      for (let i = 0; i < times; i++) kinds.add(await ask("-sess_in", file));
      server.kill("SIGHUP");
      await server.logged("certificate reloaded");
      for (let i = 0; i < times; i++) kinds.add(await ask("-sess_in", file));
      // Each thread has keys of its own, and the older runtime has none: what
      // is not resumed is a handshake like any other.
      const possible = way === "executable"
        ? ["New"]
        : threads === 1
        ? ["Reused"]
        : ["New", "Reused"];
      assertEquals([...kinds].sort(), possible);
    },
    ["openssl"],
  );
}

/** Makes a certificate that vouches for itself, for so many days. */
async function selfSigned(days: number): Promise<string> {
  const { stdout } = await runCommand([
    ..."openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256".split(
      " ",
    ),
    ...["-nodes", "-subj", `/CN=${days} days`, "-days", String(days)],
    ...["-keyout", "-", "-out", "-"],
  ]);
  return stdout;
}

testPrograms(
  "server warns of its certificate's end, and counts failed reloads",
  async (way) => {
    await using files = await Files.make();
    await files.write("server", await selfSigned(20));
    await using server = await RunningServer.start(way, [
      ...files.pair("server"),
      ..."--admin 127.0.0.1:0".split(" "),
    ]);
    const metric = async (name: string) => {
      const response = await fetch(`${server.admin}/metrics`);
      const text = await response.text();
      return Number(RegExp(`^parley_tls_${name} (.*)$`, "m").exec(text)?.[1]);
    };
    const notAfter = "certificate_not_after_timestamp_seconds";
    const soon = await server.logged("certificate expires within 30 days");
    assertEquals([soon.level, soon.subject], ["warn", "CN=20 days"]);
    const end = Date.parse(String(soon.not_after));
    assertEquals(await metric(notAfter), end / 1000);
    assert(Math.abs(end - Date.now() - 20 * 86_400_000) < 600_000);

    await files.write("server", "nothing");
    server.kill("SIGHUP");
    await server.logged("certificate not reloaded");
    await Deno.remove(files.path("server"));
    server.kill("SIGHUP");
    await server.logged("certificate not reloaded");
    assertEquals(await metric("reloads_failed_total"), 2);
    assertEquals(await metric(notAfter), end / 1000);

    await files.write("server", EXPIRED.key + EXPIRED.cert);
    server.kill("SIGHUP");
    const expired = await server.logged("certificate has expired");
    assertEquals([expired.level, expired.subject, expired.not_after], [
      "warn",
      "CN=old",
      "2021-01-01T00:00:00.000Z",
    ]);
    const reloaded = await server.logged("certificate reloaded");
    assertEquals(reloaded.subject, "CN=old");
    assertEquals(await metric(notAfter), Date.UTC(2021) / 1000);
    assertEquals(await metric("reloads_failed_total"), 2);
    const stats = await fetch(`${server.admin}/stats.json`);
    assertEquals((await stats.json()).tls, {
      subject: "CN=old",
      notAfter: Date.UTC(2021),
      failedReloads: 2,
    });
  },
  ["openssl"],
);

testPrograms(
  "sslscan finds no old version and no weak cipher",
  async (way) => {
    await using files = await Files.make();
    await using server = await RunningServer.start(way, files.pair("server"));
    const { code, stdout } = await runCommand([
      // It waits three seconds for each of some groups.
      ..."sslscan --no-colour --no-groups".split(" "),
      `127.0.0.1:${server.addr.port}`,
    ]);
    assertEquals(code, 0);
    const found = (pattern: RegExp) =>
      Array.from(stdout.matchAll(pattern), (match) => match.slice(1).join(" "));
    assertEquals(found(/^((?:SSL|TLS)v\S+) +(enabled|disabled)$/gm), [
      ...["SSLv2 disabled", "SSLv3 disabled", "TLSv1.0 disabled"],
      ...["TLSv1.1 disabled", "TLSv1.2 enabled", "TLSv1.3 enabled"],
    ]);
    const ciphers = found(/^(?:Preferred|Accepted) +\S+ +\d+ bits +(\S+)/gm);
    assertEquals(ciphers.length, 6);
    for (const cipher of ciphers) assertMatch(cipher, /GCM|POLY1305/);
    assertEquals(found(/(?<!not )vulnerable to (\w+)/g), []);
    assertMatch(stdout, /Session renegotiation not supported/);
  },
  ["sslscan"],
);

testPrograms(
  "server and client end with 2 at flags of TLS that lack another",
  async (way) => {
    for (
      const [program, args, said] of shareOf(
        way,
        [
          [
            "server",
            ["--tls-client-ca", "x"],
            "--tls-client-ca is given, expected --tls-cert beside it",
          ],
          [
            "server",
            ["--tls-min-version", "1.3"],
            "--tls-min-version is given, expected --tls-cert beside it",
          ],
          [
            "server",
            ["--tls-alpn", "x"],
            "--tls-alpn is given, expected --tls-cert beside it",
          ],
          [
            "server",
            "--tls-cert x --tls-key x --tls-client-auth request".split(" "),
            "--tls-client-auth is given, expected --tls-client-ca beside it",
          ],
          [
            "server",
            ["--tls-client-auth", "maybe"],
            '--tls-client-auth is "maybe", expected one of request, require',
          ],
          [
            "server",
            ["--tls-min-version", "1.1"],
            '--tls-min-version is "1.1", expected one of 1.2, 1.3',
          ],
          [
            "server",
            ["--tls-alpn", "a,"],
            '--tls-alpn is "a,", expected a list of',
          ],
          [
            "client",
            ["--tls", "--tls-cert", "x", "host"],
            "--tls-key is missing, expected a certificate and its key",
          ],
          [
            "client",
            ["--tls", "--tls-key", "x", "host"],
            "--tls-cert is missing, expected a certificate and its key",
          ],
          [
            "client",
            "--tls-cert x --tls-key x host".split(" "),
            "--tls-cert is given without --tls",
          ],
          [
            "client",
            "--tls-alpn x host".split(" "),
            "--tls-alpn is given without",
          ],
        ] as const,
      )
    ) {
      const { code, stdout, stderr } = await run(way, program, args);
      assertEquals([code, stdout], [2, ""]);
      assertMatch(stderr, /^[^\n]+\n$/);
      assert(stderr.startsWith(`${program}: ${said}`), stderr);
    }
  },
);

testPrograms(
  "server and client end with 1 at files of clients that are no use",
  async (way) => {
    await using files = await Files.make();
    await unusable(way, "server", [
      ...files.pair("server"),
      ...["--tls-client-ca", files.path("none")],
    ], `cannot read --tls-client-ca "${files.path("none")}"`);
    await files.write("client-ca", CLIENT.key);
    await unusable(
      way,
      "server",
      files.serving,
      `cannot use --tls-client-ca "${files.path("client-ca")}": ` +
        'it has "PRIVATE KEY at line 1"',
    );
    await unusable(way, "client", [
      "--tls",
      ...["--tls-cert", files.path("good"), "--tls-key", files.path("wrong")],
      "127.0.0.1:1",
    ], `cannot use --tls-key "${files.path("wrong")}"`);
  },
);

async function unusable(
  way: Way,
  program: "server" | "client",
  args: string[],
  said: string,
): Promise<void> {
  const { code, stdout, stderr } = await run(way, program, args);
  assertEquals([code, stdout], [1, ""]);
  assertMatch(stderr, /^[^\n]+\n$/);
  assert(stderr.startsWith(`${program}: ${said}`), stderr);
}
