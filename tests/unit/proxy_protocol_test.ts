// deno-lint-ignore-file no-import-prefix -- what deno.json imports is fetched
// for every program, and only tests need this.

import { assert, assertEquals } from "../support/std.ts";
import fc from "npm:fast-check@4.3.0";

import { formatAddr } from "../../lib/core/address.ts";
import { ParleyError, ProxyHeaderError } from "../../lib/core/errors.ts";
import {
  parseProxyHeader,
  type ProxyHeader,
  type ProxyVersion,
  proxyVersions,
} from "../../lib/net/proxy_protocol.ts";
import { bytes } from "../support/fixtures.ts";

/** What came of some bytes, and how many of them it took. */
interface Outcome {
  after: number;
  header?: ProxyHeader;
  error?: string;
}

/**
 * Has bytes arrive up to each of the places, then all of them, and parses
 * until there is an outcome. What has not arrived yet reads as garbage, and
 * the connection does not start where the buffer does.
 */
function receive(
  sent: Uint8Array,
  places: number[],
  accept: ProxyVersion,
): Outcome | undefined {
  const start = 5;
  const buffer = new Uint8Array(start + sent.length + 300).fill(0x0a);
  for (const end of [...places.toSorted((a, b) => a - b), sent.length]) {
    buffer.set(sent.subarray(0, end), start);
    const before = buffer.slice();
    try {
      const header = parseProxyHeader(buffer, start, start + end, accept);
      assertEquals(buffer, before);
      if (header !== undefined) {
        assert(header.length <= end, "more used than was there");
        return { after: end, header };
      }
    } catch (error) {
      if (!(error instanceof ProxyHeaderError)) throw error;
      return { after: end, error: error.message };
    }
  }
  return undefined;
}

/** Has the bytes arrive one by one. */
function dribble(sent: Uint8Array, accept: ProxyVersion): Outcome | undefined {
  return receive(sent, Array.from(sent, (_, end) => end), accept);
}

/** What is left of an outcome that must not depend on the chunks. */
function verdict(outcome: Outcome | undefined) {
  return outcome && { header: outcome.header, error: outcome.error };
}

function concat(...parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(parts.flatMap((part) => [...part]));
}

function fromHex(text: string): Uint8Array {
  return Uint8Array.fromHex(text.replaceAll(" ", ""));
}

/** Bytes that are no text, such as those of a v1 line with any octet in it. */
function latin1(text: string): Uint8Array {
  return Uint8Array.from(text, (c) => c.charCodeAt(0));
}

/** A header as one line, the length in front. */
function show({ length, source, destination }: ProxyHeader): string {
  if (source === undefined || destination === undefined) {
    assertEquals([source, destination], [undefined, undefined]);
    return String(length);
  }
  return `${length} ${formatAddr(source)} ${formatAddr(destination)}`;
}

/** 16 bytes, and as many as the length can say. */
const MAX_PROXY_HEADER = 16 + 0xffff;

const SIGNATURE = "0d0a0d0a000d0a515549540a";

/** Headers as they are on the wire, and what they say. */
const good: Record<"v1" | "v2", [name: string, Uint8Array, says: string][]> = {
  v1: [
    [
      "TCP4",
      bytes("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"),
      "47 192.168.0.1:56324 192.168.0.11:443",
    ],
    [
      "TCP4, shortest",
      bytes("PROXY TCP4 1.2.3.4 0.0.0.0 0 1\r\n"),
      "32 1.2.3.4:0 0.0.0.0:1",
    ],
    [
      "TCP4, longest",
      bytes("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"),
      "56 255.255.255.255:65535 255.255.255.255:65535",
    ],
    [
      "TCP6",
      bytes("PROXY TCP6 2001:DB8:0:0::1 ::1 10 20\r\n"),
      "38 [2001:db8::1]:10 [::1]:20",
    ],
    [
      "TCP6, longest",
      bytes(
        "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff " +
          "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe 65535 65534\r\n",
      ),
      "104 [ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535 " +
      "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe]:65534",
    ],
    [
      "TCP6, mapped",
      bytes("PROXY TCP6 ::ffff:192.0.2.7 ::FFFF:c000:0201 10 20\r\n"),
      "52 [::ffff:192.0.2.7]:10 [::ffff:192.0.2.1]:20",
    ],
    ["UNKNOWN", bytes("PROXY UNKNOWN\r\n"), "15"],
    ["UNKNOWN and a space", bytes("PROXY UNKNOWN \r\n"), "16"],
    [
      "UNKNOWN, longest",
      bytes(
        "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff " +
          "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
      ),
      "107",
    ],
    [
      "UNKNOWN and anything",
      latin1("PROXY UNKNOWN \0\xff\r\r\x1b\n\n\r PROXY\r\r\n"),
      "31",
    ],
  ],
  v2: [
    // As HAProxy 2.6 sends them.
    ["LOCAL", fromHex(`${SIGNATURE} 20000000`), "16"],
    [
      "LOCAL with CRC32C",
      fromHex(`${SIGNATURE} 20000007 030004a9b87e8f`),
      "23",
    ],
    [
      "PROXY",
      fromHex(`${SIGNATURE} 2111000c 7f000001 7f000001 a834 4a38`),
      "28 127.0.0.1:43060 127.0.0.1:19000",
    ],
    [
      "PROXY with CRC32C and an empty UNIQUE_ID",
      fromHex(
        `${SIGNATURE} 21110016 7f000001 7f000001 a836 4a38` +
          "030004 15a9b0b0 050000",
      ),
      "38 127.0.0.1:43062 127.0.0.1:19000",
    ],
    // Our own.
    [
      "TCP6",
      fromHex(
        `${SIGNATURE} 21210024 20010db8000000000000000000000001` +
          "00000000000000000000ffff c0000207 ffff 0000",
      ),
      "52 [2001:db8::1]:65535 [::ffff:192.0.2.7]:0",
    ],
    ["UNSPEC", fromHex(`${SIGNATURE} 21000000`), "16"],
    ["UNSPEC with a TLV", fromHex(`${SIGNATURE} 21000004 04000100`), "20"],
    ["UDP4", v2(0x21, 0x12, new Uint8Array(12)), "28"],
    ["UDP6", v2(0x21, 0x22, new Uint8Array(36)), "52"],
    ["Unix stream", v2(0x21, 0x31, new Uint8Array(216)), "232"],
    ["Unix datagram", v2(0x21, 0x32, new Uint8Array(216).fill(255)), "232"],
    // LOCAL is to be accepted, whatever its family and addresses.
    [
      "LOCAL with addresses",
      v2(0x20, 0x11, new Uint8Array(12).fill(255)),
      "28",
    ],
    ["LOCAL with half addresses", v2(0x20, 0x11, fromHex("ffffff")), "19"],
    ["LOCAL TCP4 with none", v2(0x20, 0x11), "16"],
    ["LOCAL of no known family", v2(0x20, 0xff, fromHex("030004ff")), "20"],
    ["LOCAL with half a TLV", v2(0x20, 0x00, fromHex("040000 01ffff")), "22"],
    ["LOCAL with half a TLV header", v2(0x20, 0x00, fromHex("0300")), "18"],
    // TLVs.
    [
      "TLVs of any type, some empty",
      v2(
        0x21,
        0x11,
        fromHex("01020304 05060708 0001 0002"),
        tlv(0x01, bytes("h2")),
        tlv(0x02, bytes("example.com")),
        tlv(0x04),
        tlv(0x20, new Uint8Array(300).fill(3)),
        tlv(0xff, fromHex("ff")),
        tlv(0x00),
      ),
      "360 1.2.3.4:1 5.6.7.8:2",
    ],
    [
      "a TLV that holds what looks like a wrong CRC32C",
      v2(0x21, 0x00, tlv(0xe0, fromHex("030004 00000000"))),
      "26",
    ],
  ],
};

/** A TLV. */
function tlv(type: number, value: Uint8Array = new Uint8Array()): Uint8Array {
  return concat(
    Uint8Array.of(type, value.length >> 8, value.length & 255),
    value,
  );
}

/** A version 2 header. */
function v2(
  command: number,
  family: number,
  ...rest: Uint8Array[]
): Uint8Array {
  const block = concat(...rest);
  return concat(
    fromHex(SIGNATURE),
    Uint8Array.of(command, family, block.length >> 8, block.length & 255),
    block,
  );
}

/** CRC32C bit by bit, as its definition has it: none of the parser's table. */
function crc32c(all: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of all) {
    for (let bit = 0; bit < 8; bit++) {
      const out = (crc ^ byte >> bit) & 1;
      crc >>>= 1;
      if (out === 1) crc ^= 0x82f63b78;
    }
  }
  return ~crc >>> 0;
}

/** Fills in the CRC32C TLV whose value is at the given place. */
function summed(header: Uint8Array, at: number): Uint8Array {
  const copy = header.slice();
  copy.fill(0, at, at + 4);
  new DataView(copy.buffer).setUint32(at, crc32c(copy));
  return copy;
}

const PAYLOADS = ["hello\n", "\r\n", "\0", "PROXY UNKNOWN\r\n"].map(bytes);

for (const version of ["v1", "v2"] as const) {
  for (const [name, sent, says] of good[version]) {
    Deno.test(`parseProxyHeader reads ${version} ${name} at every split`, () => {
      for (const accept of [version, "any"] as const) {
        for (const payload of PAYLOADS) {
          const all = concat(sent, payload);
          const whole = receive(all, [], accept);
          assertEquals(whole?.error, undefined);
          assertEquals(show(whole?.header as ProxyHeader), says);
          assertEquals(all.subarray(whole?.header?.length), payload);
          // With the last byte, not before and not later.
          assertEquals(dribble(all, accept), {
            after: sent.length,
            header: whole?.header,
          });
          for (let first = 0; first <= all.length; first++) {
            const outcome = receive(all, [first], accept);
            assertEquals(verdict(outcome), verdict(whole), `at ${first}`);
          }
        }
        for (let first = 0; first <= sent.length; first += 7) {
          for (let second = first; second <= sent.length; second++) {
            const outcome = receive(sent, [first, second], accept);
            assertEquals(show(outcome?.header as ProxyHeader), says);
          }
        }
      }
    });

    Deno.test(`parseProxyHeader needs all of ${version} ${name}`, () => {
      for (const accept of [version, "any"] as const) {
        for (let end = 0; end < sent.length; end++) {
          assertEquals(receive(sent.subarray(0, end), [], accept), undefined);
        }
      }
    });
  }
}

Deno.test("parseProxyHeader gives plain addresses", () => {
  const [, sent] = good.v2[2];
  assertEquals(receive(sent, [], "v2")?.header, {
    length: 28,
    source: { transport: "tcp", hostname: "127.0.0.1", port: 43060 },
    destination: { transport: "tcp", hostname: "127.0.0.1", port: 19000 },
  });
  assertEquals(receive(good.v2[0][1], [], "v2")?.header, { length: 16 });
});

const V1_START = 'expected "PROXY", then TCP4, TCP6 or UNKNOWN';
const NO_CRLF = "no CRLF within 107 bytes";
const FIELDS = "expected two addresses and two ports with one space between";
const PORT = "is not a number from 0 to 65535 without leading zeros";

/** Text that is refused as v1, why, and after how many bytes of it. */
const badV1: [text: string, error: string, after?: number][] = [
  ["GET / HTTP/1.1\r\n\r\n", `${V1_START}, got 0x47 at byte 1`, 1],
  ["\x16\x03\x01", `${V1_START}, got 0x16 at byte 1`, 1],
  ["\0", `${V1_START}, got 0x00 at byte 1`, 1],
  ["\r\n\r\n", `${V1_START}, got 0x0d at byte 1`, 1],
  ["proxy TCP4", `${V1_START}, got 0x70 at byte 1`, 1],
  ["POST / HTTP", `${V1_START}, got 0x4f at byte 2`, 2],
  ["PROXY\r\n", `${V1_START}, got 0x0d at byte 6`, 6],
  ["PROXY\tTCP4", `${V1_START}, got 0x09 at byte 6`, 6],
  ["PROXY  TCP4", `${V1_START}, got 0x20 at byte 7`, 7],
  ["PROXY \r\n", `${V1_START}, got 0x0d at byte 7`, 7],
  ["PROXY tcp4", `${V1_START}, got 0x74 at byte 7`, 7],
  ["PROXY UDP4", `${V1_START}, got 0x44 at byte 8`, 8],
  ["PROXY TCP5", `${V1_START}, got 0x35 at byte 10`, 10],
  ["PROXY TCP\r\n", `${V1_START}, got 0x0d at byte 10`, 10],
  ["PROXY TCP4\r\n", `${V1_START}, got 0x0d at byte 11`, 11],
  ["PROXY TCP44 ", `${V1_START}, got 0x34 at byte 11`, 11],
  ["PROXY UNKNOWX", `${V1_START}, got 0x58 at byte 13`, 13],
  ["\xD0ROXY TCP4", `${V1_START}, got 0xd0 at byte 1`, 1],
  // UNKNOWN is a word of its own, with a space or CRLF behind it.
  ["PROXY UNKNOWNS\r\n", `${V1_START}, got 0x53 at byte 14`, 14],
  ["PROXY UNKNOWN\n", `${V1_START}, got 0x0a at byte 14`, 14],
  ["PROXY UNKNOWN\rX", `${V1_START}, got 0x58 at byte 15`, 15],
  ["PROXY UNKNOWN\r\r\n", `${V1_START}, got 0x0d at byte 15`, 15],
  // The line's end and length.
  ["PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", "expected CR before LF"],
  ["PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rx", "expected LF after CR, got 0x78"],
  [
    "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\r\n",
    "expected LF after CR, got 0x0d",
    32,
  ],
  ["PROXY TCP4 1.2.3.4\n5.6.7.8 1 2\r\n", "expected CR before LF", 19],
  ["PROXY TCP4 " + "1".repeat(100), NO_CRLF, 107],
  ["PROXY TCP4 " + "1".repeat(94) + "\r\n", `${FIELDS}, got 1 fields`, 107],
  ["PROXY TCP4 " + "1".repeat(95) + "\r\n", NO_CRLF, 107],
  ["PROXY UNKNOWN " + " ".repeat(92) + "\r\n", NO_CRLF, 107],
  ["PROXY UNKNOWN " + "\r".repeat(200), NO_CRLF, 107],
  ["PROXY UNKNOWN " + "\n".repeat(200), NO_CRLF, 107],
  // The fields.
  ["PROXY TCP4 \r\n", `${FIELDS}, got 1 fields`],
  ["PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", `${FIELDS}, got 3 fields`],
  ["PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n", `${FIELDS}, got 5 fields`],
  ["PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n", `${FIELDS}, got 5 fields`],
  ["PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n", `${FIELDS}, got 5 fields`],
  ["PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n", `${FIELDS}, got 5 fields`],
  ["PROXY TCP4 1.2.3.4\t5.6.7.8 1 2\r\n", `${FIELDS}, got 3 fields`],
  ...[
    "",
    "1.2.3",
    "1.2.3.4.5",
    "1.2.3.256",
    "01.2.3.4",
    "1.2.3.4/8",
    "0x1.2.3.4",
    "-1.2.3.4",
    "1..3.4",
    "16909060",
    "::1",
    "::ffff:1.2.3.4",
    "localhost",
  ].flatMap((address): [string, string][] => [
    [
      `PROXY TCP4 ${address} 5.6.7.8 1 2\r\n`,
      `source address "${address}" is not an IPv4 address`,
    ],
    [
      `PROXY TCP4 5.6.7.8 ${address} 1 2\r\n`,
      `destination address "${address}" is not an IPv4 address`,
    ],
  ]),
  ...[
    "",
    "1.2.3.4",
    "1::2::3",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    ":1:2:3:4:5:6:7",
    "00001::",
    "g::",
    ":::",
    "[::1]",
    "::1/128",
    "fe80::1%eth0",
    "::ffff:1.2.3.256",
  ].flatMap((address): [string, string][] => [
    [
      `PROXY TCP6 ${address} ::1 1 2\r\n`,
      `source address "${address}" is not an IPv6 address`,
    ],
    [
      `PROXY TCP6 ::1 ${address} 1 2\r\n`,
      `destination address "${address}" is not an IPv6 address`,
    ],
  ]),
  [
    "PROXY TCP4 1.2.3.\xb2 5.6.7.8 1 2\r\n",
    'source address "1.2.3.\xb2" is not an IPv4 address',
  ],
  [
    "PROXY TCP4 \x1b[2J\0 5.6.7.8 1 2\r\n",
    'source address "\\u001b[2J\\u0000" is not an IPv4 address',
  ],
  ...[
    "",
    "65536",
    "99999",
    "100000",
    "080",
    "00",
    "-1",
    "+1",
    "1.0",
    "0x1",
    "a",
  ]
    .flatMap((port): [string, string][] => [
      [
        `PROXY TCP4 1.2.3.4 5.6.7.8 ${port} 2\r\n`,
        `source port "${port}" ${PORT}`,
      ],
      [
        `PROXY TCP6 ::1 ::2 1 ${port}\r\n`,
        `destination port "${port}" ${PORT}`,
      ],
    ]),
];

Deno.test("parseProxyHeader refuses broken v1 headers, each for its fault", () => {
  for (const [text, error, after = text.length] of badV1) {
    const expected = { after, error: `Cannot read PROXY header: ${error}` };
    const sent = latin1(text);
    assertEquals(dribble(sent, "v1"), expected, text);
    const more = latin1(text + "hello\n");
    assertEquals(receive(more, [], "v1")?.error, expected.error, text);
    if (text.startsWith("P")) assertEquals(dribble(sent, "any"), expected);
  }
});

const SIGNED = "expected the v2 signature";
const A4 = "7f000001 7f000001 a834 4a38";

/** Bytes in hex that are refused as v2, why, and after how many of them. */
const badV2: [hex: string, error: string, after?: number][] = [
  ["50", `${SIGNED}, got 0x50 at byte 1`],
  ["00", `${SIGNED}, got 0x00 at byte 1`],
  ["160301", `${SIGNED}, got 0x16 at byte 1`, 1],
  ["0a", `${SIGNED}, got 0x0a at byte 1`],
  ["0d0d", `${SIGNED}, got 0x0d at byte 2`],
  ["0d0a0d0a0d", `${SIGNED}, got 0x0d at byte 5`],
  ["0d0a0d0a000d0a71", `${SIGNED}, got 0x71 at byte 8`],
  ["0d0a0d0a000d0a515549540d", `${SIGNED}, got 0x0d at byte 12`],
  ["0d0a0d0a000d0a5155495400", `${SIGNED}, got 0x00 at byte 12`],
  // Version and command.
  ...["00", "01", "10", "11", "22", "2f", "30", "31", "f1", "ff"].map((
    command,
  ): [string, string] => [
    `${SIGNATURE} ${command}`,
    `expected version and command 0x20 or 0x21, got 0x${command}`,
  ]),
  // Family and transport: all that section 2.2 does not list.
  ...Array.from({ length: 256 }, (_, family) => family)
    .filter((family) =>
      ![0x00, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32].includes(family)
    )
    .map((family) => family.toString(16).padStart(2, "0"))
    .map((family): [string, string] => [
      `${SIGNATURE} 21 ${family}`,
      `address family and transport 0x${family} are unknown`,
    ]),
  // Too short for the family: known before the addresses come.
  ...([["11", 12], ["12", 12], ["21", 36], ["22", 36], ["31", 216], [
    "32",
    216,
  ]] as const).flatMap(([family, needs]) =>
    [0, 1, needs - 1].map((length): [string, string] => [
      `${SIGNATURE} 21${family}00${length.toString(16).padStart(2, "0")}`,
      `length is ${length}, family 0x${family} needs ${needs}`,
    ])
  ),
  // TLVs.
  [
    `${SIGNATURE} 2111000d ${A4} 04`,
    "TLV at byte 29 needs 3 bytes, 1 are left",
  ],
  [
    `${SIGNATURE} 2111000e ${A4} 0400`,
    "TLV at byte 29 needs 3 bytes, 2 are left",
  ],
  [
    `${SIGNATURE} 2111000f ${A4} 040001`,
    "TLV at byte 29 needs 4 bytes, 3 are left",
  ],
  [
    `${SIGNATURE} 21110010 ${A4} 04000200`,
    "TLV at byte 29 needs 5 bytes, 4 are left",
  ],
  [
    `${SIGNATURE} 21110010 ${A4} 04010000`,
    "TLV at byte 29 needs 259 bytes, 4 are left",
  ],
  [
    `${SIGNATURE} 21110013 ${A4} 040000 05ffff00`,
    "TLV at byte 32 needs 65538 bytes, 4 are left",
  ],
  [
    `${SIGNATURE} 21000004 05000200`,
    "TLV at byte 17 needs 5 bytes, 4 are left",
  ],
  [
    `${SIGNATURE} 2112000d ${A4} 04`,
    "TLV at byte 29 needs 3 bytes, 1 are left",
  ],
  [
    `${SIGNATURE} 213100d9 ${"00".repeat(216)} 04`,
    "TLV at byte 233 needs 3 bytes, 1 are left",
  ],
  [
    `${SIGNATURE} 21210025 ${"00".repeat(36)} 04`,
    "TLV at byte 53 needs 3 bytes, 1 are left",
  ],
  // The checksum.
  [
    `${SIGNATURE} 20000007 030004 a9b87e8e`,
    "CRC32C is 0xa9b87e8e, expected 0xa9b87e8f",
  ],
  [
    `${SIGNATURE} 20000007 030004 00000000`,
    "CRC32C is 0x00000000, expected 0xa9b87e8f",
  ],
  [`${SIGNATURE} 20000003 030000`, "CRC32C has 0 bytes, expected 4"],
  [`${SIGNATURE} 21000006 030003 a9b87e`, "CRC32C has 3 bytes, expected 4"],
  [
    `${SIGNATURE} 21000008 030005 a9b87e8f00`,
    "CRC32C has 5 bytes, expected 4",
  ],
  [
    Uint8Array.from(
      summed(
        fromHex(`${SIGNATURE} 2000000e 03000400000000 030004ffffffff`),
        19,
      ),
    ).toHex(),
    "CRC32C is there twice",
  ],
];

Deno.test("parseProxyHeader refuses broken v2 headers, each for its fault", () => {
  for (const [hex, error, after] of badV2) {
    const sent = fromHex(hex);
    const expected = {
      after: after ?? sent.length,
      error: `Cannot read PROXY header: ${error}`,
    };
    assertEquals(dribble(sent, "v2"), expected, hex);
    const more = concat(sent, bytes("hello\n"));
    assertEquals(receive(more, [], "v2")?.error, expected.error, hex);
    if (hex.startsWith("0d")) assertEquals(dribble(sent, "any"), expected);
  }
});

Deno.test("parseProxyHeader refuses the other version at its first byte", () => {
  assertEquals(dribble(good.v2[0][1], "v1"), {
    after: 1,
    error: `Cannot read PROXY header: ${V1_START}, got 0x0d at byte 1`,
  });
  assertEquals(dribble(good.v1[0][1], "v2"), {
    after: 1,
    error: `Cannot read PROXY header: ${SIGNED}, got 0x50 at byte 1`,
  });
});

Deno.test("parseProxyHeader refuses what is neither version at once", () => {
  for (let byte = 0; byte < 256; byte++) {
    const outcome = dribble(Uint8Array.of(byte), "any");
    if (byte === 0x50 || byte === 0x0d) {
      assertEquals(outcome, undefined);
    } else {
      assertEquals(outcome, {
        after: 1,
        error: 'Cannot read PROXY header: expected "PROXY" or the v2 ' +
          `signature, got 0x${byte.toString(16).padStart(2, "0")} at byte 1`,
      });
    }
  }
});

Deno.test("ProxyHeaderError is one of Parley's, with its own name", () => {
  const error = new ProxyHeaderError("it is blue");
  assert(error instanceof ParleyError);
  assertEquals(
    String(error),
    "ProxyHeaderError: Cannot read PROXY header: it is blue",
  );
});

Deno.test("parseProxyHeader notices any bit that CRC32C covers", () => {
  // Where the flip makes it another header: command, family, lengths.
  const structure = new Set([12, 13, 14, 15, 29, 30, 36, 37]);
  const [, sent] = good.v2[3];
  for (let at = 0; at < sent.length; at++) {
    // This byte says that there is a checksum at all.
    if (at === 28) continue;
    for (let bit = 0; bit < 8; bit++) {
      const flipped = sent.slice();
      flipped[at] ^= 1 << bit;
      const outcome = receive(flipped, [], "v2");
      if (at < 12 || structure.has(at)) {
        assert(outcome?.header === undefined, `byte ${at}, bit ${bit}`);
      } else {
        assert(
          outcome?.error?.startsWith("Cannot read PROXY header: CRC32C is 0x"),
          `byte ${at}, bit ${bit}: ${JSON.stringify(outcome)}`,
        );
      }
    }
  }
});

Deno.test("parseProxyHeader verifies CRC32C wherever the TLV stands", () => {
  const sum = fromHex("030004 00000000");
  const cases: [header: Uint8Array, at: number, covered: number[]][] = [
    [v2(0x21, 0x00, sum), 19, []],
    [v2(0x21, 0x11, new Uint8Array(12), sum), 31, [16, 27]],
    [v2(0x21, 0x21, new Uint8Array(36), sum), 55, [16, 51]],
    [v2(0x21, 0x32, new Uint8Array(216), sum), 235, [16, 231]],
    [v2(0x20, 0x11, new Uint8Array(12), sum), 31, [16, 27]],
    [
      v2(0x20, 0x00, fromHex("04000200ff"), sum, fromHex("050001ff")),
      24,
      [19, 20, 31],
    ],
    [v2(0x21, 0x00, tlv(4, new Uint8Array(65_000)), sum), 65_022, [19, 65_018]],
  ];
  for (const [header, at, covered] of cases) {
    const right = summed(header, at);
    assertEquals(receive(right, [], "v2")?.header?.length, right.length);
    for (const place of [at, at + 1, at + 2, at + 3, ...covered]) {
      const wrong = right.slice();
      wrong[place] ^= 0x80;
      const message = receive(wrong, [], "v2")?.error ?? "";
      assert(message.includes("CRC32C is 0x"), `byte ${place}: ${message}`);
    }
  }
});

Deno.test("parseProxyHeader takes the longest header there can be", () => {
  const rest = 65_535 - 12 - 3;
  const sent = v2(0x21, 0x11, new Uint8Array(12), tlv(4, new Uint8Array(rest)));
  assertEquals(sent.length, MAX_PROXY_HEADER);
  const all = concat(sent, bytes("hello\n"));
  const outcome = receive(all, [1, 16, 17, MAX_PROXY_HEADER - 1], "any");
  assertEquals(outcome?.header?.length, MAX_PROXY_HEADER);
  assertEquals(receive(sent.subarray(0, -1), [], "any"), undefined);
});

/** Headers that are right, or nearly: a few bytes changed, added or cut. */
const nearly = fc.record({
  header: fc.constantFrom(
    ...[...good.v1, ...good.v2].map(([, sent]) => sent),
    ...badV1.map(([text]) => latin1(text)),
    ...badV2.map(([hex]) => fromHex(hex)),
  ),
  changes: fc.array(
    fc.tuple(fc.nat(), fc.oneof(fc.nat({ max: 255 }), fc.constantFrom(10, 13))),
    { maxLength: 4 },
  ),
  insert: fc.uint8Array({ maxLength: 3 }),
  at: fc.nat(),
  cut: fc.nat(),
  payload: fc.uint8Array({ maxLength: 120 }),
}).map(({ header, changes, insert, at, cut, payload }) => {
  at %= header.length + 1;
  const all = concat(header.subarray(0, at), insert, header.subarray(at));
  for (const [place, byte] of changes) all[place % all.length] = byte;
  const sent = concat(all, payload);
  return cut % 3 === 0 ? sent.subarray(0, cut % (sent.length + 1)) : sent;
});

Deno.test("parseProxyHeader says the same of any bytes, however cut", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        { arbitrary: nearly, weight: 5 },
        { arbitrary: fc.uint8Array({ maxLength: 200 }), weight: 1 },
      ),
      fc.array(fc.nat(), { maxLength: 6 }),
      fc.constantFrom(...proxyVersions),
      (sent, places, accept) => {
        const whole = receive(sent, [], accept);
        const ends = places.map((place) => place % (sent.length + 1));
        const cutUp = receive(sent, ends, accept);
        const dribbled = dribble(sent, accept);
        assertEquals(verdict(cutUp), verdict(whole));
        assertEquals(verdict(dribbled), verdict(whole));
        if (whole === undefined) return;
        // A header is complete with its last byte.
        const { header, after } = dribbled as Outcome;
        if (header !== undefined) assertEquals(header.length, after);
        if (accept !== "any") return;
        const own = sent[0] === 0x50 ? "v1" : "v2";
        if (header !== undefined) {
          assertEquals(verdict(receive(sent, [], own)), verdict(whole));
        }
      },
    ),
    { numRuns: 5000 },
  );
});

const port = fc.nat({ max: 65_535 });
const ipv4 = fc.uint8Array({ minLength: 4, maxLength: 4 });
/** Zeros are common, and so are mapped addresses. */
const ipv6 = fc.oneof(
  fc.array(fc.oneof(fc.constant(0), fc.nat({ max: 65_535 })), {
    minLength: 8,
    maxLength: 8,
  }).map((groups) =>
    Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 255]))
  ),
  ipv4.map((tail) => concat(fromHex("00000000000000000000ffff"), tail)),
);
const ends = fc.oneof(
  fc.record({ from: ipv4, to: ipv4, source: port, destination: port }),
  fc.record({ from: ipv6, to: ipv6, source: port, destination: port }),
);

/** An address as it stands in a v1 header: IPv6 all written out. */
function written(address: Uint8Array): string {
  return address.length === 4
    ? address.join(".")
    : address.toHex().match(/.{4}/g)!.join(":");
}

/** The bytes of an address, whatever way it is spelled. */
function octets(hostname: string): Uint8Array {
  if (!hostname.includes(":")) {
    return Uint8Array.from(hostname.split("."), Number);
  }
  const hex = hostname.replace(
    /\d+\.\d+\.\d+\.\d+$/,
    (tail) => octets(tail).toHex().replace(/^..../, "$&:"),
  );
  const [head, tail = ""] = hex.split("::");
  const [before, after] = [head, tail].map((part) =>
    part === "" ? [] : part.split(":").map((group) => group.padStart(4, "0"))
  );
  const zeros = Array(8 - before.length - after.length).fill("0000");
  return fromHex([...before, ...zeros, ...after].join(""));
}

Deno.test("parseProxyHeader reads what was built, in both versions", () => {
  fc.assert(
    fc.property(
      ends,
      fc.array(
        fc.tuple(
          fc.nat({ max: 255 }).filter((type) => type !== 3),
          fc.uint8Array({ maxLength: 40 }),
        ),
        { maxLength: 5 },
      ),
      fc.option(fc.nat()),
      fc.uint8Array({ maxLength: 20 }),
      fc.array(fc.nat(), { maxLength: 4 }),
      ({ from, to, source, destination }, tlvs, crcAt, payload, places) => {
        const line = bytes(
          `PROXY TCP${from.length === 4 ? 4 : 6} ${written(from)} ` +
            `${written(to)} ${source} ${destination}\r\n`,
        );
        const parts = tlvs.map(([type, value]) => tlv(type, value));
        const before = crcAt === null ? 0 : crcAt % (parts.length + 1);
        if (crcAt !== null) parts.splice(before, 0, fromHex("03000400000000"));
        const ports = Uint8Array.of(
          source >> 8,
          source & 255,
          destination >> 8,
          destination & 255,
        );
        let binary = v2(
          0x21,
          from.length === 4 ? 0x11 : 0x21,
          from,
          to,
          ports,
          ...parts,
        );
        if (crcAt !== null) {
          const ahead = concat(...parts.slice(0, before)).length;
          binary = summed(binary, 16 + 2 * from.length + 4 + ahead + 3);
        }

        const headers = ([["v1", line], ["v2", binary]] as const).map(
          ([version, sent]) => {
            const all = concat(sent, payload);
            const cuts = places.map((place) => place % (all.length + 1));
            const { header, error } = receive(all, cuts, version) ?? {};
            assertEquals(error, undefined);
            assertEquals(header?.length, sent.length);
            assertEquals(receive(all, cuts, "any")?.header, header);
            return header as Required<ProxyHeader>;
          },
        );
        assertEquals(headers[0].source, headers[1].source);
        assertEquals(headers[0].destination, headers[1].destination);
        const said = headers[0];
        assertEquals(octets(said.source.hostname), from);
        assertEquals(octets(said.destination.hostname), to);
        assertEquals(
          [said.source.port, said.destination.port],
          [source, destination],
        );
      },
    ),
    { numRuns: 500 },
  );
});
