import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
} from "../support/std.ts";

import { PipelinedClient } from "../../lib/client/pipelined_client.ts";
import { framingOf } from "../../lib/framing/mod.ts";
import {
  ClientClosedError,
  commands,
  connect,
  ConnectError,
  ConnectionLostError,
  type ConnectOptions,
  echo,
  EncodeError,
  FrameError,
  type FramingName,
  framingNames,
  OptionError,
  serve,
  TimeoutError,
} from "../../lib/mod.ts";
import {
  clientAndPeer,
  FakeClock,
  NOBODY,
  outcome,
  random,
  serveTest,
  settle,
  text,
  turnOfLoop,
} from "../support/fixtures.ts";

for (const framing of framingNames) {
  Deno.test(`connect pipelines over ${framing} framing`, async () => {
    await using running = serveTest(echo, { framing });
    const { port } = running.addr as Deno.NetAddr;
    await using client = await connect({ port, framing });
    const next = random(3);
    const requests = Array.from(
      { length: 500 },
      (_, i) => `${i} ${"x".repeat(next() * (i % 50 === 0 ? 65_000 : 50))}`,
    );
    const replies = await Promise.all(requests.map((r) => client.request(r)));
    assertEquals(replies.map(text), requests);
    assertEquals(client.pending, 0);
  });
}

Deno.test("request sends what is asked for in one turn in one write", async () => {
  const [client, peer] = await clientAndPeer();
  using _ = peer;
  const replies = Promise.all([client.request("a"), client.request("b")]);
  const chunk = new Uint8Array(100);
  assertEquals(await peer.conn.read(chunk), 4);
  await peer.send("A\nB\n");
  assertEquals((await replies).map(text), ["A", "B"]);
  client.close();
});

Deno.test("request gives a reply that is the caller's to keep", async () => {
  await using running = serveTest(echo);
  const { port } = running.addr as Deno.NetAddr;
  await using client = await connect({ port });
  const first = await client.request("first");
  await client.request("second, and longer");
  assertEquals(text(first), "first");
});

Deno.test("request aborts without mixing up the replies of others", async () => {
  const [client, peer] = await clientAndPeer();
  using _ = peer;
  const controller = new AbortController();
  const a = outcome(client.request("a"));
  const b = outcome(client.request("b", { signal: controller.signal }));
  const c = outcome(client.request("c"));
  assertEquals(await peer.receive(6), "a\nb\nc\n");
  controller.abort(new Error("enough"));
  assertEquals((await b as Error).message, "enough");
  await peer.send("A\nB\nC\n");
  assertEquals([await a, await c], ["A", "C"]);
  client.close();
});

Deno.test("request that is aborted before it is sent is never sent", async () => {
  const [client, peer] = await clientAndPeer();
  using _ = peer;
  const controller = new AbortController();
  const a = outcome(client.request("a"));
  const b = outcome(client.request("b", { signal: controller.signal }));
  controller.abort();
  assertEquals((await b as Error).name, "AbortError");
  const c = outcome(client.request("c"));
  assertEquals(await peer.receive(4), "a\nc\n");
  await peer.send("A\nC\n");
  assertEquals([await a, await c], ["A", "C"]);
  await assertRejects(
    () => client.request("d", { signal: AbortSignal.abort() }),
    DOMException,
  );
  client.close();
});

Deno.test("request that times out ends the connection, and says so to the others", async () => {
  const [client, peer, clock] = await clientAndPeer({ timeout: 1000 });
  using _ = peer;
  const a = outcome(client.request("a"));
  await peer.receive(2);
  clock.advance(999);
  await settle();
  assertEquals(client.pending, 1);
  const b = outcome(client.request("b"));
  assertEquals(await peer.receive(2), "b\n");
  clock.advance(251);
  const error = await a;
  assertInstanceOf(error, TimeoutError);
  assertEquals(error.message, "No reply within 1000 ms");
  const { port } = client.remoteAddr as Deno.NetAddr;
  const lost = await b;
  assertInstanceOf(lost, ConnectionLostError);
  assertEquals(
    lost.message,
    `Connection to 127.0.0.1:${port} failed: No reply within 1000 ms`,
  );
  assertEquals(await client.closed, lost);
  assertEquals(await outcome(client.request("c")), lost);
  assertEquals(await peer.rest(), "");
  assertEquals(clock.timers, 0);
});

Deno.test("request that times out before it is sent ends nothing", async () => {
  const [client, peer, clock] = await clientAndPeer({ timeout: 1000 });
  using _ = peer;
  const controller = new AbortController();
  const large = "x".repeat(16_000_000);
  // The peer does not read, so this is under way, and what follows is not.
  const a = outcome(client.request(large, { signal: controller.signal }));
  await turnOfLoop();
  controller.abort(new Error("enough"));
  assertEquals((await a as Error).message, "enough");
  const b = outcome(client.request("b"));
  clock.advance(1250);
  assertInstanceOf(await b, TimeoutError);
  assertEquals(client.pending, 1);
  await peer.receive(large.length + 1);
  await peer.send("A\n");
  const c = outcome(client.request("c"));
  assertEquals(await peer.receive(2), "c\n");
  await peer.send("C\n");
  assertEquals(await c, "C");
  client.close();
  assertEquals(clock.timers, 0);
});

Deno.test("request that gets no reply takes that of the next, until one times out", async () => {
  const clock = new FakeClock();
  await using running = serveTest((request) =>
    text(request).startsWith("log") ? undefined : request
  );
  const { port } = running.addr as Deno.NetAddr;
  const client = new PipelinedClient(
    await Deno.connect({ hostname: "127.0.0.1", port }),
    {
      framing: framingOf("line"),
      maxFrame: 100,
      timeout: 1000,
    },
    clock,
  );
  const replies = ["log x", "Ann", "Bob"]
    .map((request) => outcome(client.request(request)));
  assertEquals(await replies[0], "Ann");
  assertEquals(await replies[1], "Bob");
  clock.advance(1250);
  assertInstanceOf(await replies[2], TimeoutError);
  // No later request gets a reply that is not its own.
  await assertRejects(() => client.request("Eve"), ConnectionLostError);
  assertEquals(clock.timers, 0);
});

Deno.test("keepAfterTimeout drops the reply that comes late, and goes on", async () => {
  const [client, peer, clock] = await clientAndPeer({
    timeout: 1000,
    keepAfterTimeout: true,
  });
  using _ = peer;
  const a = outcome(client.request("a"));
  await peer.receive(2);
  clock.advance(999);
  await settle();
  assertEquals(client.pending, 1);
  const b = outcome(client.request("b"));
  clock.advance(251);
  const error = await a;
  assertInstanceOf(error, TimeoutError);
  assertEquals(error.message, "No reply within 1000 ms");
  await peer.send("A\nB\n");
  assertEquals(await b, "B");
  client.close();
  assertEquals(clock.timers, 0);
});

Deno.test("request rejects when the server closes, and says after what", async () => {
  for (
    const [sent, expected] of [
      ["", "Connection closed by ADDR"],
      ["half", "Connection closed by ADDR after 4 bytes of a reply"],
    ]
  ) {
    const [client, peer] = await clientAndPeer();
    const replies = [client.request("a"), client.request("b")].map(outcome);
    await peer.receive(4);
    await peer.send(sent);
    peer.conn.close();
    const { port } = client.remoteAddr as Deno.NetAddr;
    const message = expected.replace("ADDR", `127.0.0.1:${port}`);
    for (const error of await Promise.all(replies)) {
      assertInstanceOf(error, ConnectionLostError);
      assertEquals(error.message, message);
    }
    assertEquals((await client.closed)?.message, message);
    await assertRejects(() => client.request("c"), ConnectionLostError);
  }
});

Deno.test("request passes on what the server said before it closed", async () => {
  const [client, peer] = await clientAndPeer();
  using _ = peer;
  await peer.send("ERR going down\n");
  await peer.finish();
  const error = await client.closed;
  assertInstanceOf(error, ConnectionLostError);
  const { port } = client.remoteAddr as Deno.NetAddr;
  assertEquals(
    error.message,
    `Connection closed by 127.0.0.1:${port}, which said "ERR going down"`,
  );
});

Deno.test("request rejects when a write fails, though no end can be read", async () => {
  const clock = new FakeClock();
  const addr: Deno.Addr = { transport: "tcp", hostname: "127.0.0.1", port: 1 };
  const reading = Promise.withResolvers<null>();
  const client = new PipelinedClient({
    localAddr: addr,
    remoteAddr: addr,
    read: () => reading.promise,
    write: () => Promise.reject(new Deno.errors.BrokenPipe("gone")),
    closeWrite: () => Promise.resolve(),
    close: () => reading.resolve(null),
  }, {
    framing: framingOf("line"),
    maxFrame: 100,
    timeout: 0,
  }, clock);
  const a = outcome(client.request("a"));
  await settle();
  const b = outcome(client.request("b"));
  clock.advance(1000);
  for (const error of [await a, await b]) {
    assertInstanceOf(error, ConnectionLostError);
    assertEquals(error.message, "Connection reset by 127.0.0.1:1");
  }
  assertEquals(clock.timers, 0);
});

Deno.test("request rejects a reply over maxFrame with FrameError", async () => {
  const [client, peer] = await clientAndPeer({ maxFrame: 10 });
  using _ = peer;
  const reply = outcome(client.request("a"));
  const after = outcome(client.request("b"));
  await peer.send("x".repeat(20) + "\n");
  const error = await reply;
  assertInstanceOf(error, FrameError);
  assertEquals(error.kind, "too_large");
  assertInstanceOf(await after, FrameError);
});

for (
  const [ours, theirs, end] of [
    ["length", "line", "FrameError: frame too large: "],
    ["netstring", "line", "FrameError: malformed frame: "],
    ["length:2", "line", "TimeoutError: No reply within 100 ms: "],
    ["line", "length", "ConnectionLostError: Connection closed by "],
  ] satisfies [FramingName, FramingName, string][]
) {
  Deno.test(`request says that the server's framing is ${theirs}, not ${ours}`, async () => {
    await using server = serve(
      { hostname: "127.0.0.1", port: 0, framing: theirs, maxFrame: 1000 },
      () => "ERR no such thing",
    );
    const { port } = server.addr as Deno.NetAddr;
    await using client = await connect({ port, framing: ours, timeout: 100 });
    // A line in the one framing, a length that is too large in the other.
    const request = ours === "line" ? "line" : "line\n";
    const said = `${await outcome(client.request(request))}`;
    assert(said.startsWith(end), said);
    assertMatch(
      said,
      theirs === "line"
        ? /: the server said "ERR [^"]+" as a line \(option framing: line\)$/
        : /: it begins with zero bytes as a length does \(option framing: length\)$/,
    );
  });
}

Deno.test("request refuses what the framing cannot carry, and goes on", async () => {
  await using running = serveTest(echo);
  const { port } = running.addr as Deno.NetAddr;
  await using client = await connect({ port });
  await assertRejects(() => client.request("two\nlines"), EncodeError);
  await assertRejects(() => client.request("its CR is lost\r"), EncodeError);
  assertEquals(text(await client.request("one line")), "one line");
});

Deno.test("close rejects what is pending, and may be called twice", async () => {
  const [client, peer, clock] = await clientAndPeer();
  using _ = peer;
  const reply = outcome(client.request("a"));
  client.close();
  client.close();
  assertInstanceOf(await reply, ClientClosedError);
  assertEquals(await client.closed, undefined);
  await assertRejects(() => client.request("b"), ClientClosedError);
  assertEquals(clock.timers, 0);
});

Deno.test("connect tells its failures apart", async () => {
  const { port } = NOBODY;
  const refused = await assertRejects(() => connect({ port }), ConnectError);
  assertEquals(
    refused.message,
    `Cannot connect to 127.0.0.1:${port}: connection refused`,
  );
  assertInstanceOf(refused.cause, Deno.errors.ConnectionRefused);
  await assertRejects(
    () => connect({ hostname: "name.invalid" }),
    ConnectError,
    "Cannot connect to name.invalid:8080: unknown host",
  );
  const reason = new Error("changed my mind");
  assertEquals(
    await connect({ port, signal: AbortSignal.abort(reason) }).catch((e) => e),
    reason,
  );
});

Deno.test("connect takes undefined for an option that is left out", async () => {
  await using running = serveTest(echo);
  const { port } = running.addr as Deno.NetAddr;
  await using client = await connect({
    port,
    timeout: undefined,
    framing: undefined,
  });
  assertEquals(text(await client.request("x")), "x");
});

Deno.test("connect refuses options that are not allowed", async () => {
  const bad: [ConnectOptions, string][] = [
    [{ port: -1 }, "port -1"],
    [{ hostname: "" }, 'hostname ""'],
    [{ maxFrame: 0 }, "maxFrame 0"],
    [{ timeout: NaN }, "timeout NaN"],
    [{ framing: "x" as "line" }, 'framing "x"'],
    [{ host: "::1" } as ConnectOptions, "host"],
  ];
  for (const [options, message] of bad) {
    await assertRejects(() => connect(options), OptionError, message);
  }
});

Deno.test("request survives any chunking of the replies", async () => {
  for (let seed = 1; seed <= 10; seed++) {
    const next = random(seed);
    const [client, peer] = await clientAndPeer({ maxFrame: 100_000 });
    using _ = peer;
    const replies = Array.from(
      { length: 100 },
      () => "y".repeat(next() * (next() < 0.1 ? 90_000 : 30)),
    );
    const got = replies.map((_, i) => outcome(client.request(`${i}`)));
    const sent = new TextEncoder().encode(replies.join("\n") + "\n");
    for (let from = 0; from < sent.length;) {
      const to = from + 1 + Math.floor(next() * 5000);
      await peer.send(sent.subarray(from, to));
      from = to;
    }
    assertEquals(await Promise.all(got), replies, `seed ${seed}`);
    client.close();
  }
});

Deno.test("request sends much and reads much at once without a standstill", async () => {
  await using running = serveTest(commands, { maxFrame: 2 ** 20 });
  const { port } = running.addr as Deno.NetAddr;
  await using client = await connect({ port });
  const big = "ECHO " + "z".repeat(900_000);
  const replies = await Promise.all(
    Array.from({ length: 30 }, () => client.request(big)),
  );
  assert(replies.every((reply) => reply.length === 900_000));
});
