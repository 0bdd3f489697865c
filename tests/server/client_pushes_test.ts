// What a client does beside a reply for each request: one-way requests, room,
// pushes, replies of several frames, and timeouts of a request's own.

import { PipelinedClient } from "../../lib/client/pipelined_client.ts";
import { framingOf } from "../../lib/framing/mod.ts";
import {
  ClientClosedError,
  connect,
  ConnectionLostError,
  EncodeError,
  OptionError,
  type RequestInfo,
  TimeoutError,
} from "../../lib/mod.ts";
import {
  clientAndPeer,
  FakeClock,
  outcome,
  serveTest,
  settle,
  text,
  turnOfLoop,
} from "../support/fixtures.ts";
import { MemoryTransport } from "../support/memory_transport.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertThrows,
} from "../support/std.ts";

type Settings = ConstructorParameters<typeof PipelinedClient>[1];

/** A client whose server is in memory and does what a test says. */
function connected(settings: Partial<Settings> = {}): {
  client: PipelinedClient;
  server: MemoryTransport;
  clock: FakeClock;
} {
  const [server, clock] = [new MemoryTransport(), new FakeClock()];
  const client = new PipelinedClient(server, {
    framing: framingOf("line"),
    maxFrame: 2_000_000,
    timeout: 1000,
    ...settings,
  }, clock);
  return { client, server, clock };
}

const isPush = (frame: Uint8Array) => frame[0] === "!".charCodeAt(0);
const isLast = (frame: Uint8Array) => frame[0] === ".".charCodeAt(0);

/** What a stream gives, as text, and the error that ends it. */
async function all(stream: ReadableStream<Uint8Array>): Promise<unknown[]> {
  const got: unknown[] = [];
  try {
    for await (const frame of stream) got.push(text(frame));
  } catch (error) {
    got.push(error);
  }
  return got;
}

// -------------------------------------------------------- one-way, and room

Deno.test("send takes no reply away from a request", async () => {
  await using running = serveTest((request) =>
    text(request).startsWith("log") ? undefined : request
  );
  await using client = await connect(running.addr as Deno.NetAddr);
  const sent = client.send("log 1");
  const a = client.request("a");
  client.send("log 2");
  const b = client.request("b");
  await sent;
  assertEquals([text(await a), text(await b)], ["a", "b"]);
  assertEquals(client.pending, 0);
  assertEquals(client.sent, "log 1\na\nlog 2\nb\n".length);
});

Deno.test("send waits until the system has taken it", async () => {
  const { client, server } = connected();
  server.take(0);
  const done: string[] = [];
  client.send("one").then(() => done.push("one"));
  await settle();
  assertEquals([client.buffered, done], [4, []]);
  client.send("L".repeat(100_000)).then(() => done.push("large"));
  await settle();
  assertEquals([client.buffered, done], [100_004, []]);
  server.take(50_000);
  await settle();
  assertEquals(done, ["one"]);
  assertEquals(client.buffered, 100_004 - 50_000);
  server.take(Infinity);
  await settle();
  assertEquals([client.buffered, done], [0, ["one", "large"]]);
  client.close();
});

Deno.test("send rejects once the connection has ended, and nobody need look", async () => {
  const { client, server } = connected();
  server.take(0);
  const underWay = client.send("a");
  await settle();
  const unsent = client.send("b");
  client.send("nobody looks");
  assertThrows(() => client.send("two\nlines"), EncodeError);
  client.close();
  await assertRejects(() => underWay, ClientClosedError);
  await assertRejects(() => unsent, ClientClosedError);
  await assertRejects(() => client.send("c"), ClientClosedError);
  assertEquals(client.buffered, 0);
});

Deno.test("ready waits while much is unsent, for as long", async () => {
  const { client, server } = connected({ maxBuffered: 100, timeout: 0 });
  server.take(0);
  await client.ready;
  const controller = new AbortController();
  const { signal } = controller;
  const first = outcome(client.request("x".repeat(99)));
  await client.ready;
  const second = outcome(client.request("b", { signal }));
  let isReady = false;
  client.ready.then(() => isReady = true);
  await settle();
  assertEquals([client.buffered, isReady], [101, false]);
  server.take(Infinity);
  await settle();
  assertEquals([client.buffered, isReady], [0, true]);
  server.push("A\nB\n");
  assertEquals([await first, await second], ["A", "B"]);

  // Taking back a request that waits makes no debt.
  server.take(0);
  const third = outcome(client.request("c".repeat(300)));
  await settle();
  const fourth = outcome(client.request("d".repeat(300), { signal }));
  assertEquals(client.buffered, 601);
  controller.abort(new Error("enough"));
  assertEquals((await fourth as Error).message, "enough");
  assertEquals(client.buffered, 301);
  const ready = client.ready;
  client.close();
  await ready;
  await client.ready;
  assertInstanceOf(await third, ClientClosedError);
});

Deno.test("ready resolves when the requests that took the room are given up", async () => {
  const { client, server, clock } = connected({
    maxBuffered: 100,
    timeout: 0,
    keepAfterTimeout: true,
  });
  server.take(0);
  const first = outcome(client.request("a"));
  await settle();
  const late = outcome(client.request("b".repeat(200), { timeout: 100 }));
  const ready = client.ready;
  clock.advance(1000);
  assertInstanceOf(await late, TimeoutError);
  await ready;
  assertEquals(client.buffered, 2);
  client.close();
  assertInstanceOf(await first, ClientClosedError);
});

Deno.test("what is neither bytes nor text is refused, and counts for nothing", async () => {
  for (const framing of ["line", "length", "varint", "delimiter:;"] as const) {
    const { client, server } = connected({
      framing: framingOf(framing),
      timeout: 0,
    });
    for (
      const value of [
        ...[undefined, null, 5, 1n, true, Symbol("s"), {}, [1, 2], () => {}],
        ...[new ArrayBuffer(2), new Uint16Array(2), new String("a")],
        ...[new DataView(new ArrayBuffer(2)), Object.create(null)],
      ]
    ) {
      const data = value as unknown as string;
      await assertRejects(() => client.request(data), TypeError, "Cannot send");
      assertThrows(() => client.send(data), TypeError, "Cannot send");
      const [error] = await all(client.stream(data, { isLast }));
      assertInstanceOf(error, TypeError);
    }
    assertEquals([client.pending, client.buffered], [0, 0]);
    await client.ready;
    assertEquals(server.text, "");
    client.close();
  }
});

Deno.test("isPush and isLast that give a promise end the connection", async () => {
  const promised =
    (() => Promise.reject(new Error("no"))) as unknown as typeof isLast;
  const pushing = connected({ isPush: promised });
  const reply = outcome(pushing.client.request("a"));
  pushing.server.push("A\n");
  const error = await reply as Error;
  assertInstanceOf(error, ConnectionLostError);
  assertMatch(
    error.message,
    /: isPush gave .*Promise.*: expected true or false$/,
  );

  const { client, server } = connected();
  const frames = all(client.stream("a", { isLast: promised }));
  const other = outcome(client.request("b"));
  server.push("1\n2\n");
  for (const error of [...await frames, await other] as Error[]) {
    assertMatch(error.message, /: isLast gave .*: expected true or false$/);
  }
  const another = connected();
  for (const isLast of [undefined, "." as unknown as typeof promised]) {
    assertThrows(
      () => another.client.stream("a", { isLast: isLast! }),
      OptionError,
      "isLast",
    );
  }
  assertEquals(another.client.pending, 0);
  another.client.close();
});

Deno.test("whoever waits for ready gives no more than fits to a peer that never reads", async () => {
  const [client, peer, clock] = await clientAndPeer({
    maxFrame: 70_000,
    timeout: 0,
  });
  using _ = peer;
  const payload = "x".repeat(65_536);
  const replies: Promise<unknown>[] = [];
  const filling = (async () => {
    while (replies.length < 2000) {
      await client.ready;
      replies.push(outcome(client.request(payload)));
    }
  })();
  while (client.buffered <= 1024 * 1024) await turnOfLoop();
  const { sent, buffered } = client;
  assert(buffered < 1024 * 1024 + 70_000, `${buffered} are unsent`);
  assertEquals(sent + buffered > replies.length * 65_536, true);
  assert(replies.length < 500, `${replies.length} were taken`);
  client.close();
  clock.advance(1);
  // From here on there is nothing to wait for, and each request says why.
  await filling;
  for (const reply of await Promise.all(replies)) {
    assertInstanceOf(reply, ClientClosedError);
  }
});

// ------------------------------------------------------------------- pushes

Deno.test("pushes are apart from the replies, wherever they come", async () => {
  let info: RequestInfo | undefined;
  await using running = serveTest(async (request, asked) => {
    info = asked;
    await asked.send(`! before ${text(request)}`);
    return request;
  }, { onOpen: () => "! welcome" });
  const { port } = running.addr as Deno.NetAddr;
  const client = await connect({ port, isPush });
  const pushes = all(client.pushes);
  const replies = ["a", "b"].map((one) => client.request(one));
  assertEquals((await Promise.all(replies)).map(text), ["a", "b"]);
  await info!.send("! later");
  assertEquals(text(await client.request("c")), "c");
  client.close();
  assertEquals(await pushes, [
    "! welcome",
    "! before a",
    "! before b",
    "! later",
    "! before c",
  ]);
});

Deno.test("pushes that came are given though the connection is lost", async () => {
  const { client, server } = connected({ isPush });
  server.push("!1\n!2\nERR going down\n");
  server.end();
  const error = await client.closed;
  assertMatch(error!.message, /, which said "ERR going down"$/);
  assertEquals(await all(client.pushes), ["!1", "!2"]);
});

Deno.test("pushes that nobody takes end the connection, and those left do not", async () => {
  const push = `!${"x".repeat(1000)}\n`;
  const { client, server } = connected({ isPush, maxBuffered: 10_000 });
  const a = outcome(client.request("a"));
  server.push(push.repeat(9) + "A\n");
  assertEquals(await a, "A");
  server.push(push.repeat(2));
  const error = await client.closed;
  assertInstanceOf(error, ConnectionLostError);
  assertMatch(error.message, / given up: nobody takes the pushes$/);
  assertEquals((await all(client.pushes)).length, 10);

  const other = connected({ isPush, maxBuffered: 0 });
  other.server.push("!1\n");
  for await (const push of other.client.pushes) {
    assertEquals(text(push), "!1");
    break;
  }
  const b = outcome(other.client.request("b"));
  other.server.push(push.repeat(1000) + "B\n");
  assertEquals(await b, "B");
  other.client.close();
  assertEquals(other.clock.timers, 0);
});

Deno.test("pushes need the option isPush, and one that throws ends the connection", async () => {
  const { client } = connected();
  assertThrows(() => client.pushes, TypeError, "isPush");
  client.close();
  await assertRejects(
    () => connect({ isPush: "!" as unknown as typeof isPush }),
    OptionError,
    'isPush "!"',
  );
  const thrown = new Error("no idea");
  const other = connected({
    isPush: () => {
      throw thrown;
    },
  });
  const reply = outcome(other.client.request("a"));
  other.server.push("A\nB\n");
  const error = await reply as Error;
  assertInstanceOf(error, ConnectionLostError);
  assertMatch(error.message, / given up: no idea$/);
  assertEquals(error.cause, thrown);
  assertEquals(other.clock.timers, 0);
});

// --------------------------------------------------- replies of several frames

Deno.test("stream gives a reply frame by frame, among other requests", async () => {
  await using running = serveTest((request) =>
    text(request) === "many"
      ? ReadableStream.from(["1", "! push", "2", "."])
      : request
  );
  const { port } = running.addr as Deno.NetAddr;
  await using client = await connect({ port, isPush });
  const before = client.request("before");
  const many = [1, 2].map(() => all(client.stream("many", { isLast })));
  const after = client.request("after");
  assertEquals(text(await before), "before");
  for (const one of many) assertEquals(await one, ["1", "2", "."]);
  assertEquals(text(await after), "after");
  assertEquals(client.pending, 0);
  const closed = all(client.stream("two\nlines", { isLast }));
  assertInstanceOf((await closed)[0], EncodeError);
});

Deno.test("stream reads no faster than its frames are taken", async () => {
  let made = 0;
  const total = 4096;
  await using running = serveTest(async function* () {
    const frame = new Uint8Array(262_144).fill(65);
    for (; made < total; made++) yield frame;
    yield ".";
  });
  const { port } = running.addr as Deno.NetAddr;
  await using client = await connect({ port });
  let taken = 0;
  let least = Infinity;
  let most = 0;
  for await (const frame of client.stream("1 GiB", { isLast })) {
    if (++taken === 10) {
      // Nobody takes: what is on its way fits into the buffers of the system.
      for (let last = -1; last !== made;) {
        last = made;
        for (let i = 0; i < 50; i++) await turnOfLoop();
      }
      assert(made < 200, `${made} were made, ${taken} were taken`);
    }
    if (taken > total) assertEquals(text(frame), ".");
    else if (taken % 512 === 0) {
      const { external } = Deno.memoryUsage();
      [least, most] = [Math.min(least, external), Math.max(most, external)];
    }
  }
  assertEquals([made, taken], [total, total + 1]);
  assert(most - least < 256 * 1024 * 1024, `${least} to ${most} bytes`);
});

Deno.test("stream that is left early leaves the others their replies", async () => {
  const { client, server, clock } = connected();
  const stream = client.stream("many", { isLast });
  const after = outcome(client.request("after"));
  server.push("1\n2\n");
  for await (const frame of stream) {
    assertEquals(text(frame), "1");
    break;
  }
  server.push("3\n");
  server.push(`${"4".repeat(900_000)}\n.\nAFTER\n`);
  assertEquals(await after, "AFTER");

  // One that is not sent yet is never sent.
  await client.stream("unsent", { isLast }).cancel();
  assertEquals(client.pending, 0);
  // What is too much is not waited for.
  const other = client.stream("endless", { isLast });
  const behind = outcome(client.request("behind"));
  await settle();
  await other.cancel();
  server.push(`${"5".repeat(900_000)}\n`.repeat(2));
  const error = await behind;
  assertInstanceOf(error, ConnectionLostError);
  assertMatch(error.message, / over 1048576 bytes of a reply were left$/);
  assert(!server.text.includes("unsent"));
  assertEquals(clock.timers, 0);
});

Deno.test("stream that is full when it is left, or closed, does not stay so", async () => {
  for (const how of ["leave", "abort", "close"]) {
    const { client, server, clock } = connected();
    const controller = new AbortController();
    const { signal } = controller;
    const stream = client.stream("many", { isLast, signal });
    const after = outcome(client.request("after"));
    server.push(`${"x".repeat(70_000)}\n`.repeat(3));
    await settle();
    server.push(".\nAFTER\n");
    await settle();
    assertEquals(client.pending, 2);
    if (how === "leave") await stream.cancel();
    else if (how === "abort") controller.abort(new Error("enough"));
    else client.close();
    const replied = await after;
    if (how === "close") assertInstanceOf(replied, ClientClosedError);
    else assertEquals(replied, "AFTER");
    const got = await all(stream);
    const names = { leave: [], abort: ["Error"], close: ["ClientClosedError"] };
    // A frame that had come may be given before the error.
    assertEquals(
      got.flatMap((last) => last instanceof Error ? [last.name] : []),
      names[how as keyof typeof names],
    );
    client.close();
    await settle();
    assertEquals([clock.timers, server.reading], [0, false]);
  }
});

Deno.test("stream ends with the error that ends the connection", async () => {
  const { client, server } = connected();
  const stream = client.stream("many", { isLast });
  server.push("1\n");
  await settle();
  const reader = stream.getReader();
  assertEquals(text((await reader.read()).value!), "1");
  server.end();
  await assertRejects(() => reader.read(), ConnectionLostError);
  assertInstanceOf(
    (await all(client.stream("more", { isLast })))[0],
    ConnectionLostError,
  );
});

Deno.test("stream has the timeout for each frame, and none while it is not taken", async () => {
  const { client, server, clock } = connected();
  const stream = client.stream("many", { isLast });
  const behind = outcome(client.request("behind"));
  const reader = stream.getReader();
  for (let i = 0; i < 5; i++) {
    server.push(`${i}\n`);
    assertEquals(text((await reader.read()).value!), `${i}`);
    clock.advance(900);
    await settle();
  }
  // What stands behind it is not late either.
  assertEquals(client.pending, 2);
  server.push(`${"x".repeat(70_000)}\n`);
  await settle();
  clock.advance(800);
  await settle();
  assertEquals((await reader.read()).value!.length, 70_000);
  await settle();
  clock.advance(1500);
  assertInstanceOf(await behind, TimeoutError);
  await assertRejects(() => reader.read(), TimeoutError, "within 1000 ms");
  assertInstanceOf(await client.closed, ConnectionLostError);
  assertEquals(clock.timers, 0);
});

Deno.test("who waits in a stream's loop for a reply behind it gets a timeout", async () => {
  const { client, server, clock } = connected();
  const stream = client.stream("many", { isLast });
  server.push(`${"x".repeat(70_000)}\n`.repeat(2));
  await settle();
  const reply = outcome(client.request("behind"));
  await settle();
  clock.advance(60_000);
  assertInstanceOf(await reply, TimeoutError);
  await settle();
  await assertRejects(() => stream.getReader().read(), ConnectionLostError);
});

// ----------------------------------------------------------- its own timeout

Deno.test("request has a timeout of its own, shorter or longer", async () => {
  const { client, server, clock } = connected({ keepAfterTimeout: true });
  clock.advance(10_000);
  const long = outcome(client.request("long", { timeout: 5000 }));
  const usual = outcome(client.request("usual"));
  const short = outcome(client.request("short", { timeout: 40 }));
  const never = outcome(client.request("never", { timeout: 0 }));
  await settle();
  clock.advance(39);
  await settle();
  assertEquals(client.pending, 4);
  clock.advance(11);
  const error = await short as Error;
  assertInstanceOf(error, TimeoutError);
  assertEquals(error.message, "No reply within 40 ms");
  clock.advance(1200);
  assertInstanceOf(await usual, TimeoutError);
  clock.advance(3000);
  await settle();
  server.push("LONG\n");
  assertEquals(await long, "LONG");
  clock.advance(60_000);
  server.push("USUAL\nSHORT\nNEVER\n");
  assertEquals(await never, "NEVER");
  await assertRejects(
    () => client.request("x", { timeout: -1 }),
    OptionError,
    "timeout -1",
  );
  client.close();
  assertEquals(clock.timers, 0);
});

Deno.test("request that runs out of its own time closes the connection too", async () => {
  const { client, clock } = connected({ timeout: 0 });
  const a = outcome(client.request("a", { timeout: 100 }));
  const b = outcome(client.request("b"));
  await settle();
  clock.advance(125);
  assertInstanceOf(await a, TimeoutError);
  assertInstanceOf(await b, ConnectionLostError);
  assertEquals(clock.timers, 0);
});
