/** Phases of a connection and their deadlines: they change together. */

import { assert, assertEquals, assertInstanceOf } from "../support/std.ts";

import { Deadlines } from "../../lib/core/deadlines.ts";
import { TimeoutError } from "../../lib/core/errors.ts";
import type { RequestInfo } from "../../lib/mod.ts";
import { resolveServeOptions } from "../../lib/server/config.ts";
import {
  type Phase,
  PHASE_LIMITS,
  Stage,
} from "../../lib/server/connection/stage.ts";
import { ONE } from "../support/certificates.ts";
import { FakeClock } from "../support/fixtures.ts";
import { InMemory, turn, turns } from "../support/in_memory.ts";
import type { MemoryTransport } from "../support/memory_transport.ts";

const timeouts = {
  idleTimeout: 1000,
  requestTimeout: 2400,
  writeTimeout: 3600,
};

/** A deadline is met late by up to two intervals of an eighth each. */
const LATE = 2 * timeouts.idleTimeout / 8;

const limits: Record<Phase, number> = {
  ...PHASE_LIMITS,
  reading: timeouts.idleTimeout,
  handling: timeouts.requestTimeout,
  writing: timeouts.writeTimeout,
  // The idle timeout goes on in it.
  paused: timeouts.idleTimeout,
};

/** A stage, its time, and what has expired. */
function staged(options = timeouts) {
  const clock = new FakeClock();
  const expired: Phase[] = [];
  const deadlines = new Deadlines(timeouts.idleTimeout, clock);
  const stage = new Stage(deadlines, resolveServeOptions(options), {
    expire: (phase) => expired.push(phase),
  });
  return { clock, expired, stage };
}

const enter: Record<Phase, (stage: Stage) => void> = {
  greeting: (stage) => stage.enter("greeting"),
  handshaking: (stage) => stage.enter("handshaking"),
  admitting: (stage) => stage.enter("admitting"),
  reading: (stage) => stage.read(true),
  handling: (stage) => stage.enter("handling"),
  writing: (stage) => stage.enter("writing"),
  paused: (stage) => {
    stage.read(true);
    stage.pause();
  },
  lingering: (stage) => stage.enter("lingering"),
};

const phases = Object.keys(enter) as Phase[];

for (const phase of phases) {
  Deno.test(`Stage expires once in ${phase}, after its own limit`, () => {
    const { clock, expired, stage } = staged();
    enter[phase](stage);
    assertEquals(stage.phase, phase);
    clock.advance(limits[phase]);
    assertEquals(expired, []);
    clock.advance(LATE);
    assertEquals(expired, [phase]);
    clock.advance(100_000);
    assertEquals(expired, [phase]);
    stage.leave();
    assertEquals(clock.timers, 0);
  });

  Deno.test(`Stage lets no other deadline act in ${phase}`, () => {
    for (const before of phases) {
      const { clock, expired, stage } = staged();
      enter[before](stage);
      // The next tick but one would end it.
      clock.advance(limits[before]);
      enter[phase](stage);
      clock.advance(limits[phase]);
      assertEquals(expired, [], `after ${before}`);
      clock.advance(LATE);
      assertEquals(expired, [phase], `after ${before}`);
    }
  });
}

Deno.test("Stage has no deadline where the timeout is 0", () => {
  for (const phase of ["reading", "handling", "writing"] as const) {
    const { clock, expired, stage } = staged({
      idleTimeout: 0,
      requestTimeout: 0,
      writeTimeout: 0,
    });
    enter[phase](stage);
    clock.advance(1e7);
    assertEquals(expired, []);
  }
});

Deno.test("Stage.read() starts the idle timeout only for a whole request", () => {
  const { clock, expired, stage } = staged();
  stage.read(true);
  for (let i = 0; i < 9; i++) {
    clock.advance(100);
    stage.read(false);
  }
  stage.enter("writing");
  stage.read(false);
  clock.advance(100);
  assertEquals(expired, []);
  clock.advance(LATE);
  assertEquals(expired, ["reading"]);
});

Deno.test("Stage.pause() is left by memory or by a whole request alone", () => {
  const { clock, stage, expired } = staged();
  for (const phase of phases) {
    enter[phase](stage);
    stage.pause();
    const pausable = phase === "reading" || phase === "paused";
    assertEquals(stage.phase, pausable ? "paused" : phase);
  }
  stage.unpause();
  assertEquals(stage.phase, "lingering");

  stage.read(true);
  stage.pause();
  stage.read(false);
  assertEquals(stage.phase, "paused");
  clock.advance(900);
  stage.unpause();
  assertEquals(stage.phase, "reading");
  clock.advance(100 + LATE);
  assertEquals(expired, ["reading"], "a pause does not stop the idle timeout");

  stage.read(true);
  stage.pause();
  stage.read(true);
  assertEquals(stage.phase, "reading");
});

Deno.test("Stage.pause() has a limit of its own below the idle timeout", () => {
  const { clock, stage, expired } = staged({
    ...timeouts,
    idleTimeout: 60_000,
  });
  stage.read(true);
  stage.pause();
  clock.advance(4000);
  // A second one does not begin it again.
  stage.pause();
  clock.advance(1000 + LATE);
  assertEquals(expired, ["paused"]);
});

Deno.test("Stage.progress() starts the write timeout again", () => {
  const { clock, stage, expired } = staged();
  stage.enter("writing");
  for (let i = 0; i < 5; i++) {
    clock.advance(3000);
    stage.progress();
  }
  clock.advance(3600);
  assertEquals(expired, []);
  clock.advance(LATE);
  assertEquals(expired, ["writing"]);
});

/** The same, of whole connections. */
async function served(): Promise<{
  running: InMemory;
  transport: MemoryTransport;
  answer: PromiseWithResolvers<string>;
}> {
  const answer = Promise.withResolvers<string>();
  const running = new InMemory((request, info) => {
    switch (request[0]) {
      case 76: // L
        return answer.promise;
      case 67: // C
        info.close();
        return "closing";
      default:
        return request;
    }
  }, timeouts);
  return { running, transport: await running.connect(), answer };
}

async function endedAs({ events }: InMemory): Promise<string> {
  await turn();
  return events.reasons.join();
}

Deno.test("a connection without a whole request ends by the idle timeout", async () => {
  const { running, transport } = await served();
  await using _ = running;
  assertEquals(await running.states(), ["idle"]);
  // One byte at a time, and a whole request in between.
  for (let i = 0; i < 9; i++) {
    transport.push(".");
    await running.pass(100);
  }
  assertEquals(await running.states(), ["reading"]);
  transport.push("\n");
  for (let i = 0; i < 10; i++) {
    await running.pass(100);
    transport.push(".");
  }
  assertEquals(await running.states(), ["reading"]);
  assertEquals(await endedAs(running), "");
  await running.pass(LATE);
  assertEquals(await endedAs(running), "idle_timeout");
  assertEquals(transport.text, ".........\n");
});

Deno.test("a request that is awaited ends by its own timeout, and by no other", async () => {
  const { running, transport } = await served();
  await using _ = running;
  await running.pass(900);
  transport.push("L\nmore of a frame");
  await turn();
  assertEquals(await running.states(), ["handling"]);
  for (let i = 0; i < 24; i++) {
    await running.pass(100);
    transport.push(".");
  }
  assertEquals(await running.states(), ["handling"]);
  await running.pass(LATE);
  assertEquals(
    transport.text,
    "ERR request timeout: no reply within 2400 ms\n",
  );
  assertEquals(await running.states(), ["lingering"]);
  transport.end();
  assertEquals(await endedAs(running), "request_timeout");
  assertEquals(running.server.metrics().requests.timeout, 1);
});

Deno.test("a reply in time leaves nothing of the request's deadline", async () => {
  const { running, transport, answer } = await served();
  await using _ = running;
  transport.push("L\n");
  await turn();
  await running.pass(2300);
  answer.resolve("late");
  await turn();
  assertEquals([transport.text, await running.states()], ["late\n", ["idle"]]);
  await running.pass(900);
  assertEquals(await endedAs(running), "");
  await running.pass(100 + LATE);
  assertEquals(await endedAs(running), "idle_timeout");
});

Deno.test("a write ends by the write timeout, progress starts it again", async () => {
  const { running, transport } = await served();
  await using _ = running;
  await running.pass(900);
  transport.take(0);
  transport.push("abcdefgh\n");
  await turn();
  assertEquals(await running.states(), ["writing"]);
  for (let taken = 0; taken < 4; taken++) {
    await running.pass(3500);
    assertEquals(await running.states(), ["writing"]);
    transport.take(1);
    await turn();
  }
  await running.pass(3600);
  assertEquals(await endedAs(running), "");
  await running.pass(LATE);
  assertEquals(await endedAs(running), "write_timeout");
  assertEquals(transport.text, "abcd");
});

for (const first of ["a", "G"]) {
  Deno.test(`requests that take many turns are no silence, after ${first}`, async () => {
    await using running = new InMemory(
      (request) => request[0] === 71 ? "G".repeat(100_000) : request,
      { ...timeouts, writeTimeout: 1000 },
    );
    const transport = await running.connect();
    // The first makes room for many behind it. About 2,000 are handled in a
    // turn, and turns may be slow.
    const count = 50_000;
    transport.push(first.repeat(9000) + "\n" + "\n".repeat(count));
    for (let i = 0; i < 250 && running.server.requests <= count; i++) {
      await running.pass(50, 50);
      assertEquals(running.events.reasons, []);
    }
    await turns(3);
    assertEquals(
      transport.taken.length,
      (first === "a" ? 9001 : 100_001) + count,
    );
    transport.end();
  });
}

Deno.test("frames that are taken one by one as a connection ends are progress", async () => {
  const infos: RequestInfo[] = [];
  await using running = new InMemory(() => {}, {
    writeTimeout: 1000,
    onOpen: (info) => void infos.push(info),
  });
  const transport = await running.connect();
  transport.take(0);
  for (let i = 0; i < 5; i++) infos[0].send("x".repeat(70_000));
  infos[0].close();
  for (let i = 1; i <= 5; i++) {
    await running.pass(900);
    transport.take(70_001);
    await turns();
    assertEquals(transport.taken.length, i * 70_001);
  }
  assertEquals([transport.finished, running.events.reasons], [true, []]);
  transport.end();
  await turns();
  assertEquals(running.events.reasons, ["handler_closed"]);
});

Deno.test("a peer that does not close after us is closed, its end named before", async () => {
  const { running, transport } = await served();
  await using _ = running;
  transport.push("C\n");
  await turns(2);
  assertEquals(await running.states(), ["lingering"]);
  assertEquals([transport.text, transport.finished], ["closing\n", true]);
  // What it sends meanwhile is dropped, and gives it no time.
  for (let i = 0; i < 20; i++) {
    transport.push("a\n");
    await running.pass(100);
  }
  assertEquals(await endedAs(running), "");
  await running.pass(LATE);
  assertEquals(await endedAs(running), "handler_closed");
  assertEquals(running.server.requests, 1);
});

Deno.test("a header that does not come ends by its own limit", async () => {
  await using running = new InMemory((request) => request, {
    ...timeouts,
    proxyProtocol: "v1",
    proxyTrust: "127.0.0.1",
  });
  const transport = await running.connect();
  transport.push("PROXY ");
  await turn();
  assertEquals(await running.states(), ["greeting"]);
  await running.pass(PHASE_LIMITS.greeting);
  assertEquals(running.events.of("connection_rejected"), []);
  await running.pass(LATE);
  const [{ reason, error }] = running.events.of("connection_rejected");
  assertEquals(reason, "proxy_error");
  assertInstanceOf(error, TimeoutError);
  assertEquals([transport.closed, transport.text], [true, ""]);
});

Deno.test("keys that are not agreed on end by their own limit", async () => {
  await using running = new InMemory((request) => request, {
    ...timeouts,
    ...ONE,
  });
  const transport = await running.connect();
  transport.push(new Uint8Array([0x16, 3, 1, 0, 200, 1]));
  await turns(2);
  assertEquals(await running.states(), ["handshaking"]);
  await running.pass(PHASE_LIMITS.handshaking);
  assertEquals(running.events.of("connection_rejected"), []);
  await running.pass(LATE);
  const [{ reason, error }] = running.events.of("connection_rejected");
  assertEquals(reason, "tls_error");
  assertInstanceOf(error, TimeoutError);
  assert(transport.closed);
});
