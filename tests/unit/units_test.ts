import { assert, assertEquals, assertThrows } from "../support/std.ts";

import { splitLines } from "../../lib/cli/client/batch.ts";
import { parseTarget } from "../../lib/cli/client/target.ts";
import {
  type CommandLine,
  parseFlags,
  UsageError,
} from "../../lib/cli/flags/flags.ts";
import { serverFlags } from "../../lib/cli/server/flags.ts";
import { formatAddr } from "../../lib/core/address.ts";
import { Deadlines } from "../../lib/core/deadlines.ts";
import {
  decodeText,
  printable,
  printableLine,
  quote,
  toLine,
} from "../../lib/core/text.ts";
import { parseDuration, parseSize } from "../../lib/core/units.ts";
import { runtimeWarning } from "../../lib/core/version.ts";
import { bytes, FakeClock, text } from "../support/fixtures.ts";

Deno.test("parseDuration reads what people write, and no more", () => {
  const table: [string, number | undefined][] = [
    ["0", 0],
    ["500ms", 500],
    ["30s", 30_000],
    ["1.5s", 1500],
    ["5m", 300_000],
    ["1h", 3_600_000],
    // Not 0, which stands for no limit.
    ["0.4ms", 1],
    ["0.00001s", 1],
    ["0.0ms", 0],
    ["5", undefined],
    ["-5s", undefined],
    ["5 s", undefined],
    ["s", undefined],
    ["1e3s", undefined],
    ["", undefined],
  ];
  for (const [given, ms] of table) {
    assertEquals(parseDuration(given), ms, given);
  }
});

Deno.test("parseSize reads what people write, and no more", () => {
  const table: [string, number | undefined][] = [
    ["65536", 65_536],
    ["64KiB", 65_536],
    ["1MiB", 1_048_576],
    ["2GiB", 2_147_483_648],
    ["10B", 10],
    ["64KB", undefined],
    ["64kib", undefined],
    ["1.5MiB", undefined],
    ["-1", undefined],
    ["99999999999999999", undefined],
    ["", undefined],
  ];
  for (const [given, size] of table) {
    assertEquals(parseSize(given), size, given);
  }
});

Deno.test("quote shows hostile text as what it is", () => {
  assertEquals(
    quote('a"\n\x1b[31m\x7f\u2028'),
    '"a\\"\\n\\u001b[31m\\u007f\\u2028"',
  );
  assertEquals(quote("x".repeat(65)), `"${"x".repeat(64)}…"`);
  assertEquals(quote(undefined), "undefined");
  assertEquals(quote(["\x1b[31m"]), "\\x1b[31m");
});

Deno.test("printable spells out what drives a terminal or is hidden", () => {
  const table = [
    ["a\tb\nc äß日本😀 \\x", "a\tb\nc äß日本😀 \\x"],
    ["\0\x07\b\r\x1b\x1f", "\\x00\\x07\\x08\\x0d\\x1b\\x1f"],
    ["~\x7f\x80\x9b\x9f\xa0", "~\\x7f\\x80\\x9b\\x9f\xa0"],
    ["\xad\u061c\u200b\u200d", "\\xad\\u061c\\u200b\\u200d"],
    ["\u200e\u200f\u202a\u202e", "\\u200e\\u200f\\u202a\\u202e"],
    ["\u2028\u2029\u2060\ufeff", "\\u2028\\u2029\\u2060\\ufeff"],
    ["\u2066\u2069", "\\u2066\\u2069"],
    ["\u{e0000}\u{e0041}\u{e007f}", "\\u{e0000}\\u{e0041}\\u{e007f}"],
  ];
  for (const [given, shown] of table) assertEquals(printable(given), shown);
  assertEquals(printableLine("a\nb\tc\r"), "a\\nb\tc\\x0d");
});

Deno.test("toLine escapes the same, and its strings decode to what they were", () => {
  // The halves of characters are no characters.
  const ranges = [[0, 0xd800], [0xe000, 0x10000], [0xe0000, 0xe0080]];
  for (const [from, to] of ranges) {
    for (let code = from; code < to; code++) {
      const c = String.fromCodePoint(code);
      const line = toLine([c]);
      assert(JSON.parse(line)[0] === c, line);
      if (printable(c) === c && c >= " ") continue;
      assert(/^\["[\x20-\x7e]+"\]$/.test(line), line);
    }
  }
});

Deno.test("decodeText keeps a byte order mark, and marks what is no UTF-8", () => {
  const payload = new Uint8Array([0xef, 0xbb, 0xbf, 0x61, 0x9b, 0xff]);
  assertEquals(decodeText(payload), "\ufeffa\ufffd\ufffd");
});

Deno.test("formatAddr writes addresses as people do", () => {
  const tcp = { transport: "tcp", port: 1 } as const;
  assertEquals(formatAddr({ ...tcp, hostname: "127.0.0.1" }), "127.0.0.1:1");
  assertEquals(formatAddr({ ...tcp, hostname: "::1" }), "[::1]:1");
  assertEquals(formatAddr({ transport: "unix", path: "/tmp/s" }), "/tmp/s");
  assertEquals(formatAddr({ transport: "unix", path: "" }), "unix");
});

function parse(
  args: string[],
  env: Record<string, string> = {},
): CommandLine<typeof serverFlags> {
  return parseFlags(serverFlags, args, (name) => env[name]);
}

Deno.test("parseFlags has a flag beat its twin, and the twin the default", () => {
  assertEquals(parse([]).flags.port, 8080);
  assertEquals(parse([], { PARLEY_PORT: "1" }).flags.port, 1);
  assertEquals(parse([], { PARLEY_PORT: "" }).flags.port, 8080);
  assertEquals(parse(["--port", "2"], { PARLEY_PORT: "1" }).flags.port, 2);
  const { flags } = parse([], {
    PARLEY_MAX_FRAME: "1MiB",
    PARLEY_IDLE_TIMEOUT: "1.5s",
    PARLEY_FRAMING: "netstring",
  });
  assertEquals(flags["max-frame"], 1_048_576);
  assertEquals(flags["idle-timeout"], 1500);
  assertEquals(flags.framing, "netstring");
});

Deno.test("parseFlags gives help though a value is wrong", () => {
  const { flags } = parse(["--help", "--port", "x"], { PARLEY_BACKLOG: "y" });
  assertEquals([flags.help, flags.port, flags.backlog], [true, 8080, 4096]);
});

Deno.test("parseFlags names what is wrong, and what is allowed", () => {
  const table: [string[], Record<string, string>, string][] = [
    [["--prot", "1"], {}, 'unknown flag "--prot" (try --help)'],
    [["-p", "1"], {}, 'unknown flag "-p" (try --help)'],
    [
      ["--port", "x"],
      {},
      '--port is "x", expected a whole number from 0 to 65535',
    ],
    [["--port", "1e3"], {}, '--port is "1e3", expected'],
    [["--port"], {}, '--port is "", expected a whole number'],
    [["--port=2", "--port=3"], {}, "--port is given twice, expected"],
    [["--port", "-1"], {}, '--port is "-1", expected a whole number'],
    [["--port", "--framing=line"], {}, '--port is "", expected a whole number'],
    [["--help=x"], {}, '--help is "x", expected no value'],
    [
      [],
      { PARLEY_PORT: "70000" },
      'PARLEY_PORT is "70000", expected a whole number from 0 to 65535',
    ],
    [
      ["--idle-timeout", "5"],
      {},
      '--idle-timeout is "5", expected a duration such as 500ms, 30s, 5m or 1h',
    ],
    [["--max-frame", "2GiB"], {}, '--max-frame is "2GiB", expected a size'],
    [["--handler", "toString"], {}, "expected one of commands, echo"],
    [["--hostname", ""], {}, '--hostname is "", expected an address'],
  ];
  for (const [args, env, message] of table) {
    assertThrows(() => parse(args, env), UsageError, message);
  }
});

Deno.test("parseFlags keeps what is no flag as it came", () => {
  assertEquals(parse(["007", "--port", "1", "--", "--x", "1e3"]).rest, [
    "007",
    "--x",
    "1e3",
  ]);
});

Deno.test("parseTarget reads hosts and ports in every form", () => {
  const table: [string[], string, number, string[]][] = [
    [["127.0.0.1"], "127.0.0.1", 8080, []],
    [["host:7000"], "host", 7000, []],
    [["host", "7000"], "host", 7000, []],
    [["host", "7000", "PING", "1"], "host", 7000, ["PING", "1"]],
    [["host:7000", "1234"], "host", 7000, ["1234"]],
    [["host", "PING"], "host", 8080, ["PING"]],
    [["[::1]:7000"], "::1", 7000, []],
    [["[::1]"], "::1", 8080, []],
    [["::1"], "::1", 8080, []],
    [["::1", "7000"], "::1", 7000, []],
    [["fe80::1", "PING"], "fe80::1", 8080, ["PING"]],
  ];
  for (const [args, hostname, port, requests] of table) {
    const servers = [{ hostname, port }];
    assertEquals(parseTarget(args), { servers, scheme: "", requests });
  }
  const lists: [string[], [string, ...unknown[]]][] = [
    [["tcp://a:1"], ["tcp://", { hostname: "a", port: 1 }]],
    [["tls://[::1]:1"], ["tls://", { hostname: "::1", port: 1 }]],
    [["tls://a"], ["tls://", { hostname: "a", port: 8080 }]],
    [["unix:/a b.sock"], ["unix:", { path: "/a b.sock" }]],
    [["a:1,::1,[::2]:3"], [
      "",
      { hostname: "a", port: 1 },
      { hostname: "::1", port: 8080 },
      { hostname: "::2", port: 3 },
    ]],
    [["a,unix:/b,tcp://c"], [
      "unix:",
      { hostname: "a", port: 8080 },
      { path: "/b" },
      { hostname: "c", port: 8080 },
    ]],
  ];
  for (const [args, [scheme, ...servers]] of lists) {
    assertEquals<unknown>(parseTarget(args), { servers, scheme, requests: [] });
  }
  // The port of a list stands in it.
  assertEquals(parseTarget(["a,b", "7"]).requests, ["7"]);
  for (
    const [args, message] of [
      [[], "no server given"],
      [[""], "no server given"],
      [[":8080"], 'server is ":8080", expected HOST[:PORT]'],
      [["host:"], 'port is ""'],
      [["host:0"], 'port is "0", expected a whole number from 1 to 65535'],
      [["host:99999"], 'port is "99999"'],
      [["host", "99999"], 'port is "99999"'],
      [["[::1]:x"], 'port is "x"'],
      [["[::1"], 'server is "[::1", expected HOST[:PORT] or [IPV6]:PORT'],
      [["a:b:c"], 'server is "a:b:c", expected HOST[:PORT]'],
      [["a b:80"], 'server is "a b:80", expected HOST[:PORT]'],
      [["a,"], 'server is "", expected HOST[:PORT]'],
      [["a,b:0"], 'port is "0"'],
      [["unix:"], 'server is "unix:", expected unix: and '],
      [["http://a"], 'server is "http://a", expected HOST[:PORT]'],
      [
        ["tls://a,b"],
        'server is "tls://a,b", expected tls:// for all or for none',
      ],
      [["tls://a,tcp://b"], "expected tls:// for all or for none"],
      [["tls://a,unix:/b"], "expected tls:// for all or for none"],
    ] as const
  ) {
    assertThrows(() => parseTarget(args), UsageError, message);
  }
});

Deno.test("splitLines cuts input into requests, however it comes", async () => {
  const table: [string[], string[]][] = [
    [["a\nb\n"], ["a", "b"]],
    [["a\n", "\n", "b"], ["a", "", "b"]],
    [["a", "b\n\nc\n"], ["ab", "", "c"]],
    [["a\r\nb\r", "\nc\r"], ["a", "b", "c\r"]],
    [["\n"], [""]],
    [["\r\n"], [""]],
    [[""], []],
    [[], []],
  ];
  for (const [chunks, expected] of table) {
    const input = ReadableStream.from(chunks.map(bytes));
    const got = await Array.fromAsync(splitLines(input, 10).lines);
    assertEquals(got.map(text), expected, JSON.stringify(chunks));
  }
});

Deno.test("splitLines ends in front of a line that is too long", async () => {
  for (
    const [chunks, expected, number] of [
      [["12345\n123456\n1\n"], ["12345"], 2],
      [["ok\r\n12345\r\n123", "456\n"], ["ok", "12345"], 3],
      [["12345\r", "6\n"], [], 1],
      [["12345\r", "\n", "12345"], ["12345", "12345"], undefined],
      [["123456"], [], 1],
    ] as const
  ) {
    const input = ReadableStream.from(chunks.map(bytes));
    const { lines, failure } = splitLines(input, 5);
    const got = await Array.fromAsync(lines);
    assertEquals(got.map(text), [...expected]);
    assertEquals(
      failure(),
      number &&
        `input line ${number} is longer than 5 bytes, the maximum ` +
          "(--max-frame sets it)",
    );
  }
});

Deno.test("splitLines ends before an endless line is whole", async () => {
  let pulled = 0;
  const endless = new ReadableStream<Uint8Array>({
    pull(controller) {
      pulled++;
      controller.enqueue(bytes(pulled === 1 ? "ok\n" : "xxxxx"));
    },
  });
  const { lines, failure } = splitLines(endless, 100);
  assertEquals((await Array.fromAsync(lines)).map(text), ["ok"]);
  assertEquals(failure()?.startsWith("input line 2 is longer"), true);
});

Deno.test("Deadlines are never early, and late by two intervals at most", () => {
  for (const timeout of [100, 1000, 30_000]) {
    const clock = new FakeClock();
    const deadlines = new Deadlines(timeout, clock);
    for (let offset = 0; offset < timeout; offset += timeout / 7) {
      let expired: number | undefined;
      const keeper = { deadline: Infinity, expire() {} };
      deadlines.add(keeper);
      clock.advance(offset);
      const set = clock.now();
      const item = {
        deadline: deadlines.now + timeout,
        expire() {
          expired = clock.now();
          item.deadline = Infinity;
        },
      };
      deadlines.add(item);
      clock.advance(2 * timeout);
      const late = expired! - set - timeout;
      const interval = Math.min(timeout / 8, 1000);
      assertEquals(late >= 0 && late <= 2 * interval, true, `${late} ms late`);
      deadlines.delete(item);
      deadlines.delete(keeper);
    }
    assertEquals(clock.timers, 0);
  }
});

Deno.test("runtimeWarning speaks of runtimes before 2.9.5 only", () => {
  for (const version of ["2.7.14", "2.9.4", "1.46.3"]) {
    assertEquals(runtimeWarning(version)?.includes(version), true);
  }
  for (const version of ["2.9.5", "2.9.6", "2.10.0", "3.0.0"]) {
    assertEquals(runtimeWarning(version), undefined);
  }
});
