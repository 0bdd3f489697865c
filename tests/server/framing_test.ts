// Any framing, over real sockets: the forms that ship, one with a checksum
// behind its payload, and one with its own way to say errors.

import {
  Codec,
  commands,
  connect,
  ConnectionLostError,
  delimiter,
  echo,
  EncodeError,
  fixed,
  FrameError,
  type Framing,
  type FramingName,
  length,
  OptionError,
  RefusedError,
  ReplyTooLargeError,
  serve,
  varint,
} from "../../lib/mod.ts";
import {
  bytes,
  clientAndPeer,
  FakeClock,
  Peer,
  random,
  serveTest,
  settle,
  text,
  turnOfLoop,
} from "../support/fixtures.ts";
import {
  crc32,
  crcFraming,
  respCommand,
  respFraming,
} from "../support/framings.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertThrows,
  toBytes,
} from "../support/std.ts";

function portOf({ addr }: { addr: Deno.Addr }): number {
  return (addr as Deno.NetAddr).port;
}

/** What a server has sent, to the end of the connection. */
async function all(peer: Peer): Promise<Uint8Array> {
  return await toBytes(peer.conn.readable);
}

const shipped: readonly (FramingName | Framing)[] = [
  ...["line", "length", "netstring", "varint"] as const,
  ...["length:1", "length:2:itself", "length:8:little"] as const,
  ...["delimiter:\\0", "delimiter:\r\n"] as const,
  ...[length({ bytes: 2, endian: "little" }), delimiter("--end--"), varint],
];

for (const framing of shipped) {
  const name = typeof framing === "string" ? framing : framing.name;

  Deno.test(`echo and commands answer over ${JSON.stringify(name)}`, async () => {
    const most = name === "length:1" ? 250 : 65_000;
    await using echoing = serveTest(echo, { framing });
    await using client = await connect({ port: portOf(echoing), framing });
    const next = random(7);
    const requests = Array.from(
      { length: 300 },
      (_, i) => `${i} ${"x".repeat(next() * (i % 50 === 0 ? most : 50))}`,
    );
    requests.push("");
    const replies = await Promise.all(requests.map((r) => client.request(r)));
    assertEquals(replies.map(text), requests);

    await using commanding = serveTest(commands, { framing });
    await using asking = await connect({ port: portOf(commanding), framing });
    const ask = async (request: string) => text(await asking.request(request));
    assertEquals(await ask("PING"), "PONG");
    assertEquals(await ask("CHUNK 2 grüß"), "grüß");
    assertEquals(await ask("ECHO"), "");
    assertEquals(await ask(""), "ERR empty request");
    assertMatch(await ask("WHOAMI"), /framing=[!-~]+$/);
    if (!name.startsWith("delimiter")) {
      assertMatch(await ask("WHOAMI"), RegExp(`framing=${name}$`));
    }
    assertEquals(commanding.events.of("handler_error"), []);
  });
}

Deno.test("commands sends large replies over every framing that holds them", async () => {
  for (const framing of ["varint", "length:8", "delimiter:\\0"] as const) {
    await using running = serveTest(commands, { framing });
    await using client = await connect({ port: portOf(running), framing });
    const reply = await client.request("SIZE 300000");
    assertEquals(reply.length, 300_000);
    assertEquals(text(await client.request("PING")), "PONG");
  }
});

// ------------------------------------------------- fixed: no errors to say

Deno.test("fixed gives back records, however they come", async () => {
  const framing = fixed(16);
  await using running = serveTest(echo, { framing });
  using peer = await Peer.to(running);
  const sent = new Uint8Array(16 * 100).map((_, i) => i * 7);
  await peer.send(sent.subarray(0, 5));
  await turnOfLoop();
  await peer.send(sent.subarray(5));
  await peer.finish();
  assertEquals(await all(peer), sent);
  assertEquals((await running.events.closed()).reason, "peer_closed");
});

Deno.test("a framing that cannot say an error ends the connection, behind the replies", async () => {
  let failed: unknown;
  const ways: Record<string, () => Uint8Array> = {
    throws: () => {
      throw failed = new Error("a bug");
    },
    "replies too little": () => new Uint8Array(3),
    "replies too much": () => new Uint8Array(5),
  };
  for (const [what, reply] of Object.entries(ways)) {
    for (const later of [false, true]) {
      const handler = (request: Uint8Array<ArrayBuffer>) =>
        text(request) === "fail" ? reply() : request.slice();
      await using running = serveTest(
        later ? async (request) => await handler(request) : handler,
        { framing: "fixed:4" },
      );
      using peer = await Peer.to(running);
      await peer.send("one.two.failsix.");
      assertEquals(await peer.rest(), "one.two.", what);
      const { reason, error, requests } = await running.events.closed();
      assertEquals([reason, requests], ["error", 3], what);
      if (what === "throws") assertEquals(error, failed);
      else assertInstanceOf(error, EncodeError);
      const errors = running.events.of("handler_error");
      assertEquals(errors.map((event) => event.error), [error]);
      assertEquals(
        running.events.of("request").map(({ status }) => status),
        ["ok", "ok", "error"],
      );
    }
  }
});

Deno.test("onError makes a record of an error, and the connection goes on", async () => {
  await using running = serveTest((request) => {
    if (text(request) === "fail") throw new Error("a bug");
    return request;
  }, { framing: "fixed:4", onError: () => "oops" });
  using peer = await Peer.to(running);
  assertEquals(await peer.ask("one.failtwo.", "one.oopstwo."), "one.oopstwo.");
});

Deno.test("a framing that cannot say an error refuses, times out and limits without a word", async () => {
  const framing = fixed(4);
  {
    await using running = serveTest(echo, { framing, maxConnections: 1 });
    using first = await Peer.to(running);
    await first.ask("one.", "one.");
    using second = await Peer.to(running);
    assertEquals(await second.rest(), "");
    await using client = await connect({ port: portOf(running), framing });
    await assertRejects(() => client.request("two."), ConnectionLostError);
    const rejected = running.events.of("connection_rejected");
    assertEquals(rejected.map(({ reason }) => reason), ["busy", "busy"]);
  }
  {
    const clock = new FakeClock();
    const handler = () => new Promise<never>(() => {});
    await using running = serveTest(handler, { framing }, { clock });
    using peer = await Peer.to(running);
    await peer.send("one.two.");
    while (running.server.requests === 0) await turnOfLoop();
    await settle();
    clock.advance(40_000);
    assertEquals(await peer.rest(), "");
    assertEquals((await running.events.closed()).reason, "request_timeout");
  }
  {
    await using running = serveTest(echo, { framing, maxRequestRate: "1/h" });
    using peer = await Peer.to(running);
    await peer.send("one.two.six.");
    assertEquals(await peer.rest(), "one.");
    const { reason, error } = await running.events.closed();
    assertEquals(reason, "error");
    assertMatch(String(error), /^EncodeError: ERR busy: /);
  }
  {
    await using running = serveTest(echo, { framing });
    using peer = await Peer.to(running);
    await peer.send("one.tw");
    await peer.finish();
    assertEquals(await peer.rest(), "one.");
    assertEquals((await running.events.closed()).reason, "frame_error");
  }
});

Deno.test("a text that the framing cannot carry is not said", async () => {
  // Each ERR text has a space in it.
  const framing = delimiter(" ");
  await using running = serveTest((request) => {
    if (text(request) === "fail") throw new Error("a bug");
    return request;
  }, { framing, maxFrame: 10 });
  using peer = await Peer.to(running);
  await peer.send("one fail two ");
  assertEquals(await peer.rest(), "one ");
  using other = await Peer.to(running);
  await other.send("one 12345678901");
  assertEquals(await other.rest(), "one ");
  await running.events.next("connection_close", 2);
  assertEquals(running.events.reasons, ["error", "frame_error"]);
});

Deno.test("serve and connect refuse a framing whose frames are over the maximum", async () => {
  const framing = fixed(100);
  const expected = 'Cannot use framing "fixed:100": expected frames of at ' +
    "most 99 bytes, the maximum";
  for (const limits of [{ maxFrame: 99 }, { maxReply: 99 }]) {
    assertThrows(
      () => serve({ hostname: "127.0.0.1", port: 0, framing, ...limits }, echo),
      OptionError,
      expected,
    );
  }
  // Nobody listens there: it is looked at before.
  await assertRejects(
    () => connect({ port: 1, framing, maxFrame: 99 }),
    OptionError,
    expected,
  );
  await using running = serveTest(echo, {
    framing,
    maxFrame: 100,
    maxReply: 100,
  });
  await using client = await connect({
    port: portOf(running),
    framing,
    maxFrame: 100,
  });
  assertEquals((await client.request(new Uint8Array(100))).length, 100);
});

// ------------------------------------------------ bytes that begin like TLS

Deno.test("bytes that begin like TLS are frames, both ways, where a frame can begin so", async () => {
  const hello = Uint8Array.fromHex("160301020001000303");
  const alert = Uint8Array.fromHex("15030300020228aaaa");
  const framings: [FramingName | Framing, Uint8Array][] = [
    ["fixed:9", hello],
    ["fixed:9", alert],
    ["delimiter:\\0\\0", hello],
    ["delimiter:zz", alert],
    // 22 and 21 bytes.
    ["varint", Uint8Array.of(3, 1, 2, 0, 1, 0, ...new Uint8Array(16))],
    ["length:1", Uint8Array.of(3, 3, 0, 2, 2, 40, ...new Uint8Array(15))],
    // 0x1603 and 0x1503.
    ["length:2", new Uint8Array(0x1603).fill(1)],
    ["length:2", new Uint8Array(0x1503).fill(2)],
  ];
  for (const [framing, payload] of framings) {
    await using running = serveTest(echo, { framing });
    await using client = await connect({ port: portOf(running), framing });
    assertEquals(await client.request(payload), new Uint8Array(payload));
  }
  // A length of 4 bytes can begin so only where so large a frame is allowed.
  for (
    const [maxFrame, said] of [
      [0x1502_ffff, /a TLS handshake, and this port does not speak TLS$/],
      [0x1603_0100, /stream ended after 7 bytes of a frame$/],
    ] as const
  ) {
    await using running = serveTest(echo, { framing: "length", maxFrame });
    using peer = await Peer.to(running);
    await peer.send(Uint8Array.of(0x16, 3, 1, 0, 9, 1, 0));
    await peer.finish();
    assertMatch(text((await all(peer)).subarray(4)), said);
  }
});

// ----------------------------------------------------------- with a checksum

/** A payload as the checksum's framing has it. */
function crcFrame(payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(payload.length + 8);
  const view = new DataView(frame.buffer);
  view.setUint32(0, payload.length);
  frame.set(payload, 4);
  view.setUint32(payload.length + 4, crc32(payload));
  return frame;
}

Deno.test("a trailer sees its payload, in batches, large replies and pieces", async () => {
  const replies: Record<string, Uint8Array> = {
    small: bytes("hello"),
    empty: new Uint8Array(),
    large: new Uint8Array(300_000).map((_, i) => i * 31),
  };
  await using running = serveTest((request, info) => {
    const [name, pieces] = text(request).split(" ");
    if (pieces) info.replyInPieces(Number(pieces));
    return replies[name];
  }, { framing: crcFraming });
  using peer = await Peer.to(running);
  const asked = ["small", "small", "large", "empty", "large 1000", "small 1"];
  for (const request of asked) await peer.send(crcFrame(bytes(request)));
  await peer.finish();
  const expected = asked.flatMap((request) => [
    ...crcFrame(replies[request.split(" ")[0]]),
  ]);
  assertEquals(await all(peer), Uint8Array.from(expected));

  await using client = await connect({
    port: portOf(running),
    framing: crcFraming,
  });
  for (const name of Object.keys(replies)) {
    assertEquals(await client.request(name), new Uint8Array(replies[name]));
  }
  await using echoing = serveTest(echo, {
    framing: crcFraming,
    maxFrame: 300_000,
  });
  await using large = await connect({
    port: portOf(echoing),
    framing: crcFraming,
  });
  const requests = [replies.large, replies.small, replies.large];
  assertEquals(
    await Promise.all(requests.map((request) => large.request(request))),
    requests.map((request) => new Uint8Array(request)),
  );
});

Deno.test("a wrong checksum is told, and ends the connection", async () => {
  await using running = serveTest(echo, { framing: crcFraming });
  using peer = await Peer.to(running);
  const broken = crcFrame(bytes("hello"));
  broken[5] ^= 1;
  await peer.send(crcFrame(bytes("one")));
  await peer.send(broken);
  await peer.send(crcFrame(bytes("two")));
  assertEquals(
    await all(peer),
    Uint8Array.from([
      ...crcFrame(bytes("one")),
      ...crcFrame(bytes("ERR malformed frame: wrong CRC-32")),
    ]),
  );
  const { reason, error } = await running.events.closed();
  assertEquals(reason, "frame_error");
  assertInstanceOf(error, FrameError);

  const [client, server] = await clientAndPeer({ framing: crcFraming });
  using _ = server;
  const reply = client.request("x");
  await server.send(broken);
  await assertRejects(() => reply, FrameError, "wrong CRC-32");
});

Deno.test("a client knows a refusal in a framing with a checksum", async () => {
  await using running = serveTest(echo, {
    framing: crcFraming,
    maxConnections: 1,
  });
  using first = await Peer.to(running);
  await first.send(crcFrame(bytes("x")));
  await first.receive(9);
  await using client = await connect({
    port: portOf(running),
    framing: crcFraming,
  });
  const { text } = await assertRejects(() => client.request("x"), RefusedError);
  assertEquals(text, "ERR busy: connection limit of 1 reached");
});

/** 1,000 bytes in front of each payload. */
class WideCodec extends Codec {
  override readonly overhead = 1000;

  decode(bytes: Uint8Array, start: number, end: number): number {
    if (end < start + 1000) return 0;
    const length = new DataView(bytes.buffer, bytes.byteOffset)
      .getUint32(start + 996);
    if (length > this.maxFrame) throw new FrameError("too_large", `${length}`);
    this.payloadStart = start + 1000;
    this.payloadEnd = start + 1000 + length;
    return this.payloadEnd > end ? 0 : this.payloadEnd;
  }

  override writeHeader(out: Uint8Array, at: number, payload: Uint8Array) {
    const view = new DataView(out.buffer, out.byteOffset);
    view.setUint32(at + 996, payload.length);
    return at + 1000;
  }
}

Deno.test("a frame of the maximum has room for all of its overhead", async () => {
  const framing: Framing = {
    name: "wide",
    codec: (maxFrame) => new WideCodec(maxFrame),
  };
  for (const size of [64 * 1024, 200_000, 1_000_000]) {
    await using running = serveTest(echo, { framing, maxFrame: size });
    await using client = await connect({ port: portOf(running), framing });
    const large = new Uint8Array(size).map((_, i) => i);
    const requests = [large, bytes("small"), large];
    assertEquals(
      await Promise.all(requests.map((request) => client.request(request))),
      requests.map((request) => new Uint8Array(request)),
    );
  }
});

// ------------------------------------------------- with errors of its own

Deno.test("a server says its errors as the framing does", async () => {
  await using running = serveTest((request, info) => {
    switch (text(request)) {
      case respCommand("FAIL"):
        throw new Error("a bug");
      case respCommand("LATER"):
        return Promise.reject(new Error("a bug"));
      case respCommand("LARGE"):
        return `$200\r\n${"x".repeat(200)}\r\n`;
      case respCommand("WRONG"):
        return "no value";
      case respCommand("PIECES"):
        info.replyInPieces(2);
        throw new Error("a bug");
    }
    return "+OK\r\n";
  }, { framing: respFraming, maxFrame: 100, maxReply: 100 });
  using peer = await Peer.to(running);
  const failed = "-ERR internal error\r\n";
  const asked: [command: string, reply: string][] = [
    ["PING", "+OK\r\n"],
    ["FAIL", failed],
    ["LATER", failed],
    [
      "LARGE",
      "-ERR reply too large: length is 208, maximum is 100\r\n",
    ],
    ["WRONG", failed],
    ["PIECES", failed],
    ["PING", "+OK\r\n"],
  ];
  await peer.send(asked.map(([command]) => respCommand(command)).join(""));
  await peer.send("!bad\r\n");
  assertEquals(
    await peer.rest(),
    asked.map(([, reply]) => reply).join("") +
      "-ERR malformed frame: expected one of +-:$*\r\n",
  );
  assertEquals((await running.events.closed()).reason, "frame_error");
  assertInstanceOf(
    running.events.of("handler_error")[2].error,
    ReplyTooLargeError,
  );

  using large = await Peer.to(running);
  await large.send(respCommand("SET", "key", "x".repeat(100)));
  assertEquals(
    await large.rest(),
    "-ERR frame too large: it has over 100 bytes\r\n",
  );
  using cut = await Peer.to(running);
  await cut.send("*1\r\n$4\r\nPI");
  await cut.finish();
  assertMatch(
    await cut.rest(),
    /^-ERR malformed frame: stream ended after 10 bytes of a frame\r\n$/,
  );
});

Deno.test("a server times out, refuses and limits as the framing says errors", async () => {
  const framing = respFraming;
  const ping = respCommand("PING");
  {
    const clock = new FakeClock();
    const handler = () => new Promise<never>(() => {});
    await using running = serveTest(handler, { framing }, { clock });
    using peer = await Peer.to(running);
    await peer.send(ping);
    while (running.server.requests === 0) await turnOfLoop();
    await settle();
    clock.advance(40_000);
    assertEquals(
      await peer.rest(),
      "-ERR request timeout: no reply within 30000 ms\r\n",
    );
  }
  {
    await using running = serveTest(() => "+PONG\r\n", {
      framing,
      maxRequestRate: "1/h",
    });
    using peer = await Peer.to(running);
    const busy = await peer.ask(ping + ping, "+PONG\r\n-ERR busy: request");
    assertEquals(busy, "+PONG\r\n-ERR busy: request");
  }
  for (const options of [{ maxConnections: 1 }, { deny: "127.0.0.1" }]) {
    await using running = serveTest(() => "+PONG\r\n", { framing, ...options });
    using first = await Peer.to(running);
    if (options.maxConnections) await first.ask(ping, "+PONG\r\n");
    using second = await Peer.to(running);
    assertMatch(await second.rest(), /^-ERR (busy|denied): [^\r]+\r\n$/);
    await using client = await connect({ port: portOf(running), framing });
    const error = await assertRejects(() => client.request(ping), RefusedError);
    assertMatch(error.text, /^-ERR (busy|denied): [^\r]+\r\n$/);
  }
});

Deno.test("a client takes no reply for a refusal in a framing with errors of its own", async () => {
  // What a refusal would be in an ordinary frame is not one here, and the other
  // way around.
  for (
    const [framing, said] of [
      [respFraming, "+ERR busy: no refusal\r\n"],
      ["line", "-ERR busy: no refusal\n"],
      ["fixed:9", "ERR busy:"],
    ] as const
  ) {
    const [client, peer] = await clientAndPeer({ framing });
    using _ = peer;
    const request = framing === respFraming ? respCommand("PING") : "123456789";
    const reply = client.request(request);
    await peer.receive(request.length);
    await peer.send(said);
    assertEquals(
      text(await reply),
      said.replace(/\n$/, framing === "line" ? "" : "\n"),
    );
    await peer.finish();
    assertInstanceOf(await client.closed, ConnectionLostError);
  }
});

Deno.test("a framing may have state in its factory: it is called as a method", async () => {
  class Mine implements Framing {
    readonly name = "mine";
    readonly #inner = varint;
    codec(maxFrame: number): Codec {
      return this.#inner.codec(maxFrame);
    }
  }
  const framing = new Mine();
  await using running = serveTest(echo, { framing });
  assertEquals(running.server.framing, "mine");
  await using client = await connect({ port: portOf(running), framing });
  assertEquals(text(await client.request("hi")), "hi");
});

Deno.test("an error of a framing's own code ends its connection, and no other", async () => {
  class Broken extends WideCodec {
    override decode(): number {
      throw new RangeError("a bug in decode");
    }
  }
  const framing: Framing = { name: "broken", codec: (max) => new Broken(max) };
  await using running = serveTest(echo, { framing });
  for (let i = 1; i <= 2; i++) {
    using peer = await Peer.to(running);
    await peer.send("x");
    assertEquals(await peer.rest(), "");
    await running.events.next("connection_close", i);
  }
  assertEquals(running.events.reasons, ["error", "error"]);
  assert(
    running.events.of("connection_close").every(({ error }) =>
      error instanceof RangeError
    ),
  );
});
