// The admin port below its answers: the HTTP that it speaks, how many it lets
// in, and what it does without descriptors.

import { parseRequest, reply, RequestError } from "../../lib/admin/http.ts";
import { openPort } from "../../lib/admin/port.ts";
import { type AdminServer, serveAdmin } from "../../lib/admin/server.ts";
import { FakeClock, FakeListener, Peer, settle } from "../support/fixtures.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertThrows,
} from "../support/std.ts";

// -------------------------------------------------------------------- HTTP

Deno.test("parseRequest reads the line, the host and the fields", () => {
  const table: [head: string, method: string, url: string][] = [
    ["GET /livez HTTP/1.1\r\nHost: a", "GET", "http://a/livez"],
    ["GET /livez HTTP/1.0", "GET", "http://127.0.0.1/livez"],
    ["HEAD / HTTP/1.1\nhost:b:1", "HEAD", "http://b:1/"],
    [
      "POST /drain HTTP/1.1\r\nHost:  [::1]:9 \t",
      "POST",
      "http://[::1]:9/drain",
    ],
    ["GET /a?b=c HTTP/1.1\r\nHost: a", "GET", "http://a/a?b=c"],
    // These name another host than the one they seem to name.
    ["GET //evil/x HTTP/1.1\r\nHost: a", "GET", "http://a//evil/x"],
    ["GET http://b/x HTTP/1.1\r\nHost: a", "GET", "http://b/x"],
  ];
  for (const [head, method, url] of table) {
    const request = parseRequest(head);
    assertEquals([request.method, request.url], [method, url], head);
  }
  const { headers } = parseRequest(
    "GET / HTTP/1.1\r\nAuthorization: Bearer \txyz \r\nX-Empty:\r\nx: a\r\nX: b",
  );
  assertEquals(headers.get("authorization"), "Bearer \txyz");
  assertEquals([headers.get("x-empty"), headers.get("x")], ["", "a, b"]);
});

Deno.test("parseRequest refuses what is no request", () => {
  const bad: [head: string, status: number][] = [
    ["", 400],
    ["garbage", 400],
    ["GET / HTTP/2", 400],
    ["GET  / HTTP/1.1", 400],
    ["GET / HTTP/1.1 ", 400],
    ["G(T / HTTP/1.1", 400],
    ["GET * HTTP/1.1", 400],
    ["GET livez HTTP/1.1", 400],
    ["GET ftp://a/ HTTP/1.1", 400],
    ["GET / HTTP/1.1\r\nHost", 400],
    ["GET / HTTP/1.1\r\nHost : a", 400],
    ["GET / HTTP/1.1\r\n folded: a", 400],
    ["GET / HTTP/1.1\r\nHost: a/b", 400],
    ["GET / HTTP/1.1\r\nHost: a@b", 400],
    ["GET / HTTP/1.1\r\nHost: a\r\nHost: b", 400],
    ["GET / HTTP/1.1\r\nHost: %", 400],
    ["GET / HTTP/1.1\r\nx: \0", 400],
    ["CONNECT / HTTP/1.1\r\nHost: a", 405],
    ["TRACE / HTTP/1.1\r\nHost: a", 405],
  ];
  for (const [head, status] of bad) {
    const error = assertThrows(() => parseRequest(head), RequestError);
    assertEquals(error.status, status, head);
  }
});

/** Sends a text in pieces, and gives all that comes back. */
async function send(admin: AdminServer, ...pieces: string[]): Promise<string> {
  using peer = await Peer.to(admin);
  for (const piece of pieces) await peer.send(piece);
  return await peer.rest();
}

Deno.test("serveAdmin answers a request however it is cut, and ends", async () => {
  await using admin = serveAdmin({ port: 0 });
  const request = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
  for (const pieces of [[request], [...request]]) {
    const [head, body] = (await send(admin, ...pieces)).split("\r\n\r\n");
    assertMatch(head, /^HTTP\/1\.1 200 OK\r\n/);
    assertMatch(head, /^connection: close$/m);
    assertMatch(head, /^content-length: 3$/m);
    assertMatch(head, /^date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/m);
    assertEquals(body, "ok\n");
  }
  const head = await send(admin, request.replace("GET", "HEAD"));
  assertMatch(head, /^content-length: 3\r\n(.+\r\n)*\r\n$/m);
});

Deno.test("serveAdmin answers before a body, and the answer arrives", async () => {
  await using admin = serveAdmin({ port: 0 });
  const body = "x".repeat(100_000);
  const request = `POST /livez HTTP/1.1\r\ncontent-length: ${body.length}`;
  assertMatch(
    await send(admin, `${request}\r\n\r\n`, body),
    /^HTTP\/1\.1 405 /,
  );
});

Deno.test("serveAdmin takes fields that are not ASCII", async () => {
  await using admin = serveAdmin({ port: 0 });
  // In UTF-8 these have bytes that are no characters of Latin-1.
  const head = "GET /livez HTTP/1.1\r\nx: \u201cquoted\u201d \u20ac";
  assertMatch(await send(admin, `${head}\r\n\r\n`), /^HTTP\/1\.1 200 OK\r\n/);
});

Deno.test("serveAdmin refuses a head that has no end, and one that is none", async () => {
  await using admin = serveAdmin({ port: 0 });
  const line = `x: ${"x".repeat(997)}\r\n`;
  const long = "GET /livez HTTP/1.1\r\n" + line.repeat(17);
  assertMatch(await send(admin, long), /^HTTP\/1\.1 431 .*\r\n/);
  assertMatch(await send(admin, long.slice(0, 16_000) + "\r\n\r\n"), / 200 OK/);
  // The first bytes of TLS.
  assertMatch(await send(admin, "\x16\x03\x01"), /^HTTP\/1\.1 400 /);
});

// ------------------------------------------------------------- connections

Deno.test("serveAdmin lets nobody keep others out", async () => {
  await using admin = serveAdmin({ port: 0 });
  const silent: Peer[] = [];
  for (let i = 0; i < 50; i++) silent.push(await Peer.to(admin));
  for (let i = 0; i < 50; i++) {
    const answer = await send(admin, "GET /livez HTTP/1.1\r\n\r\n");
    assertMatch(answer, /^HTTP\/1\.1 200 OK\r\n/);
  }
  // The oldest were closed for those who came after them.
  for (const peer of silent.slice(0, 34)) {
    assertEquals(await peer.rest().catch(() => ""), "");
  }
  for (const peer of silent) peer[Symbol.dispose]();
});

/** A connection as a listener gives it, and its other end. */
async function pair(): Promise<[Deno.TcpConn, Peer]> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const [conn, peer] = await Promise.all([
    listener.accept(),
    Deno.connect({ hostname: "127.0.0.1", port }),
  ]);
  return [conn, new Peer(peer)];
}

function emfile(): Error {
  const error = new Error("Too many open files (os error 24)");
  return Object.assign(error, { code: "EMFILE" });
}

Deno.test("the admin port without descriptors uses its spares, then its own, then waits", async () => {
  const listener = new FakeListener();
  const clock = new FakeClock();
  const closed: number[] = [];
  const spares = [1, 2].map((n) => ({ close: () => void closed.push(n) }));
  const port = openPort({
    listener,
    clock,
    answer: () => Promise.resolve(reply("ok\n")),
    spares,
  });
  const [conn, first] = await pair();
  using _first = first;
  listener.next(conn);
  await settle();

  listener.next(emfile());
  listener.next(emfile());
  await settle();
  assertEquals([closed, clock.timers], [[2, 1], 0]);
  await first.send("GET / HT");
  listener.next(emfile());
  assertEquals(await first.rest(), "");

  // There is nothing left to close.
  listener.next(emfile());
  while (clock.timers === 0) await settleAll();
  const [next, second] = await pair();
  using _second = second;
  listener.next(next);
  await second.send("GET / HTTP/1.1\r\n\r\n");
  clock.advance(50);
  assertMatch(await second.rest(), /^HTTP\/1\.1 200 OK\r\n[^]*ok\n$/);

  // The descriptor of a connection that has ended is the next one's.
  while (spares.length === 0) await settleAll();
  listener.next(emfile());
  const [last, third] = await pair();
  using _third = third;
  listener.next(last);
  await third.send("GET / HTTP/1.1\r\n\r\n");
  assertMatch(await third.rest(), /^HTTP\/1\.1 200 OK\r\n[^]*ok\n$/);
  assertEquals(spares.length, 0);
  await port.close();
  await port.finished;
  assert(listener.closed);
});

/** Lets the event loop go round. */
function settleAll(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

Deno.test("the admin port goes on after a peer's fault, and ends with its listener", async () => {
  const listener = new FakeListener();
  const clock = new FakeClock();
  const port = openPort({
    listener,
    clock,
    answer: () => Promise.reject(new Error("a secret")),
    spares: [],
  });
  listener.next(new Deno.errors.ConnectionReset("ECONNRESET"));
  const [conn, peer] = await pair();
  using _ = peer;
  listener.next(conn);
  await peer.send("GET / HTTP/1.1\r\n\r\n");
  const answer = await peer.rest();
  assertMatch(answer, /^HTTP\/1\.1 500 [^]*\r\n\r\ninternal error\n$/);
  listener.next(new Deno.errors.BadResource("Listener has been closed"));
  await port.finished;
  assertEquals(clock.timers, 0);
});
