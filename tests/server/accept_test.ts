import { assert, assertEquals, assertRejects } from "../support/std.ts";

import { echo } from "../../lib/mod.ts";
import {
  FakeClock,
  FakeListener,
  Peer,
  serveTest,
  settle,
} from "../support/fixtures.ts";

/** A connection as a listener gives it, and its other end. */
async function pair(): Promise<[Deno.TcpConn, Peer]> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const [conn, peer] = await Promise.all([
    listener.accept(),
    Deno.connect({ hostname: "127.0.0.1", port }),
  ]);
  listener.close();
  return [conn, new Peer(peer)];
}

Deno.test("accept goes on at once after a peer's fault", async () => {
  const listener = new FakeListener();
  const clock = new FakeClock();
  await using running = serveTest(echo, {}, {
    listen: () => listener,
    clock,
  });
  for (
    const error of [
      new Deno.errors.NotConnected("ENOTCONN"),
      new Deno.errors.ConnectionAborted("ECONNABORTED"),
      new Deno.errors.ConnectionReset("ECONNRESET"),
    ]
  ) {
    listener.next(error);
    await settle();
  }
  assertEquals(
    running.events.of("accept_error").map((e) => [e.retryIn, e.fatal]),
    [[0, false], [0, false], [0, false]],
  );
  const [conn, peer] = await pair();
  using _ = peer;
  listener.next(conn);
  assertEquals(await peer.ask("x\n", "x\n"), "x\n");
});

Deno.test("accept backs off while resources lack, and starts over", async () => {
  const listener = new FakeListener();
  const clock = new FakeClock();
  await using running = serveTest(echo, { idleTimeout: 0 }, {
    listen: () => listener,
    clock,
  });
  const emfile = new Error("Too many open files (os error 24)");
  const retries = () =>
    running.events.of("accept_error").map(({ retryIn }) => retryIn);
  for (const wait of [50, 100, 200, 400, 800, 1000, 1000]) {
    listener.next(emfile);
    await settle();
    assertEquals(retries().at(-1), wait);
    clock.advance(wait);
    await settle();
  }
  assertEquals(retries().length, 7);
  const [conn, peer] = await pair();
  using _ = peer;
  listener.next(conn);
  assertEquals(await peer.ask("x\n", "x\n"), "x\n");
  listener.next(emfile);
  await settle();
  assertEquals(retries().at(-1), 50);
});

Deno.test("accept ends with the listener, and drains first", async () => {
  const listener = new FakeListener();
  const { server, events } = serveTest(echo, {}, { listen: () => listener });
  const [conn, peer] = await pair();
  using _ = peer;
  listener.next(conn);
  assertEquals(await peer.ask("x\n", "x\n"), "x\n");
  listener.next(new Deno.errors.BadResource("Listener has been closed"));
  await assertRejects(
    () => server.finished,
    Deno.errors.BadResource,
    "Listener has been closed",
  );
  assertEquals(await peer.rest(), "");
  assertEquals(events.of("accept_error").map(({ fatal }) => fatal), [true]);
  assertEquals(events.reasons, ["shutdown"]);
  assertEquals(listener.closed, true);
});

Deno.test("shutdown ends a back-off at once", async () => {
  const listener = new FakeListener();
  const clock = new FakeClock();
  const { server } = serveTest(echo, {}, { listen: () => listener, clock });
  listener.next(new Error("Too many open files (os error 24)"));
  await settle();
  assertEquals(clock.timers, 1);
  const finished = server.shutdown();
  clock.advance(10);
  await finished;
  assertEquals(clock.timers, 0);
});

Deno.test("shutdown stops accepting in time, though clients keep coming", async () => {
  const listener = new FakeListener();
  const clock = new FakeClock();
  const { server } = serveTest(echo, {}, { listen: () => listener, clock });
  const finished = server.shutdown();
  let came = 0;
  while (!listener.closed) {
    const [conn, peer] = await pair();
    listener.next(conn);
    await settle();
    peer.conn.close();
    clock.advance(5);
    assert(++came < 100, "it accepts for ever");
  }
  // A drain that waits for nobody ends by itself.
  await finished;
});

Deno.test("accept survives a socket that refuses its options", async () => {
  const listener = new FakeListener();
  await using running = serveTest(echo, {}, { listen: () => listener });
  const [broken, gone] = await pair();
  using _gone = gone;
  broken.setNoDelay = () => {
    throw new Error("Invalid argument (os error 22)");
  };
  listener.next(broken);
  await running.events.next("accept_error");
  assertEquals(await gone.rest(), "");
  const [conn, peer] = await pair();
  using _peer = peer;
  listener.next(conn);
  assertEquals(await peer.ask("x\n", "x\n"), "x\n");
});

/** What `accept` throws where the process has no descriptor left. */
function emfile(): Error {
  const error = new Error("Too many open files (os error 24)");
  return Object.assign(error, { code: "EMFILE" });
}

Deno.test("accept stops below the limit of descriptors, once it has met that", async () => {
  const listener = new FakeListener();
  const clock = new FakeClock();
  await using running = serveTest(echo, { idleTimeout: 0 }, {
    listen: () => listener,
    clock,
  });
  const peers: Peer[] = [];
  /** Has one more be accepted. */
  const join = async () => {
    const [conn, peer] = await pair();
    peers.push(peer);
    listener.next(conn);
    await settle();
  };
  const leave = async () => {
    const left = running.events.of("connection_close").length;
    peers.shift()![Symbol.dispose]();
    await running.events.next("connection_close", left + 1);
    await settle();
  };
  const open = () => running.server.connections;
  for (let i = 0; i < 16; i++) await join();
  listener.next(emfile());
  await settle();
  const [{ limit, retryIn, fatal }] = running.events.of("accept_error");
  assertEquals([limit, retryIn, fatal], [14, 50, false]);

  // Those who come now wait, and are not even tried for.
  for (let i = 0; i < 3; i++) await join();
  clock.advance(5000);
  await settle();
  assertEquals([open(), running.events.of("accept_error").length], [16, 1]);
  await leave();
  await leave();
  assertEquals(open(), 14);
  // For each who leaves, one is accepted.
  for (let i = 0; i < 3; i++) {
    await leave();
    assertEquals(open(), 14);
  }
  assertEquals(await peers.at(-1)!.ask("x\n", "x\n"), "x\n");

  // A minute later it is tried again.
  await join();
  assertEquals(open(), 14);
  clock.advance(60_000);
  await settle();
  assertEquals(open(), 15);
  for (const peer of peers) peer[Symbol.dispose]();
});

Deno.test("shutdown waits for nobody whom there is no descriptor for", async () => {
  const listener = new FakeListener();
  const clock = new FakeClock();
  await using running = serveTest(echo, {}, { listen: () => listener, clock });
  const [conn, peer] = await pair();
  using _ = peer;
  listener.next(conn);
  await settle();
  listener.next(emfile());
  await settle();
  clock.advance(50);
  await settle();
  running.server.shutdown();
  await settle();
  // No time has passed: those who are queued would have had some.
  assertEquals(listener.closed, true);
});
