// A reply over `maxReply` is its handler's failure: nothing of it is sent, the
// peer is told so in its place, and the connection goes on.

import { assert, assertEquals } from "../support/std.ts";

import {
  commands,
  connect,
  echo,
  type FramingName,
  type Handler,
  ReplyTooLargeError,
} from "../../lib/mod.ts";
import { Peer, serveTest, text, turnOfLoop } from "../support/fixtures.ts";

const TOO_LARGE = "ERR reply too large: length is 11, maximum is 10";

/** So many bytes, in each way that a handler may give them. */
const ways: Record<string, (length: number) => ReturnType<Handler>> = {
  bytes: (length) => new Uint8Array(length).fill(120),
  text: (length) => "x".repeat(length),
  later: async (length) => {
    await turnOfLoop();
    return new Uint8Array(length).fill(120);
  },
};

const framed = {
  line: (payload) => `${payload}\n`,
  length: (payload) => `\0\0\0${String.fromCharCode(payload.length)}${payload}`,
  netstring: (payload) => `${payload.length}:${payload},`,
  varint: (payload) => `${String.fromCharCode(payload.length)}${payload}`,
  "delimiter:\r\n": (payload) => `${payload}\r\n`,
} as const satisfies Partial<Record<FramingName, (payload: string) => string>>;

for (const framing of Object.keys(framed) as (keyof typeof framed)[]) {
  Deno.test(`maxReply holds to the byte over ${framing}, and the connection goes on`, async () => {
    for (const [way, reply] of Object.entries(ways)) {
      await using running = serveTest(
        (request) => reply(Number(text(request))),
        {
          framing,
          maxReply: 10,
        },
      );
      using peer = await Peer.to(running);
      const frame = framed[framing];
      await peer.send(["10", "11", "9"].map(frame).join(""));
      await peer.finish();
      assertEquals(
        await peer.rest(),
        ["x".repeat(10), TOO_LARGE, "x".repeat(9)].map(frame).join(""),
        way,
      );
      const errors = running.events.of("handler_error");
      assertEquals(errors.length, 1, way);
      assert(errors[0].error instanceof ReplyTooLargeError, way);
      assertEquals(
        running.events.of("request").map(({ status }) => status),
        ["ok", "error", "ok"],
        way,
      );
      assertEquals((await running.events.closed()).reason, "peer_closed");
    }
  });
}

Deno.test("maxReply counts text in bytes, and pieces as one reply", async () => {
  await using running = serveTest((request, info) => {
    const asked = text(request);
    if (asked === "umlauts") return "ü".repeat(6);
    info.replyInPieces(1);
    return "x".repeat(Number(asked));
  }, { maxReply: 10 });
  using peer = await Peer.to(running);
  await peer.send("umlauts\n11\n3\n");
  await peer.finish();
  assertEquals(
    await peer.rest(),
    `${TOO_LARGE.replace("11", "12")}\n${TOO_LARGE}\nxxx\n`,
  );
});

Deno.test("maxReply limits a reply that is the request, too", async () => {
  for (const handler of [echo, async (request) => await request] as Handler[]) {
    await using running = serveTest(handler, { maxReply: 10 });
    using peer = await Peer.to(running);
    const ten = "x".repeat(10);
    await peer.send(`${ten}\n${ten}x\n${ten}\n`);
    await peer.finish();
    assertEquals(await peer.rest(), `${ten}\n${TOO_LARGE}\n${ten}\n`);
  }
});

Deno.test("maxReply leaves the words to onError, whose reply it limits too", async () => {
  for (
    const [fromOnError, expected] of [
      ["ERR short", "ERR short"],
      ["ERR much too long", "ERR reply too large: length is 17, maximum is 10"],
    ]
  ) {
    await using running = serveTest(() => "x".repeat(11), {
      maxReply: 10,
      onError: (error) => {
        assert(error instanceof ReplyTooLargeError);
        return fromOnError;
      },
    });
    using peer = await Peer.to(running);
    assertEquals(await peer.ask("x\n", `${expected}\n`), `${expected}\n`);
  }
});

Deno.test("maxReply is known to the handler, who need not make what is too large", async () => {
  const handler: Handler = (request, info) => {
    const length = Number(text(request));
    if (length > info.maxReply) {
      throw new ReplyTooLargeError(length, info.maxReply);
    }
    return `${info.maxReply}`;
  };
  await using running = serveTest(handler, { maxReply: 10 });
  using peer = await Peer.to(running);
  await peer.send("10\n11\n");
  await peer.finish();
  assertEquals(await peer.rest(), `10\n${TOO_LARGE}\n`);
  await using usual = serveTest(handler);
  using other = await Peer.to(usual);
  assertEquals(await other.ask("1\n", "16777216\n"), "16777216\n");
});

Deno.test("maxReply leaves room for the largest SIZE unless it is set", async () => {
  await using running = serveTest(commands);
  const { port } = running.addr as Deno.NetAddr;
  await using client = await connect({ port });
  assertEquals((await client.request("SIZE 16777216")).length, 16_777_216);
  await using small = serveTest(commands, { maxReply: 16_777_215 });
  await using other = await connect({
    port: (small.addr as Deno.NetAddr).port,
  });
  assertEquals(
    text(await other.request("SIZE 16777216")),
    "ERR reply too large: length is 16777216, maximum is 16777215",
  );
  assertEquals(small.server.sent < 100, true);
});
