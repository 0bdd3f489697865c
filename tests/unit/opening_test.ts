/** Connections before their first request: a header, keys, and a place. */

import { assert, assertEquals, assertInstanceOf } from "../support/std.ts";

import { ProxyHeaderError, TimeoutError } from "../../lib/core/errors.ts";
import type { ServeOptions } from "../../lib/server/options.ts";
import { Places } from "../../lib/server/places.ts";
import { ONE } from "../support/certificates.ts";
import { InMemory, turns } from "../support/in_memory.ts";
import type { MemoryTransport } from "../support/memory_transport.ts";

const PROXY: ServeOptions = {
  proxyProtocol: "v1",
  proxyTrust: "127.0.0.1",
};
const HEADER = "PROXY TCP4 192.0.2.9 192.0.2.1 1 2\r\n";

/** Places whose answers a test gives, as those of another thread come later. */
class LatePlaces extends Places {
  readonly asked: PromiseWithResolvers<boolean>[] = [];
  /** Addresses that have a place and have not given it back. */
  readonly entered: string[] = [];
  /** All places that were given back. */
  freed = 0;

  constructor() {
    super({ maxConnections: 0, maxConnectionsPerIp: 0 });
  }

  override enter(ip: string): Promise<boolean> {
    const asked = Promise.withResolvers<boolean>();
    this.asked.push(asked);
    return asked.promise.then((yes) => {
      if (yes) this.entered.push(ip);
      return yes;
    });
  }

  override leave(ip: string): void {
    const at = this.entered.indexOf(ip);
    assert(at !== -1, "a place was given back that nobody had");
    this.entered.splice(at, 1);
  }

  override free(): void {
    this.freed++;
    super.free();
  }
}

/** How a connection gets into each of the states, and how far it has got. */
const states: Record<string, {
  options: ServeOptions;
  late?: true;
  /** What its peer has sent by then. */
  sent: string | Uint8Array;
}> = {
  greeting: { options: PROXY, sent: HEADER.slice(0, 20) },
  handshaking: {
    options: ONE,
    sent: new Uint8Array([0x16, 3, 1, 0, 200, 1]),
  },
  "handshaking behind a header": {
    options: { ...PROXY, ...ONE },
    sent: HEADER,
  },
  admitting: { options: {}, late: true, sent: "" },
  "admitting behind a header": { options: PROXY, late: true, sent: HEADER },
};

async function opened(state: string, sent?: string): Promise<{
  running: InMemory;
  transport: MemoryTransport;
  places: LatePlaces | undefined;
}> {
  const { options, late, sent: bytes } = states[state];
  const places = late && new LatePlaces();
  const running = new InMemory((request) => request, options, { places });
  const transport = await running.connect();
  transport.push(sent ?? bytes);
  await turns(3);
  return { running, transport, places };
}

function rejected({ events }: InMemory): string[] {
  return events.of("connection_rejected").map(({ reason }) => reason);
}

/** How those ended that nobody turned away. */
function closed({ events }: InMemory): string[] {
  return events.of("connection_close").map(({ reason }) => reason);
}

function hostOf({ remoteAddr }: { remoteAddr: Deno.Addr }): string {
  return (remoteAddr as Deno.NetAddr).hostname;
}

for (const state of Object.keys(states)) {
  const [shown] = state.split(" ");
  const client = state.includes("header") ? "192.0.2.9" : "127.0.0.1";

  Deno.test(`a connection that is ${state} is shown and counted`, async () => {
    const { running, transport } = await opened(state);
    await using _ = running;
    const [info] = await running.server.connectionList();
    const { id, requests, sent, remoteAddr } = info;
    assertEquals(
      { id, state: info.state, requests, sent, host: hostOf({ remoteAddr }) },
      { id: 1, state: shown, requests: 0, sent: 0, host: client },
    );
    const { active, accepted, opening } = running.server.metrics();
    assertEquals([active, accepted, opening], [0, 0, 1]);
    assertEquals(running.events.of("connection_open"), []);
    transport.end();
  });

  Deno.test(`a connection that is ${state} ends with an event: disconnect`, async () => {
    const { running, transport, places } = await opened(state);
    await using _ = running;
    assertEquals(await running.server.disconnect(1), true);
    await turns(2);
    assert(transport.closed);
    assertEquals([rejected(running), closed(running)], [[], ["closed"]]);
    assertEquals(hostOf(running.events.of("connection_close")[0]), client);
    assertEquals(running.server.metrics().opening, 0);
    await running.assertNothingLeft();
    // An answer that comes after all gives its place back.
    for (const asked of places?.asked ?? []) asked.resolve(true);
    await turns(2);
    assertEquals(places?.entered ?? [], []);
    assertEquals(places?.freed ?? 1, 1);
  });

  // One that has sent nothing is closed before; see below.
  if (states[state].sent === "") continue;

  Deno.test(`a connection that is ${state} is forced at the drain timeout`, async () => {
    const { running, transport, places } = await opened(state);
    await using _ = running;
    const finished = running.server.shutdown();
    await running.pass(300);
    assertEquals([transport.closed, rejected(running)], [false, []]);
    await running.pass(2000);
    await finished;
    assertEquals([rejected(running), closed(running)], [[], ["forced"]]);
    assertEquals(running.events.of("finished"), [
      { type: "finished", forced: 1 },
    ]);
    for (const asked of places?.asked ?? []) asked.resolve(true);
  });
}

for (const state of ["greeting", "handshaking", "admitting"]) {
  Deno.test(`a silent connection that is ${state} is closed as a drain begins`, async () => {
    const { running, transport, places } = await opened(state, "");
    await using _ = running;
    const finished = running.server.shutdown();
    // The listener is closed after 10 ms without a client; the drain begins.
    await running.pass(10, 1);
    await turns(3);
    assertEquals(running.events.of("drain").length, 1);
    assertEquals([transport.closed, rejected(running)], [false, []]);
    // A wait of 10 ms, and one more turn of the event loop.
    await running.pass(12, 1);
    assertEquals([transport.closed, closed(running)], [true, ["shutdown"]]);
    await finished;
    assertEquals(running.events.of("finished"), [
      { type: "finished", forced: 0 },
    ]);
    for (const asked of places?.asked ?? []) asked.resolve(false);
  });
}

Deno.test("a drain waits for the rest of a header, and for the request behind it", async () => {
  const { running, transport } = await opened("greeting");
  await using _ = running;
  const finished = running.server.shutdown();
  await running.pass(300, 10);
  assertEquals(await running.states(), ["greeting"]);
  transport.push(HEADER.slice(20) + "request\n");
  await turns(3);
  assertEquals(transport.text, "request\n");
  await running.pass(30, 1);
  assert(transport.finished);
  transport.end();
  await finished;
  assertEquals(running.events.reasons, ["shutdown"]);
  assertEquals(rejected(running), []);
});

Deno.test("a header that begins while a drain waits is waited for", async () => {
  const { running, transport } = await opened("greeting", "");
  await using _ = running;
  const finished = running.server.shutdown();
  await running.pass(15, 1);
  transport.push("PROXY");
  await turns(2);
  await running.pass(300, 10);
  assertEquals(await running.states(), ["greeting"]);
  transport.push(HEADER.slice(5) + "request\n");
  transport.end();
  await turns(3);
  assertEquals(transport.text, "request\n");
  await running.pass(50, 10);
  await finished;
});

Deno.test("a place that is given in a drain gives a request all its time to come", async () => {
  const { running, transport, places } = await opened("admitting", "");
  await using _ = running;
  const finished = running.server.shutdown();
  // The drain begins after 10 ms, and would close this one 12 ms later.
  await running.pass(18, 1);
  places!.asked[0].resolve(true);
  await running.pass(8, 1);
  transport.push("request\n");
  await turns(3);
  assertEquals(transport.text, "request\n");
  transport.end();
  await running.pass(30, 1);
  await finished;
});

Deno.test("without an answer about a place within 5 s a connection is busy", async () => {
  const { running, transport, places } = await opened("admitting");
  await using _ = running;
  transport.push("request\n");
  await running.pass(5000);
  assertEquals(await running.states(), ["admitting"]);
  await running.pass(2100);
  assertEquals(
    transport.text,
    "ERR busy: no answer about a free place in time\n",
  );
  const [{ reason, error }] = running.events.of("connection_rejected");
  assertEquals(reason, "busy");
  assertInstanceOf(error, TimeoutError);
  assertEquals(running.server.metrics().opening, 0);
  assertEquals(places!.freed, 1);
  // It is told so, and has no place: it counts no more.
  assertEquals([transport.closed, await running.states()], [false, []]);
  places!.asked[0].resolve(true);
  await turns(3);
  assertEquals([places!.entered, places!.freed], [[], 1]);
  transport.end();
  await turns(3);
  assert(transport.closed);
  assertEquals(rejected(running), ["busy"]);
  assertEquals(running.server.requests, 0);
});

for (const answer of [true, false]) {
  for (let hops = 0; hops < 8; hops++) {
    Deno.test(`a place that is ${answer ? "given" : "refused"} ${hops} microtasks after the deadline counts once`, async () => {
      const { running, transport, places } = await opened("admitting");
      await using _ = running;
      const { clock, events } = running;
      transport.push("request\n");
      while (events.of("connection_rejected").length === 0) clock.advance(10);
      for (let i = 0; i < hops; i++) await undefined;
      places!.asked[0].resolve(answer);
      await turns(3);
      transport.end();
      await turns(3);
      assertEquals(rejected(running), ["busy"]);
      assertEquals(events.of("connection_open"), []);
      assertEquals([places!.entered, places!.freed], [[], 1]);
      const { opening, active } = running.server.metrics();
      assertEquals([opening, active], [0, 0]);
    });
  }
}

Deno.test("a place that is given in time serves what came meanwhile", async () => {
  const { running, transport, places } = await opened("admitting");
  await using _ = running;
  transport.push("one\ntwo\n");
  await running.pass(4000);
  places!.asked[0].resolve(true);
  await turns(3);
  assertEquals(transport.text, "one\ntwo\n");
  assertEquals(await running.states(), ["idle"]);
  const { active, opening } = running.server.metrics();
  assertEquals([active, opening], [1, 0]);
  // Nothing is left of the deadline about its place.
  await running.pass(10_000);
  assertEquals(await running.states(), ["idle"]);
  transport.end();
  await turns(3);
  assertEquals([places!.entered, places!.freed], [[], 1]);
});

Deno.test("a place that is refused later is told as one that is refused at once", async () => {
  const { running, transport, places } = await opened("admitting");
  await using _ = running;
  places!.asked[0].resolve(false);
  await turns(3);
  assertEquals(
    transport.text,
    "ERR busy: connection limit of 0 for this address reached\n",
  );
  assertEquals([rejected(running), places!.freed], [["busy_ip"], 1]);
  assertEquals(running.server.metrics().opening, 0);
  transport.end();
});

Deno.test("an answer about a place that fails ends the connection with an event", async () => {
  const { running, transport, places } = await opened("admitting");
  await using _ = running;
  places!.asked[0].reject(new Error("The main thread is gone"));
  await turns(3);
  assert(transport.closed);
  assertEquals([rejected(running), closed(running)], [[], ["error"]]);
  assertEquals(running.server.metrics().opening, 0);
});

Deno.test("a header gives a handler both addresses", async () => {
  const seen: Deno.Addr[] = [];
  await using running = new InMemory((_request, info) => {
    seen.push(info.remoteAddr, info.localAddr);
    return "";
  }, PROXY);
  for (const header of [HEADER, "PROXY UNKNOWN\r\n"]) {
    const transport = await running.connect();
    transport.push(header + "request\n");
    transport.end();
    await turns(3);
  }
  const all = seen.map((addr) => `${hostOf({ remoteAddr: addr })}`);
  assertEquals(all, ["192.0.2.9", "192.0.2.1", "127.0.0.1", "127.0.0.1"]);
  assertEquals(
    seen.map((addr) => (addr as Deno.NetAddr).port),
    [1, 2, 2, 1],
  );
});

Deno.test("connectionList() tells since when no bytes have come", async () => {
  const { running, transport } = await opened("greeting", "");
  await using _ = running;
  const idle = async (ms: number) => {
    await running.pass(ms);
    const [{ age, idle }] = await running.server.connectionList();
    return [age, idle];
  };
  assertEquals(await idle(500), [500, 500]);
  for (const [i, sent] of [HEADER, "half a ", "request\n"].entries()) {
    transport.push(sent);
    await turns(3);
    const age = 500 + 100 * (i + 1);
    assertEquals([sent, ...await idle(100)], [sent, age, 100]);
  }
  transport.end();
});

Deno.test("what may end one that is opening is told with the error behind it", async () => {
  await using running = new InMemory((request) => request, PROXY);
  const check = await running.connect();
  check.end();
  const broken = await running.connect();
  broken.push("GET / HTTP/1.1\r\n");
  const cut = await running.connect();
  cut.push("PROXY TCP4 ");
  cut.end();
  const reset = await running.connect();
  reset.reset();
  await turns(3);
  assertEquals(rejected(running), ["proxy_error", "proxy_error"]);
  for (const { error } of running.events.of("connection_rejected")) {
    assertInstanceOf(error, ProxyHeaderError);
  }
  // One that leaves before its first byte did nothing wrong.
  assertEquals(closed(running), ["peer_closed", "peer_reset"]);
  for (const { text } of [check, broken, cut, reset]) assertEquals(text, "");
  assertEquals(running.server.metrics().opening, 0);
});
