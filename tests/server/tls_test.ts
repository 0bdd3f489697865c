/**
 * TLS, by the library: what the server and the client say to each other, to
 * those who do not speak it, and while the certificate changes.
 *
 * @module
 */

import {
  connect,
  ConnectError,
  ConnectionLostError,
  type ConnectOptions,
  echo,
  framingNames,
  OptionError,
  ParleyError,
  type ServeOptions,
  TimeoutError,
  TlsError,
} from "../../lib/mod.ts";
import { reasonOf } from "../../lib/client/dial.ts";
import { startServer } from "../../lib/server/serve.ts";
import {
  CLIENT,
  CLIENT_CA,
  ENCRYPTED_KEY,
  EXPIRED,
  HOSTILE,
  ONE,
  ONE_CA,
  TWO,
  TWO_CA,
} from "../support/certificates.ts";
import {
  bytes,
  FakeClock,
  Peer,
  RudePeer,
  serveTest,
  settle,
  text,
  turnOfLoop,
} from "../support/fixtures.ts";
import {
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertThrows,
} from "../support/std.ts";

/** How a client that trusts an authority connects to a server under test. */
function options(
  { addr }: { addr: Deno.Addr },
  ...caCerts: string[]
): ConnectOptions {
  const { port } = addr as Deno.NetAddr;
  return { port, tls: { caCerts } };
}

/** A peer that speaks TLS, of the runtime's own making. */
async function secure(
  { addr }: { addr: Deno.Addr },
  { first = "", ca = ONE_CA } = {},
): Promise<Deno.TlsConn> {
  const { port } = addr as Deno.NetAddr;
  const conn = await Deno.connect({ hostname: "127.0.0.1", port });
  if (first !== "") await conn.write(bytes(first));
  const secured = await Deno.startTls(conn, { caCerts: [ca] });
  await secured.handshake();
  return secured;
}

/** Passes on what one side sends, until either is gone. */
async function relay(from: Deno.Conn, to: Deno.Conn): Promise<void> {
  const space = new Uint8Array(65_536);
  try {
    for (let n; (n = await from.read(space)) !== null;) {
      for (let sent = 0; sent < n;) {
        sent += await to.write(space.subarray(sent, n));
      }
    }
    await to.closeWrite();
  } catch {
    // It is closed.
  }
}

/** Reads to the end, which must be one that TLS says. */
async function rest(conn: Deno.Conn): Promise<string> {
  const space = new Uint8Array(65_536);
  let all = "";
  let n;
  while ((n = await conn.read(space)) !== null) {
    all += text(space.subarray(0, n));
  }
  return all;
}

/** Waits until the server holds so many bytes of plain text. */
async function received(
  { server }: { server: { received: number } },
  count: number,
): Promise<void> {
  while (server.received < count) await turnOfLoop();
}

for (const framing of framingNames) {
  Deno.test(`serve and connect speak TLS (${framing})`, async () => {
    await using running = serveTest(echo, { ...ONE, framing });
    await using client = await connect({
      ...options(running, ONE_CA),
      framing,
    });
    // In one batch; in many records; and after that.
    const requests = ["a", "b", "x".repeat(60_000), "", "y".repeat(65_536)];
    const replies = await Promise.all(
      requests.map((request) => client.request(request)),
    );
    assertEquals(replies.map(text), requests);
  });
}

Deno.test("serve sends a reply over TLS that has no room in a batch", async () => {
  const size = 1_000_003;
  await using running = serveTest(() => new Uint8Array(size).fill(65), ONE);
  await using client = await connect(options(running, ONE_CA));
  for (const _ of [1, 2, 3]) {
    assertEquals((await client.request("?")).length, size);
  }
});

for (
  const [name, given, option] of [
    ["a cert without its key", { cert: ONE.cert }, "key"],
    ["a key without its cert", { key: ONE.key }, "cert"],
    ["the key of another cert", { cert: ONE.cert, key: TWO.key }, "key"],
    ["the two mixed up", { cert: ONE.key, key: ONE.cert }, "cert"],
    ["an encrypted key", { cert: ONE.cert, key: ENCRYPTED_KEY }, "key"],
    ["a cert that is no PEM", { cert: "cert.pem", key: ONE.key }, "cert"],
    [
      "a broken cert behind a good one",
      { cert: `${ONE.cert}${ONE.cert.replace("\nM", "\nN")}`, key: ONE.key },
      "cert",
    ],
    ["a key that is no PEM", { cert: ONE.cert, key: "" }, "key"],
  ] satisfies [string, ServeOptions, string][]
) {
  Deno.test(`serve refuses ${name}, with nothing bound`, () => {
    const listen = () => {
      throw new Error("It is bound");
    };
    const error = assertThrows(
      () => startServer(given, echo, { listen }),
      OptionError,
    );
    assertEquals(error.option, option);
    // One line, and nothing of a key.
    assertMatch(error.message, /^Cannot use (cert|key) .{1,180}$/);
    assertEquals(error.message.includes(ONE.key.slice(30, 60)), false);
  });
}

Deno.test("serve gives a server that can be logged without its key", async () => {
  await using running = serveTest(echo, ONE);
  const { server } = running;
  const shown = Deno.inspect(server, { depth: 9 }) + JSON.stringify(server);
  assertMatch(shown, /maxFrame/);
  assertEquals(shown.includes("PRIVATE KEY"), false);
});

Deno.test("connect says since when a certificate is no good, and what helps", async () => {
  await using running = serveTest(echo, EXPIRED);
  const error = await assertRejects(
    () => connect(options(running, CLIENT_CA)),
    ConnectError,
  );
  assertMatch(
    error.message,
    /not trusted: it expired on 2021-01-01, and it is 2\d{3}-\d\d-\d\d here: the server needs a new one$/,
  );
  // In the words of rustls, for there is no such certificate to be had.
  const early = "invalid peer certificate: certificate not valid yet: " +
    "verification time 1795666441 (UNIX), but certificate is not valid before " +
    "2524608000 (728941559 seconds in future)";
  assertEquals(
    reasonOf(new Error(early)),
    "the server's certificate is not trusted: it is valid from 2050-01-01 on, " +
      "and it is 2026-11-26 here: is the clock right?",
  );
  const nameless = 'certificate not valid for name "a"; certificate is only ' +
    "valid for Unsupported(0x01)";
  assertEquals(
    reasonOf(new Error(`invalid peer certificate: ${nameless}`)),
    "the server's certificate is not trusted: it is for no name, and not for " +
      '"a" (option tls.serverName expects another)',
  );
});

Deno.test("connect takes any certificate with insecure, and shows its own", async () => {
  const tls = { insecure: true };
  for (const pair of [EXPIRED, TWO, HOSTILE]) {
    await using running = serveTest(echo, pair);
    const { port } = running.addr as Deno.NetAddr;
    await using client = await connect({ hostname: "127.0.0.1", port, tls });
    const large = "x".repeat(60_000);
    const replies = ["a", large, "b"].map((one) => client.request(one));
    const texts = (await Promise.all(replies)).map(text);
    assertEquals(texts, ["a", large, "b"]);
  }
  await using asking = serveTest(
    (_, { tls }) => `${tls?.alpn} ${tls?.peer?.subject}`,
    {
      ...ONE,
      clientCa: CLIENT_CA,
      clientAuth: "require",
      alpnProtocols: ["x"],
    },
  );
  const { port } = asking.addr as Deno.NetAddr;
  await using known = await connect({
    ...{ hostname: "127.0.0.1", port },
    tls: { ...tls, ...CLIENT, alpnProtocols: ["x"] },
  });
  assertEquals(text(await known.request("who")), "x CN=ann,O=Example");
  await using plain = serveTest(echo);
  const place = plain.addr as Deno.NetAddr;
  await assertRejects(() => connect({ ...place, tls }), ConnectError);
  await assertRejects(
    () => connect({ ...place, tls: { ...tls, caCerts: [ONE_CA] } }),
    OptionError,
    "Cannot use insecure true: expected no caCerts beside it",
  );
});

Deno.test("connect checks the server's certificate", async () => {
  await using running = serveTest(echo, ONE);
  const good = options(running, ONE_CA);
  const refused = async (tls: ConnectOptions["tls"], reason: RegExp) => {
    const error = await assertRejects(
      () => connect({ ...good, tls }),
      ConnectError,
    );
    assertMatch(error.message, reason);
  };
  const nobody =
    /not trusted: no trusted authority vouches for it \(option tls\.caCerts trusts one\)$/;
  await refused(true, nobody);
  await refused({ caCerts: [TWO_CA] }, nobody);
  await refused(
    { caCerts: [ONE_CA], serverName: "two.test" },
    /not trusted: it is for "localhost", "one.test", 127.0.0.1, and not for "two.test" \(option tls\.serverName expects another\)$/,
  );
  for (const serverName of ["one.test", "localhost", "127.0.0.1"]) {
    await using client = await connect({
      ...good,
      tls: { caCerts: [TWO_CA, ONE_CA], serverName },
    });
    assertEquals(text(await client.request("x")), "x");
  }
  await running.events.next("connection_rejected", 3);
  const reasons = running.events.of("connection_rejected")
    .map(({ reason }) => reason);
  assertEquals(reasons, ["tls_error", "tls_error", "tls_error"]);
});

Deno.test({
  name: "connect checks the certificate for the host, unless told for whom",
  // Elsewhere the loopback has one address.
  ignore: Deno.build.os !== "linux",
  async fn() {
    // The certificate is for 127.0.0.1, which is the runtime's default.
    const hostname = "127.0.0.2";
    await using running = serveTest(echo, { ...ONE, hostname });
    const { port } = running.addr as Deno.NetAddr;
    for (const serverName of [undefined, hostname]) {
      await assertRejects(
        () =>
          connect({ hostname, port, tls: { caCerts: [ONE_CA], serverName } }),
        ConnectError,
        'and not for "127.0.0.2"',
      );
    }
  },
});

Deno.test("connect refuses tls options that it cannot use", async () => {
  for (
    const [tls, option] of [
      [{ caCerts: ["ca.pem"] }, "caCerts"],
      [{ caCerts: [ONE_CA, ONE.key] }, "caCerts"],
      [{ serverName: "" }, "serverName"],
      ["yes" as unknown as true, "tls"],
    ] satisfies [ConnectOptions["tls"], string][]
  ) {
    const error = await assertRejects(() => connect({ tls }), OptionError);
    assertEquals(error.option, option);
  }
});

Deno.test("connect gives up a handshake that takes too long", async () => {
  using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = silent.addr;
  const accepted = silent.accept();
  const error = await assertRejects(
    () => connect({ port, tls: true, timeout: 50 }),
    TimeoutError,
  );
  assertMatch(error.message, /no TLS handshake within 50 ms$/);
  (await accepted).close();

  const controller = new AbortController();
  const again = silent.accept();
  const connecting = connect({ port, tls: true, signal: controller.signal });
  using conn = await again;
  // The client's part of the handshake is here, so it waits for ours.
  await conn.read(new Uint8Array(16));
  controller.abort(new Error("enough"));
  await assertRejects(() => connecting, Error, "enough");
});

Deno.test("serve turns away who speaks no TLS, and serves the others", async () => {
  await using running = serveTest(echo, ONE);
  // They are in front, and stay until the end.
  using silent = await Peer.to(running);
  using slow = await Peer.to(running);
  await slow.send("\x16\x03\x01");
  using plain = await Peer.to(running);
  await plain.send("PING\n");
  assertEquals(bytes(await plain.rest())[0], 0x15);
  const { reason, error } = await running.events.next("connection_rejected");
  assertEquals(reason, "tls_error");
  assertInstanceOf(error, TlsError);
  assertMatch(error.message, /first byte 0x50/);

  await using client = await connect(options(running, ONE_CA));
  assertEquals(text(await client.request("x")), "x");
  assertEquals(running.events.of("accept_error"), []);
  assertEquals(running.server.connectionsTotal, 1);
  await silent.finish();
  await slow.finish();
  await running.events.next("connection_rejected", 2);
  assertEquals(
    running.events.of("connection_rejected").map(({ error }) => String(error)),
    [
      "TlsError: expected a handshake, got first byte 0x50",
      "TlsError: peer closed after 3 bytes of a handshake",
    ],
  );
  // Who has said nothing has done nothing wrong.
  assertEquals((await running.events.closed()).reason, "peer_closed");
});

Deno.test("serve gives bytes that are no handshake no place", async () => {
  await using running = serveTest(echo, ONE);
  using peer = await Peer.to(running);
  await peer.send(
    new Uint8Array([0x16, 3, 1, 0, 8, 1, 0, 0, 4, 1, 2, 3, 4]),
  );
  assertEquals(bytes(await peer.rest())[0], 0x15);
  const { error } = await running.events.next("connection_rejected");
  assertInstanceOf(error, TlsError);
});

Deno.test("serve outlives a broken handshake in one segment with the PROXY header", async () => {
  await using running = serveTest(echo, {
    ...ONE,
    proxyProtocol: "v1",
    proxyTrust: "127.0.0.1",
  });
  for (const hello of [[0, 8, 1, 0, 0, 4, 1, 2, 3, 4], [255, 255]]) {
    using peer = await Peer.to(running);
    await peer.send(
      new Uint8Array([...bytes("PROXY UNKNOWN\r\n\x16\x03\x01"), ...hello]),
    );
    assertEquals(bytes(await peer.rest())[0], 0x15);
  }
  await running.events.next("connection_rejected", 2);
  for (const { error } of running.events.of("connection_rejected")) {
    assertInstanceOf(error, TlsError);
  }
});

for (const framing of ["line", "length", "netstring"] as const) {
  Deno.test(`connect says that a server speaks TLS (${framing})`, async () => {
    await using running = serveTest(echo, { ...ONE, framing });
    const { port } = running.addr as Deno.NetAddr;
    await using client = await connect({ port, framing });
    const error = await assertRejects(
      () => client.request("PING"),
      ConnectionLostError,
    );
    assertMatch(error.message, /it speaks TLS, and this client does not/);
  });

  Deno.test(`connect says that a server speaks no TLS (${framing})`, async () => {
    await using running = serveTest(echo, { framing });
    const error = await assertRejects(
      () => connect(options(running, ONE_CA)),
      ConnectError,
    );
    assertMatch(error.message, /the server does not speak TLS on this port$/);
    assertEquals((await running.events.closed()).reason, "frame_error");
  });
}

Deno.test("serve gives a handshake ten seconds", async () => {
  const clock = new FakeClock();
  await using running = serveTest(echo, ONE, { clock });
  using silent = await Peer.to(running);
  using dribbling = await Peer.to(running);
  // Both have to be accepted before time goes by.
  (await secure(running)).close();
  await running.events.closed();
  for (const byte of [0x16, 3, 1, 0, 200, 1, 0, 0, 196]) {
    clock.advance(1000);
    await dribbling.send(new Uint8Array([byte]));
    await turnOfLoop();
  }
  assertEquals(running.events.of("connection_rejected"), []);
  clock.advance(3500);
  await running.events.next("connection_rejected", 2);
  for (const { reason, error } of running.events.of("connection_rejected")) {
    assertEquals(reason, "tls_error");
    assertInstanceOf(error, TimeoutError);
  }
  assertEquals(await silent.rest(), "");
  assertEquals(await dribbling.rest(), "");
});

Deno.test("serve names what resets end, before and after the handshake", async () => {
  await using running = serveTest(echo, ONE);
  const rude = await RudePeer.to(running);
  await rude.send("\x16\x03\x01");
  await rude.reset();
  const { reason } = await running.events.next("connection_rejected");
  assertEquals(reason, "tls_error");

  using between = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const dialing = secure({ addr: between.addr });
  using near = await between.accept();
  const far = await RudePeer.to(running);
  const there = far.relay(near);
  const client = await dialing;
  await client.write(bytes("x\n"));
  assertEquals(await client.read(new Uint8Array(9)), 2);
  await far.reset();
  assertEquals((await running.events.closed()).reason, "peer_reset");
  client.close();
  await there;
});

Deno.test("serve answers a TLS client that has finished sending", async () => {
  const held = Promise.withResolvers<string>();
  await using running = serveTest(() => held.promise, ONE);
  using client = await secure(running);
  await client.write(bytes("one\n"));
  await client.closeWrite();
  await received(running, 4);
  held.resolve("late");
  // An end that TLS does not say would throw.
  assertEquals(await rest(client), "late\n");
  assertEquals((await running.events.closed()).reason, "peer_closed");
});

Deno.test("serve takes an end without the alert for an end", async () => {
  await using running = serveTest(echo, ONE);
  using between = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const dialing = secure({ addr: between.addr });
  const near = await between.accept();
  const far = (await Peer.to(running)).conn;
  const relays = [relay(far, near), relay(near, far)];
  const client = await dialing;
  await client.write(bytes("x\n"));
  assertEquals(await client.read(new Uint8Array(9)), 2);
  await far.closeWrite();
  assertEquals(await rest(client), "");
  assertEquals((await running.events.closed()).reason, "peer_closed");
  for (const conn of [client, near, far]) conn.close();
  await Promise.all(relays);
});

Deno.test("shutdown sends TLS clients whole replies, and the end", async () => {
  const held = Promise.withResolvers<string>();
  const size = 500_000;
  await using running = serveTest(() => held.promise, ONE);
  using busy = await secure(running);
  using idle = await secure(running);
  await busy.write(bytes("one\n"));
  await received(running, 4);
  const finished = running.server.shutdown();
  await running.events.next("drain");
  held.resolve("x".repeat(size));
  assertEquals((await rest(busy)).length, size + 1);
  assertEquals(await rest(idle), "");
  await Promise.all([busy.closeWrite(), idle.closeWrite()]);
  await finished;
  assertEquals(running.events.reasons.sort(), ["shutdown", "shutdown"]);
  assertEquals(running.events.of("finished")[0].forced, 0);
});

Deno.test("info.close sends a TLS client the reply, and the end", async () => {
  await using running = serveTest((_, info) => {
    info.close();
    return "bye";
  }, ONE);
  using client = await secure(running);
  await client.write(bytes("x\n"));
  assertEquals(await rest(client), "bye\n");
  await client.closeWrite();
  assertEquals((await running.events.closed()).reason, "handler_closed");
});

Deno.test("serve closes TLS clients that have no place, without a word", async () => {
  await using denying = serveTest(echo, { ...ONE, deny: "127.0.0.0/8" });
  using denied = await Peer.to(denying);
  assertEquals(await denied.rest(), "");
  const { reason } = await denying.events.next("connection_rejected");
  assertEquals(reason, "denied");
  await using full = serveTest(echo, { ...ONE, maxConnections: 1 });
  using served = await secure(full);
  await assertRejects(
    () => connect(options(full, ONE_CA)),
    ConnectError,
    "closed during the handshake (denied, or not TLS?)",
  );
  await served.write(bytes("x\n"));
  assertEquals(await served.read(new Uint8Array(9)), 2);
});

Deno.test("serve reads a PROXY header in front of TLS", async () => {
  await using running = serveTest(
    (_, info) => JSON.stringify(info.remoteAddr),
    {
      ...ONE,
      proxyProtocol: "v1",
      proxyTrust: "127.0.0.1",
    },
  );
  using client = await secure(running, {
    first: "PROXY TCP4 192.0.2.7 192.0.2.1 5000 443\r\n",
  });
  await client.write(bytes("x\n"));
  await client.closeWrite();
  assertMatch(await rest(client), /"192.0.2.7"/);
});

Deno.test("serve takes a handshake that comes with the PROXY header", async () => {
  await using running = serveTest(echo, {
    ...ONE,
    proxyProtocol: "v1",
    proxyTrust: "127.0.0.1",
  });
  using between = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const dialing = secure({ addr: between.addr });
  const near = await between.accept();
  const hello = new Uint8Array(65_536);
  const n = await near.read(hello) as number;
  const peer = await Peer.to(running);
  // In one segment with the header.
  await peer.send(
    new Uint8Array([...bytes("PROXY UNKNOWN\r\n"), ...hello.subarray(0, n)]),
  );
  const relays = [relay(peer.conn, near), relay(near, peer.conn)];
  const client = await dialing;
  await client.write(bytes("x\n"));
  await client.closeWrite();
  assertEquals(await rest(client), "x\n");
  for (const conn of [client, near, peer.conn]) conn.close();
  await Promise.all(relays);
});

Deno.test("serve reads no more from a TLS client that takes no replies", async () => {
  const clock = new FakeClock();
  const size = 64 * 1024;
  await using running = serveTest(() => new Uint8Array(size).fill(65), {
    ...ONE,
    writeTimeout: 1000,
  }, { clock });
  using client = await secure(running);
  // Replies to these are more than all the buffers on the way can hold.
  const requests = bytes("x\n".repeat(2000));
  const sending = client.write(requests);
  let sent = -1;
  while (running.server.sent === 0 || sent !== running.server.sent) {
    sent = running.server.sent;
    for (let turn = 0; turn < 20; turn++) await turnOfLoop();
  }
  assertEquals(sent < 2000 * size, true);
  clock.advance(999);
  await settle();
  assertEquals(running.events.reasons, []);
  clock.advance(500);
  assertEquals((await running.events.closed()).reason, "write_timeout");
  await sending;
});

Deno.test("reloadTls shows another certificate, and keeps the open connections", async () => {
  await using running = serveTest(echo, ONE);
  await using old = await connect(options(running, ONE_CA));
  assertEquals(text(await old.request("1")), "1");
  assertEquals(await running.server.reloadTls(TWO), true);
  await assertRejects(() => connect(options(running, ONE_CA)), ConnectError);
  await using fresh = await connect(options(running, TWO_CA));
  assertEquals(text(await fresh.request("2")), "2");
  assertEquals(text(await old.request("3")), "3");
});

Deno.test("reloadTls that fails changes nothing", async () => {
  await using running = serveTest(echo, ONE);
  for (
    const pair of [
      { cert: TWO.cert, key: ONE.key },
      { cert: "", key: TWO.key },
      { cert: TWO.cert, key: undefined as unknown as string },
    ]
  ) await assertRejects(() => running.server.reloadTls(pair), OptionError);
  await using client = await connect(options(running, ONE_CA));
  assertEquals(text(await client.request("x")), "x");
});

Deno.test("reloadTls needs a server that speaks TLS", async () => {
  await using running = serveTest(echo);
  const error = await assertRejects(
    () => running.server.reloadTls(ONE),
    ParleyError,
  );
  assertMatch(error.message, /started without cert and key$/);
});

Deno.test("reloadTls under load fails nobody", async () => {
  await using running = serveTest(echo, ONE);
  const pairs = [TWO, ONE];
  let made = 0;
  let reloads = 0;
  const storm = Array.from({ length: 16 }, async () => {
    for (let i = 0; i < 30; i++) {
      await using client = await connect(options(running, ONE_CA, TWO_CA));
      assertEquals(text(await client.request("x")), "x");
      // In the middle of the others' handshakes.
      if (++made % 8 === 0) void running.server.reloadTls(pairs[reloads++ % 2]);
    }
  });
  await Promise.all(storm);
  assertEquals([made, reloads], [480, 60]);
  await running.server.reloadTls(TWO);
  await using last = await connect(options(running, TWO_CA));
  assertEquals(text(await last.request("x")), "x");
  assertEquals(running.events.of("connection_rejected"), []);
  assertEquals(running.events.of("accept_error"), []);
});
