// deno-lint-ignore-file no-import-prefix -- what deno.json imports is fetched
// for every program, and only tests need this.

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertThrows,
} from "../support/std.ts";
import fc from "npm:fast-check@4.3.0";

import { EncodeError, FrameError, OptionError } from "../../lib/core/errors.ts";
import { delimiter } from "../../lib/framing/delimiter.ts";
import { fixed, length } from "../../lib/framing/length.ts";
import {
  type Codec,
  frameOf,
  type FramingName,
  framingOf,
} from "../../lib/framing/mod.ts";
import { ReceiveBuffer } from "../../lib/net/buffers.ts";
import { bytes, text } from "../support/fixtures.ts";

/** What came out of a codec: frames, and what it refused in the end. */
interface Decoded {
  frames: Uint8Array[];
  error?: string;
  left: number;
}

/** Feeds chunks through a receive buffer into a codec, as a session does. */
function decodeAll(
  name: FramingName,
  chunks: Iterable<Uint8Array>,
  maxFrame: number,
): Decoded {
  const codec = framingOf(name).codec(maxFrame);
  const inbox = new ReceiveBuffer(maxFrame + codec.overhead);
  const frames: Uint8Array[] = [];
  try {
    for (const chunk of chunks) {
      for (let done = 0; done < chunk.length;) {
        const space = inbox.space();
        const part = chunk.subarray(done, done + space.length);
        space.set(part);
        inbox.end += part.length;
        done += part.length;
        decodeInbox(codec, inbox, frames);
      }
    }
    return { frames, left: inbox.length };
  } catch (error) {
    if (!(error instanceof FrameError)) throw error;
    return { frames, error: error.message, left: inbox.length };
  } finally {
    inbox.release();
  }
}

function decodeInbox(codec: Codec, inbox: ReceiveBuffer, to: Uint8Array[]) {
  while (inbox.length > 0) {
    const next = codec.decode(inbox.bytes, inbox.start, inbox.end);
    if (next === 0) return;
    to.push(inbox.bytes.slice(codec.payloadStart, codec.payloadEnd));
    inbox.start = next;
  }
}

function encodeAll(name: FramingName, payloads: Uint8Array[]): Uint8Array {
  const codec = framingOf(name).codec(100_000);
  return Uint8Array.from(payloads.flatMap((payload) => {
    codec.check(payload);
    return [...frameOf(codec, payload)];
  }));
}

function carries(codec: Codec, payload: Uint8Array): boolean {
  try {
    codec.check(payload);
    return true;
  } catch (error) {
    assertInstanceOf(error, EncodeError);
    return false;
  }
}

/** Cuts bytes at the given places. */
function cut(all: Uint8Array, places: number[]): Uint8Array[] {
  const at = [0, ...places.map((p) => p % (all.length + 1)), all.length]
    .sort((a, b) => a - b);
  return at.slice(1).map((end, i) => all.subarray(at[i], end));
}

/** A byte for each character. */
function latin1(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (char) => char.charCodeAt(0));
}

// Written out here, so that a codec cannot agree with its own mistake.
const wire = {
  line: [
    ["hello\n", ["hello"]],
    ["hello\r\n", ["hello"]],
    ["\n", [""]],
    ["\r\n", [""]],
    ["a\r\r\n", ["a\r"]],
    ["a\rb\n", ["a\rb"]],
    ["one\ntwo\r\nthree\n", ["one", "two", "three"]],
    ["no end", []],
  ],
  length: [
    ["\0\0\0\x05hello", ["hello"]],
    ["\0\0\0\0", [""]],
    ["\0\0\0\x01a\0\0\0\x02\n\r", ["a", "\n\r"]],
    ["\0\0\0\x05hell", []],
    ["\0\0", []],
  ],
  netstring: [
    ["5:hello,", ["hello"]],
    ["0:,", [""]],
    ["1:a,3:5:,,", ["a", "5:,"]],
    ["12:hello world!,", ["hello world!"]],
    ["5:hello", []],
    ["5", []],
  ],
  varint: [
    ["\x05hello\0", ["hello", ""]],
    ["\x80\x00\x81\x80\x00a", ["", "a"]],
    [`\x96\x01${"x".repeat(150)}`, ["x".repeat(150)]],
    ["\x82\x80\x80\x80\x00ab\x01", ["ab"]],
    ["\xff", []],
  ],
  "length:1": [["\x02hi\0\x01a", ["hi", "", "a"]], ["\x16\x03\x01", []]],
  "length:1:itself": [["\x03hi\x01\x02a", ["hi", "", "a"]]],
  "length:2": [["\0\x02hi\0\0\0\x01a", ["hi", "", "a"]], ["\0", []]],
  "length:2:little": [["\x02\0hi\0\0\x01\0a", ["hi", "", "a"]]],
  "length:2:little:itself": [["\x04\0hi\x02\0\x03\0a", ["hi", "", "a"]]],
  "length:4:little": [["\x02\0\0\0hi\0\0\0", ["hi"]]],
  "length:4:itself": [["\0\0\0\x06hi\0\0\0\x04", ["hi", ""]]],
  "length:8": [["\0\0\0\0\0\0\0\x02hi\0\0\0\0", ["hi"]]],
  "length:8:little:itself": [["\x0a\0\0\0\0\0\0\0hi", ["hi"]]],
  "fixed:1": [["abc", ["a", "b", "c"]]],
  "fixed:3": [["abc\x16\x03\x01gh", ["abc", "\x16\x03\x01"]]],
  "delimiter:\\0": [["a\nb\0\0c", ["a\nb", ""]], ["\x16\x03\x01\0", [
    "\x16\x03\x01",
  ]]],
  "delimiter:\\r\\n": [["a\r\r\nb\nc\r\n\r\nd\r", ["a\r", "b\nc", ""]]],
  "delimiter:aa": [["aaxaabaaa", ["", "x", "b"]], ["xaaa", ["x"]]],
  "delimiter:abab": [["aabababxababab", ["a", "abx"]], ["ababcabab", [
    "",
    "c",
  ]]],
  "delimiter:abcabd": [["abcabcabd", ["abc"]], ["ababcabdabcab", ["ab"]]],
} as const satisfies Partial<
  Record<FramingName, readonly (readonly [string, readonly string[]])[]>
>;
const names = Object.keys(wire) as (keyof typeof wire)[];

for (const name of names) {
  Deno.test(`${name} codec finds the same frames at every split`, () => {
    for (const [sent, frames] of wire[name]) {
      const all = latin1(sent);
      for (let first = 0; first <= all.length; first++) {
        for (let second = first; second <= all.length; second++) {
          const got = decodeAll(name, cut(all, [first, second]), 150);
          assertEquals(
            got.frames,
            frames.map((frame) => latin1(frame)),
            `${sent} at ${first}`,
          );
          assertEquals(got.error, undefined);
        }
      }
    }
  });

  Deno.test(`${name} codec gives back any payloads from any chunks`, () => {
    const codec = framingOf(name).codec(300);
    const [, bytes] = name.split("fixed:");
    const length = bytes === undefined
      ? { maxLength: name.startsWith("length:1") ? 254 : 300 }
      : { minLength: Number(bytes), maxLength: Number(bytes) };
    const letters = fc.constantFrom(..."ab\0\r\n,").map((c) => c.charCodeAt(0));
    const payload = fc.oneof(
      fc.uint8Array(length),
      fc.array(letters, length).map((raw) => Uint8Array.from(raw)),
    ).filter((raw) => carries(codec, raw));
    fc.assert(
      fc.property(
        fc.array(payload, { maxLength: 20 }),
        fc.array(fc.nat(), { maxLength: 20 }),
        (payloads, places) => {
          const sent = encodeAll(name, payloads);
          const got = decodeAll(name, cut(sent, places), 300);
          assertEquals(got, {
            frames: payloads.map((p) => new Uint8Array(p)),
            left: 0,
          });
        },
      ),
    );
  });

  Deno.test(`${name} codec answers garbage alike, however it is cut`, () => {
    const garbage = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.string({ unit: fc.constantFrom(..."0123456789:,\n\r abc\0\x01\x80") })
        .map(latin1),
    );
    const least = Number(name.split("fixed:")[1] ?? 1);
    fc.assert(
      fc.property(
        garbage,
        fc.array(fc.nat(), { maxLength: 10 }),
        fc.integer({ min: 1, max: 40 }),
        (sent, places, maxFrame) => {
          if (maxFrame < least) return;
          const whole = decodeAll(name, [sent], maxFrame);
          const cutUp = decodeAll(name, cut(sent, places), maxFrame);
          assertEquals(cutUp.frames, whole.frames);
          assertEquals(cutUp.error, whole.error);
          for (const frame of whole.frames) assert(frame.length <= maxFrame);
        },
      ),
      { numRuns: 1000 },
    );
  });

  Deno.test(`${name} codec takes a frame of the limit, and no more`, () => {
    const [kind, size] = name.split(":");
    if (kind === "fixed") return;
    const limit = kind === "length" && size === "1"
      ? 200
      : kind === "length" && size === "2"
      ? 60_000
      : 100_000;
    const most = new Uint8Array(limit).fill(120);
    const sent = encodeAll(name, [most]);
    const chunks = cut(sent, [1, 5, 50_000, 99_999]);
    assertEquals(decodeAll(name, chunks, limit).frames, [most]);
    const { frames, error } = decodeAll(name, chunks, limit - 1);
    assertEquals(frames, []);
    const length = /line|delimiter/.test(kind) ? `at least ${limit}` : limit;
    assertEquals(
      error,
      `frame too large: length is ${length}, maximum is ${limit - 1}`,
    );
  });

  Deno.test(`${name} codec never looks at a byte twice`, () => {
    const size = /^(length:1|fixed)/.test(name)
      ? name === "fixed:3" ? 3 : 1
      : 2000;
    const sent = encodeAll(name, [new Uint8Array(size).fill(120)]);
    const codec = framingOf(name).codec(size);
    let looked = 0;
    const watched = new Proxy(sent, {
      get(target, key) {
        if (typeof key === "string" && /^\d+$/.test(key)) looked++;
        const value = Reflect.get(target, key, target);
        if (typeof value !== "function") return value;
        return (...args: number[]) => {
          if (key === "subarray") looked += args[1] - args[0];
          return value.apply(target, args);
        };
      },
    });
    for (let end = 1; end <= sent.length; end++) codec.decode(watched, 0, end);
    // A CR that may be half an ending is looked at by itself.
    // A delimiter of several bytes may begin anew with each of them.
    const times = name.startsWith("delimiter") ? codec.overhead : 1;
    assert(looked <= times * sent.length + 10 * times ** 2, `${looked} looks`);
  });
}

Deno.test("line codec refuses as soon as the limit is passed", () => {
  const codec = framingOf("line").codec(10);
  assertEquals(codec.decode(bytes("0123456789\r"), 0, 11), 0);
  assertThrows(
    () => codec.decode(bytes("0123456789\ra"), 0, 12),
    FrameError,
    "length is at least 11, maximum is 10",
  );
});

Deno.test("length codec refuses from the header", () => {
  for (
    const [name, header, said] of [
      ["length", "00010001", "frame too large: length is 65537"],
      ["length", "80000000", "frame too large: length is 2147483648"],
      ["length", "ffffffff", "frame too large: length is 4294967295"],
      ["length:4:itself", "00010005", "frame too large: length is 65537"],
      [
        "length:4:itself",
        "00000003",
        "malformed frame: length is 3, of itself 4",
      ],
      [
        "length:2:little:itself",
        "0100",
        "malformed frame: length is 1, of itself 2",
      ],
      ["length:1:itself", "00", "malformed frame: length is 0, of itself 1"],
      [
        "length:8",
        "0020000000000000",
        "frame too large: length is 9007199254740992",
      ],
      [
        "length:8",
        "0020000000000002",
        "frame too large: length is over 9007199254740992",
      ],
      [
        "length:8:little",
        "ffffffffffffffff",
        "frame too large: length is over 9007199254740992",
      ],
      [
        "length:8:itself",
        "0000000000000007",
        "malformed frame: length is 7, of itself 8",
      ],
    ] as const
  ) {
    const bytes = Uint8Array.fromHex(header);
    const codec = framingOf(name).codec(2 ** 16);
    assertEquals(codec.decode(bytes, 0, bytes.length - 1), 0);
    const { message } = assertThrows(
      () => codec.decode(bytes, 0, bytes.length),
      FrameError,
    );
    assert(message.startsWith(said), `${name} ${header}: ${message}`);
  }
});

Deno.test("varint codec refuses what has more than 32 bits, as soon as that shows", () => {
  for (
    const [sent, expected] of [
      ["ffffffff0f", "frame too large: length is 4294967295, maximum is 100"],
      ["ffffffff10", "malformed frame: length has more than 32 bits"],
      ["8080808080", "malformed frame: length has more than 32 bits"],
      ["ffffffffffffffffff01", "malformed frame: length has more than 32 bits"],
      ["65", "frame too large: length is 101, maximum is 100"],
    ]
  ) {
    const { error } = decodeAll("varint", [Uint8Array.fromHex(sent)], 100);
    assertEquals(error, expected);
    if (sent.length > 2) {
      const some = Uint8Array.fromHex(sent.slice(0, 8));
      assertEquals(decodeAll("varint", [some], 100).error, undefined);
    }
  }
});

Deno.test("codecs refuse to send what their form cannot hold", () => {
  for (
    const [name, payload, said] of [
      ["length:1", 256, "Cannot send 256 bytes: a frame holds 255"],
      ["length:1:itself", 255, "Cannot send 255 bytes: a frame holds 254"],
      ["length:2", 65536, "Cannot send 65536 bytes: a frame holds 65535"],
      [
        "length:2:itself",
        65534,
        "Cannot send 65534 bytes: a frame holds 65533",
      ],
      ["fixed:3", 2, "Cannot send 2 bytes: expected 3"],
      ["fixed:3", 4, "Cannot send 4 bytes: expected 3"],
      ["fixed:3", 0, "Cannot send 0 bytes: expected 3"],
    ] as const
  ) {
    const codec = framingOf(name).codec(100_000);
    assertThrows(
      () => codec.check(new Uint8Array(payload)),
      EncodeError,
      said,
    );
  }
  for (
    const [name, refused, accepted] of [
      ["delimiter:aa", ["aa", "xa", "a", "xaay"], ["", "ax", "xax"]],
      ["delimiter:abab", ["ab", "aab", "xababy"], ["aba", "a", "b"]],
      ["delimiter:\\r\\n", ["a\r\nb", "\r\n"], ["a\rb\nc", "\r", "\n\r"]],
      ["delimiter:\\0", ["a\0", "\0b"], ["a\nb", ""]],
    ] as const
  ) {
    const codec = framingOf(name).codec(100);
    for (const payload of refused) {
      assertThrows(
        () => codec.check(latin1(payload)),
        EncodeError,
        "Cannot send what has the delimiter in it",
        `${name} ${payload}`,
      );
    }
    for (const payload of accepted) codec.check(latin1(payload));
  }
});

Deno.test("netstring codec says what is malformed", () => {
  for (
    const [sent, expected] of [
      ["hello", "expected a digit, got 0x68"],
      [":hello", "expected a digit, got 0x3a"],
      ["5hello", 'expected a digit or ":", got 0x68'],
      ["05:hello,", "length has a leading zero"],
      ["00:,", "length has a leading zero"],
      ["5:hello!", 'expected "," after 5 bytes, got 0x21'],
      ["12345678901", "length has more than 10 digits"],
      ["-1:", "expected a digit, got 0x2d"],
    ]
  ) {
    const { error } = decodeAll("netstring", [bytes(sent)], 100);
    assertEquals(error, `malformed frame: ${expected}`);
  }
  assertEquals(
    decodeAll("netstring", [bytes("9999999999:")], 100).error,
    "frame too large: length is 9999999999, maximum is 100",
  );
});

Deno.test("line codec finds an LF anywhere, in memory that begins anywhere", () => {
  // Its search goes by words of four bytes: each place in a word, each length of
  // what is before it and behind, and old LFs on both sides of what is received.
  const memory = new ArrayBuffer(128);
  for (let offset = 0; offset < 8; offset++) {
    for (let size = 0; size <= 64; size++) {
      const all = new Uint8Array(memory, offset, offset + size + 8).fill(10);
      const [start, end] = [offset, offset + size];
      // Those around 0x0a, and with its bits, are taken for it most easily.
      for (let i = start; i < end; i++) all[i] = [9, 11, 0x8a, 0x0b, 0][i % 5];
      const codec = framingOf("line").codec(1000);
      assertEquals(codec.decode(all, start, end), 0, `none in ${size}`);
      for (let at = start; at < end; at++) {
        const found = all.slice(0, end + 4);
        found[at] = 10;
        const codec = framingOf("line").codec(1000);
        assertEquals(codec.decode(found, start, end), at + 1);
        assertEquals([codec.payloadStart, codec.payloadEnd], [start, at]);
      }
    }
  }
});

Deno.test("line codec answers with the ending that the request had", () => {
  const codec = framingOf("line").codec(10);
  for (const [line, ending] of [["a\r\n", "\r\n"], ["a\n", "\n"]]) {
    codec.decode(bytes(line), 0, line.length);
    assertEquals(text(frameOf(codec, new Uint8Array())), ending);
  }
});

Deno.test("line codec refuses to send an LF", () => {
  const codec = framingOf("line").codec(10);
  for (const at of [0, 3, 70, 99]) {
    const payload = new Uint8Array(100).fill(97);
    payload[at] = 10;
    assertThrows(
      () => codec.check(payload),
      EncodeError,
      "Cannot send a line that contains LF",
    );
  }
});

Deno.test("framingOf reads every name, and gives it back in full", () => {
  for (
    const [given, name] of [
      ["length:4", "length"],
      ["length:4:little", "length:4:little"],
      ["length:8:little:itself", "length:8:little:itself"],
      ["fixed:016", "fixed:16"],
      ["fixed:1073741824", "fixed:1073741824"],
      ["delimiter:\0", "delimiter:\\x00"],
      [
        "delimiter:\\0\\t\\n\\r\\\\\\xfF",
        "delimiter:\\x00\\x09\\x0a\\x0d\\x5c\\xff",
      ],
      [
        "delimiter:§:x 𝄞",
        "delimiter:\\xc2\\xa7\\x3a\\x78\\x20\\xf0\\x9d\\x84\\x9e",
      ],
      ["delimiter:\n", "delimiter:\\x0a"],
      ...names.map((name) => [
        name,
        framingOf(name).name,
      ]),
    ]
  ) {
    assertEquals(framingOf(given).name, name);
    assertEquals(framingOf(name).name, name, "its own name is one");
    assertMatch(name, /^[!-~]+$/);
  }
});

Deno.test("framingOf refuses what is no framing", () => {
  for (
    const given of [
      ...["", "lines", "toString", "__proto__", "Line", "line "],
      ...["length:", "length:3", "length:16", "length:04", "length:4:big"],
      ...["length:4:itself:little", "fixed", "fixed:", "fixed:0", "fixed:-1"],
      ...[
        "fixed:1.5",
        "fixed:1e3",
        "fixed:1073741825",
        "fixed:9".padEnd(400, "9"),
      ],
      ...["delimiter", "delimiter:", "delimiter:\\", "delimiter:\\q"],
      ...["delimiter:\\x0", "delimiter:\\xgg", `delimiter:${"x".repeat(33)}`],
    ]
  ) {
    assertThrows(
      () => framingOf(given),
      OptionError,
      "Cannot use framing",
      given,
    );
  }
  for (const given of [null, 5, {}, { name: "x" }, { codec: 1 }]) {
    assertThrows(
      () => framingOf(given as never),
      OptionError,
      "Cannot use framing",
    );
  }
  assertThrows(() => fixed(0), OptionError, 'framing "fixed:0": expected');
  assertThrows(() => fixed(1.5), OptionError);
  assertThrows(() => fixed(2 ** 30 + 1), OptionError);
  assertThrows(() => delimiter(""), OptionError, "expected 1 to 32 bytes");
  assertThrows(() => delimiter(new Uint8Array(33)), OptionError);
  assertThrows(() => length({ bytes: 3 as 4 }), OptionError, "1, 2, 4 or 8");
  assertThrows(() => length({ endian: "middle" as "big" }), OptionError);
  assertThrows(
    () => fixed(16).codec(15),
    OptionError,
    'framing "fixed:16": expected frames of at most 15 bytes, the maximum',
  );
});

Deno.test("delimiter keeps no hold on the bytes that it was given", () => {
  const given = bytes("x");
  const codec = delimiter(given).codec(10);
  given.fill(0);
  assertEquals(text(frameOf(codec, bytes("a"))), "ax");
});
