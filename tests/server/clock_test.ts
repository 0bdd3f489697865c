// Time that jumps: the system's date is set, or the machine was suspended.

import { assert, assertEquals, assertMatch } from "../support/std.ts";

import { type Clock, systemClock } from "../../lib/core/clock.ts";
import { commands } from "../../lib/mod.ts";
import {
  FakeClock,
  Peer,
  RudePeer,
  serveTest,
  settle,
  turnOfLoop,
} from "../support/fixtures.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** Moves the date, as if somebody had set it. Disposing sets it back. */
function dateMovedBy(ms: number): Disposable {
  const Real = Date;
  class Moved extends Real {
    constructor(...args: unknown[]) {
      super(...(args.length > 0 ? args : [Moved.now()]) as [number]);
    }
    static override now() {
      return Real.now() + ms;
    }
  }
  globalThis.Date = Moved as DateConstructor;
  return {
    [Symbol.dispose]() {
      globalThis.Date = Real;
    },
  };
}

/** What `STATS` says of the time since the start, in seconds. */
async function uptime(peer: Peer): Promise<number> {
  await peer.send("STATS\n");
  let line = "";
  while (!line.endsWith("\n")) line += await peer.receive(1);
  const [, seconds] = /^uptime_seconds=(\d+) /.exec(line) ?? [];
  assertMatch(seconds ?? line, /^\d+$/);
  return Number(seconds);
}

for (
  const [name, clock] of [
    ["the system's clock", systemClock],
    ["a clock that stands still", new FakeClock()],
  ] satisfies [string, Clock][]
) {
  Deno.test(`serve minds no change of the date, by ${name}`, async () => {
    await using running = serveTest(commands, {}, { clock });
    const { server, events } = running;
    using asking = await Peer.to(running);
    using idle = await Peer.to(running);
    const waiting = await RudePeer.to(running);
    await waiting.send("DELAY 60000 x\n");
    assertEquals(await uptime(asking), 0);
    while (server.requests < 2) await turnOfLoop();
    for (const jump of [DAY, -DAY, 400 * DAY, -400 * DAY]) {
      using _ = dateMovedBy(jump);
      assert(Math.abs(Date.now() - performance.timeOrigin) > DAY / 2);
      // As much as several looks at the deadlines.
      if (clock instanceof FakeClock) clock.advance(5000);
      for (let turn = 0; turn < 5; turn++) await turnOfLoop();
      const seconds = await uptime(asking);
      assert(seconds >= 0 && seconds < 60, `up for ${seconds} s`);
      assertEquals(events.reasons, [], `date moved by ${jump} ms`);
      assertEquals(server.connections, 3);
    }
    // Only the clock's own time counts.
    if (clock instanceof FakeClock) {
      assertEquals([await uptime(asking), server.uptime], [20, 20_000]);
      clock.advance(15_000);
      await events.next("request", 7);
      assertEquals(events.of("request")[6].status, "timeout");
    }
    await waiting.reset();
    for (const peer of [asking, idle]) peer.conn.close();
    await events.next("connection_close", 3);
  });
}

Deno.test("serve counts its uptime from the start of the whole server", async () => {
  const clock = new FakeClock();
  // A thread that begins an hour after the first.
  await using running = serveTest(commands, {}, { clock, uptime: HOUR });
  clock.advance(2500);
  using peer = await Peer.to(running);
  assertEquals(await uptime(peer), 3602);
  assertEquals(running.server.uptime, HOUR + 2500);
});

Deno.test("serve closes nobody because the machine slept, and everybody in time after it", async () => {
  const clock = new FakeClock();
  await using running = serveTest(
    commands,
    { idleTimeout: 8000, requestTimeout: 8000, writeTimeout: 8000 },
    { clock },
  );
  const { server, events } = running;
  using _idle = await Peer.to(running);
  using waiting = await Peer.to(running);
  using silent = await Peer.to(running);
  await waiting.send("DELAY 60000 x\n");
  await silent.send("SIZE 16777216\n");
  while (server.requests < 2 || server.connections < 3) await turnOfLoop();
  // The kernel has taken what it takes once nothing more moves.
  for (let sent = -1; sent !== server.sent;) {
    sent = server.sent;
    for (let turn = 0; turn < 5; turn++) await turnOfLoop();
  }
  const came = clock.now();
  for (let night = 0; night < 2; night++) {
    // Asleep; then awake for one look at the deadlines.
    clock.jump(9 * HOUR);
    clock.advance(1000);
    await settle();
    await turnOfLoop();
    assertEquals(events.reasons, [], `after ${clock.now() - came} ms`);
  }
  // Each night counted as 2 s, and each time awake as 1 s: 6 s of 8 s are gone.
  clock.advance(1000);
  await settle();
  assertEquals(events.reasons, []);
  const rest = waiting.rest();
  while (events.of("connection_close").length < 3) {
    clock.advance(1000);
    await turnOfLoop();
    assert(clock.now() - came < 28 * HOUR, "a deadline is not met");
  }
  assertEquals(
    await rest,
    "ERR request timeout: no reply within 8000 ms\n",
  );
  assertEquals(events.reasons.toSorted(), [
    "idle_timeout",
    "request_timeout",
    "write_timeout",
  ]);
});
