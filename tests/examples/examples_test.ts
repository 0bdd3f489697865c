// The examples, each run by the command at its head.

import { commands, connect, serve } from "../../lib/mod.ts";
import { ONE, ONE_CA } from "../support/certificates.ts";
import { Example } from "../support/examples.ts";
import { bytes, Peer, text } from "../support/fixtures.ts";
import { Lines, ROOT, testWithTools } from "../support/programs.ts";
import { assert, assertEquals, assertMatch } from "../support/std.ts";

const plain = { hostname: "127.0.0.1", port: 0 };

/** Runs a test of an example, as a client of a server. */
function testExample(
  name: string,
  what: string,
  fn: (example: Example) => Promise<void>,
  ...args: string[]
): void {
  testWithTools(`examples/${name}.ts ${what}`, [], async () => {
    await using example = await Example.start(name, ...args);
    await fn(example);
  });
}

/** Asks by lines, and receives the lines that are expected. */
async function talk(peer: Peer, ask: string, ...expected: string[]) {
  const lines = expected.map((line) => `${line}\n`).join("");
  assertEquals(await peer.ask(ask === "" ? "" : `${ask}\n`, lines), lines);
}

testWithTools(
  "every example is in the index of docs/library.md",
  [],
  async () => {
    const page = await Deno.readTextFile(`${ROOT}docs/library.md`);
    const missing: string[] = [];
    for await (const { name } of Deno.readDir(`${ROOT}examples`)) {
      if (!page.includes(`(../examples/${name})`)) missing.push(name);
    }
    assertEquals(missing, []);
  },
);

testExample("upper", "replies in capitals", async (example) => {
  using peer = await Peer.to(example);
  await peer.send("hello\nstraße\n");
  await peer.finish();
  assertEquals(await peer.rest(), "HELLO\nSTRASSE\n");
});

testExample("chat", "has names and rooms", async (example) => {
  using ann = await Peer.to(example);
  await talk(ann, "", "* Your name?");
  await talk(ann, "a b", "* A name has 1 to 20 letters or digits.");
  await talk(ann, "ann", "* ann joins lobby");
  using bob = await Peer.to(example);
  await talk(bob, "", "* Your name?");
  await talk(bob, "ann", "* ann is here already.");
  await talk(bob, "bob", "* bob joins lobby");
  await talk(ann, "", "* bob joins lobby");
  await talk(ann, "hi  there", "ann: hi  there");
  await talk(bob, "", "ann: hi  there");
  await talk(bob, "a\r\r", "bob: a");
  await talk(ann, "", "bob: a");
  await talk(bob, "/who", "* in lobby: ann, bob");
  await talk(bob, "/join den", "* bob joins den");
  await talk(ann, "", "* bob leaves lobby");
  await talk(bob, "alone?", "bob: alone?");
  await talk(ann, "/join den", "* ann joins den");
  await talk(bob, "", "* ann joins den");
  await talk(
    ann,
    "/jump",
    "* /join room (1 to 20 letters or digits), /who or /quit",
  );
  await ann.send("/quit\n");
  assertEquals(await ann.rest(), "");
  await talk(bob, "", "* ann leaves den");
  // Her name is free again.
  using other = await Peer.to(example);
  await talk(other, "", "* Your name?");
  await talk(other, "ann", "* ann joins lobby");
});

testExample("pubsub", "closes who does not read", async (example) => {
  using reader = await Peer.to(example);
  await talk(reader, "subscribe news", "OK");
  using slow = await Peer.to(example);
  await talk(slow, "SUBSCRIBE news", "OK");
  await using publisher = await connect(example.addr);
  const publish = async (rest: string) =>
    text(await publisher.request(`PUBLISH ${rest}`));
  assertEquals(await publish("sports x"), "0");
  assertEquals(await publish("news it rains"), "2");
  await talk(reader, "", "MESSAGE news it rains");
  const large = "x".repeat(60_000);
  let published = 0;
  let left = "2";
  let received = Promise.resolve("");
  while (left === "2") {
    const line = `MESSAGE news ${large}\n`;
    left = await publish(`news ${large}`);
    published++;
    received = received.then(() => reader.receive(line.length));
    assertEquals(await received, line);
  }
  assert(published > 5, `${published} were published`);
  await example.stdout.until(/^2: slow_consumer$/);
  await talk(reader, "UNSUBSCRIBE news", "OK");
  assertEquals(await publish("news it is dry"), "0");
  assertMatch(
    await publish("- x"),
    /^ERR usage: PUBLISH topic text \(topic is/,
  );
});

testExample("files", "sends files as they are taken", async (example) => {
  await using client = await connect({ ...example.addr, framing: "length" });
  assertEquals(
    text(await client.request("../deno.json")),
    "ERR there is no such file",
  );
  for (const path of ["", "nothing.md", "admin-page.png/..", "\0"]) {
    assertMatch(text(await client.request(path)), /^ERR/, path);
  }
  using peer = await Peer.to(example);
  await peer.send(new Uint8Array([0, 0, 0, 14, ...bytes("admin-page.png")]));
  await peer.finish();
  const all = new Uint8Array(
    await new Response(peer.conn.readable).arrayBuffer(),
  );
  const frames: Uint8Array[] = [];
  for (let at = 0; at < all.length;) {
    const length = new DataView(all.buffer).getUint32(at);
    frames.push(all.subarray(at + 4, at += 4 + length));
  }
  const file = await Deno.readFile(`${ROOT}docs/admin-page.png`);
  assertEquals(text(frames[0]), String(file.length));
  assert(frames.length > 3, `${frames.length} frames`);
  assertEquals(frames.at(-1)!.length, 0);
  assertEquals(await new Blob(frames.slice(1) as BlobPart[]).bytes(), file);
}, "docs");

testExample(
  "middleware",
  "authenticates, limits, times and logs",
  async (example) => {
    using stranger = await Peer.to(example);
    await stranger.send("PING\n");
    assertEquals(await stranger.rest(), "ERR denied: AUTH secret first\n");
    assertEquals(await example.stdout.next(), '1 asks "PING"');
    assertMatch(await example.stdout.next(), /^took \d+\.\d{3} ms$/);
    using peer = await Peer.to(example);
    await talk(peer, "AUTH secret", "OK");
    for (let i = 0; i < 8; i++) await talk(peer, "PING", "PONG");
    await talk(peer, "PING", "ERR busy: too many requests");
  },
);

testWithTools(
  "examples/proxy.ts forwards to whichever server is there",
  [],
  async () => {
    const asked: number[] = [];
    const both = Promise.withResolvers<void>();
    const held = Promise.withResolvers<void>();
    const start = (i: number, port = 0) =>
      serve({ ...plain, port, drainTimeout: 1 }, (request, info) => {
        const said = text(request);
        if (said !== "PING") asked.push(i);
        if (asked.length === 2) both.resolve();
        if (said === "WAIT") return both.promise.then(() => `${i}`);
        if (said === "DIE") return info.close();
        if (i === 1 && said.startsWith("UPPER")) {
          held.resolve();
          return new Promise(() => {});
        }
        return commands(request, info);
      });
    const first = start(1);
    await using second = start(2);
    const targets = [first, second].map(({ addr }) =>
      `127.0.0.1:${(addr as Deno.NetAddr).port}`
    );
    await using example = await Example.start("proxy", ...targets);
    const peers = await Promise.all(
      Array.from({ length: 20 }, () => Peer.to(example)),
    );
    const hears = (i: number, state: string) =>
      example.stdout.until(new RegExp(`^${targets[i]} is ${state}$`));
    try {
      await talk(peers[0], "PING", "PONG");
      // Which of them is connected first is not said.
      for (let i = 0; i < 2; i++) await example.stdout.until(/ is up$/);
      // While one is at work, the other is asked.
      for (const peer of peers.slice(0, 2)) await peer.send("WAIT\n");
      const replies = await Promise.all(
        peers.slice(0, 2).map((peer) => peer.receive(2)),
      );
      assertEquals(replies.toSorted(), ["1\n", "2\n"]);
      assertEquals(asked.toSorted(), [1, 2]);
      await talk(
        peers[0],
        "DIE",
        "ERR lost: the server behind has not replied",
      );
      assertEquals(asked.length, 3);
      await example.stdout.until(/ is down$/);
      await example.stdout.until(/ is up$/);
      // What only reads is not lost with the server that was to do it.
      const talks = peers.map((peer, i) => talk(peer, `UPPER a${i}`, `A${i}`));
      await held.promise;
      await first.shutdown();
      await Promise.all(talks);
      await second.shutdown();
      await hears(1, "down");
      await talk(peers[0], "PING", "ERR late: no reply in time");
      await using _again = start(3, (second.addr as Deno.NetAddr).port);
      await hears(1, "up");
      await talk(peers[0], "UPPER b", "B");
      assertEquals(asked.at(-1), 3);
    } finally {
      for (const peer of peers) peer[Symbol.dispose]();
      await first.shutdown();
    }
  },
);

testWithTools("examples/batch.ts asks little for many", [], async () => {
  await using example = await Example.run("batch");
  assertEquals(
    await example.stdout.next(),
    "1050 right answers by 11 requests",
  );
  assertEquals((await example.child.status).code, 0);
});

testExample("state", "remembers what each has tried", async (example) => {
  const peers = await Promise.all([1, 2].map(() => Peer.to(example)));
  for (const peer of peers) {
    await talk(peer, "", "I think of a number from 1 to 100.");
    await talk(peer, "0", "A number from 1 to 100, please.");
  }
  // Both play at the same time.
  await Promise.all(peers.map(async (peer) => {
    for (let [least, most, tries] = [1, 100, 1];; tries++) {
      const guess = Math.floor((least + most) / 2);
      await peer.send(`${guess}\n`);
      const answer = await peer.receive("It is less.\n".length);
      if (answer === "It is more.\n") least = guess + 1;
      else if (answer === "It is less.\n") most = guess - 1;
      else {
        const all = answer + await peer.rest();
        assertEquals(all, `Yes, after ${tries} tries.\n`);
        break;
      }
    }
  }));
});

/** The files of a certificate, for as long as a function runs. */
async function withCertificate(
  fn: (cert: string, key: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const [cert, key] = [`${folder}/cert.pem`, `${folder}/key.pem`];
    await Deno.writeTextFile(cert, ONE.cert as string);
    await Deno.writeTextFile(key, ONE.key as string);
    await fn(cert, key);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

testWithTools(
  "examples/starttls.ts is secret from STARTTLS on",
  [],
  () =>
    withCertificate(async (cert, key) => {
      await using example = await Example.start("starttls", cert, key);
      using peer = await Peer.to(example);
      await talk(peer, "", "220 ready");
      await talk(peer, "hello", "530 STARTTLS first");
      await talk(peer, "STARTTLS", "220 go ahead");
      using secret = new Peer(
        await Deno.startTls(peer.conn as Deno.TcpConn, {
          hostname: "localhost",
          caCerts: [ONE_CA],
        }),
      );
      await talk(secret, "hello", "hello");
      await talk(secret, "STARTTLS", "STARTTLS");
      using early = await Peer.to(example);
      await early.send("STARTTLS\nMAIL\n");
      // An alert of TLS is all that comes behind the line.
      const rest = await early.rest();
      assert(rest.startsWith("220 ready\n220 go ahead\n\x15\x03"), rest);
      assertMatch(
        await example.stdout.next(),
        /^expected a handshake, got first byte 0x4d$/,
      );
    }),
);

testWithTools(
  "examples/starttls.ts speaks with openssl",
  ["openssl"],
  () =>
    withCertificate(async (cert, key) => {
      await using example = await Example.start("starttls", cert, key);
      const target = `127.0.0.1:${example.addr.port}`;
      const child = new Deno.Command("openssl", {
        args: [
          ...["s_client", "-connect", target, "-starttls", "smtp", "-quiet"],
          ...["-CAfile", cert, "-partial_chain", "-verify_return_error"],
        ],
        stdin: "piped",
        stdout: "piped",
        stderr: "null",
      }).spawn();
      const lines = new Lines(child.stdout);
      const writer = child.stdin.getWriter();
      await writer.write(bytes("hello\n"));
      // What it says to the plain port comes first.
      assertEquals(await lines.until(/hello/), "hello");
      await writer.close();
      child.kill("SIGTERM");
      await child.status;
      await lines.cancel();
    }),
);
