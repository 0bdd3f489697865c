// testCodec accepts framings that keep the rules, and names the rule that a
// framing breaks.

import { EncodeError, FrameError } from "../../lib/core/errors.ts";
import {
  Codec,
  type Framing,
  type FramingName,
  framingNames,
} from "../../lib/framing/mod.ts";
import { testCodec } from "../../lib/framing/test_codec.ts";
import { fixed, ParleyError } from "../../lib/mod.ts";
import { crcFraming, respCommand, respFraming } from "../support/framings.ts";
import { bytes } from "../support/fixtures.ts";
import { assertEquals, assertThrows } from "../support/std.ts";

const kept: readonly FramingName[] = [
  ...framingNames,
  ...([1, 2, 4, 8] as const).flatMap((size): FramingName[] => [
    ...["", ":little", ":itself", ":little:itself"].map((form) =>
      `length:${size}${form}` as const
    ),
  ]),
  ...["\\0", "\\n", "\\r\\n", "aa", "abab", "abcabd", "\\xff\\x00\\xff", " "]
    .map((ending) => `delimiter:${ending}` as const),
];

for (const name of kept) {
  Deno.test(`testCodec accepts ${name}`, () => testCodec(name));
}

for (const size of [1, 16, 300]) {
  Deno.test(`testCodec accepts fixed:${size}`, () =>
    testCodec(
      fixed(size),
      (random) => new Uint8Array(size).map(() => 256 * random()),
    ));
}

Deno.test("testCodec accepts a framing with a checksum behind", () =>
  testCodec(crcFraming));

Deno.test("testCodec accepts a framing whose payload is the whole frame", () =>
  testCodec(respFraming, (random) => {
    const words = Array.from(
      { length: 1 + 3 * random() },
      () => "x".repeat(12 * random()),
    );
    const values = [
      () => respCommand(...words),
      () => `+${words[0]}\r\n`,
      () => `:${Math.floor(1e6 * random())}\r\n`,
      () => `$${words[0].length}\r\n${words[0]}\r\n`,
    ];
    return bytes(values[Math.floor(values.length * random())]());
  }));

/** Bytes up to a semicolon, as it should be. */
class Semicolon extends Codec {
  override readonly overhead: number = 1;
  protected scanned = 0;

  decode(bytes: Uint8Array, start: number, end: number): number {
    const at = this.find(bytes, start, end);
    const length = at < 0 ? end - start : at - start;
    if (length > this.maxFrame) this.refuse();
    this.scanned = at < 0 ? length : 0;
    this.payloadStart = start;
    this.payloadEnd = start + length;
    return at < 0 ? 0 : at + 1;
  }

  protected find(bytes: Uint8Array, start: number, end: number): number {
    for (let i = start + this.scanned; i < end; i++) {
      if (bytes[i] === 59) return i;
    }
    return -1;
  }

  protected refuse(): void {
    throw new FrameError("too_large", `more than ${this.maxFrame}`);
  }

  override check(payload: Uint8Array): void {
    if (payload.includes(59)) throw new EncodeError("Cannot send it");
  }

  override writeTrailer(out: Uint8Array, at: number, _: Uint8Array): number {
    out[at] = 59;
    return at + 1;
  }
}

/** What several codecs share that should not. */
let shared = 0;

/** Codecs that break a rule, by what testCodec says of them. */
const broken: readonly [rule: RegExp, Codec: typeof Semicolon][] = [
  [
    /only overhead, 0 bytes, is written/,
    class extends Semicolon {
      override readonly overhead = 0;
    },
  ],
  [
    /only overhead, 1 bytes, is written/,
    // Behind the frame is the next one's place.
    class extends Semicolon {
      override writeTrailer(out: Uint8Array, at: number, payload: Uint8Array) {
        out[at + 1] = 1;
        return super.writeTrailer(out, at, payload);
      }
    },
  ],
  [
    /overhead is 1024 bytes at most/,
    class extends Semicolon {
      override readonly overhead = 2000;
    },
  ],
  [
    /a payload is not changed/,
    class extends Semicolon {
      override writeHeader(_out: Uint8Array, at: number, payload: Uint8Array) {
        payload[0] = 0;
        return at;
      }
    },
  ],
  [
    /it does not matter (where in memory they are|what is written)/,
    // Remembers a place in the buffer, not the distance from the start.
    class extends Semicolon {
      #at = 0;
      protected override find(bytes: Uint8Array, start: number, end: number) {
        const from = Math.max(start, this.#at);
        const at = bytes.subarray(0, end).indexOf(59, from);
        this.#at = at < 0 ? end : 0;
        return at;
      }
    },
  ],
  [
    /a frame lies between start and end/,
    // Finds an old frame's end behind what is there.
    class extends Semicolon {
      protected override find(bytes: Uint8Array, start: number) {
        return bytes.indexOf(59, start);
      }
    },
  ],
  [
    /it does not matter where in memory they are, and what is around them/,
    // Looks whether the byte before the frame is its own ending.
    class extends Semicolon {
      override decode(bytes: Uint8Array, start: number, end: number) {
        if (start > 0 && bytes[start - 1] === 0xff) {
          throw new FrameError("malformed", "0xff before it");
        }
        return super.decode(bytes, start, end);
      }
    },
  ],
  [
    /what check accepts decodes to itself: sent "\[.*", got "/,
    class extends Semicolon {
      override check() {}
    },
  ],
  [
    /no payload is over maxFrame/,
    // Refuses only what has no end yet.
    class extends Semicolon {
      #found = false;
      protected override find(bytes: Uint8Array, start: number, end: number) {
        const at = super.find(bytes, start, end);
        this.#found = at >= 0;
        return at;
      }
      protected override refuse() {
        if (!this.#found) super.refuse();
      }
    },
  ],
  [
    /maxFrame and overhead bytes are a frame, or refused/,
    // Refuses only what it has found whole.
    class extends Semicolon {
      override decode(bytes: Uint8Array, start: number, end: number) {
        const at = this.find(bytes, start, end);
        return at < 0 ? 0 : super.decode(bytes, start, end);
      }
    },
  ],
  [
    /a payload over maxFrame is refused as too_large/,
    class extends Semicolon {
      protected override refuse(): void {
        throw new FrameError("malformed", "too much of it");
      }
    },
  ],
  [
    /of broken frames it does not matter either how bytes are cut/,
    // How much of it there is goes by how it was cut.
    class extends Semicolon {
      override decode(bytes: Uint8Array, start: number, end: number) {
        if (end - start > this.maxFrame && this.find(bytes, start, end) < 0) {
          throw new FrameError("too_large", `${end - start} bytes`);
        }
        return super.decode(bytes, start, end);
      }
    },
  ],
  [
    /it does not matter what is written meanwhile, and what other codecs do/,
    class extends Semicolon {
      override writeTrailer(out: Uint8Array, at: number, payload: Uint8Array) {
        this.scanned += 100;
        return super.writeTrailer(out, at, payload);
      }
    },
  ],
  [
    /it does not matter what is written meanwhile, and what other codecs do/,
    class extends Semicolon {
      constructor(maxFrame: number) {
        super(maxFrame);
        shared = 0;
      }
      protected override find(bytes: Uint8Array, start: number, end: number) {
        for (let i = start + shared; i < end; i++) {
          if (bytes[i] === 59) {
            shared = 0;
            return i;
          }
        }
        shared = end - start;
        return -1;
      }
    },
  ],
  [
    /what check accepts decodes to itself/,
    // Finds a frame only when the next one has begun.
    class extends Semicolon {
      override decode(bytes: Uint8Array, start: number, end: number) {
        const at = this.find(bytes, start, end);
        return at + 1 === end ? 0 : super.decode(bytes, start, end);
      }
    },
  ],
  [
    /decode threw RangeError: no such byte/,
    class extends Semicolon {
      override decode(bytes: Uint8Array, start: number, end: number) {
        if (bytes[start] === 0xff) throw new RangeError("no such byte");
        return super.decode(bytes, start, end);
      }
    },
  ],
  [
    /check threw TypeError: not that/,
    class extends Semicolon {
      override check(payload: Uint8Array) {
        if (payload.includes(59)) throw new TypeError("not that");
      }
    },
  ],
  [
    /check accepts what was decoded/,
    class extends Semicolon {
      override check(payload: Uint8Array) {
        super.check(payload);
        if (payload.includes(0xff)) throw new EncodeError("Cannot send 0xff");
      }
    },
  ],
  [
    /a frame lies between start and end|how often they are looked at/,
    class extends Semicolon {
      #asked = 0;
      override decode(bytes: Uint8Array, start: number, end: number) {
        const next = super.decode(bytes, start, end);
        this.#asked = next === 0 ? this.#asked + 1 : 0;
        return this.#asked === 2 ? start + 1 : next;
      }
    },
  ],
  [
    /check accepts a payload, if need be one of your making/,
    class extends Semicolon {
      override check() {
        throw new EncodeError("Cannot send anything");
      }
    },
  ],
];

Deno.test("testCodec accepts the codec that the broken ones are made of", () =>
  testCodec({ name: "semicolon", codec: (max) => new Semicolon(max) }));

for (const [i, [rule, Broken]] of broken.entries()) {
  Deno.test(`testCodec finds broken codec ${i + 1}: ${rule.source}`, () => {
    const framing: Framing = { name: "mine", codec: (max) => new Broken(max) };
    const { message } = assertThrows(() => testCodec(framing), ParleyError);
    const start = 'Framing "mine" breaks a rule: ';
    assertEquals(message.slice(0, start.length), start);
    assertEquals(rule.test(message), true, message);
  });
}
