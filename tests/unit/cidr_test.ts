// deno-lint-ignore-file no-import-prefix -- what deno.json imports is fetched
// for every program, and only tests need this.

import { assertEquals, assertThrows } from "../support/std.ts";
import fc from "npm:fast-check@4.3.0";

import { canonicalIPv6, CidrList } from "../../lib/core/cidr.ts";
import { OptionError } from "../../lib/core/errors.ts";

const table: [list: string, matches: string[], not: string[]][] = [
  [
    "10.0.0.0/8,::1,192.168.1.7",
    ["10.0.0.0", "10.255.255.255", "::1", "192.168.1.7"],
    ["9.255.255.255", "11.0.0.0", "::2", "192.168.1.6", "192.168.1.8"],
  ],
  [" 10.0.0.0/8 ,\t::1 ", ["10.1.2.3", "::1"], ["11.0.0.1", "::2"]],
  // An IPv4 client is one in whatever form.
  [
    "10.0.0.0/8",
    [
      "::ffff:10.1.2.3",
      "::FFFF:10.1.2.3",
      "::ffff:a01:203",
      "0:0:0:0:0:ffff:0a01:0203",
    ],
    ["::ffff:11.1.2.3", "::10.1.2.3", "::fffe:10.1.2.3", "1::ffff:a01:203"],
  ],
  [
    "::ffff:10.0.0.0/104,::ffff:192.168.1.7",
    ["10.1.2.3", "::ffff:10.1.2.3", "192.168.1.7", "::ffff:c0a8:107"],
    ["11.1.2.3", "::ffff:11.1.2.3", "192.168.1.8", "::a01:203"],
  ],
  ["::ffff:0:0/96", ["1.2.3.4", "::ffff:1.2.3.4"], ["::1", "2001:db8::1"]],
  ["0.0.0.0/0", ["1.2.3.4", "::ffff:255.255.255.255"], ["::1", "::"]],
  ["::/0", ["::1", "ffff::", "::1.2.3.4"], ["1.2.3.4", "::ffff:1.2.3.4"]],
  ["::/64", ["::1", "::1.2.3.4"], ["1.2.3.4", "::ffff:1.2.3.4", "1::"]],
  // The ends of prefixes that are not whole bytes.
  [
    "172.16.0.0/12",
    ["172.16.0.0", "172.31.255.255"],
    ["172.15.255.255", "172.32.0.0"],
  ],
  ["10.0.0.4/31", ["10.0.0.4", "10.0.0.5"], ["10.0.0.3", "10.0.0.6"]],
  ["10.0.0.4/32", ["10.0.0.4"], ["10.0.0.3", "10.0.0.5"]],
  [
    "2001:db8::/33",
    ["2001:db8::", "2001:db8:7fff:ffff::"],
    ["2001:db8:8000::", "2001:db7::"],
  ],
  ["2001:DB8::1/128", ["2001:db8:0::1"], ["2001:db8::2"]],
  // Bits behind the prefix do not count.
  ["10.9.8.7/8", ["10.0.0.0", "10.255.255.255"], ["11.9.8.7"]],
  ["fd12::1/8", ["fd00::", "fdff::ffff"], ["fe00::"]],
  // Zones do not count.
  ["fe80::/10", ["fe80::1%eth0", "febf::%1"], ["fec0::1%eth0"]],
  ["fe80::1", ["fe80::1%eth0", "fe80::1%wlan0", "fe80::1"], ["fe80::2%eth0"]],
  // No IP addresses.
  [
    "0.0.0.0/0,::/0",
    ["127.0.0.1", "::1"],
    [
      "",
      "localhost",
      "/run/parley.sock",
      "127.1",
      "127.0.0.01",
      "[::1]",
      "1.2.3.4/8",
      " 1.2.3.4",
      "%",
      "::g",
    ],
  ],
];

Deno.test("CidrList gives a list that matches", () => {
  for (const [text, matches, not] of table) {
    const list = new CidrList("allow", text);
    for (const address of matches) {
      assertEquals(list.matches(address), true, `${address} in ${text}`);
    }
    for (const address of not) {
      assertEquals(list.matches(address), false, `${address} in ${text}`);
    }
  }
});

Deno.test("CidrList names the entry that it cannot read", () => {
  const bad = [
    "10.0.0.0/33",
    "::1/129",
    "10.0.0.0/",
    "10.0.0.0/08",
    "10.0.0.0/-1",
    "10.0.0.0/+8",
    "10.0.0.0/8.0",
    "10.0.0.0/1e1",
    "10.0.0.0/ 8",
    "10.0.0.0/8/8",
    "10.0.0.0/255.0.0.0",
    "10.0.0.0/9999999999",
    "/8",
    "10.0.0",
    "10.0.0.0.0",
    "10.0.0.256",
    "010.0.0.0/8",
    "0x0a.0.0.0",
    "::g",
    "1::2::3",
    "[::1]",
    "fe80::1%eth0",
    "fe80::%eth0/64",
    "::ffff:10.0.0.0/8",
    "::ffff:10.0.0.0/95",
    "::ffff:10.0.0.0/129",
    "localhost",
    "all",
    "10.0.0.0/8 ::1",
    "10.0.0.0/8;::1",
    "",
  ];
  for (const entry of bad) {
    for (const text of [entry, `::1,${entry}`, ` ${entry} ,::1`]) {
      const error = assertThrows(
        () => new CidrList("allow", text),
        OptionError,
      );
      assertEquals(
        error.message,
        `Cannot use allow "${entry}": ` +
          "expected an address or CIDR such as 10.0.0.0/8 or fd00::/8",
      );
      assertEquals([error.option, error.value], ["allow", entry]);
    }
  }
});

Deno.test("CidrList has no empty entries", () => {
  for (const text of ["", " ", ",", "::1,", ",::1", "::1,,::2", "::1, ,::2"]) {
    assertThrows(
      () => new CidrList("allow", text),
      OptionError,
      '"": expected an',
    );
  }
});

Deno.test("CidrList escapes and cuts what it quotes", () => {
  assertThrows(
    () => new CidrList("allow", "\x1b[2J"),
    OptionError,
    '"\\u001b[2J": expected',
  );
  assertThrows(
    () => new CidrList("allow", "x".repeat(1000)),
    OptionError,
    `"${"x".repeat(64)}…": expected`,
  );
});

/** An address as one number, and as text. */
const address = fc.oneof(
  fc.bigInt({ min: 0n, max: 2n ** 32n - 1n }).map((value) => ({
    value,
    bits: 32,
    text: [24n, 16n, 8n, 0n].map((by) => value >> by & 255n).join("."),
  })),
  // Not below 1::, where the mapped ones are.
  fc.bigInt({ min: 2n ** 112n, max: 2n ** 128n - 1n }).map((value) => ({
    value,
    bits: 128,
    text: value.toString(16).padStart(32, "0").match(/.{4}/g)!.join(":"),
  })),
);

Deno.test("CidrList matches where the first bits are the same", () => {
  fc.assert(
    fc.property(
      address,
      address,
      fc.nat({ max: 128 }),
      fc.nat({ max: 128 }),
      (network, other, prefix, differ) => {
        prefix %= network.bits + 1;
        const list = new CidrList("allow", `${network.text}/${prefix}`);
        assertEquals(list.matches(network.text), true);
        const free = BigInt(network.bits - prefix);
        const same = network.bits === other.bits &&
          network.value >> free === other.value >> free;
        assertEquals(list.matches(other.text), same);

        // Two random addresses seldom share a prefix; so one bit off.
        if (network.bits === 128) return;
        const bit = differ % 32;
        const near = network.value ^ (1n << BigInt(31 - bit));
        const text = [24n, 16n, 8n, 0n].map((by) => near >> by & 255n)
          .join(".");
        assertEquals(list.matches(text), bit >= prefix);
        assertEquals(list.matches(`::ffff:${text}`), bit >= prefix);
      },
    ),
    { numRuns: 1000 },
  );
});

Deno.test("CidrList takes any text for an address, and never throws", () => {
  const list = new CidrList("allow", "10.0.0.0/8,fe80::/10");
  const texts = fc.oneof(
    fc.string(),
    fc.string({ unit: fc.constantFrom(..."0123456789abcdef:.%/[]f: ") }),
  );
  fc.assert(
    fc.property(texts, (text) => {
      assertEquals(typeof list.matches(text), "boolean");
      try {
        new CidrList("allow", text);
      } catch (error) {
        if (!(error instanceof OptionError)) throw error;
      }
    }),
    { numRuns: 2000 },
  );
});

Deno.test("canonicalIPv6 has one spelling for each address", () => {
  const spellings: Record<string, string[]> = {
    // RFC 5952, sections 1, 4.2 and 5.
    "2001:db8::1": [
      "2001:db8:0:0:0:0:0:1",
      "2001:0db8::0001",
      "2001:db8:0::1",
      "2001:DB8::1",
    ],
    "2001:db8::2:1": ["2001:db8:0:0:0:0:2:1", "2001:db8::0:2:1"],
    "2001:db8:0:1:1:1:1:1": ["2001:db8::1:1:1:1:1"],
    "2001:0:0:1::1": ["2001:0:0:1:0:0:0:1"],
    "2001:db8::1:0:0:1": ["2001:db8:0:0:1:0:0:1", "2001:db8:0:0:1::1"],
    "::": ["0:0:0:0:0:0:0:0", "0::0", "::0.0.0.0"],
    "::1": ["0:0:0:0:0:0:0:1"],
    "1::": ["1:0:0:0:0:0:0:0"],
    "::ffff:192.0.2.1": ["::FFFF:c000:0201", "0:0:0:0:0:ffff:192.0.2.1"],
    "::ffff:0.0.0.0": ["::ffff:0:0"],
    "::ffff:255.255.255.255": ["::ffff:ffff:ffff"],
    // Not mapped, though they look like it.
    "::fffe:c000:201": ["::fffe:192.0.2.1"],
    "::c000:201": ["::192.0.2.1"],
    "::ffff:1:2:3": ["0:0:0:0:ffff:1:2:3"],
    "::ffff:1": ["0:0:0:0:0:0:ffff:1"],
    "1::ffff:c000:201": ["1:0:0:0:0:ffff:192.0.2.1"],
  };
  for (const [canonical, others] of Object.entries(spellings)) {
    for (const spelling of [canonical, ...others]) {
      assertEquals(canonicalIPv6(spelling), canonical, spelling);
    }
  }
  assertThrows(() => canonicalIPv6("fe80::1%eth0"), TypeError);
});
