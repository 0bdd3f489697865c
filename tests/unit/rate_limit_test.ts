// Rates of many addresses: token buckets in memory of a fixed size.

import { networkOf } from "../../lib/core/address.ts";
import { rateCells, TokenBuckets } from "../../lib/core/rate_limit.ts";
import { parseRate } from "../../lib/core/units.ts";
import { OptionError, rateLimit } from "../../lib/mod.ts";
import { random } from "../support/fixtures.ts";
import { testAllowed } from "../support/permissions.ts";
import { assert, assertEquals, assertThrows } from "../support/std.ts";

function buckets(rate: string, cells = rateCells(), offset = 0): TokenBuckets {
  return new TokenBuckets(parseRate(rate)!, cells, offset);
}

/** How many of `tries` get a token. */
function taken(
  { take }: { take(key: string): boolean },
  tries: number,
  key = "a",
): number {
  let count = 0;
  for (let i = 0; i < tries; i++) if (take(key)) count++;
  return count;
}

/** Buckets at a fixed moment. */
function at(now: number, all: TokenBuckets): { take(key: string): boolean } {
  return { take: (key) => all.take(key, now) };
}

Deno.test("parseRate reads a count, a unit and a burst, and no more", () => {
  const rates: [string, number, number][] = [
    ["100/s", 10, 100],
    ["600/m", 100, 600],
    ["1/h", 3_600_000, 1],
    ["10/s:50", 100, 50],
    ["50/s:1", 20, 1],
    ["9999999/s:9999999", 1000 / 9_999_999, 9_999_999],
  ];
  for (const [text, interval, burst] of rates) {
    assertEquals(parseRate(text), { text, interval, burst });
  }
  for (
    const text of [
      ...["", "0", "0/s", "10", "10/", "/s", "10/d", "10/ms", "10/S", "1.5/s"],
      ...["-1/s", "+1/s", "1e3/s", "10 /s", "10/s ", "10/s:", "10/s:0"],
      ...["10/s:05", "010/s", "10000000/s", "1/s:10000000", "10/s:5:5", "٣/s"],
    ]
  ) assertEquals(parseRate(text), undefined, text);
});

Deno.test("a bucket has its burst at once, and then one token an interval", () => {
  for (
    const rate of ["7/s", "13/m:9", "3/m:9", "1/h", "1000/s:3", "999983/s:1000"]
  ) {
    const { interval, burst } = parseRate(rate)!;
    const all = buckets(rate);
    let now = 123_456_789.123;
    assertEquals(taken(at(now, all), burst + 5), burst, rate);
    for (let i = 0; i < 20; i++) {
      assertEquals(taken(at(now + interval * 0.99, all), 1), 0, rate);
      now += interval;
      assertEquals(taken(at(now, all), 3), 1, rate);
    }
    // What is not used is kept, up to the burst.
    now += 2.5 * interval;
    assertEquals(taken(at(now, all), burst + 9), Math.min(2, burst), rate);
    now += 2 * (burst + 1) * interval;
    assertEquals(taken(at(now, all), burst + 9), burst, rate);
  }
});

Deno.test("each key has a bucket of its own", () => {
  const all = at(1, buckets("2/s"));
  for (let i = 0; i < 10_000; i++) {
    assertEquals(taken(all, 3, `10.0.${i >> 8}.${i & 255}`), 2);
  }
});

Deno.test("threads have the same buckets, whatever their clocks say", () => {
  const cells = rateCells();
  const [one, two] = [buckets("10/s", cells, 5000), buckets("10/s", cells)];
  assertEquals(taken(at(1000, one), 7), 7);
  // Its clock is behind, and its moment the same.
  assertEquals(taken(at(5990, two), 7), 3);
  assertEquals(taken(at(1100, one), 7), 1);
  assertEquals(taken(at(6200, two), 7), 1);
});

testAllowed(
  "threads that take at the same instant share what there is, to the token",
  ["read"],
  async () => {
    const [rate, cells] = [parseRate("1/h:30000")!, rateCells()];
    const ready = new Int32Array(new SharedArrayBuffer(4)).fill(2);
    const counts = await Promise.all([1, 2].map(async () => {
      const url = new URL("./rate_limit_worker.ts", import.meta.url);
      const worker = new Worker(url, { type: "module" });
      const count = await new Promise<number>((resolve) => {
        worker.onmessage = ({ data }) => resolve(data);
        worker.postMessage({ rate, cells, tries: 25_000, ready });
      });
      worker.terminate();
      return count;
    }));
    assertEquals(counts[0] + counts[1], 30_000, `${counts}`);
  },
);

Deno.test("a thread that was ended at its work holds up nobody", () => {
  const cells = rateCells();
  cells.locks.fill(1);
  assertEquals(taken(at(1, buckets("5/s", cells)), 9), 5);
  assert(cells.locks.includes(0), "it is free again");
});

Deno.test("a million addresses take no more memory, and none is dealt with harder", () => {
  const cells = rateCells();
  const all = buckets("1/h:3", cells);
  const bytes = Object.values(cells)
    .reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
  assert(bytes < 2 * 1024 * 1024, `${bytes} bytes`);
  // Those at their limit are the last to be forgotten.
  const over = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
  for (const key of over) assertEquals(taken(at(1, all), 4, key), 3);
  let allowed = 0;
  for (let i = 0; i < 1_000_000; i++) {
    if (all.take(`2001:db8:${i >> 16}:${i & 0xffff}::/64`, 2)) allowed++;
  }
  assertEquals(allowed, 1_000_000);
  for (const key of over) assertEquals(taken(at(3, all), 2, key), 0);
});

Deno.test("a forgotten bucket is never stricter than it was", () => {
  const all = buckets("10/s:3");
  const { interval, burst } = all.rate;
  // More keys than there are places for.
  const keys = Array.from({ length: 150_000 }, (_, i) => `key ${i}`);
  // By buckets that forget nothing.
  const fullAt = new Float64Array(keys.length);
  const next = random(7);
  let forgotten = 0;
  for (let round = 0, now = 1000; round < 400_000; round++, now += 0.001) {
    const i = Math.floor(next() * keys.length);
    const full = Math.max(fullAt[i], now) + interval;
    const has = full - now <= burst * interval;
    const got = all.take(keys[i], now);
    assert(got || !has, `${keys[i]} is refused what it has`);
    if (got) fullAt[i] = full;
    if (got && !has) forgotten++;
  }
  assert(forgotten > 0, "the test is to be hard enough");
});

Deno.test("networkOf counts IPv6 by its prefix, and IPv4 whole", () => {
  const all: [string, number, string][] = [
    ["192.0.2.1", 64, "192.0.2.1"],
    ["192.0.2.1", 1, "192.0.2.1"],
    ["::ffff:192.0.2.1", 64, "192.0.2.1"],
    ["::FFFF:192.0.2.1", 1, "192.0.2.1"],
    ["::ffff:c000:201", 64, "192.0.2.1"],
    ["0:0:0:0:0:ffff:192.0.2.1", 64, "192.0.2.1"],
    ["2001:db8:1:2:3:4:5:6", 64, "2001:db8:1:2::/64"],
    ["2001:db8:1:2::", 64, "2001:db8:1:2::/64"],
    ["2001:DB8:1:2::9", 64, "2001:db8:1:2::/64"],
    ["2001:db8:1:3::9", 64, "2001:db8:1:3::/64"],
    ["2001:db8:1:2:3:4:5:6", 128, "2001:db8:1:2:3:4:5:6/128"],
    ["2001:db8:1:2:3:4:5:6", 127, "2001:db8:1:2:3:4:5:6/127"],
    ["2001:db8:1:2:3:4:5:7", 127, "2001:db8:1:2:3:4:5:6/127"],
    ["2001:db8:1:2ff::1", 56, "2001:db8:1:200::/56"],
    ["2001:db8:1:ffff::1", 60, "2001:db8:1:fff0::/60"],
    ["2001:db8:1:2::1", 48, "2001:db8:1::/48"],
    ["ffff:ffff::1", 1, "8000::/1"],
    ["::1", 64, "::/64"],
    ["::1", 128, "::1/128"],
    ["::", 128, "::/128"],
    ["fe80::1%eth0", 128, "fe80::1/128"],
  ];
  for (const [hostname, prefix, expected] of all) {
    const addr = { transport: "tcp", hostname, port: 1 } as const;
    assertEquals(networkOf(addr, prefix), expected, `${hostname} ${prefix}`);
  }
  assertEquals(networkOf({ transport: "unix", path: "" }, 64), "unix");
});

Deno.test("rateLimit counts texts by themselves, and addresses by their networks", () => {
  const tcp = (hostname: string) =>
    ({ transport: "tcp", hostname, port: 1 }) as const;
  const limit = rateLimit("1/h:2");
  assertEquals(taken(limit, 3, "a user"), 2);
  assertEquals(limit.take(tcp("2001:db8::1")), true);
  assertEquals(limit.take(tcp("2001:db8::2")), true);
  assertEquals(limit.take(tcp("2001:db8::3")), false);
  assertEquals(limit.take(tcp("2001:db8:0:1::3")), true);
  assertEquals(limit.take(tcp("::ffff:192.0.2.1")), true);
  assertEquals(limit.take(tcp("192.0.2.1")), true);
  assertEquals(limit.take(tcp("192.0.2.1")), false);
  const narrow = rateLimit("1/h", { ipPrefix: 128 });
  assertEquals(narrow.take(tcp("2001:db8::1")), true);
  assertEquals(narrow.take(tcp("2001:db8::2")), true);
  assertEquals(narrow.take(tcp("2001:db8::2")), false);
  for (const rate of ["0", "", "10", "10/x"]) {
    assertThrows(
      () => rateLimit(rate),
      OptionError,
      `Cannot use rate "${rate}"`,
    );
  }
  for (const ipPrefix of [0, 129, 1.5]) {
    assertThrows(
      () => rateLimit("1/s", { ipPrefix }),
      OptionError,
      `Cannot use ipPrefix ${ipPrefix}: expected a whole number from 1 to 128`,
    );
  }
});
