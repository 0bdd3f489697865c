// deno-lint-ignore-file no-import-prefix -- what deno.json imports is fetched
// for every program, and only tests need this.

/** What connections hold, and what happens near the bound and over it. */

import { assert, assertEquals } from "../support/std.ts";
import fc from "npm:fast-check@4.3.0";

import { CHUNK, giveBack, lend, ReceiveBuffer } from "../../lib/net/buffers.ts";
import {
  Counters,
  METRIC_CELLS,
  settleLost,
} from "../../lib/events/metrics.ts";
import type { RequestInfo } from "../../lib/server/handler.ts";
import { InMemory, turn, turns } from "../support/in_memory.ts";
import { MemoryTransport } from "../support/memory_transport.ts";

/** What half a frame of 100,000 bytes holds. */
const LARGE = 4 * CHUNK;

/** Sends the start of a request: nothing is replied to it. */
async function half(
  transport: MemoryTransport,
  length: number,
): Promise<void> {
  transport.push("h".repeat(length));
  await turns(3);
}

function endAll(...transports: MemoryTransport[]): void {
  for (const transport of transports) transport.end();
}

async function stateOf(running: InMemory, id: number): Promise<string> {
  const all = await running.server.connectionList();
  return all.find((one) => one.id === id)?.state ?? "closed";
}

/** Waits until more is held than may be; the next turn makes room. */
async function over({ server }: InMemory): Promise<void> {
  for (let i = 0; i < 50 && server.metrics().held <= LIMIT; i++) {
    await undefined;
  }
  assert(server.metrics().held > LIMIT);
}

/** How connections ended, by their number. */
function endings({ events }: InMemory): Record<number, string> {
  return Object.fromEntries(
    events.of("connection_close").map(({ id, reason }) => [id, reason]),
  );
}

/** Replies with much to `g…`, with nothing to `n…`, and echoes the rest. */
function reply(request: Uint8Array): Uint8Array | string | undefined {
  if (request[0] === 103) return "g".repeat(200_000);
  return request[0] === 110 ? undefined : request;
}

const LIMIT = 400_000;
const NEAR = 320_000;

/** A server with a bound, and ten idle connections, whose share is small. */
async function bounded(maxMemory = LIMIT, maxConnections = 0): Promise<{
  running: InMemory;
  idle: MemoryTransport[];
}> {
  const running = new InMemory(
    reply,
    { maxMemory, maxFrame: 1_000_000, maxConnections },
  );
  return { running, idle: await running.connectAll(10) };
}

for (const length of [10, 600, 1600, 5000, 9000, 60_000, 100_000, 900_000]) {
  Deno.test(`a quiet connection holds nothing after ${length} bytes`, async () => {
    let reply = "";
    await using running = new InMemory((_request, info) => {
      if (reply === "") return undefined;
      if (reply === "pieces") info.replyInPieces(30_000);
      return reply.repeat(length / reply.length);
    }, { maxFrame: 1_000_000, maxMemory: 0 });
    const transport = await running.connect();
    const { server } = running;
    for (reply of ["", "x", "pieces", "x"]) {
      // The rest of it comes later.
      await half(transport, length - 1);
      const { held } = server.metrics();
      assert(held === 0 ? length <= 1600 : held >= length - 1, `${held}`);
      transport.push(".\n");
      await turns(20);
      assertEquals(server.metrics().held, 0, `after a reply of "${reply}"`);
    }
    // What is not taken is held.
    transport.take(0);
    transport.push("a\n");
    await turns(3);
    assert(server.metrics().held >= length);
    transport.take(Infinity);
    await turns(3);
    assertEquals(server.metrics().held, 0);
    transport.end();
  });
}

for (
  const [sent, most] of [
    [10, 0],
    [511, 0],
    [600, 2048],
    [2047, 2048],
    [5000, 8192],
    [8191, 8192],
    [20_000, CHUNK],
    [65_000, CHUNK],
    [70_000, 4 * CHUNK],
    [900_000, 1_000_012],
  ]
) {
  Deno.test(`half a frame of ${sent} bytes holds ${most} at the most`, async () => {
    await using running = new InMemory((request) => request, {
      maxFrame: 1_000_000,
    });
    const all = await running.connectAll(3);
    for (const transport of all) {
      // However it is cut.
      for (let done = 0; done < sent; done += 20_000) {
        await half(transport, Math.min(20_000, sent - done));
      }
    }
    const { held } = running.server.metrics();
    assert(held <= 3 * most, `${held} are held`);
    endAll(...all);
  });
}

for (const [length, most] of [[60_000, 2], [900_000, 5]] as const) {
  for (const how of ["in a stream", "one by one"]) {
    Deno.test(`frames of ${length} bytes ${how} come in large reads`, async () => {
      let reads = 0;
      class Counted extends MemoryTransport {
        override read(bytes: Uint8Array): Promise<number | null> {
          reads++;
          return super.read(bytes);
        }
      }
      await using running = new InMemory(() => "", { maxFrame: 1_000_000 });
      const transport = new Counted();
      running.listener.connect(undefined, transport);
      for (let i = 1; i <= 10; i++) {
        transport.push("x".repeat(length - 1) + "\n");
        if (how === "in a stream") continue;
        await transport.until(({ taken }) => taken.length === i);
      }
      transport.end();
      await transport.until(({ closed }) => closed);
      assertEquals(transport.text, "\n".repeat(10));
      // The first has to find out how large they are.
      assert(reads <= 10 * most + 4, `${reads} reads`);
    });
  }
}

Deno.test("ReceiveBuffer tells what it holds, and before what it will", () => {
  const steps = fc.array(
    fc.oneof(
      fc.record({
        act: fc.constant("read"),
        count: fc.constantFrom(1, 10, 500, 1537, 10_000, 70_000, 1e6),
      }),
      fc.record({
        act: fc.constantFrom("use", "use all", "release", "forsake"),
        count: fc.nat(5000),
      }),
    ),
    { maxLength: 30 },
  );
  fc.assert(
    fc.property(steps, (all) => {
      let held = 0;
      const inbox = new ReceiveBuffer(300_000, {
        hold: (bytes) => void (held += bytes),
      });
      for (const { act, count } of all) {
        if (act === "release") inbox.release();
        else if (act === "forsake") inbox.forsake();
        else if (act === "use all") inbox.start = inbox.end;
        else if (act === "use") {
          inbox.start = Math.min(inbox.start + count, inbox.end);
        } else {
          const before = held;
          const { growth } = inbox;
          const space = inbox.space();
          assert(space.length > 0);
          // It may give some back, and never takes more than it has said.
          if (growth > 0) assertEquals(held, before + growth);
          else assert(held <= before);
          inbox.end += Math.min(count, space.length);
        }
        const { length } = inbox.bytes;
        assertEquals(held, length >= 2048 ? length : 0);
      }
      inbox.release();
      assertEquals(held, 0);
    }),
    { seed: 20261125, numRuns: 300 },
  );
});

Deno.test("half a frame near the bound is paused, and ends as overload", async () => {
  const { running, idle } = await bounded();
  await using _ = running;
  const [large, small, other] = await running.connectAll(3);
  await half(large, 100_000);
  await half(small, 5000);
  assertEquals(running.server.metrics().held, LARGE + 8192);
  assertEquals(await stateOf(running, 11), "reading");
  await half(other, 60_000);
  const { held } = running.server.metrics();
  assert(held > NEAR && held < LIMIT);
  await running.pass(300);
  // Those with less than their share may go on, and so may all short requests.
  assertEquals(
    [await stateOf(running, 11), await stateOf(running, 12)],
    ["paused", "reading"],
  );
  idle[0].push("short\n");
  await turns(3);
  assertEquals(idle[0].text, "short\n");
  await running.pass(4000);
  assertEquals(endings(running), {});
  await running.pass(3000);
  assertEquals(endings(running), { 11: "overload", 13: "overload" });
  assertEquals(running.server.metrics().held, 8192);
  small.push("\n");
  await turns(3);
  assertEquals(small.taken.length, 5001);
  endAll(small, ...idle);
});

Deno.test("however many there are near the bound, short requests go on", async () => {
  const { running, idle } = await bounded();
  await using _ = running;
  const many = await running.connectAll(90);
  await half(many[0], 100_000);
  await half(many[1], 60_000);
  assert(running.server.metrics().held > NEAR);
  // A hundredth of what there is would be less than it holds.
  await half(many[2], 5000);
  await running.pass(300);
  assertEquals(
    [await stateOf(running, 12), await stateOf(running, 13)],
    ["paused", "reading"],
  );
  endAll(...many, ...idle);
});

for (const length of [600, 5000, 9000, 60_000]) {
  Deno.test(`however many send half a frame of ${length} bytes, they do not reach the bound`, async () => {
    const { running, idle } = await bounded();
    await using _ = running;
    const many = await running.connectAll(400);
    for (const transport of many) transport.push("h".repeat(length));
    const { server, listener } = running;
    for (let i = 0; i < 300; i++) {
      await running.pass(1, 1);
      assert(server.metrics().held < LIMIT);
    }
    assert(server.metrics().held > NEAR);
    const newcomer = listener.connect();
    newcomer.push("request\n");
    idle[0].push("request\n");
    await running.pass(200, 1);
    assertEquals([newcomer.text, idle[0].text], ["request\n", "request\n"]);
    assertEquals(endings(running), {});
    assertEquals(server.metrics().rejected.overload, 0);
    endAll(newcomer, ...many, ...idle);
  });
}

Deno.test("half a frame near the bound goes on once there is memory again", async () => {
  const { running, idle } = await bounded();
  await using _ = running;
  const [large, other] = await running.connectAll(2);
  await half(large, 60_000);
  await half(other, 8191);
  idle[0].take(0);
  idle[0].push("g\n");
  await turns(3);
  // It wants more than its share, and does not get it.
  const { held } = running.server.metrics();
  await half(other, 100);
  assertEquals(running.server.metrics().held, held);
  await running.pass(4000);
  assertEquals(
    [await stateOf(running, 11), await stateOf(running, 12)],
    ["paused", "paused"],
  );
  idle[0].take(Infinity);
  await turns(20);
  assertEquals(idle[0].taken.length, 200_001);
  await running.pass(500);
  assertEquals(
    [await stateOf(running, 11), await stateOf(running, 12)],
    ["reading", "reading"],
  );
  await running.pass(6000);
  for (const transport of [large, other]) transport.push("\n");
  await turns(5);
  assertEquals([large.taken.length, other.taken.length], [60_001, 8292]);
  assertEquals(endings(running), {});
  endAll(large, other, ...idle);
});

Deno.test("a handler may end a connection that is paused", async () => {
  const infos: RequestInfo[] = [];
  await using running = new InMemory((request, info) => {
    infos.push(info);
    return request;
  }, { maxMemory: LIMIT, maxFrame: 1_000_000 });
  const idle = await running.connectAll(10);
  const [large, paused] = await running.connectAll(2);
  paused.push("x\n");
  await turns(3);
  await half(large, 100_000);
  await half(paused, 60_000);
  await running.pass(300);
  assertEquals(await stateOf(running, 12), "paused");
  infos[0].close();
  await turns(3);
  paused.end();
  await turns(3);
  assertEquals(endings(running), { 12: "handler_closed" });
  endAll(large, ...idle);
});

Deno.test("nobody goes on near the bound before the memory of those closed is back", async () => {
  const { running, idle } = await bounded();
  await using _ = running;
  const [large, other] = await running.connectAll(2);
  await half(large, 100_000);
  await half(other, 60_000);
  await running.pass(300);
  assertEquals(await stateOf(running, 12), "paused");
  large.end();
  await turns(3);
  assert(running.server.metrics().held < NEAR);
  await running.pass(250);
  assertEquals(await stateOf(running, 12), "paused");
  await running.pass(250);
  assertEquals(await stateOf(running, 12), "reading");
  endAll(other, ...idle);
});

Deno.test("V8 is asked to collect garbage once much less is held, three times", async () => {
  const { ArrayBuffer } = globalThis;
  let asked = 0;
  globalThis.ArrayBuffer = class extends ArrayBuffer {
    constructor(length: number) {
      super(length);
      if (length === 128 * 1024 ** 2) asked++;
    }
  } as ArrayBufferConstructor;
  try {
    const { running, idle } = await bounded(0);
    await using _ = running;
    const all = await running.connectAll(20);
    for (const transport of all) await half(transport, 900_000);
    assert(running.server.metrics().held > 16 * 1024 ** 2);
    await running.pass(10_000);
    assertEquals(asked, 0, "while it is in use");
    endAll(...all);
    for (const count of [1, 2, 3, 3]) {
      await running.pass(5000);
      assertEquals(asked, count);
    }
    endAll(...idle);
    await turns(3);
    assertEquals(running.clock.timers, 0, "nobody looks any more");
  } finally {
    globalThis.ArrayBuffer = ArrayBuffer;
  }
});

Deno.test("a buffer is lent again from its place in its memory, however much is idle", () => {
  const kinds = [[8192, 0], [CHUNK, 0], [CHUNK, 2048], [4 * CHUNK, 0]] as const;
  for (const [length, from] of kinds) {
    // More than is kept for sure: the rest is lent again until it is collected.
    const lent = Array.from(
      { length: 20 * 1024 ** 2 / length },
      () => lend(length, from),
    );
    for (const bytes of lent) giveBack(bytes);
    const again = lent.map(() => lend(length, from));
    assertEquals(new Set(again), new Set(lent));
    assertEquals(new Set(again.map(({ buffer }) => buffer)).size, lent.length);
    assert(again.every((bytes) => bytes.length === length));
    assert(again.every((bytes) => bytes.byteOffset === from));
    for (const bytes of again) giveBack(bytes);
  }
});

Deno.test("a connection near the bound that is owed nothing is not paused", async () => {
  const { running, idle } = await bounded();
  await using _ = running;
  const [large, other] = await running.connectAll(2);
  await half(other, 60_000);
  await half(large, 100_000);
  await running.pass(300);
  assertEquals(await stateOf(running, 12), "paused");
  // It sends the rest of its frame, and has its reply.
  other.push("\n");
  await turns(3);
  assertEquals(other.taken.length, 60_001);
  assertEquals(await stateOf(running, 12), "idle");
  assertEquals(running.server.metrics().held, LARGE);
  await running.pass(6000);
  assertEquals(await stateOf(running, 12), "idle");
  endAll(large, other, ...idle);
});

Deno.test("whoever was paused while the bound was passed goes on after it", async () => {
  const { running, idle } = await bounded();
  await using _ = running;
  const [large, other] = await running.connectAll(2);
  await half(large, 100_000);
  // Its reply waits, and behind it there is as much as it has room for.
  other.take(0);
  other.push("n".repeat(7000) + "\nx\n" + "o".repeat(1189));
  await turns(3);
  assertEquals(await stateOf(running, 12), "writing");
  assert(running.server.metrics().held < NEAR);
  // In one step from below the mark to over the bound.
  large.push("h".repeat(200_000));
  for (let i = 0; i < 9 && running.server.metrics().held < LIMIT; i++) {
    await turn();
  }
  assert(running.server.metrics().held > LIMIT);
  other.take(Infinity);
  await turns(5);
  assertEquals(endings(running), { 11: "overload" });
  await running.pass(1000);
  assertEquals(await stateOf(running, 12), "reading");
  other.push("\n");
  await turns(3);
  assertEquals(other.taken.length, 2 + 1190);
  endAll(other, ...idle);
});

Deno.test("over the bound the biggest is closed, and a newcomer is taken after it", async () => {
  const { running, idle } = await bounded();
  await using _ = running;
  const [large, middle, small] = await running.connectAll(3);
  await half(small, 5000);
  await half(middle, 5000);
  await half(large, 100_000);
  // Over the bound, until the next turn.
  idle[0].take(0);
  idle[0].push("g\n");
  idle[1].push("request\n");
  small.push("\n");
  await over(running);
  const newcomer = running.listener.connect();
  newcomer.push("hello\n");
  await turns(5);
  assertEquals(newcomer.text, "hello\n");
  assertEquals(running.server.metrics().rejected.overload, 0);
  // A reply of 200,000 bytes and its first chunk are more than the half frame.
  assertEquals(endings(running), { 1: "overload" });
  assertEquals([idle[1].text, small.taken.length], ["request\n", 5001]);
  await running.pass(1000);
  for (const transport of [large, middle]) transport.push("\n");
  await turns(5);
  assertEquals([large.taken.length, middle.taken.length], [100_001, 5001]);
  endAll(newcomer, large, middle, small, ...idle);
});

Deno.test("over the bound as many are closed as it takes, and no more", async () => {
  const { running, idle } = await bounded();
  await using _ = running;
  for (const transport of idle) {
    transport.take(0);
    transport.push("g\n");
  }
  await turns(50);
  // Each holds 265,600 bytes: there is room for one of them.
  const overloaded = Object.values(endings(running));
  assertEquals(overloaded, Array(9).fill("overload"));
  const [left] = idle.filter(({ closed }) => !closed);
  left.take(Infinity);
  await turns(20);
  assertEquals(left.taken.length, 200_001);
  left.end();
});

Deno.test("a newcomer is refused where room is taken again, and takes no place", async () => {
  const later = Promise.withResolvers<string>();
  await using running = new InMemory(
    (request) => request[0] === 97 ? later.promise : reply(request),
    { maxMemory: LIMIT, maxConnections: 4 },
  );
  const { clock, listener, server } = running;
  const all = await running.connectAll(3);
  for (const transport of all) transport.take(0);
  all[0].push("a\n");
  await turns(3);
  for (const transport of all.slice(1)) transport.push("g\n");
  await over(running);
  const refused = listener.connect();
  const now = clock.now.bind(clock);
  let looks = 0;
  // At each look at the clock it is time for the next turn.
  clock.now = () => now() + 3 * ++looks;
  // One turn makes room, and before the next one that is taken.
  for (let i = 0; i < 9 && refused.text === ""; i++) {
    await running.pass(1, 1);
    const [closed] = running.events.of("connection_close");
    if (closed !== undefined) later.resolve("g".repeat(500_000));
  }
  const last = clock.now();
  clock.now = () => now() + last;
  assertEquals(refused.text, "ERR busy: memory limit reached\n");
  assertEquals(server.metrics().rejected.overload, 1);
  await running.pass(5, 1);
  // One of three is left.
  const others = await running.connectAll(4);
  for (const transport of others) transport.push("x\n");
  await running.pass(5, 1);
  const busy = "ERR busy: connection limit of 4 reached\n";
  assertEquals(others.map(({ text }) => text), ["x\n", "x\n", "x\n", busy]);
  for (const transport of all) transport.take(Infinity);
  endAll(refused, ...all, ...others);
});

Deno.test("without a bound nobody is paused or refused", async () => {
  const { running, idle } = await bounded(0);
  await using _ = running;
  for (const transport of idle) await half(transport, 900_000);
  assertEquals(running.server.metrics().held, 10 * 1_000_002);
  await running.pass(10_000);
  assertEquals(endings(running), {});
  const newcomer = await running.connect();
  for (const transport of [...idle, newcomer]) transport.push("\n");
  await turns(40);
  for (const transport of idle) {
    assertEquals(transport.taken.length, 900_001);
  }
  assertEquals(newcomer.text, "\n");
  endAll(newcomer, ...idle);
});

Deno.test("what those hold who are refused stops nobody who is served", async () => {
  await using running = new InMemory((request) => request, {
    maxMemory: 100_000,
    maxConnections: 1,
  });
  const served = await running.connect();
  for (let i = 0; i < 40; i++) {
    // They do not read why.
    const refused = new MemoryTransport();
    refused.take(0);
    running.listener.connect(undefined, refused);
  }
  await turns(5);
  assert(running.server.metrics().held > 100_000);
  served.push("request\n");
  await turns(5);
  assertEquals(served.text, "request\n");
  served.end();
});

/** Two threads of one server, each with its own connections and clock. */
async function threads(
  play: (one: InMemory, other: InMemory) => Promise<void>,
): Promise<void> {
  const cells = [0, 1].map(() => new Float64Array(METRIC_CELLS));
  const options = { maxMemory: LIMIT, maxFrame: 1_000_000 };
  const [one, other] = cells.map((mine) =>
    new InMemory(reply, options, { counters: new Counters(mine, cells) })
  );
  await play(one, other);
  await Promise.all([one.finish(), other.finish()]);
  const { active, opening, held } = one.server.metrics();
  assertEquals([active, opening, held], [0, 0, 0]);
  for (const { clock } of [one, other]) assertEquals(clock.timers, 0);
}

/** Both clocks go on. */
async function passBoth(all: InMemory[], ms: number): Promise<void> {
  for (let i = 0; i < ms; i += 50) {
    for (const { clock } of all) clock.advance(50);
    await turn();
  }
}

Deno.test("threads share one bound: each pauses its own near it", async () => {
  await threads(async (one, other) => {
    const large = await one.connect();
    await half(large, 100_000);
    const mine = await other.connectAll(12);
    await half(mine[0], 30_000);
    assertEquals(await stateOf(other, 1), "reading");
    // Near the bound by what both hold.
    await half(mine[1], 9000);
    const { held } = other.server.metrics();
    assert(held > NEAR && held < LIMIT);
    await passBoth([one, other], 500);
    assertEquals(await stateOf(other, 1), "paused");
    endAll(large);
    await passBoth([one, other], 500);
    assertEquals(await stateOf(other, 1), "reading");
    mine[0].push("\n");
    await turns(3);
    assertEquals(mine[0].taken.length, 30_001);
    endAll(...mine);
  });
});

Deno.test("threads share one bound: a share is a part of all that there is", async () => {
  await threads(async (one, other) => {
    const [mine, theirs] = [await one.connect(), await other.connect()];
    await half(theirs, 100_000);
    await half(mine, 60_000);
    await passBoth([one, other], 500);
    // Together they would be over the bound.
    await half(mine, 10_000);
    await passBoth([one, other], 500);
    assertEquals([endings(one), endings(other)], [{}, {}]);
    assertEquals(await stateOf(one, 1), "paused");
    theirs.push("\n");
    await passBoth([one, other], 500);
    mine.push("\n");
    await turns(3);
    assertEquals(mine.taken.length, 70_001);
    endAll(mine, theirs);
  });
});

Deno.test("threads share one bound: one that grows looks before it has passed it alone", async () => {
  await threads(async (one, other) => {
    const large = await one.connect();
    await half(large, 100_000);
    // No time passes: each looks at what it takes itself.
    const mine = await other.connectAll(4);
    for (const transport of mine) await half(transport, 60_000);
    assertEquals(one.server.metrics().held, LARGE + 3 * CHUNK);
    assertEquals(await stateOf(other, 4), "paused");
    endAll(large, ...mine);
  });
});

Deno.test("threads share one bound: the one that holds most makes room", async () => {
  await threads(async (one, other) => {
    const little = await one.connect();
    await half(little, 60_000);
    const mine = await other.connectAll(3);
    await half(mine[0], 5000);
    for (const transport of mine.slice(1)) {
      transport.take(0);
      transport.push("g\n");
      await turns(3);
    }
    await passBoth([one, other], 500);
    assertEquals(endings(one), {});
    assertEquals(Object.values(endings(other)), ["overload"]);
    assertEquals(one.server.metrics().held, 65_600 + 8192 + 265_600);
    for (const transport of mine) transport.take(Infinity);
    endAll(little, ...mine);
  });
});

Deno.test("threads share one bound: one that was quiet makes room as well", async () => {
  await threads(async (one, other) => {
    const large = await one.connect();
    await half(large, 100_000);
    // The other grows in steps, and never to more than half of all.
    const mine = await other.connectAll(3);
    for (const transport of mine) await half(transport, 60_000);
    assert(one.server.metrics().held > LIMIT);
    await passBoth([one, other], 1000);
    assert(one.server.metrics().held <= LIMIT, "the bound is passed for good");
    assertEquals([endings(one), endings(other)], [{ 1: "overload" }, {}]);
    endAll(large, ...mine);
  });
});

Deno.test("threads share one bound: what a dead thread held is free", async () => {
  const cells = [0, 1].map(() => new Float64Array(METRIC_CELLS));
  const dead = new Counters(cells[1], cells);
  const options = { maxMemory: LIMIT, maxFrame: 1_000_000 };
  await using running = new InMemory((request) => request, options, {
    counters: new Counters(cells[0], cells),
  });
  dead.hold(NEAR);
  const all = await running.connectAll(12);
  await half(all[0], 60_000);
  await running.pass(300);
  assertEquals(await stateOf(running, 1), "paused");
  settleLost(cells[1]);
  await running.pass(500);
  assertEquals(await stateOf(running, 1), "reading");
  endAll(...all);
});
