// examples/kv_resp.ts, and the framing of RESP that it has.

import { testCodec } from "../../lib/framing/test_codec.ts";
import { array, bulk, parse, resp } from "../../examples/resp.ts";
import { Example } from "../support/examples.ts";
import { bytes, Peer, text } from "../support/fixtures.ts";
import { runCommand, testWithTools } from "../support/programs.ts";
import { assert, assertEquals, assertMatch } from "../support/std.ts";

Deno.test("the framing of RESP keeps the rules of framings", () => {
  const values = [
    ...["+OK\r\n", "-ERR no\r\n", ":-12\r\n", "$-1\r\n", "*-1\r\n", "*0\r\n"],
    ...["$0\r\n\r\n", "$5\r\na\r\nbc\r\n", "*2\r\n$1\r\na\r\n:1\r\n"],
    "*2\r\n*1\r\n*0\r\n*2\r\n+a\r\n$-1\r\n",
  ];
  testCodec(resp, (random) => bytes(values[Math.floor(random() * 10)]));
});

Deno.test("values of RESP are read as they are written", () => {
  assertEquals(text(array("GET", "é")), "*2\r\n$3\r\nGET\r\n$2\r\né\r\n");
  assertEquals(text(bulk(undefined)), "$-1\r\n");
  assertEquals(parse(array("a", "")), [bytes("a"), bytes("")]);
  assertEquals(
    parse(bytes("*4\r\n:7\r\n$-1\r\n+a\r\n*1\r\n*-1\r\n")),
    [7, null, "a", [null]],
  );
  assertEquals(String(parse(bytes("-ERR no\r\n"))), "Error: ERR no");
});

testWithTools(
  "examples/kv_resp.ts keeps values, and lets them expire",
  [],
  async () => {
    await using example = await Example.start("kv_resp");
    using peer = await Peer.to(example);
    const talk = async (
      expected: string,
      ...words: (string | Uint8Array)[]
    ) => {
      await peer.send(array(...words));
      assertEquals(await peer.receive(bytes(expected).length), expected);
    };
    await talk("+PONG\r\n", "ping");
    await talk("$2\r\nhi\r\n", "PING", "hi");
    await talk("$-1\r\n", "GET", "a");
    await talk("+OK\r\n", "SET", "a", "1\r\n2");
    await talk("$4\r\n1\r\n2\r\n", "GET", "a");
    await talk(":-1\r\n", "TTL", "a");
    await talk(":1\r\n", "EXPIRE", "a", "100");
    await talk(":100\r\n", "TTL", "a");
    await talk("+OK\r\n", "SET", "a", "b", "ex", "7");
    await talk(":7\r\n", "TTL", "a");
    await talk("+OK\r\n", "SET", new Uint8Array([0xff]), "no text");
    await talk("$-1\r\n", "GET", new Uint8Array([0xfe]));
    await talk(":2\r\n", "DEL", "a", new Uint8Array([0xff]), "c");
    await talk(":-2\r\n", "TTL", "a");
    await talk(":0\r\n", "EXPIRE", "a", "100");
    // It is there, and after some questions no longer.
    await talk("+OK\r\n", "SET", "a", "b", "PX", "50");
    await peer.send(array("GET", "a"));
    let first = await peer.receive(5);
    while (first !== "$-1\r\n") {
      assertEquals(first + await peer.receive(2), "$1\r\nb\r\n");
      await peer.send(array("GET", "a"));
      first = await peer.receive(5);
    }
    await talk(":-2\r\n", "TTL", "a");
  },
);

testWithTools(
  "examples/kv_resp.ts says what is wrong, and goes on",
  [],
  async () => {
    await using example = await Example.start("kv_resp");
    using peer = await Peer.to(example);
    const table: [request: Uint8Array | string, reply: string][] = [
      [array("FLY"), `-ERR unknown command '"FLY"'`],
      [array("a\r\nb"), `-ERR unknown command '"a\\r\\nb"'`],
      [array("toString"), `-ERR unknown command '"toString"'`],
      [array("GET"), "-ERR wrong number of arguments for 'GET'"],
      [array("SET", "a", "b", "XX"), "-ERR option is EX or PX, got XX"],
      [
        array("SET", "a", "b", "EX", "-1"),
        "-ERR expiry is a whole number from 1, got -1",
      ],
      [
        "+PING\r\n",
        "-ERR Protocol error: expected an array of bulk strings",
      ],
      [array("PING"), "+PONG"],
      ["PING\r\n", "-ERR malformed frame: expected one of +, -, :, $ and *"],
    ];
    for (const [request, reply] of table) {
      await peer.send(request);
      const line = `${reply}\r\n`;
      assertEquals(await peer.receive(bytes(line).length), line);
    }
    assertEquals(await peer.rest(), "");
    using large = await Peer.to(example);
    await large.send("*2\r\n$3\r\nGET\r\n$1048576\r\n");
    assertEquals(
      await large.rest(),
      "-ERR frame too large: maximum is 1048576\r\n",
    );
  },
);

testWithTools(
  "examples/kv_resp.ts speaks with redis-cli and redis-benchmark",
  ["redis-cli", "redis-benchmark"],
  async () => {
    await using example = await Example.start("kv_resp");
    const port = String(example.addr.port);
    const cli = async (...words: string[]) => {
      const { stdout } = await runCommand(["redis-cli", "-p", port, ...words]);
      return stdout.trimEnd();
    };
    assertEquals(await cli("SET", "greeting", "hello", "EX", "60"), "OK");
    assertEquals(await cli("GET", "greeting"), "hello");
    assertMatch(await cli("TTL", "greeting"), /^(60|59|58)$/);
    assertEquals(await cli("DEL", "greeting", "other"), "1");
    assertMatch(await cli("FLY"), /^ERR unknown command/);
    const { stdout, code } = await runCommand([
      ...["redis-benchmark", "-p", port, "-t", "set,get", "-P", "16"],
      ...["-n", "20000", "-c", "20", "-d", "100", "--csv"],
    ]);
    assertEquals(code, 0, stdout);
    for (const name of ["SET", "GET"]) {
      const [, rate] = new RegExp(`^"${name}","([\\d.]+)"`, "m")
        .exec(stdout) ?? [];
      assert(Number(rate) > 0, stdout);
    }
  },
);
