// A server that turns a connection away sends one frame and its end. The client
// takes that for a refusal, at whatever moment the two come, and never a
// handler's reply that reads like one.

import { type AddressInfo, createServer } from "node:net";

import { frameOf, framingOf } from "../../lib/framing/mod.ts";
import {
  ClientClosedError,
  connect,
  ConnectError,
  ConnectionLostError,
  type ConnectOptions,
  echo,
  type FramingName,
  framingNames,
  RefusedError,
  type ServeOptions,
  TimeoutError,
} from "../../lib/mod.ts";
import { ONE, ONE_CA } from "../support/certificates.ts";
import {
  bytes,
  clientAndPeer,
  outcome,
  Peer,
  serveTest,
  settle,
  text,
  turnOfLoop,
} from "../support/fixtures.ts";
import { run, RunningServer, testPrograms } from "../support/programs.ts";
import { Folder } from "../support/socket_files.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
} from "../support/std.ts";

const BUSY = "ERR busy: connection limit of 1 reached";
const DENIED = "ERR denied: this address may not connect";

/** A payload as a frame. */
function framed(framing: FramingName, payload: string): Uint8Array {
  return frameOf(framingOf(framing).codec(1000), bytes(payload));
}

/** Asserts that something is the refusal with this text. */
function assertRefused(
  error: unknown,
  said: string,
): asserts error is RefusedError {
  assertInstanceOf(error, RefusedError);
  assertInstanceOf(error, ConnectError);
  assertEquals(error.text, said);
  assert(error.message.endsWith(`, which said "${said}"`), error.message);
}

for (const framing of framingNames) {
  for (const said of [BUSY, DENIED]) {
    Deno.test(`request rejects with RefusedError at ${said} over ${framing}`, async () => {
      const [client, peer, clock] = await clientAndPeer({ framing });
      using _ = peer;
      const requests = ["a", "b", "c"].map((r) => outcome(client.request(r)));
      await peer.receive(framed(framing, "a").length * 3);
      await peer.send(framed(framing, said));
      await peer.finish();
      for (const error of await Promise.all(requests)) {
        assertRefused(error, said);
      }
      assertRefused(await client.closed, said);
      assertRefused(await outcome(client.request("d")), said);
      assertEquals(clock.timers, 0);
    });
  }
}

Deno.test("request rejects with RefusedError if the refusal came before it", async () => {
  for (const ended of [true, false]) {
    const [client, peer] = await clientAndPeer();
    using _ = peer;
    await peer.send(`${BUSY}\n`);
    if (ended) {
      await peer.finish();
      assertRefused(await client.closed, BUSY);
    } else {
      await turnOfLoop();
    }
    const requests = ["a", "b"].map((r) => outcome(client.request(r)));
    if (!ended) {
      assertEquals(await peer.receive(4), "a\nb\n");
      assertEquals(client.pending, 2);
      await peer.finish();
    }
    for (const error of await Promise.all(requests)) assertRefused(error, BUSY);
  }
});

Deno.test("request rejects with RefusedError if the end comes much later", async () => {
  const [client, peer, clock] = await clientAndPeer({ timeout: 0 });
  using _ = peer;
  const a = outcome(client.request("a"));
  const b = outcome(client.request("b"));
  await peer.receive(4);
  const timers = clock.timers;
  await peer.send(`${BUSY}\n`);
  while (clock.timers === timers) await turnOfLoop();
  clock.advance(2999);
  await settle();
  assertEquals(client.pending, 2);
  await peer.finish();
  for (const error of [await a, await b]) assertRefused(error, BUSY);
});

Deno.test("request rejects with RefusedError if no end comes behind what was not asked for", async () => {
  const [client, peer, clock] = await clientAndPeer();
  using _ = peer;
  await peer.send(`${DENIED}\n`);
  await turnOfLoop();
  const a = outcome(client.request("a"));
  await peer.receive(2);
  clock.advance(1250);
  const error = await a;
  assertRefused(error, DENIED);
  assertEquals(await client.closed, error);
  assertEquals(clock.timers, 0);
});

for (const length of [1, 2_000_000]) {
  Deno.test(`request of ${length} bytes rejects with RefusedError if a reset is the end`, async () => {
    // Not a Deno listener: its connections finish (FIN) before they are closed.
    const server = createServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", () => {
        // A reset can overtake what is not written yet.
        socket.write(`${BUSY}\n`, () => socket.resetAndDestroy());
      });
    });
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const { port } = server.address() as AddressInfo;
    // Whether the write or the read fails first is for chance to say.
    for (let round = 0; round < 20; round++) {
      await using client = await connect({ port });
      const requests = Array.from(
        { length: 5 },
        () => outcome(client.request("x".repeat(length))),
      );
      for (const error of await Promise.all(requests)) {
        assertRefused(error, BUSY);
      }
    }
    await new Promise((done) => server.close(done));
  });
}

Deno.test("close while a refusal may be under way leaves nothing behind", async () => {
  const [client, peer, clock] = await clientAndPeer();
  using _ = peer;
  const a = outcome(client.request("a"));
  await peer.receive(2);
  const timers = clock.timers;
  await peer.send(`${BUSY}\n`);
  while (clock.timers === timers) await turnOfLoop();
  client.close();
  assertInstanceOf(await a, ClientClosedError);
  assertEquals(await client.closed, undefined);
  assertEquals(clock.timers, 0);
});

// ------------------------------------------------------ what is no refusal

Deno.test("request gives a reply that reads like a refusal, if another follows", async () => {
  const tried = "ERR busy: try later";
  await using running = serveTest((request) =>
    text(request) === "a" ? tried : request
  );
  const { port } = running.addr as Deno.NetAddr;
  await using client = await connect({ port });
  const replies = await Promise.all(
    ["a", "b", "a", "c"].map((request) => client.request(request)),
  );
  assertEquals(replies.map(text), [tried, "b", tried, "c"]);
  assertEquals(text(await client.request("a")), tried);
});

Deno.test("request gives a reply that reads like a refusal as soon as there is a byte behind it", async () => {
  const [client, peer, clock] = await clientAndPeer();
  using _ = peer;
  const a = outcome(client.request("a"));
  const b = outcome(client.request("b"));
  await peer.receive(4);
  await peer.send(`${BUSY}\nha`);
  assertEquals(await a, BUSY);
  await peer.finish();
  const error = await b;
  assertInstanceOf(error, ConnectionLostError);
  assertMatch(error.message, /after 2 bytes of a reply$/);
  assertEquals(clock.timers, 0);
});

Deno.test("request gives a reply that reads like a refusal if nothing follows in time", async () => {
  // By the time that is set, or that of the request if it is shorter.
  for (const [timeout, held] of [[0, 3000], [1000, 1250]]) {
    const [client, peer, clock] = await clientAndPeer({ timeout });
    using _ = peer;
    const a = outcome(client.request("a"));
    await peer.receive(2);
    const timers = clock.timers;
    await peer.send(`${BUSY}\n`);
    while (clock.timers === timers) await turnOfLoop();
    clock.advance(held);
    assertEquals(await a, BUSY);
    const b = outcome(client.request("b"));
    assertEquals(await peer.receive(2), "b\n");
    await peer.send(`${BUSY}\n`);
    assertEquals(await b, BUSY);
    const c = outcome(client.request("c"));
    assertEquals(await peer.receive(2), "c\n");
    await peer.finish();
    assertInstanceOf(await c, ConnectionLostError);
    assertEquals(clock.timers, 0);
  }
});

Deno.test("request gives all other replies at once, and then none is a refusal", async () => {
  for (
    const first of [
      "",
      "ok",
      "ERR",
      "ERR busy",
      "ERR busyness: x",
      "err busy: x",
    ]
  ) {
    const [client, peer, clock] = await clientAndPeer();
    using _ = peer;
    const replies = ["a", "b", "c"].map((r) => outcome(client.request(r)));
    await peer.receive(6);
    const timers = clock.timers;
    await peer.send(`${first}\n`);
    assertEquals(await replies[0], first);
    await peer.send(`${BUSY}\n`);
    assertEquals(await replies[1], BUSY);
    assertEquals(clock.timers, timers);
    await peer.finish();
    const error = await replies[2];
    assertInstanceOf(error, ConnectionLostError);
    assert(!(error instanceof RefusedError));
  }
});

Deno.test("request is not given a frame that came before it was sent", async () => {
  const [client, peer] = await clientAndPeer();
  using _ = peer;
  await peer.send(`${BUSY}\nhello\n`);
  await turnOfLoop();
  const a = outcome(client.request("a"));
  assertEquals(await peer.receive(2), "a\n");
  await peer.send("A\n");
  assertEquals(await a, "A");
  client.close();
});

Deno.test("request that is aborted while its reply is held leaves the next its own", async () => {
  const [client, peer] = await clientAndPeer();
  using _ = peer;
  const controller = new AbortController();
  const a = outcome(client.request("a", { signal: controller.signal }));
  const b = outcome(client.request("b"));
  await peer.receive(4);
  await peer.send(`${BUSY}\n`);
  await turnOfLoop();
  controller.abort(new Error("enough"));
  assertEquals((await a as Error).message, "enough");
  await peer.send("B\n");
  assertEquals(await b, "B");
  client.close();
});

// ------------------------------------------------------------ real servers

const refusing: [ServeOptions, RegExp][] = [
  [{ maxConnections: 1 }, /^ERR busy: connection limit of 1 reached$/],
  [{ maxConnectionsPerIp: 1 }, /^ERR busy: .* for this address reached$/],
  [{ maxConnectionRate: "1/h" }, /^ERR busy: connection rate of 1\/h for /],
  [{ deny: "127.0.0.0/8" }, /^ERR denied: this address may not connect$/],
];

for (const [options, said] of refusing) {
  const [name] = Object.keys(options);
  Deno.test(`connect gives a client that is refused by ${name}, with and without TLS`, async () => {
    for (const tls of [undefined, { caCerts: [ONE_CA] }]) {
      await using running = serveTest(echo, { ...options, ...tls && ONE });
      const { port } = running.addr as Deno.NetAddr;
      const target: ConnectOptions = { port, tls };
      using _first = await Peer.to(running);
      // A place is taken before TLS, by who says nothing too.
      if (name === "deny") await running.events.next("connection_rejected");
      else {
        const { server } = running;
        while (server.connections + server.metrics().opening === 0) {
          await turnOfLoop();
        }
      }
      if (tls !== undefined) {
        await assertRejects(
          () => connect(target),
          ConnectError,
          `Cannot connect to 127.0.0.1:${port}: ` +
            "closed during the handshake (denied, or not TLS?)",
        );
        continue;
      }
      await using client = await connect(target);
      const error = await assertRejects(
        () => client.request("x"),
        RefusedError,
      );
      assertMatch(error.text, said);
      assertEquals(await client.closed, error);
    }
  });
}

Deno.test("request times out where a server says nothing, refusal or not", async () => {
  const [client, peer, clock] = await clientAndPeer();
  using _ = peer;
  const a = outcome(client.request("a"));
  await peer.receive(2);
  clock.advance(1250);
  assertInstanceOf(await a, TimeoutError);
});

// ------------------------------------------------------------ the programs

/** Asserts that a program said one line, with all of `parts` in it. */
function assertOneLine(said: string, ...parts: string[]): void {
  assertMatch(said, /^client: [^\n]+\n$/);
  for (const part of parts) {
    assert(said.includes(part), `${said} lacks ${part}`);
  }
}

for (
  const [flags, said] of [
    [["--max-connections", "1"], BUSY],
    [["--max-connections-per-ip", "1"], "ERR busy: connection limit of 1 for"],
    [["--max-connection-rate", "1/h"], "ERR busy: connection rate of 1/h for"],
    [["--deny", "127.0.0.0/8"], DENIED],
  ] as const
) {
  testPrograms(
    `client ends with 1 where ${
      flags[0]
    } refuses it, by arguments and from a pipe`,
    async (way) => {
      await using server = await RunningServer.start(way, flags);
      const place = `127.0.0.1:${server.addr.port}`;
      using first = await Peer.to(server);
      await first.send("PING\n");
      await first.receive(5);
      const one = await run(way, "client", [place, "PING"]);
      assertEquals([one.code, one.stdout], [1, ""]);
      // It may come before the request is on its way.
      assertOneLine(one.stderr, `Refused by ${place}, which said "${said}`);
      const many = await run(way, "client", ["--json", place], {
        stdin: "PING\n".repeat(5000),
      });
      assertEquals([many.code, many.stdout], [1, ""]);
      assertOneLine(many.stderr, `Refused by ${place}`, said);
    },
  );
}

testPrograms(
  "client ends with 1 where a server with TLS refuses it",
  async (way) => {
    await using folder = await Folder.make();
    const ca = `${folder.name}/ca.pem`;
    await Deno.writeTextFile(ca, ONE_CA);
    await using running = serveTest(echo, { ...ONE, deny: "127.0.0.1" });
    const { port } = running.addr as Deno.NetAddr;
    const result = await run(way, "client", [
      ...["--tls", "--tls-ca", ca, `127.0.0.1:${port}`, "PING"],
    ]);
    assertEquals([result.code, result.stdout], [1, ""]);
    assertOneLine(
      result.stderr,
      `Cannot connect to 127.0.0.1:${port}: ` +
        "closed during the handshake (denied, or not TLS?)",
    );
  },
);

testPrograms(
  "client prints what a handler replies, refusal or not",
  async (way) => {
    const tried = "ERR busy: try later";
    await using running = serveTest(() => tried);
    const place = `127.0.0.1:${(running.addr as Deno.NetAddr).port}`;
    assertEquals(
      await run(way, "client", [place, "a", "b"]),
      { code: 0, stdout: `${tried}\n${tried}\n`, stderr: "" },
    );
    // A single one is held until it is too late for the end.
    assertEquals(
      await run(way, "client", ["--timeout", "200ms", place, "a"]),
      { code: 0, stdout: `${tried}\n`, stderr: "" },
    );
  },
);

testPrograms(
  "client bench counts refusals by themselves, and ends with 1",
  async (way) => {
    await using running = serveTest(echo, { maxConnections: 2 });
    const { port } = running.addr as Deno.NetAddr;
    const place = `127.0.0.1:${port}`;
    using _held = await Peer.to(running);
    await running.events.next("connection_open");
    const { code, stdout, stderr } = await run(way, "client", [
      ...["bench", place, "-c2", "-n", "1000", "--json"],
    ]);
    assertEquals([code, stderr], [1, ""]);
    const report = JSON.parse(stdout);
    const text = `Refused by ${place}, ` +
      'which said "ERR busy: connection limit of 2 reached"';
    assert(report.connections_refused >= 1, stdout);
    assertEquals(report.done + report.failed, 1000);
    assertEquals(report.err_replies, 0);
    assertEquals(report.errors, [{ text, count: report.failed }]);
    assertEquals(report.connect_errors, [
      { text, count: report.connections_refused },
    ]);
  },
);
