/** Who gets the event loop when: budgets, pacing and batches. */

import process from "node:process";

import { assert, assertEquals } from "../support/std.ts";

import { CHUNK } from "../../lib/net/buffers.ts";
import type { Handler } from "../../lib/server/handler.ts";
import type { ServeOptions } from "../../lib/server/options.ts";
import {
  BUDGET,
  LOOK,
  REQUEST_COST,
  Scheduler,
  type Task,
} from "../../lib/server/scheduler.ts";
import { bytes, FakeClock } from "../support/fixtures.ts";
import { InMemory, turn, turns } from "../support/in_memory.ts";
import { MemoryTransport } from "../support/memory_transport.ts";

/** Tasks that write down when they are called. */
function logged(ticks = false) {
  const clock = new FakeClock();
  const scheduler = new Scheduler(clock, ticks);
  const log: string[] = [];
  const task = (name: string | number, then?: () => void): Task => ({
    writeReplies: () => void log.push(`write ${name}`),
    startRead: () => void log.push(`read ${name}`),
    resume: () => {
      log.push(`resume ${name}`);
      then?.();
    },
  });
  return { clock, scheduler, log, task };
}

/** What is asked for the next turn of the event loop, by anybody. */
function immediates(): number {
  return process.getActiveResourcesInfo()
    .filter((kind) => kind === "Immediate").length;
}

/** Many microtasks, and no turn of the event loop. */
async function microtasks(): Promise<void> {
  for (let i = 0; i < 1000; i++) await undefined;
}

function numbers(count: number, first = 0): number[] {
  return Array.from({ length: count }, (_, i) => first + i);
}

Deno.test("Scheduler.writeSoon() has a batch written together, 16 at the most", async () => {
  const { scheduler, log, task } = logged();
  for (const i of numbers(20)) {
    log.push(`handle ${i}`);
    scheduler.writeSoon(task(i));
  }
  await microtasks();
  assertEquals(log, [
    ...numbers(16).map((i) => `handle ${i}`),
    ...numbers(16).map((i) => `write ${i}`),
    ...numbers(4, 16).map((i) => `handle ${i}`),
    ...numbers(4, 16).map((i) => `write ${i}`),
  ]);
  assertEquals(immediates(), 0);
});

Deno.test("Scheduler.writeSoon() waits for all reads of the batch", async () => {
  const { scheduler, log, task } = logged();
  // The runtime settles the reads of one poll before any callback runs.
  const reads = Array.from({ length: 5 }, () => Promise.withResolvers<void>());
  for (const [i, { promise }] of reads.entries()) {
    promise.then(() => {
      scheduler.completed();
      log.push(`handle ${i}`);
      scheduler.writeSoon(task(i));
    });
  }
  for (const { resolve } of reads) resolve();
  await microtasks();
  assertEquals(log, [
    ...numbers(5).map((i) => `handle ${i}`),
    ...numbers(5).map((i) => `write ${i}`),
  ]);
});

Deno.test("Scheduler.later() goes on in the next turn, in order", async () => {
  const { scheduler, log, task } = logged();
  const again = task("again");
  scheduler.later(task("first", () => scheduler.later(again)));
  scheduler.turn().then(() => log.push("turn"));
  scheduler.later(task("second"));
  await microtasks();
  assertEquals(log, []);
  await turn();
  assertEquals(log, ["resume first", "resume second", "turn"]);
  await turn();
  assertEquals(log.slice(3), ["resume again"]);
  await microtasks();
  assertEquals(immediates(), 0);
});

Deno.test("Scheduler tells who comes late, until the next turn", async () => {
  const { clock, scheduler, log, task } = logged();
  scheduler.completed();
  assertEquals(scheduler.isLateNow(), false);
  clock.jump(1);
  // However often anybody looks.
  for (let i = 0; i < 3; i++) {
    assertEquals([scheduler.isLateNow(), scheduler.late], [false, false]);
  }
  clock.jump(1);
  assertEquals([scheduler.isLateNow(), scheduler.late], [true, true]);
  await microtasks();
  assertEquals(scheduler.late, true);
  await turn();
  assertEquals(scheduler.late, false);

  // Batches without a turn between them are counted together.
  for (let batch = 0; batch < 2; batch++) {
    assertEquals(scheduler.late, false);
    scheduler.completed();
    clock.jump(1);
    scheduler.writeSoon(task(batch));
    await microtasks();
  }
  assertEquals(scheduler.late, true);
  await turn();

  // If the event loop had nothing to do between them, they are not.
  for (let batch = 0; batch < 9; batch++) {
    assertEquals(scheduler.late, false);
    scheduler.completed();
    clock.jump(1);
    scheduler.writeSoon(task(batch));
    await turn();
  }
  assertEquals([scheduler.late, immediates()], [false, 0]);

  // Time in which nobody works is nobody's.
  clock.jump(1000);
  scheduler.completed();
  assertEquals(scheduler.isLateNow(), false);
  await microtasks();

  // Those that go on in a turn share it.
  log.length = 0;
  for (const i of numbers(3)) scheduler.later(task(i, () => clock.jump(1)));
  await turn();
  assertEquals(log, ["resume 0", "resume 1"]);
  await turn();
  assertEquals(log, ["resume 0", "resume 1", "resume 2"]);
  await turns(2);
  assertEquals(immediates(), 0);
});

Deno.test("Scheduler counts batches with ticks between them together, where connections ask for ticks", async () => {
  for (const ticks of [true, false]) {
    const { clock, scheduler, task } = logged(ticks);
    clock.jump(1000);
    for (let batch = 0; batch < 2; batch++) {
      scheduler.completed();
      clock.jump(1);
      scheduler.writeSoon(task(batch));
      await microtasks();
      // As `node:tls` does when a write is done.
      await new Promise<void>((done) => process.nextTick(done));
    }
    assertEquals(scheduler.late, ticks);
    await turns(2);
  }
});

Deno.test("Scheduler lets the event loop rest once turns have followed each other for 16 ms", async () => {
  const { clock, scheduler, log, task } = logged();
  // The event loop was idle before, which is rest enough.
  clock.jump(1000);
  scheduler.completed();
  const busy: Task = task("busy", () => {
    clock.jump(1);
    scheduler.later(busy);
  });
  scheduler.later(busy);
  await turns(30);
  // The clock is looked at as a turn begins, so one more has begun by then.
  assertEquals([log.splice(0).length, immediates()], [17, 0]);

  // Whoever else is ready in the rest is not late.
  scheduler.completed();
  assertEquals(scheduler.late, false);
  // More than 61 turns in all: each rest begins the count of them anew.
  for (let i = 0; i < 4; i++) {
    clock.advance(1);
    await turns(30);
    // One more, for the rest ends with a turn.
    assertEquals([log.splice(0).length, immediates()], [18, 0]);
  }
});

Deno.test("Scheduler needs no rest where 61 turns take less than 16 ms", async () => {
  const { clock, scheduler, log, task } = logged();
  scheduler.completed();
  const busy: Task = task("busy", () => {
    clock.jump(0.2);
    if (log.length < 500) scheduler.later(busy);
  });
  scheduler.later(busy);
  await turns(510);
  assertEquals([log.length, immediates(), clock.timers], [500, 0, 0]);
});

Deno.test("Scheduler.read() parks while batches are full, and reads in order", async () => {
  const { scheduler, log, task } = logged();
  for (let i = 0; i < 99; i++) scheduler.completed();
  await microtasks();
  scheduler.read(task("at once"));
  assertEquals([log.splice(0), immediates()], [["read at once"], 0]);

  for (let i = 0; i < 100; i++) scheduler.completed();
  await microtasks();
  for (const i of numbers(150)) scheduler.read(task(i));
  assertEquals(log, []);
  // As full again: nobody is read from.
  for (let i = 0; i < 100; i++) scheduler.completed();
  await microtasks();
  assertEquals(log, []);
  for (const first of [0, 64, 128]) {
    // One that is not full.
    scheduler.completed();
    await microtasks();
    const some = numbers(Math.min(64, 150 - first), first);
    assertEquals(log.splice(0), some.map((i) => `read ${i}`));
  }
  scheduler.read(task("at once"));
  assertEquals(log, ["read at once"]);
  await turns(3);
  assertEquals(immediates(), 0);
});

Deno.test("Scheduler reads from the parked though those read from are silent", async () => {
  const { scheduler, log, task } = logged();
  for (let i = 0; i < 100; i++) scheduler.completed();
  await microtasks();
  for (const i of numbers(150)) scheduler.read(task(i));
  const waits = [];
  for (const length of [64, 128, 150]) {
    let waited = 0;
    for (; log.length < length && waited < 200; waited++) await turn();
    assertEquals(log.length, length);
    waits.push(waited);
  }
  assert(waits.every((waited) => waited > 50 && waited < 150), `${waits}`);
  await turns(200);
  assertEquals(immediates(), 0);
});

Deno.test("Scheduler leaves the parked where they are while full batches come", async () => {
  const { scheduler, log, task } = logged();
  // More turns than one is waited for that stays empty, from the first to the last.
  for (let i = 0; i < 4; i++) {
    for (let i = 0; i < 100; i++) scheduler.completed();
    await microtasks();
    scheduler.read(task(i));
    await turns(60);
  }
  assertEquals(log, []);
  await turns(60);
  assertEquals(log, numbers(4).map((i) => `read ${i}`));
});

Deno.test("Scheduler takes a batch without a read for no sign that all were served", async () => {
  const { scheduler, log, task } = logged();
  for (let i = 0; i < 100; i++) scheduler.completed();
  await microtasks();
  scheduler.read(task("parked"));
  // As a timer does that writes.
  scheduler.writeSoon(task("timer"));
  assertEquals(scheduler.isLateNow(), false);
  await microtasks();
  assertEquals(log.splice(0), ["write timer"]);
  scheduler.completed();
  await microtasks();
  assertEquals(log, ["read parked"]);
  await turns(3);
  assertEquals(immediates(), 0);
});

Deno.test("Scheduler reads from the parked in the next turn where all were late", async () => {
  const { clock, scheduler, log, task } = logged();
  clock.jump(1000);
  for (let i = 0; i < 100; i++) scheduler.completed();
  await microtasks();
  scheduler.read(task("parked"));
  scheduler.completed();
  clock.jump(2);
  assertEquals(scheduler.isLateNow(), true);
  await microtasks();
  assertEquals(log, []);
  await turn();
  assertEquals(log, ["read parked"]);
  await turns(3);
  assertEquals(immediates(), 0);
});

/**
 * A peer whose bytes never run dry, and who takes all replies: each read and
 * each write completes at once.
 */
class Flood extends MemoryTransport {
  /** Bytes read so far, and in how many reads. */
  sent = 0;
  reads = 0;
  readonly #line: Uint8Array;
  readonly #most: number;

  /**
   * @param line What it sends, again and again.
   * @param most The most bytes that one read brings.
   */
  constructor(line: string, most = Infinity) {
    super();
    this.#line = bytes(line);
    this.#most = most;
  }

  override read(space: Uint8Array): Promise<number | null> {
    // It ends some time, so that a server that knows no budget fails the test.
    if (this.closed || this.sent > 1e7) return super.read(space);
    this.reads++;
    const n = Math.min(space.length, this.#most);
    for (let i = 0; i < n; i++) {
      space[i] = this.#line[this.sent++ % this.#line.length];
    }
    return Promise.resolve(n);
  }

  // To be kept would be too much.
  override write(bytes: Uint8Array): Promise<number> {
    return this.closed ? super.write(bytes) : Promise.resolve(bytes.length);
  }
}

const wrong = new Error("wrong");

const floods: Record<string, {
  line: string;
  most?: number;
  handler?: Handler;
  options?: ServeOptions;
}> = {
  "empty lines": { line: "\n" },
  "lines of 64 bytes": { line: "x".repeat(63) + "\n" },
  "lines of 1 KiB": { line: "x".repeat(1023) + "\n" },
  "lines of 64,000 bytes": { line: "x".repeat(63_999) + "\n" },
  "a line for each read": { line: "xyz\n", most: 4 },
  "lines in small cuts": { line: "x".repeat(999) + "\n", most: 100 },
  "an endless line": { line: "x", options: { maxFrame: 5e6, maxMemory: 0 } },
  "requests replied to by settled promises": {
    line: "x\n",
    handler: (request) => Promise.resolve(request),
  },
  "requests replied to after microtasks": {
    line: "x\n",
    handler: async (request) => (await undefined, await undefined, request),
  },
  "requests that fail": {
    line: "x\n",
    handler: () => {
      throw wrong;
    },
  },
  "requests without replies": { line: "x\n", handler: () => undefined },
  "requests with replies of 8 KiB": {
    line: "x\n",
    handler: () => "x".repeat(8192),
  },
  "whatever it likes, though it is refused": {
    line: "x\n",
    options: { deny: "127.0.0.1" },
  },
  "whatever it likes, though it is closed": {
    line: "x\n",
    handler: (_request, info) => info.close(),
  },
};

for (const [what, flood] of Object.entries(floods)) {
  Deno.test(`a flood of ${what} leaves turns to others`, async () => {
    const { line, most, handler = (request) => request, options } = flood;
    let spent = 0;
    await using running = new InMemory((request, info) => {
      if (info.id === 1) spent += request.length + 1 + REQUEST_COST;
      return handler(request, info);
    }, { ...options });
    const flooding = new Flood(line, most);
    running.listener.connect(undefined, flooding);
    const one = line.length + REQUEST_COST;
    // One request that begins in time, and a fraction until the next look.
    const limit = BUDGET + LOOK + one;
    for (let i = 0; i < 20; i++) {
      const { sent, reads } = flooding;
      spent = 0;
      await turn();
      assert(spent <= limit, `${spent} used in a turn`);
      assert(
        flooding.sent - sent <= BUDGET + CHUNK || flooding.reads - reads <= 8,
        `${flooding.sent - sent} bytes read in a turn`,
      );
      assert(spent > 0 || flooding.sent > sent, "it is stuck");
    }
    // Another is served, or refused, within a few turns.
    const other = running.listener.connect();
    other.push("hi\n");
    other.end();
    let waited = 0;
    for (; !other.closed && waited < 20; waited++) await turn();
    assert(waited < 8, `another waits for ${waited} turns`);
    running.server.disconnect(1);
    await running.pass(3000);
  });
}

Deno.test("a large reply leaves turns to others, whatever its peer takes", async () => {
  const writes: number[] = [];
  for (const pieces of [0, 1000]) {
    await using running = new InMemory((_request, info) => {
      if (pieces > 0) info.replyInPieces(pieces);
      return "x".repeat(200_000);
    });
    const transport = await running.connect();
    transport.mostPerWrite = 1000;
    transport.push("a\n");
    let taken = 0;
    while (taken < 200_001) {
      await turn();
      writes.push((transport.taken.length - taken) / 1000);
      assert(transport.taken.length > taken, "it is stuck");
      taken = transport.taken.length;
    }
    transport.end();
  }
  assert(writes.every((count) => count <= 5), `${writes}`);
});

Deno.test("handlers that compute leave turns to others", async () => {
  const perTurn: number[] = [];
  let called = 0;
  await using running = new InMemory((request) => {
    called++;
    // Each takes 3 ms of the 8 that all have.
    running.clock.jump(3);
    return request;
  });
  const request = "x".repeat(5000) + "\n";
  for (const transport of await running.connectAll(5)) {
    transport.push(request.repeat(10));
    transport.end();
  }
  for (let i = 0; i < 200 && running.events.reasons.length < 5; i++) {
    called = 0;
    await running.pass(1, 1);
    perTurn.push(called);
  }
  assertEquals(running.events.reasons.length, 5);
  // The clock is looked at before each but the first of each connection.
  assert(perTurn.every((count) => count <= 3 + 5), `${perTurn}`);
});

Deno.test("many whose handlers compute a little leave turns to others", async () => {
  let called = 0;
  await using running = new InMemory((request) => {
    called++;
    running.clock.jump(1);
    return request;
  });
  const all = await running.connectAll(60);
  for (const transport of all) {
    transport.push("a\n");
    transport.end();
  }
  await microtasks();
  // The clock is looked at as 16 replies are written, and the first look finds
  // that the event loop is due for a rest: who is ready meanwhile is not late.
  assertEquals(called, 32);
  while (called < all.length) await running.pass(1, 1);
  await running.pass(5, 1);
  for (const { text } of all) assertEquals(text, "a\n");
});

Deno.test("large replies that take the kernel time leave turns to others", async () => {
  let called = 0;
  await using running = new InMemory(() => {
    called++;
    return "x".repeat(100_000);
  });
  /** Each write takes the kernel 1 ms of the 2 that all have in a turn. */
  class Copied extends MemoryTransport {
    override write(bytes: Uint8Array): Promise<number> {
      running.clock.jump(1);
      return super.write(bytes);
    }
  }
  const all = numbers(30).map(() => new Copied());
  for (const transport of all) running.listener.connect(undefined, transport);
  await turns(4);
  for (const transport of all) {
    transport.push("a\n");
    transport.end();
  }
  const perTurn: number[] = [];
  while (called < all.length) {
    const before = called;
    await running.pass(1, 1);
    perTurn.push(called - before);
  }
  assert(perTurn.every((count) => count <= 8), `${perTurn}`);
  await turns(10);
  for (const { taken } of all) assertEquals(taken.length, 100_001);
});

Deno.test("nothing is scheduled while nobody is parked or over his budget", async () => {
  await using running = new InMemory((request) =>
    request[0] === 115 ? Promise.resolve(request) : request
  );
  const all = await running.connectAll(90);
  await turns(3);
  for (let round = 1; round <= 12; round++) {
    for (const [i, transport] of all.entries()) {
      transport.push(i % 2 ? "a\nsb\nc\n" : "a\n");
    }
    await microtasks();
    for (const [i, transport] of all.entries()) {
      assertEquals(transport.taken.length, round * (i % 2 ? 7 : 2));
    }
    assertEquals(immediates(), 0, `in round ${round}`);
  }
  for (const transport of all) transport.end();
});

/** A peer that asks again as soon as it has its reply. */
class Asking extends MemoryTransport {
  #left: number;

  constructor(count: number) {
    super();
    this.#left = count;
  }

  ask(): void {
    if (this.#left-- > 0) this.push("x\n");
    else this.end();
  }

  override async write(bytes: Uint8Array): Promise<number> {
    const n = await super.write(bytes);
    this.ask();
    return n;
  }
}

for (const [idle, what] of [[0, "all ask"], [300, "some are idle"]] as const) {
  Deno.test(`1,000 busy connections are served in turn, ${what}`, async () => {
    const rounds = 4;
    const served: number[] = [];
    await using running = new InMemory((request, info) => {
      served.push(info.id);
      return request;
    }, { maxConnections: 0 });
    const silent = await running.connectAll(idle);
    const all = numbers(1000).map(() => new Asking(rounds));
    for (const transport of all) {
      running.listener.connect(undefined, transport);
    }
    await running.acceptAll();
    // All of these have come before anybody is looked at.
    for (const transport of all) transport.ask();
    for (let i = 0; i < 3000 && served.length < 1000 * rounds; i++) {
      await turn();
    }
    assertEquals(served.length, 1000 * rounds);
    for (let round = 0; round < rounds; round++) {
      const some = served.slice(1000 * round, 1000 * (round + 1));
      assertEquals(new Set(some).size, 1000, `served twice in round ${round}`);
    }
    for (const transport of silent) transport.end();
    await turns(200);
    assertEquals(running.events.reasons.length, 1000 + idle);
    assertEquals(immediates(), 0);
  });
}

Deno.test("the replies of one batch are written together, in as many writes", async () => {
  const log: string[] = [];
  class Logged extends MemoryTransport {
    override write(bytes: Uint8Array): Promise<number> {
      log.push("write");
      return super.write(bytes);
    }
  }
  await using running = new InMemory((request) => {
    log.push("handle");
    return request;
  });
  const all = numbers(40).map(() => new Logged());
  for (const transport of all) running.listener.connect(undefined, transport);
  await turns(3);
  await running.acceptAll();
  for (const transport of all) transport.push("a\nb\n");
  await microtasks();
  const both = Array(16).fill(["handle", "handle"]).flat();
  const writes = Array(16).fill("write");
  assertEquals(log, [
    ...both,
    ...writes,
    ...both,
    ...writes,
    ...both.slice(0, 16),
    ...writes.slice(0, 8),
  ]);
  for (const transport of all) transport.end();
});

Deno.test("a drain answers those that wait to be read from", async () => {
  await using running = new InMemory((request) => request);
  const all = await running.connectAll(120);
  for (const transport of all) transport.push("a\n");
  await microtasks();
  // They were many, so some are parked: what comes now is not read for a while.
  for (const transport of all) transport.push("b\n");
  const finished = running.server.shutdown();
  // Until it begins, and until a wait for each is over.
  for (const ms of [10, 10, 2]) {
    running.clock.advance(ms);
    await microtasks();
  }
  assert(all.some(({ reading, closed }) => !reading && !closed));
  await turns(300);
  for (const { text } of all) assertEquals(text, "a\nb\n");
  for (const transport of all) transport.end();
  await running.pass(100, 10);
  await finished;
});

// Peers that send a byte at a time while their handlers work must not look like a
// batch that is full.
Deno.test("what is read ahead keeps nobody parked", async () => {
  const waiting = Promise.withResolvers<void>();
  await using running = new InMemory((request) =>
    request[0] === 119 ? waiting.promise.then(() => request) : request
  );
  const rude = await running.connectAll(120);
  const innocent = await running.connect();
  for (const transport of rude) transport.push("w\n");
  await turns(5);
  innocent.push("one\n");
  for (let i = 0; i < 100; i++) {
    for (const transport of rude) transport.push("x");
    await turn();
    if (i === 20) innocent.push("two\n");
  }
  const { text } = innocent;
  for (const transport of [...rude, innocent]) transport.end();
  waiting.resolve();
  await turns(20);
  assertEquals(text, "one\ntwo\n");
});
