import { assertEquals, assertRejects, assertThrows } from "../support/std.ts";

import { echo } from "../../lib/mod.ts";
import {
  bytes,
  FakeClock,
  serveTest,
  settle,
  text,
} from "../support/fixtures.ts";
import {
  MemoryListener,
  MemoryTransport,
} from "../support/memory_transport.ts";

const { BadResource, BrokenPipe, ConnectionReset, Interrupted } = Deno.errors;

Deno.test("MemoryTransport.read() brings what fits of what was pushed", async () => {
  const transport = new MemoryTransport();
  const space = new Uint8Array(5);
  const pending = transport.read(space);
  assertEquals(transport.reading, true);
  transport.push("abc");
  assertEquals([await pending, text(space.subarray(0, 3))], [3, "abc"]);
  transport.push("de");
  transport.push("fghi");
  assertEquals([await transport.read(space), text(space)], [5, "defgh"]);
  transport.end();
  assertEquals(await transport.read(space), 1);
  assertEquals(await transport.read(space), null);
  assertEquals(await transport.read(new Uint8Array()), 0);
});

Deno.test("MemoryTransport.read() waits for release() while it is held", async () => {
  const transport = new MemoryTransport();
  transport.held = true;
  assertThrows(() => transport.release(), Error, "No read");
  const pending = transport.read(new Uint8Array(9));
  assertThrows(() => transport.release(), Error, "No read");
  transport.push("abc");
  await settle();
  assertEquals(transport.reading, true);
  transport.release();
  assertEquals(await pending, 3);
});

Deno.test("MemoryTransport throws at a second read or write", () => {
  const transport = new MemoryTransport();
  transport.take(0);
  transport.read(new Uint8Array(1));
  transport.write(new Uint8Array(1));
  assertThrows(() => transport.read(new Uint8Array(1)), Error, "Two reads");
  assertThrows(() => transport.write(new Uint8Array(1)), Error, "Two writes");
});

Deno.test("MemoryTransport.write() takes as much as it may, or waits", async () => {
  const transport = new MemoryTransport();
  transport.mostPerWrite = 3;
  assertEquals(await transport.write(bytes("abcdef")), 3);
  transport.take(2);
  assertEquals(await transport.write(bytes("def")), 2);
  const waiting = transport.write(bytes("f"));
  await settle();
  assertEquals([transport.writing, transport.text], [true, "abcde"]);
  transport.take(Infinity);
  assertEquals([await waiting, transport.text], [1, "abcdef"]);
});

Deno.test("MemoryTransport rejects a waiting write whose bytes change", async () => {
  const transport = new MemoryTransport();
  transport.take(0);
  const reply = bytes("abc");
  const waiting = transport.write(reply);
  reply[0]++;
  transport.take(Infinity);
  await assertRejects(() => waiting, Error, "have changed");
});

Deno.test("MemoryTransport tells of a reset once, as a socket does", async () => {
  const space = new Uint8Array(9);
  const transport = new MemoryTransport();
  transport.push("abc");
  transport.reset();
  assertEquals(await transport.read(space), 3);
  await assertRejects(() => transport.read(space), ConnectionReset);
  assertEquals(await transport.read(space), null);
  await assertRejects(() => transport.write(space), BrokenPipe);

  const other = new MemoryTransport();
  other.take(0);
  const waiting = other.write(space);
  other.reset();
  await assertRejects(() => waiting, ConnectionReset);
  assertEquals(await other.read(space), null);
});

Deno.test("MemoryTransport.close() ends what is pending", async () => {
  const transport = new MemoryTransport();
  const space = new Uint8Array(9);
  transport.take(0);
  const pending = [transport.read(space), transport.write(space)];
  transport.close();
  for (const one of pending) await assertRejects(() => one, Interrupted);
  await assertRejects(() => transport.read(space), BadResource);
  await assertRejects(() => transport.write(space), BadResource);
  await assertRejects(() => transport.closeWrite(), BadResource);
  assertThrows(() => transport.close(), BadResource);
});

Deno.test("MemoryTransport.closeWrite() lets no more be written", async () => {
  const transport = new MemoryTransport();
  await transport.closeWrite();
  await assertRejects(() => transport.write(bytes("a")), BrokenPipe);
  transport.push("abc");
  assertEquals(await transport.read(new Uint8Array(9)), 3);
});

Deno.test("MemoryListener brings clients to a server, in memory alone", async () => {
  const listener = new MemoryListener();
  const listen = () => listener;
  const clock = new FakeClock();
  await using served = serveTest(echo, { idleTimeout: 1000 }, {
    listen,
    clock,
  });
  const [one, other] = [listener.connect(), listener.connect("192.0.2.1")];
  await other.until(({ reading }) => reading);
  one.push("hel");
  await one.until(({ reading }) => reading);
  one.push("lo\nagain\n");
  await one.until(({ taken }) => taken.length === 12);
  assertEquals(one.text, "hello\nagain\n");

  other.mostPerWrite = 2;
  other.push("pieces\n");
  other.end();
  await other.until(({ closed }) => closed);
  assertEquals(other.text, "pieces\n");

  clock.advance(2000);
  await one.until(({ closed }) => closed);
  assertEquals(served.events.reasons, ["peer_closed", "idle_timeout"]);
  const hosts = served.events.of("connection_open")
    .map(({ remoteAddr }) => (remoteAddr as Deno.NetAddr).hostname);
  assertEquals(hosts, ["127.0.0.1", "192.0.2.1"]);
});
