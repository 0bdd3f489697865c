// deno-lint-ignore-file no-import-prefix -- what deno.json imports is fetched
// for every program, and only tests need this.

// examples/json_rpc.ts: the examples of the specification, and a peer that
// nobody here wrote.

import {
  JSONRPCClient,
  JSONRPCServer,
  JSONRPCServerAndClient,
} from "npm:json-rpc-2.0@1.7.1";

import { Example } from "../support/examples.ts";
import { Peer } from "../support/fixtures.ts";
import { Lines, testWithTools } from "../support/programs.ts";
import { assertEquals, assertMatch, assertRejects } from "../support/std.ts";

const parseError =
  '{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}';
const invalid =
  '{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}';

/** https://www.jsonrpc.org/specification#examples, section by section. */
const examples: [name: string, request: string, response?: string][] = [
  [
    "positional parameters",
    '{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}',
    '{"jsonrpc": "2.0", "result": 19, "id": 1}',
  ],
  [
    "positional parameters, the other way round",
    '{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}',
    '{"jsonrpc": "2.0", "result": -19, "id": 2}',
  ],
  [
    "named parameters",
    '{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}',
    '{"jsonrpc": "2.0", "result": 19, "id": 3}',
  ],
  [
    "named parameters, the other way round",
    '{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 4}',
    '{"jsonrpc": "2.0", "result": 19, "id": 4}',
  ],
  [
    "a notification",
    '{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}',
  ],
  ["another", '{"jsonrpc": "2.0", "method": "foobar"}'],
  [
    "a method that is not there",
    '{"jsonrpc": "2.0", "method": "foobar", "id": "1"}',
    '{"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "1"}',
  ],
  [
    "no JSON",
    '{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]',
    parseError,
  ],
  [
    "no request",
    '{"jsonrpc": "2.0", "method": 1, "params": "bar"}',
    invalid,
  ],
  [
    "a batch that is no JSON",
    '[ {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"}, {"jsonrpc": "2.0", "method" ]',
    parseError,
  ],
  ["an empty batch", "[]", invalid],
  ["a batch of no request", "[1]", `[${invalid}]`],
  ["a batch of three", "[1,2,3]", `[${invalid}, ${invalid}, ${invalid}]`],
  [
    "a batch",
    `[
      {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
      {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},
      {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},
      {"foo": "boo"},
      {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
      {"jsonrpc": "2.0", "method": "get_data", "id": "9"}
    ]`.replaceAll("\n", " "),
    `[
      {"jsonrpc": "2.0", "result": 7, "id": "1"},
      {"jsonrpc": "2.0", "result": 19, "id": "2"},
      ${invalid},
      {"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "5"},
      {"jsonrpc": "2.0", "result": ["hello", 5], "id": "9"}
    ]`,
  ],
  [
    "a batch of notifications",
    '[ {"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]}, {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]} ]',
  ],
];

testWithTools(
  "examples/json_rpc.ts answers the specification's examples",
  [],
  async () => {
    await using example = await Example.start("json_rpc");
    using peer = await Peer.to(example);
    const lines = new Lines(peer.conn.readable);
    for (const [name, request, response] of examples) {
      await peer.send(`${request}\n`);
      if (response === undefined) continue;
      // What got no reply would be seen here.
      assertEquals(JSON.parse(await lines.next()), JSON.parse(response), name);
    }
    await peer.send(
      '{"jsonrpc":"2.0","method":"sum","params":["a"],"id":null}\n',
    );
    const { error, id } = JSON.parse(await lines.next());
    assertEquals([error.code, id], [-32602, null]);
    await peer.finish();
    await lines.cancel();
  },
);

testWithTools(
  "examples/json_rpc.ts speaks both ways with json-rpc-2.0",
  [],
  async () => {
    await using example = await Example.start("json_rpc");
    const peer = await Peer.to(example);
    const lines = new Lines(peer.conn.readable);
    const name = Promise.withResolvers<string>();
    const other = new JSONRPCServerAndClient(
      new JSONRPCServer(),
      new JSONRPCClient((request) => peer.send(`${JSON.stringify(request)}\n`)),
    );
    other.addMethod("name", () => name.promise);
    const listening = (async () => {
      for (;;) void other.receiveAndSend(JSON.parse(await lines.next()));
    })().catch(() => {});
    try {
      // This one is under way, and waits for us, while the others are done.
      const greeting = other.request("greet", []);
      assertEquals(await other.request("subtract", [42, 23]), 19);
      const sums = await Promise.all(
        Array.from({ length: 50 }, (_, i) => other.request("sum", [i, i])),
      );
      assertEquals(sums, Array.from({ length: 50 }, (_, i) => 2 * i));
      other.notify("update", [1]);
      await assertRejects(
        () => Promise.resolve(other.request("fly", [])),
        Error,
        "Method not found",
      );
      name.resolve("Ann");
      assertEquals(await greeting, "hello, Ann");
    } finally {
      await peer.finish();
      await lines.cancel();
      await listening;
    }
  },
);

testWithTools("examples/json_rpc.ts is its own client", [], async () => {
  await using example = await Example.start("json_rpc");
  const port = String(example.addr.port);
  for (
    const [said, ...call] of [
      ["hello, whoever calls", "greet"],
      ["19", "subtract", "42", "23"],
      ["Method not found", "fly"],
    ]
  ) {
    await using client = await Example.run("json_rpc", port, ...call);
    assertEquals(await client.stdout.next(), said);
    assertEquals((await client.child.status).code, 0);
  }
});

testWithTools("examples/json_rpc.ts bounds what is under way", [], async () => {
  await using example = await Example.start("json_rpc");
  using peer = await Peer.to(example);
  const lines = new Lines(peer.conn.readable);
  const call = (id: number) =>
    `{"jsonrpc":"2.0","method":"greet","id":${id}}\n`;
  await peer.send(Array.from({ length: 101 }, (_, i) => call(i)).join(""));
  for (let i = 1; i <= 100; i++) {
    const { method, id } = JSON.parse(await lines.next());
    assertEquals([method, id], ["name", i]);
  }
  const { error, id } = JSON.parse(await lines.next());
  assertEquals([error.message, id], ["Too many calls at once", 100]);
  // A client that ends is told that nobody will answer what it was asked.
  await peer.finish();
  for (let i = 0; i < 100; i++) {
    assertMatch(await lines.next(), /"Connection lost"/);
  }
  await assertRejects(() => lines.next(), Error, "The output ended");
  await lines.cancel();
});
