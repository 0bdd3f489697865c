// TLS that begins in the middle of a connection.

import {
  type ConnectionTask,
  type ParleyConnection,
  TlsError,
} from "../../lib/mod.ts";
import { ONE, ONE_CA, TWO_CA } from "../support/certificates.ts";
import {
  bytes,
  Peer,
  RudePeer,
  serveTest,
  text,
  turnOfLoop,
} from "../support/fixtures.ts";
import { InMemory, turns } from "../support/in_memory.ts";
import { Lines, testWithTools } from "../support/programs.ts";
import {
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
} from "../support/std.ts";

const options = { ...ONE, startTls: true };

/** What SMTP says before TLS; behind it an echo, and a word at its end. */
const task: ConnectionTask = async (connection) => {
  await connection.send("220 ready");
  for await (const frame of connection) {
    const line = text(frame);
    if (connection.tls !== undefined) await connection.send(frame);
    else if (line.startsWith("EHLO")) await connection.send("250 STARTTLS");
    else if (line === "STARTTLS") {
      await connection.send("220 go ahead");
      await connection.startTls();
    } else await connection.send("530 STARTTLS first");
  }
  await connection.send("bye");
};

const PLAIN = "220 ready\n220 go ahead\n";

/** Begins TLS on a plain connection. */
async function secure({ conn }: Peer, ca = ONE_CA): Promise<Peer> {
  const secured = await Deno.startTls(conn as Deno.TcpConn, {
    hostname: "localhost",
    caCerts: [ca],
  });
  try {
    await secured.handshake();
    return new Peer(secured);
  } catch (error) {
    secured.close();
    throw error;
  }
}

Deno.test("a task begins TLS, and goes on reading and sending", async () => {
  const seen: (string | undefined)[] = [];
  await using running = serveTest({
    task: async (connection) => {
      seen.push(connection.tls?.version);
      await task(connection);
      seen.push(connection.tls?.version);
    },
  }, options);
  using peer = await Peer.to(running);
  assertEquals(await peer.receive(10), "220 ready\n");
  assertEquals(
    await peer.ask("hello\n", "530 STARTTLS first\n"),
    "530 STARTTLS first\n",
  );
  assertEquals(
    await peer.ask("STARTTLS\n", "220 go ahead\n"),
    "220 go ahead\n",
  );
  using secret = await secure(peer);
  assertEquals(
    await secret.ask("a\nSTARTTLS\n", "a\nSTARTTLS\n"),
    "a\nSTARTTLS\n",
  );
  const large = `${"x".repeat(65_000)}\n`.repeat(20);
  const [received] = await Promise.all([
    secret.receive(large.length),
    secret.send(large),
  ]);
  assertEquals(received === large, true);
  await secret.finish();
  assertEquals(await secret.rest(), "bye\n");
  const { reason, requests } = await running.events.closed();
  assertEquals([reason, requests], ["peer_closed", 24]);
  assertEquals(seen, [undefined, "TLSv1.3"]);
});

testWithTools("a task begins TLS with openssl", ["openssl"], async () => {
  await using running = serveTest({ task }, options);
  const { port } = running.addr as Deno.NetAddr;
  const child = new Deno.Command("openssl", {
    args: [
      ...["s_client", "-connect", `127.0.0.1:${port}`, "-starttls", "smtp"],
      ...["-quiet", "-no_tls1_3"],
    ],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const lines = new Lines(child.stdout);
  const writer = child.stdin.getWriter();
  await writer.write(bytes("hello\n"));
  assertEquals(await lines.until(/hello/), "hello");
  await running.server.shutdown();
  assertEquals(await lines.next(), "bye");
  await writer.close();
  await child.status;
  await lines.cancel();
  assertEquals(running.events.reasons, ["shutdown"]);
});

Deno.test("a client may begin its handshake with the line that asks for it", async () => {
  for (let i = 0; i < 10; i++) {
    await using running = serveTest({
      task: async (connection) => {
        await connection.read();
        // So the server has the handshake's first bytes before it is ready.
        if (i % 2 === 1) await running.events.next("request");
        await connection.startTls();
        for await (const frame of connection) await connection.send(frame);
      },
    }, options);
    using peer = await Peer.to(running);
    await peer.send("STARTTLS\n");
    using secret = await secure(peer);
    assertEquals(await secret.ask("a\n", "a\n"), "a\n");
  }
});

for (const when of ["in the same segment", "before the handshake"]) {
  Deno.test(`plain text ${when} breaks the handshake`, async () => {
    const errors: unknown[] = [];
    await using running = serveTest({
      task: async (connection) => {
        const begin = connection.startTls.bind(connection);
        connection.startTls = () =>
          begin().catch((error) => {
            errors.push(error);
            throw error;
          });
        await task(connection);
      },
    }, options);
    using peer = await Peer.to(running);
    if (when === "in the same segment") {
      await peer.send("STARTTLS\nMAIL FROM:<eve>\n");
    } else {
      await peer.ask("STARTTLS\n", PLAIN);
      await peer.send("MAIL FROM:<eve>\n");
    }
    const rest = await peer.rest();
    // All that follows is an alert: handshake_failure.
    const alert = "\x15\x03\x03\x00\x02\x02\x28";
    assertEquals(rest.replace(PLAIN, ""), alert);
    const { reason, error, requests } = await running.events.closed();
    assertEquals([reason, requests], ["error", 1]);
    assertEquals(errors, [error]);
    assertInstanceOf(error, TlsError);
    assertMatch(error.message, /^expected a handshake, got first byte 0x4d$/);
    // It is the peer's fault, and no failure of the task.
    assertEquals(running.events.of("handler_error"), []);
  });
}

Deno.test("a task goes on without TLS only by its own choice", async () => {
  const seen: unknown[] = [];
  await using running = serveTest({
    task: async (connection) => {
      await connection.read();
      await connection.startTls().catch((error) => seen.push(error));
      seen.push(connection.tls);
      await connection.read().catch((error) => seen.push(error));
    },
  }, options);
  using peer = await Peer.to(running);
  await peer.send("STARTTLS\nplain\n");
  await peer.rest();
  await running.events.closed();
  // What was said too early is not given to it either.
  assertInstanceOf(seen[0], TlsError);
  assertEquals(seen[1], undefined);
  assertEquals(seen.length, 3);
  assertInstanceOf(seen[2], Error);
});

Deno.test("a client that trusts no such certificate ends the handshake", async () => {
  await using running = serveTest({ task }, options);
  using peer = await Peer.to(running);
  await peer.ask("STARTTLS\n", PLAIN);
  await assertRejects(() => secure(peer, TWO_CA), Error, "UnknownIssuer");
  const { reason, error } = await running.events.closed();
  assertEquals(reason, "error");
  assertInstanceOf(error, TlsError);
  assertEquals(running.events.of("handler_error"), []);
});

Deno.test("a client that ends in the handshake is no failure of the task", async () => {
  await using running = serveTest({ task }, options);
  using peer = await Peer.to(running);
  await peer.ask("STARTTLS\n", PLAIN);
  await peer.finish();
  await peer.rest();
  const { error } = await running.events.closed();
  assertMatch(String(error), /peer closed after 0 bytes of a handshake/);
  assertEquals(running.events.of("handler_error"), []);
});

Deno.test("a client that says nothing ends after the limit of handshakes", async () => {
  await using running = new InMemory({ task }, options);
  const transport = await running.connect();
  transport.push("STARTTLS\n");
  await turns();
  assertEquals(transport.text, PLAIN);
  assertEquals(await running.states(), ["handshaking"]);
  await running.pass(9_900);
  assertEquals(running.events.reasons, []);
  // One coarse timer serves all deadlines.
  await running.pass(2_600);
  const { reason, error } = await running.events.closed();
  assertEquals(reason, "error");
  assertMatch(
    String(error),
    /^TimeoutError: No TLS handshake within 10000 ms$/,
  );
  assertEquals(running.events.of("handler_error"), []);
  transport.end();
});

Deno.test("a client that begins TLS too early is told so", async () => {
  await using running = serveTest({ task }, options);
  const hello = bytes("\x16\x03\x01\x00\x40\x01\x00");
  const words =
    "ERR malformed frame: a TLS handshake, where a frame is expected";
  using peer = await Peer.to(running);
  await peer.send(hello);
  assertEquals(await peer.rest(), `220 ready\n${words}\n`);
  // Within TLS it is no better.
  await using within = serveTest((request) => request, ONE);
  const { port } = within.addr as Deno.NetAddr;
  const conn = await Deno.connectTls({ port, caCerts: [ONE_CA] });
  using secret = new Peer(conn);
  await secret.send(hello);
  assertEquals(await secret.rest(), `${words}\n`);
});

Deno.test("a client that is refused before TLS is told why", async () => {
  await using running = serveTest({ task }, { ...options, deny: "127.0.0.1" });
  using peer = await Peer.to(running);
  assertMatch(await peer.rest(), /^ERR denied: .*\n$/);
});

Deno.test("a drain lets a handshake finish, and the task say goodbye", async () => {
  const running = serveTest({ task }, options);
  using peer = await Peer.to(running);
  await peer.ask("STARTTLS\n", PLAIN);
  const finished = running.server.shutdown();
  await running.events.next("drain");
  using secret = await secure(peer);
  assertEquals(await secret.rest(), "bye\n");
  await finished;
  assertEquals(running.events.reasons, ["shutdown"]);
});

Deno.test("a drain forces a handshake that does not end", async () => {
  const running = serveTest({ task }, { ...options, drainTimeout: 50 });
  using peer = await Peer.to(running);
  await peer.ask("STARTTLS\n", PLAIN);
  await running.server.shutdown();
  assertEquals(running.events.reasons, ["forced"]);
  assertEquals(running.events.of("handler_error"), []);
  assertEquals(await peer.rest(), "");
});

Deno.test("a reset in the handshake is the end of the connection", async () => {
  const seen: unknown[] = [];
  let ended = 0;
  await using running = serveTest({
    task: async (connection) => {
      await connection.read();
      await connection.startTls().catch((error) => seen.push(error.name));
      await connection.send("a").catch((error) => seen.push(error.name));
      seen.push(connection.signal.aborted);
      ended++;
    },
  }, options);
  for (const first of ["", "\x16\x03\x01"]) {
    const peer = await RudePeer.to(running);
    await peer.send("STARTTLS\n");
    await peer.send(first);
    await running.events.next("request", first === "" ? 1 : 2);
    await peer.reset();
    await running.events.next("connection_close", first === "" ? 1 : 2);
  }
  while (ended < 2) await turnOfLoop();
  assertEquals(running.events.reasons, ["peer_reset", "peer_reset"]);
  const lost = "ConnectionLostError";
  assertEquals(seen, [lost, lost, true, lost, lost, true]);
  assertEquals(running.events.of("handler_error"), []);
});

Deno.test("startTls is refused where it cannot be", async () => {
  const errors: unknown[] = [];
  const begin = (connection: ParleyConnection) =>
    connection.startTls().catch((error) => errors.push(String(error)));
  await using without = serveTest({ task: begin as ConnectionTask }, ONE);
  {
    const { port } = without.addr as Deno.NetAddr;
    using conn = await Deno.connectTls({ port, caCerts: [ONE_CA] });
    await conn.handshake();
  }
  await without.events.closed();
  await using running = serveTest({
    task: async (connection) => {
      const reading = connection.read();
      await begin(connection);
      await reading;
      await connection.startTls();
      await begin(connection);
    },
  }, options);
  using peer = await Peer.to(running);
  await peer.send("STARTTLS\n");
  using secret = await secure(peer);
  assertEquals(await secret.rest(), "");
  const needs =
    "TypeError: Cannot start TLS: it needs the option startTls, once";
  const pending = "TypeError: Cannot start TLS: a read is pending";
  assertEquals(errors, [needs, pending, needs]);
});

Deno.test("nothing is read while TLS begins, and it begins once", async () => {
  const errors: unknown[] = [];
  const note = (error: unknown) => void errors.push(String(error));
  await using running = serveTest({
    task: async (connection) => {
      await connection.read();
      const begun = connection.startTls();
      await Promise.all([
        connection.startTls().catch(note),
        connection.read().catch(note),
      ]);
      await begun;
      for await (const frame of connection) await connection.send(frame);
    },
  }, options);
  using peer = await Peer.to(running);
  await peer.send("STARTTLS\n");
  using secret = await secure(peer);
  assertEquals(await secret.ask("a\n", "a\n"), "a\n");
  assertEquals(errors, [
    "TypeError: Cannot start TLS: it needs the option startTls, once",
    "TypeError: Cannot read: startTls() is pending",
  ]);
});
