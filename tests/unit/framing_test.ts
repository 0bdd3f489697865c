// deno-lint-ignore-file no-import-prefix -- what deno.json imports is fetched
// for every program, and only tests need this.

import { assert, assertEquals, assertThrows } from "../support/std.ts";
import fc from "npm:fast-check@4.3.0";

import { EncodeError, FrameError } from "../../lib/core/errors.ts";
import {
  type Codec,
  type FramingName,
  framingNames,
  framings,
  MAX_OVERHEAD,
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
  const codec = framings[name].codec(maxFrame);
  const inbox = new ReceiveBuffer(maxFrame + MAX_OVERHEAD);
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
  const codec = framings[name].codec(1);
  const size = payloads.reduce((sum, p) => sum + p.length + MAX_OVERHEAD, 0);
  const out = new Uint8Array(size);
  let at = 0;
  for (const payload of payloads) {
    codec.check(payload);
    at = codec.writeHeader(out, at, payload.length);
    out.set(payload, at);
    at = codec.writeTrailer(out, at + payload.length);
  }
  return out.subarray(0, at);
}

/** Cuts bytes at the given places. */
function cut(all: Uint8Array, places: number[]): Uint8Array[] {
  const at = [0, ...places.map((p) => p % (all.length + 1)), all.length]
    .sort((a, b) => a - b);
  return at.slice(1).map((end, i) => all.subarray(at[i], end));
}

const wire: Record<FramingName, [sent: string, frames: string[]][]> = {
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
};

for (const name of framingNames) {
  Deno.test(`${name} codec finds the same frames at every split`, () => {
    for (const [sent, frames] of wire[name]) {
      const all = bytes(sent);
      for (let first = 0; first <= all.length; first++) {
        for (let second = first; second <= all.length; second++) {
          const got = decodeAll(name, cut(all, [first, second]), 100);
          assertEquals(got.frames.map(text), frames, `${sent} at ${first}`);
          assertEquals(got.error, undefined);
        }
      }
    }
  });

  Deno.test(`${name} codec gives back any payloads from any chunks`, () => {
    const payload = fc.uint8Array({ maxLength: 300 }).map((raw) =>
      // What a line cannot carry: an LF, and a CR where its ending starts.
      name === "line" ? raw.map((b) => b === 10 || b === 13 ? 46 : b) : raw
    );
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
      fc.string({ unit: fc.constantFrom(..."0123456789:,\n\r a\0") })
        .map(bytes),
    );
    fc.assert(
      fc.property(
        garbage,
        fc.array(fc.nat(), { maxLength: 10 }),
        fc.integer({ min: 1, max: 40 }),
        (sent, places, maxFrame) => {
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
    const most = new Uint8Array(100_000).fill(97);
    const sent = encodeAll(name, [most]);
    const chunks = cut(sent, [1, 5, 50_000, 99_999]);
    assertEquals(decodeAll(name, chunks, 100_000).frames, [most]);
    const { frames, error } = decodeAll(name, chunks, 99_999);
    assertEquals(frames, []);
    assertEquals(
      error,
      name === "line"
        ? "frame too large: length is at least 100000, maximum is 99999"
        : "frame too large: length is 100000, maximum is 99999",
    );
  });

  Deno.test(`${name} codec never looks at a byte twice`, () => {
    const sent = encodeAll(name, [new Uint8Array(2000).fill(97)]);
    const codec = framings[name].codec(2000);
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
    assert(looked <= sent.length + 10, `${looked} looks`);
  });
}

Deno.test("line codec refuses as soon as the limit is passed", () => {
  const codec = framings.line.codec(10);
  assertEquals(codec.decode(bytes("0123456789\r"), 0, 11), 0);
  assertThrows(
    () => codec.decode(bytes("0123456789\ra"), 0, 12),
    FrameError,
    "length is at least 11, maximum is 10",
  );
});

Deno.test("length codec refuses from the header", () => {
  for (const length of [2 ** 16 + 1, 2 ** 31, 2 ** 32 - 1]) {
    const header = new Uint8Array(4);
    new DataView(header.buffer).setUint32(0, length);
    assertThrows(
      () => framings.length.codec(2 ** 16).decode(header, 0, 4),
      FrameError,
      `frame too large: length is ${length}, maximum is 65536`,
    );
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
      const codec = framings.line.codec(1000);
      assertEquals(codec.decode(all, start, end), 0, `none in ${size}`);
      for (let at = start; at < end; at++) {
        const found = all.slice(0, end + 4);
        found[at] = 10;
        const codec = framings.line.codec(1000);
        assertEquals(codec.decode(found, start, end), at + 1);
        assertEquals([codec.payloadStart, codec.payloadEnd], [start, at]);
      }
    }
  }
});

Deno.test("line codec answers with the ending that the request had", () => {
  const codec = framings.line.codec(10);
  const out = new Uint8Array(2);
  for (const [line, ending] of [["a\r\n", "\r\n"], ["a\n", "\n"]]) {
    codec.decode(bytes(line), 0, line.length);
    assertEquals(text(out.subarray(0, codec.writeTrailer(out, 0))), ending);
  }
});

Deno.test("line codec refuses to send an LF", () => {
  const codec = framings.line.codec(10);
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
