// A web page can have a browser send lines of its own to a local port, in the
// body of an HTTP request. With `httpGuard` none of them is run.

import type { ServeOptions } from "../../lib/mod.ts";
import { replies } from "../../lib/server/replies.ts";
import { text } from "../support/fixtures.ts";
import { InMemory, turns } from "../support/in_memory.ts";
import { assertEquals } from "../support/std.ts";

const GUARDED: ServeOptions = { httpGuard: true };

interface Outcome {
  handled: string[];
  said: string;
  reason: string;
}

/** Sends parts, one after the other, and then the end. */
async function send(
  parts: string[],
  options = GUARDED,
  later = false,
): Promise<Outcome> {
  const handled: string[] = [];
  await using running = new InMemory((request) => {
    handled.push(text(request));
    const reply = request.slice();
    return later ? turns(2).then(() => reply) : reply;
  }, options);
  const peer = await running.connect();
  for (const part of parts) {
    peer.push(part);
    await turns(1);
  }
  peer.end();
  await turns(12);
  const { requests, closed } = running.server.metrics();
  assertEquals([running.server.requests, requests.ok], [
    handled.length,
    handled.length,
  ]);
  const [reason, ...more] = running.events.reasons;
  assertEquals([more, closed.http_request], [
    [],
    reason === "http_request" ? 1 : 0,
  ]);
  return { handled, said: peer.text, reason };
}

/** The parts of a text that is cut at each place, and at all of them. */
function cuts(all: string): string[][] {
  const one = Array.from(all, (_, i) => [all.slice(0, i), all.slice(i)]);
  return [...one.slice(1), [all], Array.from(all)];
}

// What is sent, and how many of its first lines are run.
const http: [sent: string, run: number][] = [
  ["POST / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\nQUIT\r\n", 0],
  ["POST / HTTP/1.1\nQUIT\n", 0],
  ["GET /a%0Ab?c HTTP/1.0\r\nQUIT\r\n", 0],
  [" HTTP/1.9\nQUIT\n", 0],
  ["Host: localhost\nQUIT\n", 0],
  ["hOST:\nQUIT\n", 0],
  ["PING\nHOST: x\nQUIT\n", 1],
  ["GET / HTTP/2.0\r\nhost:x\r\nQUIT\r\n", 1],
];

for (const [sent, run] of http) {
  for (const later of [false, true]) {
    Deno.test(
      `httpGuard closes ${JSON.stringify(sent)}, however it is cut${
        later ? ", at a handler that takes its time" : ""
      }`,
      async () => {
        const lines = sent.match(/[^\n]*\n/g)!;
        const handled = lines.slice(0, run).map((line) => line.trimEnd());
        const end = lines[run].endsWith("\r\n") ? "\r\n" : "\n";
        const said = lines.slice(0, run).join("") + replies.http + end;
        for (const parts of cuts(sent)) {
          assertEquals(
            await send(parts, GUARDED, later),
            { handled, said, reason: "http_request" },
            JSON.stringify(parts),
          );
        }
      },
    );
  }
}

Deno.test("httpGuard lets through what is no HTTP", async () => {
  for (
    const lines of [
      ["PING", "GET / HTTP/1.1", "Host: x"],
      ["PING", "PING", "Host: x"],
      ["ECHO of HTTP/1.1 it is", "b"],
      ["HTTP/1.1", "b"],
      ["xHTTP/1.1", "b"],
      ["x HTTP/1.", "b"],
      ["x HTTP/1.x", "b"],
      ["x HTTP/1.11", "b"],
      ["x http/1.1", "b"],
      ["x HTTP/1.1 ", "b"],
      ["x HTTP/11", "b"],
      ["Host", " Host: x"],
      ["Host : x", "Hosts: x"],
      ["ECHO Host: x", "hos"],
      ["", "", "Host: x"],
    ]
  ) {
    const sent = lines.map((line) => `${line}\n`).join("");
    for (const parts of [[sent], Array.from(sent)]) {
      assertEquals(
        await send(parts),
        { handled: lines, said: sent, reason: "peer_closed" },
        sent,
      );
    }
  }
});

Deno.test("httpGuard is off where nobody has asked for it", async () => {
  const sent = "POST / HTTP/1.1\nHost: x\nQUIT\n";
  assertEquals(await send([sent], {}), {
    handled: sent.trimEnd().split("\n"),
    said: sent,
    reason: "peer_closed",
  });
});

Deno.test("httpGuard counts lines, also those that no handler was asked", async () => {
  const options = { ...GUARDED, maxRequestRate: "1/h" };
  const busy = replies.busyRate("request", {
    text: "1/h",
    interval: 0,
    burst: 0,
  });
  await using running = new InMemory((request) => request.slice(), options);
  const peer = await running.connect();
  peer.push("one\ntwo\nHost: x\n");
  const other = await running.connect();
  other.push("one\nHost: x\n");
  await turns(3);
  assertEquals(peer.text, `one\n${busy}\n${busy}\n`);
  assertEquals(other.text, `${busy}\n${replies.http}\n`);
  for (const one of [peer, other]) one.end();
  await turns(3);
});

for (const framing of ["delimiter:\n", "delimiter:\\r\\n"] as const) {
  Deno.test(`httpGuard closes HTTP in ${JSON.stringify(framing)}`, async () => {
    for (
      const [sent, run] of [
        ["POST / HTTP/1.1\r\nQUIT\r\n", 0],
        ["PING\r\nHost: x\r\nQUIT\r\n", 1],
      ] as const
    ) {
      const { handled, reason } = await send([sent], { ...GUARDED, framing });
      assertEquals([handled.length, reason], [run, "http_request"]);
    }
  });
}

// A page can speak in frames of the others: SECURITY.md says so.
const refusing = [
  ...["length", "netstring", "length:4:little", "length:4:itself"] as const,
  ...["length:8", "length:8:little:itself"] as const,
];
for (const framing of refusing) {
  Deno.test(`an HTTP request is refused by its first bytes in ${framing}`, async () => {
    // Any letter, digit or sign that a method may begin with and a page may send.
    for (const method of ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE"]) {
      for (const httpGuard of [false, true]) {
        const { handled, reason } = await send(
          [`${method} / HTTP/1.1\r\nHost: x\r\n\r\n`, "1:a,".repeat(9)],
          // The most that there is.
          { framing, httpGuard, maxFrame: 1024 ** 3 },
        );
        assertEquals([handled, reason], [[], "frame_error"], method);
      }
    }
  });
}
