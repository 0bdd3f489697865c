import {
  assert,
  assertEquals,
  assertMatch,
  assertThrows,
} from "../support/std.ts";

import {
  type Command,
  commands,
  commandTable,
  connect,
  echo,
  type FramingName,
  OptionError,
  ReplyTooLargeError,
  serve,
  UsageError,
} from "../../lib/mod.ts";
import {
  bytes,
  Peer,
  RudePeer,
  serveTest,
  text,
  turnOfLoop,
} from "../support/fixtures.ts";
import { RunningServer, testPrograms } from "../support/programs.ts";

async function ask(
  requests: (string | Uint8Array)[],
  framing: FramingName = "line",
): Promise<string[]> {
  await using server = serve(
    { hostname: "127.0.0.1", port: 0, framing },
    commands,
  );
  const { port } = server.addr as Deno.NetAddr;
  await using client = await connect({ port, framing });
  const replies = await Promise.all(requests.map((r) => client.request(r)));
  return replies.map(text);
}

Deno.test("commands answer as their help says", async () => {
  const table: [request: string, reply: string][] = [
    ["PING", "PONG"],
    ["ping", "PONG"],
    ["PiNg hello  there ", "hello  there "],
    ["ECHO  two spaces", " two spaces"],
    ["ECHO", ""],
    ["echo ", ""],
    ["UPPER straße, ÿ", "STRASSE, Ÿ"],
    ["REVERSE abc", "cba"],
    // A family, a flag and an accent are one grapheme each.
    ["REVERSE a👨‍👩‍👧🇫🇷e\u0301", "e\u0301🇫🇷👨‍👩‍👧a"],
    ["DELAY 0 now", "now"],
    ["DELAY 5 a b", "a b"],
    ["CHUNK 1 hello", "hello"],
    ["CHUNK 3 hello there", "hello there"],
    ["SIZE 0", ""],
    ["SIZE 5", "xxxxx"],
    [
      "HELP delay",
      "DELAY ms text: replies the text after ms milliseconds, 0 to 60000",
    ],
    ["help TIME", "TIME: replies the time, ISO 8601 in UTC"],
  ];
  const replies = await ask(table.map(([request]) => request));
  assertEquals(replies, table.map(([, reply]) => reply));
});

Deno.test("commands answer what they cannot do with ERR", async () => {
  const table: [request: string | Uint8Array, reply: string][] = [
    ["", "ERR empty request"],
    ["FOO", 'ERR unknown command: "FOO" (try HELP)'],
    ["FOO bar", 'ERR unknown command: "FOO" (try HELP)'],
    [" PING", 'ERR unknown command: "" (try HELP)'],
    ["constructor", 'ERR unknown command: "constructor" (try HELP)'],
    ["__proto__ x", 'ERR unknown command: "__proto__" (try HELP)'],
    ["GET / HTTP/1.1", 'ERR unknown command: "GET" (try HELP)'],
    [
      new Uint8Array([0xff, 0xfb, 0x01, 0x1b]),
      'ERR unknown command: "\ufffd\ufffd\\u0001\\u001b" (try HELP)',
    ],
    ["X".repeat(100), `ERR unknown command: "${"X".repeat(64)}…" (try HELP)`],
    ["DELAY", 'ERR usage: DELAY ms text (ms is 0 to 60000, got "")'],
    ["DELAY x", 'ERR usage: DELAY ms text (ms is 0 to 60000, got "x")'],
    [
      "DELAY 60001 x",
      'ERR usage: DELAY ms text (ms is 0 to 60000, got "60001")',
    ],
    ["DELAY -1 x", 'ERR usage: DELAY ms text (ms is 0 to 60000, got "-1")'],
    ["DELAY 1e3 x", 'ERR usage: DELAY ms text (ms is 0 to 60000, got "1e3")'],
    ["CHUNK 0 x", 'ERR usage: CHUNK n text (n is 1 to 16777216, got "0")'],
    ["SIZE 16777217", 'ERR usage: SIZE n (n is 0 to 16777216, got "16777217")'],
    ["TIME now", 'ERR usage: TIME (no argument, got "now")'],
    ["HELP FOO", 'ERR unknown command: "FOO" (try HELP)'],
    [
      new Uint8Array([...bytes("UPPER "), 0xff]),
      "ERR usage: UPPER text (text is UTF-8, got bytes that are not)",
    ],
  ];
  const replies = await ask(table.map(([request]) => request));
  assertEquals(replies, table.map(([, reply]) => reply));
});

Deno.test("commands SIZE makes nothing that the server would not send", async () => {
  const made: unknown[] = [];
  await using running = serveTest((request, info) => {
    const reply = commands(request, info);
    made.push(reply);
    return reply;
  }, { maxReply: 100 });
  using peer = await Peer.to(running);
  const tooLarge = (length: number) =>
    `ERR reply too large: length is ${length}, maximum is 100`;
  const usage = (n: string) =>
    `ERR usage: SIZE n (n is 0 to 16777216, got ${n})`;
  const table: [request: string, reply: string][] = [
    ["SIZE 100", "x".repeat(100)],
    ["SIZE 101", tooLarge(101)],
    ["SIZE 16777216", tooLarge(16_777_216)],
    ["SIZE 000000000000101", tooLarge(101)],
    ["SIZE 16777217", usage('"16777217"')],
    ["SIZE 1e9", usage('"1e9"')],
    ["SIZE -1", usage('"-1"')],
    ["SIZE 9007199254740993", usage('"9007199254740993"')],
    ["SIZE  5 ", usage('" 5 "')],
    ["SIZE 0x10", usage('"0x10"')],
    ["SIZE 5.0", usage('"5.0"')],
    ["SIZE ٥", usage('"٥"')],
    ["SIZE", usage('""')],
    [" SIZE  5 ", 'ERR unknown command: "" (try HELP)'],
    ["SIZE 3", "xxx"],
  ];
  await peer.send(table.map(([request]) => `${request}\n`).join(""));
  await peer.finish();
  assertEquals(
    (await peer.rest()).split("\n").slice(0, -1),
    table.map(([, reply]) => reply),
  );
  for (const reply of made) {
    assert(typeof reply === "string" || (reply as Uint8Array).length <= 100);
  }
  const errors = running.events.of("handler_error");
  assertEquals(errors.length, 3);
  assert(errors.every(({ error }) => error instanceof ReplyTooLargeError));
});

Deno.test("commands SIZE gives as many bytes after a larger one and a smaller one", async () => {
  const sizes = [0, 1, 2, 3, 1000, 5, 1025, 1024, 0, 70_000, 16_777_216, 7];
  const replies = await ask(sizes.map((n) => `SIZE ${n}`));
  assertEquals(replies.map(({ length }) => length), sizes);
  assert(replies.every((reply) => /^x*$/.test(reply)));
});

for (const threads of ["1", "2"]) {
  testPrograms(
    `server with ${threads} threads takes no memory for a SIZE over --max-reply`,
    async (way) => {
      await using server = await RunningServer.start(
        way,
        ["--threads", threads, "--max-reply", "64KiB"],
      );
      const before = await mostMemory(server.pid);
      using peer = await Peer.to(server);
      await peer.send("SIZE 16777216\n".repeat(300));
      await peer.finish();
      assertEquals(
        await peer.rest(),
        "ERR reply too large: length is 16777216, maximum is 65536\n"
          .repeat(300),
      );
      const grown = await mostMemory(server.pid) - before;
      assert(grown < 64 * 1024, `grown by ${grown} KiB`);
    },
    ["cat"],
  );
}

testPrograms(
  "server keeps one SIZE in memory for all who do not read it",
  async (way) => {
    await using server = await RunningServer.start(way);
    const before = await mostMemory(server.pid);
    const peers: Peer[] = [];
    try {
      for (let i = 0; i < 20; i++) {
        const peer = await Peer.to(server);
        peers.push(peer);
        assertEquals(await peer.ask("SIZE 16777216\n", "x"), "x");
      }
      const grown = await mostMemory(server.pid) - before;
      assert(grown < 128 * 1024, `grown by ${grown} KiB`);
    } finally {
      for (const peer of peers) peer[Symbol.dispose]();
    }
  },
  ["cat"],
);

/** The most resident memory that a process ever had, in KiB. */
async function mostMemory(pid: number): Promise<number> {
  // Deno itself lets nobody look into `/proc` who may not do everything.
  const { stdout } = await new Deno.Command("cat", {
    args: [`/proc/${pid}/status`],
  }).output();
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(text(stdout))?.[1]);
}

Deno.test("commands pass bytes that are no text as they are", async () => {
  const binary = new Uint8Array(256).map((_, i) => i);
  await using server = serve(
    { hostname: "127.0.0.1", port: 0, framing: "length" },
    commands,
  );
  const { port } = server.addr as Deno.NetAddr;
  await using client = await connect({ port, framing: "length" });
  for (const name of ["ECHO", "PING", "CHUNK 7", "DELAY 1"]) {
    const request = new Uint8Array([...bytes(`${name} `), ...binary]);
    assertEquals(await client.request(request), binary);
  }
});

Deno.test("commands TIME, WHOAMI, STATS and HELP tell what is so", async () => {
  const before = Date.now();
  await using server = serve(
    { hostname: "127.0.0.1", port: 0, framing: "netstring" },
    commands,
  );
  const { port } = server.addr as Deno.NetAddr;
  await using client = await connect({ port, framing: "netstring" });
  const ask = async (request: string) => text(await client.request(request));

  const time = await ask("TIME");
  assertMatch(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert(Date.parse(time) >= before && Date.parse(time) <= Date.now());

  const { port: own } = client.localAddr as Deno.NetAddr;
  assertEquals(
    await ask("WHOAMI"),
    `id=1 peer=127.0.0.1:${own} framing=netstring`,
  );

  // 4:TIME, and 6:WHOAMI, and 5:STATS, are 7 + 9 + 8 bytes.
  const stats = await ask("STATS");
  assertMatch(stats, /^uptime_seconds=\d+ connections=1 connections_total=1 /);
  assertMatch(stats, / connections_rejected=0 requests=3 received_bytes=24 /);

  const help = await ask("HELP");
  for (const name of ["PING [text]", "CHUNK n text", "QUIT"]) {
    assert(help.includes(name), help);
  }
});

Deno.test("commands QUIT says BYE and closes; CLOSE only closes", async () => {
  for (
    const [sent, expected] of [["PING\nQUIT\nPING\n", "PONG\nBYE\n"], [
      "PING\nCLOSE\nPING\n",
      "PONG\n",
    ]]
  ) {
    await using running = serveTest(commands);
    using peer = await Peer.to(running);
    await peer.send(sent);
    assertEquals(await peer.rest(), expected);
    const { reason, unanswered } = await running.events.closed();
    assertEquals([reason, unanswered], ["handler_closed", false]);
  }
});

Deno.test("commands DELAY ends early when the peer is gone", async () => {
  await using running = serveTest(commands, { requestTimeout: 0 });
  const peer = await RudePeer.to(running);
  await peer.send("DELAY 60000 x\n");
  // The delay has begun once its bytes are counted.
  while (running.server.requests === 0) await turnOfLoop();
  await peer.reset();
  const { reason } = await running.events.closed();
  assertEquals(reason, "peer_reset");
});

Deno.test("commands DELAY ends early when the server is forced", async () => {
  await using running = serveTest(commands, { drainTimeout: 1 });
  using peer = await Peer.to(running);
  // The first reply shows that the second request has come in, too.
  assertEquals(await peer.ask("PING\nDELAY 60000 x\n", "PONG\n"), "PONG\n");
  await running.server.shutdown();
  const { reason, unanswered } = await running.events.closed();
  assertEquals([reason, unanswered], ["forced", true]);
  assertEquals(running.events.of("finished")[0].forced, 1);
});

Deno.test("echo replies the bytes of the request", async () => {
  await using server = serve(
    { hostname: "127.0.0.1", port: 0, framing: "length" },
    echo,
  );
  const { port } = server.addr as Deno.NetAddr;
  await using client = await connect({ port, framing: "length" });
  const binary = new Uint8Array(65_536).map((_, i) => i);
  assertEquals(await client.request(binary), binary);
  assertEquals(await client.request(""), new Uint8Array());
});

Deno.test("a commandTable has HELP, usage errors and the state of its server", async () => {
  // A promise as some libraries have it, of no class of the runtime's.
  const refusing = {
    then: (_: unknown, reject: (error: Error) => void) =>
      reject(new UsageError("n is digits")),
  } as PromiseLike<string>;
  await using server = serve(
    { hostname: "127.0.0.1", port: 0, state: () => ({ sum: 0 }) },
    commandTable<{ sum: number }>({
      ADD: {
        args: "n",
        help: "adds n",
        async run(bytes, { state }) {
          const n = text(bytes);
          await Promise.resolve();
          if (!/^\d+$/.test(n)) throw new UsageError(`n is digits, got ${n}`);
          return `${state.sum += Number(n)}`;
        },
      },
      "A.B-9": { args: "", help: "does nothing", run: () => "done" },
      QUERY: { args: "n", help: "asks", run: () => refusing },
    }),
  );
  await using client = await connect(server.addr as Deno.NetAddr);
  const table: [request: string, reply: string][] = [
    ["ADD 2", "2"],
    ["add 40", "42"],
    ["ADD x", "ERR usage: ADD n (n is digits, got x)"],
    ["a.b-9", "done"],
    ["QUERY x", "ERR usage: QUERY n (n is digits)"],
    ["A.B-9 x", 'ERR usage: A.B-9 (no argument, got "x")'],
    [
      "HELP",
      "ADD n | A.B-9 | QUERY n | HELP [command] (HELP command tells more)",
    ],
    ["help add", "ADD n: adds n"],
    ["HELP valueOf", 'ERR unknown command: "valueOf" (try HELP)'],
    ["valueOf", 'ERR unknown command: "valueOf" (try HELP)'],
  ];
  const replies = await Promise.all(table.map(([r]) => client.request(r)));
  assertEquals(replies.map(text), table.map(([, reply]) => reply));
});

Deno.test("a commandTable may have a HELP of its own, and no name that nobody can send", async () => {
  const command: Command = { args: "", help: "", run: () => "mine" };
  await using server = serve(
    { hostname: "127.0.0.1", port: 0 },
    commandTable({ HELP: command, ["X".repeat(63)]: command }),
  );
  await using client = await connect(server.addr as Deno.NetAddr);
  for (const request of ["HELP", "x".repeat(63)]) {
    assertEquals(text(await client.request(request)), "mine");
  }
  assertMatch(text(await client.request("X".repeat(64))), /^ERR unknown/);
  for (const name of ["", "get", "GET IT", "É", "X".repeat(64)]) {
    const error = assertThrows(
      () => commandTable({ [name]: command }),
      OptionError,
    );
    assertEquals((error as OptionError).value, name);
  }
});

Deno.test("a commandTable lets other errors through", async () => {
  const error = new Error("no");
  const failing = commandTable({
    NOW: {
      args: "",
      help: "fails",
      run: () => {
        throw error;
      },
    },
    LATER: { args: "", help: "fails", run: () => Promise.reject(error) },
  });
  await using running = serveTest(failing);
  using peer = await Peer.to(running);
  await peer.send("NOW\nLATER\n");
  await peer.finish();
  assertEquals(await peer.rest(), "ERR internal error\n".repeat(2));
  const failures = running.events.of("handler_error");
  assertEquals(failures.map((event) => event.error), [error, error]);
});
