/**
 * TLS beyond a certificate of the server's own: clients that show one, the
 * protocols and versions that are agreed on, and a runtime that ignores what it
 * is asked for.
 *
 * @module
 */

import process from "node:process";
import type { TLSSocketOptions } from "node:tls";

import {
  ClientCertificateError,
  commands,
  connect,
  ConnectError,
  type ConnectOptions,
  echo,
  OptionError,
  RefusedError,
  type ServeOptions,
  TlsError,
  type TlsInfo,
} from "../../lib/mod.ts";
import { startServer } from "../../lib/server/serve.ts";
import {
  CLIENT,
  CLIENT_CA,
  ED25519,
  EXPIRED,
  FOR_SERVERS,
  ODD,
  ONE,
  ONE_CA,
  RSA,
  TWO,
  TWO_CA,
} from "../support/certificates.ts";
import {
  bytes,
  serveTest,
  type TestServer,
  text,
} from "../support/fixtures.ts";
import { runCommand, testWithTools } from "../support/programs.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertThrows,
} from "../support/std.ts";

type Tls = Exclude<ConnectOptions["tls"], boolean | undefined>;

/** Replies what TLS knows of the client. */
function serveInfo(options: ServeOptions): TestServer {
  const handler = (_: Uint8Array, { tls }: { tls: TlsInfo | undefined }) =>
    JSON.stringify(tls ?? null);
  return serveTest(handler, { ...ONE, ...options });
}

async function ask(
  { addr }: { addr: Deno.Addr },
  tls: Tls = {},
  ca: string = ONE_CA,
): Promise<TlsInfo> {
  const { port } = addr as Deno.NetAddr;
  await using client = await connect({
    port,
    tls: { caCerts: [ca], ...tls },
  });
  return JSON.parse(text(await client.request("?")));
}

/** What the server tells a client that it refuses. */
async function refusal(
  running: TestServer,
  tls?: Tls,
  ca?: string,
): Promise<string> {
  return (await assertRejects(() => ask(running, tls, ca), RefusedError)).text;
}

const ANN = {
  subject: "CN=ann,O=Example",
  names: [
    ...["DNS:ann.test", "email:ann@example.test"],
    ...["URI:spiffe://example.test/ann", "IP:192.0.2.7"],
  ],
};

Deno.test("info.tls says what was agreed on, and who the client is", async () => {
  await using running = serveInfo({ clientCa: CLIENT_CA });
  const { version, alpn, peer } = await ask(running, CLIENT);
  assertEquals([version, alpn], ["TLSv1.3", undefined]);
  const { fingerprint, ...names } = peer!;
  assertEquals(names, ANN);
  assertMatch(fingerprint, /^([0-9A-F]{2}:){31}[0-9A-F]{2}$/);
  const { tls } = await running.events.next("connection_open");
  assertEquals(tls, { version, alpn, peer });
  assert([tls, tls!.peer, tls!.peer!.names].every(Object.isFrozen));
});

Deno.test("info.tls has no peer that was not asked for, and is none without TLS", async () => {
  await using running = serveInfo({});
  assertEquals(await ask(running, CLIENT), { version: "TLSv1.3" } as TlsInfo);
  await using plain = serveInfo({ cert: undefined, key: undefined });
  const { port } = plain.addr as Deno.NetAddr;
  await using client = await connect({ port });
  assertEquals(text(await client.request("?")), "null");
  assertEquals((await plain.events.next("connection_open")).tls, undefined);
});

Deno.test("info.tls keeps the names of a certificate apart", async () => {
  await using running = serveInfo({ clientCa: CLIENT_CA });
  const { peer } = await ask(running, ODD);
  assertMatch(peer!.subject, /,CN=eve\\0AO=admin,/);
  assertEquals(peer!.names.includes("DNS:admin.test"), false);
});

Deno.test("WHOAMI replies what TLS knows, as one line", async () => {
  await using running = serveTest(commands, {
    ...ONE,
    clientCa: CLIENT_CA,
    alpnProtocols: ["parley"],
  });
  const { port } = running.addr as Deno.NetAddr;
  const alpnProtocols = ["parley"];
  for (
    const [pair, subject] of [
      [CLIENT, '"CN=ann,O=Example"'],
      [ODD, '"2.5.4.5=#130137,CN=eve\\\\0AO=admin,'],
    ] as const
  ) {
    const tls = { caCerts: [ONE_CA], alpnProtocols, ...pair };
    await using client = await connect({ port, tls });
    const reply = text(await client.request("WHOAMI"));
    const start = ` framing=line tls=TLSv1.3 alpn="parley" subject=${subject}`;
    assert(reply.includes(start), reply);
    assertMatch(reply, / names=\["DNS:[^\n]*"\] fingerprint="[0-9A-F:]{95}"$/);
  }
});

Deno.test("serve turns away clients without a good certificate, and says why", async () => {
  await using running = serveInfo({ clientCa: CLIENT_CA });
  const reasons = [
    [undefined, "client certificate required", ""],
    [TWO, "client certificate not trusted", ': "CN=localhost"'],
    [EXPIRED, "client certificate expired", ': "CN=old"'],
    [FOR_SERVERS, "client certificate not trusted", ': "CN=for servers"'],
  ] as const;
  for (const [pair, reason] of reasons) {
    assertEquals(await refusal(running, pair), `ERR denied: ${reason}`);
  }
  const rejected = await Promise.all(
    reasons.map((_, i) => i + 1).map((count) =>
      running.events.next("connection_rejected", count)
    ),
  );
  for (const [i, { reason, error }] of rejected.entries()) {
    assertEquals(reason, "tls_error");
    assertInstanceOf(error, ClientCertificateError);
    assertEquals(error.message, reasons[i][1] + reasons[i][2]);
  }
  assertEquals(running.events.of("connection_open"), []);
  const { active, opening, rejected: counted } = running.server.metrics();
  assertEquals([active, opening, counted.tls_error], [0, 0, 4]);
});

Deno.test("serve gives the place of a client that it turns away to others", async () => {
  await using running = serveInfo({
    clientCa: CLIENT_CA,
    maxConnections: 1,
    maxConnectionsPerIp: 1,
  });
  const { port } = running.addr as Deno.NetAddr;
  const plain = await Deno.connect({ hostname: "127.0.0.1", port });
  using refused = await Deno.startTls(plain, { caCerts: [ONE_CA] });
  await refused.write(bytes("?\n"));
  const space = new Uint8Array(100);
  const told = text(space.subarray(0, await refused.read(space) ?? 0));
  assertEquals(told, "ERR denied: client certificate required\n");
  // It is open still, and has been told of.
  assertEquals(running.events.of("connection_rejected").length, 1);
  assertEquals((await ask(running, CLIENT)).peer?.subject, ANN.subject);
});

Deno.test("serve asks for a certificate that need not be there", async () => {
  await using running = serveInfo({
    clientCa: CLIENT_CA,
    clientAuth: "request",
  });
  assertEquals(await ask(running), { version: "TLSv1.3" } as TlsInfo);
  assertEquals((await ask(running, CLIENT)).peer?.subject, ANN.subject);
  assertMatch(await refusal(running, TWO), /not trusted$/);
  assertMatch(await refusal(running, EXPIRED), /expired$/);
});

Deno.test("serve trusts a certificate that is itself among the authorities", async () => {
  await using running = serveInfo({ clientCa: RSA.cert + ED25519.cert });
  for (const pair of [RSA, ED25519]) {
    assertEquals((await ask(running, pair)).peer?.subject, "CN=localhost");
  }
  assertMatch(await refusal(running, CLIENT), /not trusted$/);
  const clientCa = EXPIRED.cert;
  await using pinned = serveInfo({ clientCa });
  assertMatch(await refusal(pinned, EXPIRED), /expired$/);
});

Deno.test("serve tells a client of its certificate in any framing", async () => {
  for (const framing of ["length", "netstring"] as const) {
    await using running = serveTest(echo, {
      ...ONE,
      clientCa: CLIENT_CA,
      framing,
    });
    const { port } = running.addr as Deno.NetAddr;
    await using client = await connect({
      port,
      framing,
      tls: { caCerts: [ONE_CA] },
    });
    const { text } = await assertRejects(
      () => client.request("x"),
      RefusedError,
    );
    assertEquals(text, "ERR denied: client certificate required");
  }
});

for (
  const [name, options, option, expected] of [
    ["clientCa alone", { clientCa: CLIENT_CA }, "clientCa", "a cert"],
    [
      "tlsMinVersion alone",
      { tlsMinVersion: "1.3" },
      "tlsMinVersion",
      "a cert",
    ],
    [
      "alpnProtocols alone",
      { alpnProtocols: ["x"] },
      "alpnProtocols",
      "a cert",
    ],
    [
      "clientAuth without authorities",
      { ...ONE, clientAuth: "request" },
      "clientAuth",
      "a clientCa",
    ],
    [
      "a clientCa that is a key",
      { ...ONE, clientCa: CLIENT.key },
      "clientCa",
      "a certificate in PEM",
    ],
    [
      "another clientAuth",
      { ...ONE, clientCa: CLIENT_CA, clientAuth: "none" as "request" },
      "clientAuth",
      "one of request, require",
    ],
    [
      "another version",
      { ...ONE, tlsMinVersion: "1.1" as "1.2" },
      "tlsMinVersion",
      "one of 1.2, 1.3",
    ],
    [
      "a protocol without a name",
      { ...ONE, alpnProtocols: ["h2", ""] },
      "alpnProtocols",
      "a list of names",
    ],
    [
      "protocols as one text",
      { ...ONE, alpnProtocols: "h2" as unknown as string[] },
      "alpnProtocols",
      "a list of names",
    ],
    [
      "clientCa beside a path",
      { path: "/nowhere/x.sock", clientCa: CLIENT_CA },
      "clientCa",
      "no such option beside path",
    ],
  ] satisfies [string, ServeOptions, string, string][]
) {
  Deno.test(`serve refuses ${name}, with nothing bound`, () => {
    const listen = () => {
      throw new Error("It is bound");
    };
    const error = assertThrows(
      () => startServer(options, echo, { listen }),
      OptionError,
    );
    assertEquals(error.option, option);
    assert(error.expected.startsWith(expected), error.message);
  });
}

for (
  const [name, tls, option] of [
    ["a cert without its key", { cert: CLIENT.cert }, "key"],
    ["a key without its cert", { key: CLIENT.key }, "cert"],
    ["the key of another cert", { ...CLIENT, key: TWO.key }, "key"],
    ["protocols that are none", { alpnProtocols: ["a b"] }, "alpnProtocols"],
  ] satisfies [string, Tls, string][]
) {
  Deno.test(`connect refuses ${name}`, async () => {
    const error = await assertRejects(() => connect({ tls }), OptionError);
    assertEquals(error.option, option);
  });
}

Deno.test("connect with a certificate checks the server's own", async () => {
  await using running = serveInfo({ clientCa: CLIENT_CA });
  const good = { caCerts: [ONE_CA], ...CLIENT };
  for (
    const [tls, reason] of [
      [{ ...good, caCerts: [TWO_CA] }, /no trusted authority vouches for it/],
      [{ ...good, serverName: "two.test" }, /and not for "two.test"/],
    ] satisfies [Tls, RegExp][]
  ) {
    const { message } = await assertRejects(
      () => ask(running, tls),
      ConnectError,
    );
    assertMatch(message, reason);
  }
  for (const serverName of ["one.test", "localhost", "127.0.0.1"]) {
    const { peer } = await ask(running, { ...good, serverName });
    assertEquals(peer?.subject, ANN.subject);
  }
});

Deno.test("connect with a certificate gives up a handshake that takes too long", async () => {
  using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = silent.addr;
  const accepted = silent.accept();
  await assertRejects(
    () => connect({ port, tls: CLIENT, timeout: 50 }),
    Error,
    "no TLS handshake within 50 ms",
  );
  (await accepted).close();
});

Deno.test("serve and connect agree on a protocol", async () => {
  await using running = serveInfo({ alpnProtocols: ["two", "one"] });
  for (
    const [alpnProtocols, agreed] of [
      [["one"], "one"],
      [["x", "one", "two"], "two"],
      [[], undefined],
      [undefined, undefined],
    ] as const
  ) {
    const { alpn } = await ask(running, {
      alpnProtocols: alpnProtocols?.slice(),
    });
    assertEquals(alpn, agreed);
  }
  const { message } = await assertRejects(
    () => ask(running, { alpnProtocols: ["three"] }),
    ConnectError,
  );
  assertMatch(message, /no version, cipher or protocol in common/);
  const { reason, error } = await running.events.next("connection_rejected");
  assertEquals(reason, "tls_error");
  assertMatch(String(error), /doesn't support any known protocol/);
});

Deno.test("reloadTls takes other authorities, and keeps them where it is given none", async () => {
  await using running = serveInfo({ clientCa: CLIENT_CA });
  const { port } = running.addr as Deno.NetAddr;
  await using old = await connect({
    port,
    tls: { caCerts: [ONE_CA], ...CLIENT },
  });
  await old.request("?");
  await running.server.reloadTls({ ...TWO, clientCa: TWO_CA });
  assertMatch(await refusal(running, CLIENT, TWO_CA), /not trusted$/);
  await ask(running, TWO, TWO_CA);
  await running.server.reloadTls(ONE);
  assertMatch(await refusal(running, CLIENT), /not trusted$/);
  await ask(running, TWO);
  await old.request("?");
});

Deno.test("reloadTls refuses authorities where clients are asked for nothing", async () => {
  await using running = serveInfo({});
  const error = await assertRejects(
    () => running.server.reloadTls({ ...TWO, clientCa: TWO_CA }),
    OptionError,
  );
  assertEquals(error.option, "clientCa");
  assertEquals(running.server.tls?.failedReloads, 1);
  await ask(running);
});

Deno.test("reloadTls shows what was asked for last, whatever is read when", async () => {
  await using running = serveInfo({});
  const slow = Promise.withResolvers<typeof ONE>();
  const broken = Promise.withResolvers<typeof ONE>();
  const reloads = [
    running.server.reloadTls(slow.promise),
    running.server.reloadTls(broken.promise),
    running.server.reloadTls(TWO),
  ];
  assertEquals(await reloads[2], true);
  slow.resolve(ONE);
  broken.reject(new Error("gone"));
  assertEquals(await Promise.all(reloads), [false, false, true]);
  await ask(running, {}, TWO_CA);
  const gone = () =>
    running.server.reloadTls(Promise.reject(new Error("gone")));
  await assertRejects(gone, Error, "gone");
  assertEquals(running.server.tls?.failedReloads, 1);
});

/** A runtime whose TLS does something else, for as long as a test says. */
async function withTls(
  replaced: (tls: typeof import("node:tls")) => object,
  fn: () => Promise<void>,
): Promise<void> {
  const tls = process.getBuiltinModule("node:tls");
  const { TLSSocket, createSecureContext } = tls;
  Object.assign(tls, replaced({ ...tls }));
  try {
    await fn();
  } finally {
    Object.assign(tls, { TLSSocket, createSecureContext });
  }
}

/** Options that a runtime may ignore, and how one does. */
const unheeded: [
  name: string,
  options: ServeOptions,
  option: string,
  replaced: Parameters<typeof withTls>[0],
][] = [
  [
    "the least version",
    { tlsMinVersion: "1.3" },
    "tlsMinVersion",
    ({ createSecureContext }) => ({
      createSecureContext: (options: object) =>
        createSecureContext({ ...options, minVersion: "TLSv1.2" }),
    }),
  ],
  [
    "protocols",
    { alpnProtocols: ["one", "two"] },
    "alpnProtocols",
    engineWith(() => ({ ALPNProtocols: undefined })),
  ],
  [
    "that clients are to be asked",
    { clientCa: CLIENT_CA },
    "clientAuth",
    engineWith(({ secureContext }) => ({
      requestCert: false,
      secureContext: { context: { ...secureContext!.context, ca: undefined } },
    })),
  ],
  [
    "the certificate, and shows another",
    {},
    "cert",
    ({ createSecureContext }) => ({
      createSecureContext: (options: object) =>
        createSecureContext({ ...options, ...TWO }),
    }),
  ],
  [
    "those that vouch for the certificate",
    { cert: ONE.cert + ONE_CA },
    "cert",
    ({ createSecureContext }) => ({
      createSecureContext: (options: object) =>
        createSecureContext({ ...options, ...ONE }),
    }),
  ],
];

function engineWith(
  force: (options: TLSSocketOptions) => TLSSocketOptions,
): Parameters<typeof withTls>[0] {
  return ({ TLSSocket }) => ({
    TLSSocket: class extends TLSSocket {
      constructor(
        ...[socket, options]: ConstructorParameters<typeof TLSSocket>
      ) {
        super(socket, { ...options, ...force(options!) });
      }
    },
  });
}

for (const [name, options, option, replaced] of unheeded) {
  Deno.test(`serve ends, with nobody accepted, where the runtime ignores ${name}`, async () => {
    await withTls(replaced, async () => {
      const { server, events } = serveInfo(options);
      const error = await assertRejects(() => server.shutdown(), OptionError);
      assertEquals(error.option, option);
      assertMatch(error.message, /a runtime that heeds it, not 2\.\d+\.\d+$/);
      assertEquals(events.of("finished").length, 1);
    });
    await using running = serveInfo(options);
    // All is well without that.
    const { port } = running.addr as Deno.NetAddr;
    await using _ = await connect({ port, tls: { caCerts: [ONE_CA] } });
  });
}

Deno.test("reloadTls keeps what it has where no handshake works with the new", async () => {
  await using running = serveInfo({});
  await ask(running);
  await withTls(unheeded[3][3], async () => {
    // It would show the certificate of TWO.
    await assertRejects(() => running.server.reloadTls(RSA), OptionError);
  });
  await withTls(({ createSecureContext }) => ({
    createSecureContext: (options: object) =>
      createSecureContext({ ...options, key: TWO.key }),
  }), async () => {
    await assertRejects(
      () => running.server.reloadTls(ONE),
      TlsError,
      "Cannot shake hands in memory: ",
    );
  });
  await ask(running);
  assertEquals(running.server.tls, {
    subject: "CN=localhost",
    notAfter: Date.parse("2126-10-29T21:58:23Z"),
    failedReloads: 2,
  });
});

// A resumed session brings its certificate with it, unchecked.

/** Connects by openssl; gives what it says of the session, and the reply. */
async function session(
  { addr }: { addr: Deno.Addr },
  ...args: string[]
): Promise<{ reused: boolean; reply: string | undefined }> {
  const { port } = addr as Deno.NetAddr;
  const { stdout } = await runCommand([
    ..."openssl s_client -ign_eof -connect".split(" "),
    ...[`127.0.0.1:${port}`, ...args],
  ], { stdin: "QUIT\n" });
  return {
    reused: /^Reused, /m.test(stdout),
    reply: /(ERR denied: .*|BYE)$/m.exec(stdout)?.[1],
  };
}

for (const version of ["-tls1_2", "-tls1_3"]) {
  testWithTools(
    `serve takes no certificate from a session that was refused (${version})`,
    ["openssl"],
    async () => {
      const folder = await Deno.makeTempDir();
      try {
        const file = (name: string) => `${folder}/${name}`;
        for (const [name, { cert, key }] of Object.entries({ CLIENT, TWO })) {
          await Deno.writeTextFile(file(name), key + cert);
        }
        await using running = serveTest(commands, {
          ...ONE,
          clientCa: CLIENT_CA,
        });
        const shows = (name: string, ...args: string[]) =>
          session(
            running,
            ...[version, "-cert", file(name), "-cert_chain", file(name)],
            ...args,
          );
        const out = ["-sess_out", file("session")];
        const again = ["-sess_in", file("session")];
        const old =
          "ERR denied: client certificate from an old session: try again";
        assertEquals(await shows("TWO", ...out), {
          reused: false,
          reply: "ERR denied: client certificate not trusted",
        });
        assertEquals(await shows("TWO", ...again), {
          reused: true,
          reply: old,
        });
        assertEquals((await shows("CLIENT", ...out)).reply, "BYE");
        // Its certificate is in the session.
        const resumed = { reused: true, reply: "BYE" };
        assertEquals(await session(running, version, ...again), resumed);
        await running.server.reloadTls(ONE);
        assertEquals(await session(running, version, ...again), resumed);
        await running.server.reloadTls({ ...ONE, clientCa: TWO_CA });
        const late = await session(running, version, ...again);
        assertEquals(late, { reused: true, reply: old });
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    },
  );
}
