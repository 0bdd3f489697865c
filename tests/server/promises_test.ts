// Nothing lost, nothing doubled, nothing out of order: many clients, bytes cut
// anywhere, resets and drains at any moment. Each round has a seed of its own,
// named where it fails, that makes the same choices every time.

import { assert, assertEquals } from "../support/std.ts";

import type { Handler } from "../../lib/mod.ts";
import {
  bytes,
  Peer,
  random,
  RudePeer,
  serveTest,
  text,
  turnOfLoop,
} from "../support/fixtures.ts";

const ROUNDS = 15;
const CLIENTS = 12;

/** What one client saw. */
interface Seen {
  sent: number;
  whole: boolean;
  got: string;
}

/** Replies to a number with the number, sooner or later. */
function numbers(next: () => number, handled: Map<number, number[]>): Handler {
  return (request, info) => {
    const number = text(request);
    const list = handled.get(info.id) ?? [];
    handled.set(info.id, list);
    list.push(Number(number.split(" ")[1]));
    const way = next();
    if (way < 0.6) return request;
    if (way < 0.7) return number;
    // The view is copied, for it must outlive nothing else.
    const reply = request.slice();
    return (async () => {
      if (way > 0.9) await turnOfLoop();
      return reply;
    })();
  };
}

function line(client: number, i: number, next: () => number): string {
  const long = next() < 0.02 ? 30_000 : 40;
  return `${client} ${i} ${"x".repeat(next() * long)}`;
}

/** Sends bytes in pieces of any size. */
async function sendCut(peer: Peer, all: Uint8Array, next: () => number) {
  for (let from = 0; from < all.length;) {
    const most = next() < 0.3 ? 5 : 20_000;
    const to = Math.min(all.length, from + 1 + Math.floor(next() * most));
    await peer.send(all.subarray(from, to));
    from = to;
  }
}

for (let round = 1; round <= ROUNDS; round++) {
  Deno.test(`serve loses, doubles and reorders nothing, round ${round}`, async () => {
    const seed = round * 7919;
    const next = random(seed);
    const handled = new Map<number, number[]>();
    const running = serveTest(numbers(next, handled), { drainTimeout: 0 });
    const drainAfter = Math.floor(next() * CLIENTS * 2);
    let finished = 0;
    let draining: Promise<void> | undefined;
    const drainNow = () => {
      if (++finished >= drainAfter) draining ??= running.server.shutdown();
    };

    const clients = Array.from({ length: CLIENTS }, async (_, client) => {
      const lines = Array.from(
        { length: 1 + Math.floor(next() * 150) },
        (_, i) => line(client, i, next),
      );
      const sent = lines.map((line) => `${line}\n`).join("");
      if (next() < 0.25) {
        const rude = await RudePeer.to(running).catch(() => undefined);
        await rude?.send(sent.slice(0, next() * sent.length));
        await rude?.reset();
        drainNow();
        return;
      }
      const peer = await Peer.to(running).catch(() => undefined);
      if (peer === undefined) return;
      using _peer = peer;
      const seen: Seen = { sent: 0, whole: false, got: "" };
      const reading = peer.rest().then((got) => seen.got = got);
      try {
        await sendCut(peer, bytes(sent), next);
        await peer.finish();
        // All of it was with the server's system before any drain.
        seen.whole = draining === undefined;
      } catch {
        // The server drains, and takes no more.
      }
      drainNow();
      await reading.catch(() => {});
      const why = `seed ${seed}, client ${client}`;
      assert(sent.startsWith(seen.got), why);
      if (seen.whole) assertEquals(seen.got.length, sent.length, why);
    });
    await Promise.all(clients);
    await (draining ?? running.server.shutdown());

    for (const list of handled.values()) {
      assertEquals(list, list.map((_, i) => i), `seed ${seed}`);
    }
    const { events } = running;
    assertEquals(
      events.reasons.filter((reason) =>
        !["peer_closed", "peer_reset", "shutdown", "frame_error"]
          .includes(reason)
      ),
      [],
    );
    for (const { reason, unanswered } of events.of("connection_close")) {
      if (unanswered) assertEquals(reason, "peer_reset", `seed ${seed}`);
    }
    assertEquals(events.of("finished")[0].forced, 0);
  });
}
