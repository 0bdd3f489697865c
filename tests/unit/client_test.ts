/** A client whose server is in memory and does what a test says. */

import { assert, assertEquals, assertInstanceOf } from "../support/std.ts";

import { PipelinedClient } from "../../lib/client/pipelined_client.ts";
import { RefusedError, TimeoutError } from "../../lib/core/errors.ts";
import { framingOf } from "../../lib/framing/mod.ts";
import { FakeClock, outcome, settle } from "../support/fixtures.ts";
import { isIdle, MemoryTransport } from "../support/memory_transport.ts";

/** What the server sees, with the memory that each write was given. */
class Written extends MemoryTransport {
  readonly writes: Uint8Array[] = [];

  override write(bytes: Uint8Array<ArrayBuffer>): Promise<number> {
    this.writes.push(bytes);
    return super.write(bytes);
  }
}

function connected({ timeout = 1000, keepAfterTimeout = false } = {}): {
  client: PipelinedClient;
  server: Written;
  clock: FakeClock;
} {
  const [server, clock] = [new Written(), new FakeClock()];
  const maxFrame = 100_000;
  const client = new PipelinedClient(server, {
    framing: framingOf("line"),
    maxFrame,
    timeout,
    keepAfterTimeout,
  }, clock);
  return { client, server, clock };
}

Deno.test("requests of one turn go out in one write, and large ones by themselves", async () => {
  const { client, server, clock } = connected();
  const requests = ["a", "b", "L".repeat(70_000), "c", "d"];
  const all = Promise.all(requests.map((one) => client.request(one)));
  await settle();
  const lengths = server.writes.map(({ length }) => length);
  assertEquals(lengths.reduce((sum, length) => sum + length), 70_009);
  assertEquals([lengths[0], lengths.at(-1)], [4, 4]);
  // The large one's start goes with its header, and its end with its trailer.
  assertEquals(lengths.length, 5);
  server.push("\n".repeat(5));
  await all;
  client.close();
  assertEquals(clock.timers, 0);
});

Deno.test("a write under way keeps its memory though the client is closed", async () => {
  const { client, server } = connected();
  server.take(0);
  const reply = outcome(client.request("r".repeat(3000)));
  await settle();
  const [written] = server.writes;
  client.close();
  await reply;
  await settle();
  assert(!isIdle(written), "others may be lent what is still written");
});

Deno.test("each request has its own time where the connection goes on", async () => {
  const { client, server, clock } = connected({ keepAfterTimeout: true });
  const first = outcome(client.request("a"));
  clock.advance(600);
  const second = outcome(client.request("b"));
  await settle();
  clock.advance(650);
  assertInstanceOf(await first, TimeoutError);
  assertEquals(client.pending, 2);
  clock.advance(600);
  assertInstanceOf(await second, TimeoutError);
  // Both come late, and the next has its own.
  const third = outcome(client.request("c"));
  await settle();
  server.push("A\nB\nC\n");
  assertEquals(await third, "C");
  client.close();
});

Deno.test("a request leaves nothing at a signal that outlives it", async () => {
  const { client, server } = connected();
  const { signal } = new AbortController();
  let listening = 0;
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...args: unknown[]) => {
    listening++;
    Reflect.apply(addEventListener, signal, args);
  };
  signal.removeEventListener = (...args: unknown[]) => {
    listening--;
    Reflect.apply(removeEventListener, signal, args);
  };
  const replied = outcome(client.request("a", { signal }));
  const failed = outcome(client.request("b", { signal }));
  await settle();
  assertEquals(listening, 2);
  server.push("A\n");
  assertEquals(await replied, "A");
  client.close();
  await failed;
  assertEquals(listening, 0);
});

Deno.test("a write that fails leaves no timer once the end has been read", async () => {
  const { client, server, clock } = connected();
  server.reset();
  await outcome(client.request("a"));
  await client.closed;
  assertEquals(clock.timers, 0);

  // The write fails, and what the server said is read behind it.
  const other = connected();
  other.server.held = true;
  other.server.push("ERR going down\n");
  other.server.reset();
  const reply = outcome(other.client.request("a"));
  await settle();
  other.server.held = false;
  other.server.push("");
  assertEquals(await reply, "ERR going down");
  await other.client.closed;
  assertEquals(other.clock.timers, 0);
});

Deno.test("a refusal that nobody asked for is held for as long as it takes", async () => {
  const { client, server, clock } = connected({ timeout: 0 });
  server.push("ERR busy: connection limit of 1 reached\n");
  await settle();
  clock.advance(60_000);
  const reply = outcome(client.request("a"));
  await settle();
  server.end();
  assertInstanceOf(await reply, RefusedError);
  assertInstanceOf(await client.closed, RefusedError);
});
