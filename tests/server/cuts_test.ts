// deno-lint-ignore-file no-import-prefix no-control-regex -- what deno.json imports is fetched
// for every program, and only tests need this.

/**
 * What a client gets does not depend on how its bytes are cut on their way: in
 * one read, or in two at any place.
 *
 * @module
 */

import { assertEquals, assertMatch } from "../support/std.ts";
import fc from "npm:fast-check@4.3.0";

import { frameOf, type FramingName, framingOf } from "../../lib/framing/mod.ts";
import { type ConnectionTask, echo } from "../../lib/mod.ts";
import { startsTls } from "../../lib/tls/record.ts";
import { bytes, Peer, serveTest, turnOfLoop } from "../support/fixtures.ts";
import { RunningServer, testPrograms } from "../support/programs.ts";

function hex(digits: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.fromHex(digits.replaceAll(" ", ""));
}

const TLS_HELLO = hex("160301 00c8 010000c4 0303" + "a5".repeat(193));
/** With LFs where a record has its length. */
const TLS_LF_LOW = hex("160301 010a 01000106 0303" + "a5".repeat(260));
const TLS_LF_HIGH = hex("160303 0a01 010009fd 0303" + "0a".repeat(30));
const TLS_OLD = hex("160300 0a0a 01000a06 0300" + "a5".repeat(30));

const TLS_ERROR =
  "ERR malformed frame: a TLS handshake, and this port does not speak TLS";

/** What a server with frames of 8 bytes at the most answers to some bytes. */
async function answer(
  running: { server: { received: number }; addr: Deno.Addr },
  parts: Uint8Array[],
): Promise<string> {
  using peer = await Peer.to(running);
  for (const part of parts) {
    const expected = running.server.received + part.length;
    await peer.send(part);
    while (running.server.received < expected) await turnOfLoop();
  }
  await peer.finish();
  return await peer.rest();
}

/** The same bytes, cut in two at each place, and in three at some. */
function* cuts(all: Uint8Array): Generator<Uint8Array[]> {
  yield [all];
  const most = Math.min(all.length, 24);
  for (let at = 1; at < most; at++) {
    yield [all.subarray(0, at), all.subarray(at)];
    yield [all.subarray(0, 1), all.subarray(1, at + 1), all.subarray(at + 1)];
  }
}

const cases: [FramingName, Uint8Array<ArrayBuffer>, RegExp][] = [
  // The ending of a line that is refused is not known at every cut.
  ["line", bytes("12345678\r\n123456789\r\nx\r\n"), /^12345678\r\nERR .*\r\n$/],
  ["line", bytes("1234\n123456789abc\r\nx\r\n"), /^1234\nERR .*[^\r]\n$/],
  ["line", bytes("123456789\r\n"), /^ERR .*[^\r]\n$/],
  ["line", bytes("123456789\n"), /^ERR .*[^\r]\n$/],
  ["line", bytes("12345678\r\r\n"), /^ERR .*[^\r]\n$/],
  ["line", bytes("a\r\n1234567\rx\r\n"), /^a\r\nERR .*\r\n$/],
  ["line", bytes("a\r\n12"), /^a\r\nERR .*stream ended.*\r\n$/],
  // What begins like TLS and is not.
  ["line", hex("16030141 0a"), /^ERR .*TLS/],
  ["line", hex("160301 78 0a 41 0a"), /^\x16\x03\x01x\nA\n$/],
  ["line", hex("1603 0a 1603010a"), /^\x16\x03\n\x16\x03\x01\n$/],
  ["line", hex("1603"), /^ERR .*stream ended after 2 bytes/],
  ["line", hex("16030100"), /^ERR .*stream ended after 4 bytes/],
  ["length", hex("00000003 160301"), /^\0\0\0\x03\x16\x03\x01$/],
  [
    "length",
    hex("16030102 02"),
    /^\0\0\0.ERR frame too large: length is 369295618/,
  ],
  ["netstring", hex("1603"), /ERR .*expected a digit, got 0x16/],
  ["varint", hex("03 160301"), /^\x03\x16\x03\x01$/],
  ["varint", hex("16030100c8010000c4"), /ERR frame too large: length is 22,/],
  ["length:1", hex("05 0123456789 0316"), /stream ended after 2 bytes/],
  ["length:2:little:itself", hex("0400 1603 0200"), /^\x04\0\x16\x03\x02\0$/],
  ["fixed:1", hex("1603010a"), /^\x16\x03\x01\n$/],
  [
    "fixed:7",
    hex("16030100c80100 150303000202"),
    /^\x16\x03\x01\0\ufffd\x01\0$/,
  ],
  ["delimiter:\\0", hex("160301 00 0a16 00"), /^\x16\x03\x01\0\n\x16\0$/],
  ["delimiter:aab", bytes("aaabxaab123456789"), /^aaabxaabERR .*aab$/],
  // The others take such bytes for frames.
  ...(["line", "length", "netstring"] as const).flatMap((framing) =>
    [TLS_HELLO, TLS_LF_LOW, TLS_LF_HIGH, TLS_OLD].map((hello) =>
      [framing, hello, RegExp(TLS_ERROR)] as [
        FramingName,
        Uint8Array<ArrayBuffer>,
        RegExp,
      ]
    )
  ),
];

for (const framing of new Set(cases.map(([framing]) => framing))) {
  Deno.test(`serve answers alike, however bytes are cut (${framing})`, async () => {
    await using running = serveTest(echo, { framing, maxFrame: 8 });
    for (const [of, sent, expected] of cases) {
      if (of !== framing) continue;
      const whole = await answer(running, [sent]);
      assertMatch(whole, expected);
      for (const parts of cuts(sent)) {
        const sizes = parts.map(({ length }) => length).join("+");
        assertEquals(await answer(running, parts), whole, sizes);
      }
    }
  });
}

for (const way of ["a handler", "a task"]) {
  Deno.test(`serve looks for TLS in the first bytes alone, with ${way}`, async () => {
    const task: ConnectionTask = async (connection) => {
      for await (const frame of connection) await connection.send(frame);
    };
    const service = way === "a task" ? { task } : echo;
    await using running = serveTest(service, { maxRequestRate: "1/h" });
    assertEquals(await answer(running, [bytes("first\n")]), "first\n");
    // The first line is refused, and the next one begins like TLS.
    const sent = hex("61 0a 160301 00c8 01 00 0a");
    const whole = await answer(running, [sent]);
    assertMatch(whole, /^(ERR busy: request rate .*\n){2}$/);
    for (const parts of cuts(sent)) {
      assertEquals(await answer(running, parts), whole);
    }
  });
}

testPrograms("server answers alike, however bytes are cut", async (way) => {
  const flags = ["--handler", "echo", "--max-frame", "8"];
  await using server = await RunningServer.start(way, flags);
  for (
    const [sent, first, expected] of [
      [bytes("123456789\r\n"), 9, /^ERR .*[^\r]\n$/],
      [TLS_LF_LOW, 5, RegExp(`^${TLS_ERROR}\n$`)],
    ] as const
  ) {
    const answers: string[] = [];
    for (const at of [sent.length, first]) {
      using peer = await Peer.to(server);
      await peer.send(sent.subarray(0, at));
      // The first part alone is refused already.
      const start = await peer.receive(1);
      await peer.send(sent.subarray(at));
      await peer.finish();
      answers.push(start + await peer.rest());
    }
    assertMatch(answers[0], expected);
    assertEquals(answers[1], answers[0]);
  }
});

Deno.test("startsTls never changes its mind", () => {
  const byte = fc.oneof(
    fc.constantFrom(0x16, 3, 1, 0, 10, 0x41),
    fc.integer({ min: 0, max: 255 }),
  );
  const like = fc.tuple(
    fc.constantFrom("", "16", "1603", "160301", "16030102", "1603010201"),
    fc.array(byte, { maxLength: 9 }),
  ).map(([first, rest]) => new Uint8Array([...hex(first), ...rest]));
  fc.assert(
    fc.property(like, fc.nat({ max: 5 }), (sent, start) => {
      const memory = new Uint8Array([...new Uint8Array(start), ...sent]);
      let decided: boolean | undefined;
      for (let end = start; end <= memory.length; end++) {
        const now = startsTls({ bytes: memory, start, end });
        if (decided !== undefined) assertEquals(now, decided);
        decided = now;
      }
      // Seven bytes are enough for all.
      if (sent.length >= 7) assertEquals(typeof decided, "boolean");
    }),
    { numRuns: 2000 },
  );
});

Deno.test("line codec has the same ending for a refusal at every cut", () => {
  const line = fc.tuple(
    fc.string({ unit: fc.constantFrom("a", "\r"), maxLength: 12 }),
    fc.constantFrom("\n", "\r\n"),
  ).map((parts) => parts.join(""));
  /** The ending that a refusal gets; nothing where there is none. */
  const ending = (sent: Uint8Array, ends: readonly number[]) => {
    const codec = framingOf("line").codec(6);
    let start = 0;
    for (const end of ends) {
      try {
        for (let next; (next = codec.decode(sent, start, end)) !== 0;) {
          start = next;
        }
      } catch {
        return [...frameOf(codec, new Uint8Array())];
      }
    }
  };
  fc.assert(
    fc.property(fc.array(line, { minLength: 1, maxLength: 5 }), (lines) => {
      const sent = bytes(lines.join(""));
      const whole = ending(sent, [sent.length]);
      for (let at = 1; at < sent.length; at++) {
        assertEquals(ending(sent, [at, sent.length]), whole);
      }
      const bytewise = Array.from(sent, (_, i) => i + 1);
      assertEquals(ending(sent, bytewise), whole);
    }),
    { numRuns: 500 },
  );
});
