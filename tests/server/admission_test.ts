// Who gets a place: the lists, the limit per address, and the PROXY header
// that says whose address it is.

import {
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "../support/std.ts";

import {
  commands,
  echo,
  OptionError,
  type ServeOptions,
} from "../../lib/mod.ts";
import { systemClock } from "../../lib/core/clock.ts";
import {
  FakeClock,
  Peer,
  serveTest,
  settle,
  turnOfLoop,
} from "../support/fixtures.ts";

const trusting: ServeOptions = {
  proxyProtocol: "any",
  proxyTrust: "127.0.0.0/8",
};

/** A header of version 1 for a client with that address. */
function proxied(address: string): string {
  return `PROXY TCP4 ${address} 192.0.2.1 40000 8080\r\n`;
}

/** The last of the captured bytes: PROXY, a CRC32C, and an empty id. */
const CAPTURED = Uint8Array.from(
  "0d0a0d0a000d0a515549540a211100167f0000017f000001a8364a3803000415a9b0b0050000"
    .match(/../g)!,
  (hex) => parseInt(hex, 16),
);

Deno.test("allow lets in whom it has, and tells others ERR denied", async () => {
  for (
    const [options, expected] of [
      [{ allow: "127.0.0.1" }, "x\n"],
      [{ allow: "10.0.0.0/8, 127.0.0.0/8" }, "x\n"],
      [{ allow: "10.0.0.0/8" }, "ERR denied: this address may not connect\n"],
      [{ deny: "10.0.0.0/8" }, "x\n"],
      [{ deny: "127.0.0.1" }, "ERR denied: this address may not connect\n"],
      [
        { allow: "127.0.0.0/8", deny: "127.0.0.1" },
        "ERR denied: this address may not connect\n",
      ],
    ] as const
  ) {
    await using running = serveTest(echo, options);
    using peer = await Peer.to(running);
    await peer.send("x\n");
    await peer.finish();
    assertEquals(await peer.rest(), expected);
    const denied = expected.startsWith("ERR");
    await running.server.shutdown();
    assertEquals(running.server.connectionsRejected, denied ? 1 : 0);
    assertEquals(running.events.of("connection_open").length, denied ? 0 : 1);
    assertEquals(
      running.events.of("connection_rejected").map(({ reason }) => reason),
      denied ? ["denied"] : [],
    );
  }
});

Deno.test("maxConnectionsPerIp limits each address by itself", async () => {
  await using running = serveTest(echo, {
    ...trusting,
    maxConnectionsPerIp: 2,
  });
  const busy = "ERR busy: connection limit of 2 for this address reached\n";
  const from = async (address: string) => {
    const peer = await Peer.to(running);
    await peer.send(proxied(address) + "x\n");
    return peer;
  };
  {
    using one = await from("10.0.0.1");
    assertEquals(await one.receive(2), "x\n");
    using two = await from("10.0.0.1");
    assertEquals(await two.receive(2), "x\n");
    using other = await from("10.0.0.2");
    assertEquals(await other.receive(2), "x\n");
    using three = await from("10.0.0.1");
    await three.finish();
    assertEquals(await three.rest(), busy);
    assertEquals(running.events.of("connection_rejected")[0].reason, "busy_ip");
    assertEquals(
      running.events.of("connection_rejected")[0].remoteAddr,
      { transport: "tcp", hostname: "10.0.0.1", port: 40_000 },
    );
  }
  await running.events.next("connection_close", 3);
  using again = await from("10.0.0.1");
  assertEquals(await again.receive(2), "x\n");
});

Deno.test("deny leaves the places to those who may connect", async () => {
  await using running = serveTest(echo, {
    ...trusting,
    deny: "10.0.0.1",
    maxConnections: 1,
  });
  // The denied peer is told so, and stays as long as it is let.
  using denied = await Peer.to(running);
  const told = "ERR denied: this address may not connect\n";
  assertEquals(await denied.ask(proxied("10.0.0.1"), told), told);
  assertEquals(running.server.connections, 0);
  using peer = await Peer.to(running);
  assertEquals(await peer.ask(proxied("10.0.0.2") + "x\n", "x\n"), "x\n");
  denied.conn.close();
});

Deno.test("maxConnections holds up nobody while many who are refused stay", async () => {
  // It stands still, so nothing here is waited out but rests of the loop.
  const clock = new FakeClock();
  const after = clock.after.bind(clock);
  clock.after = (ms, tick) =>
    ms === 1 ? systemClock.after(ms, tick) : after(ms, tick);
  const most = 256;
  await using running = serveTest(echo, { maxConnections: 2 }, { clock });
  using one = await Peer.to(running);
  using two = await Peer.to(running);
  assertEquals(await one.ask("x\n", "x\n"), "x\n");
  assertEquals(await two.ask("x\n", "x\n"), "x\n");
  const crowd = await Promise.all(
    Array.from({ length: most + 100 }, () => Peer.to(running)),
  );
  await running.events.next("connection_rejected", crowd.length);
  assertEquals(await one.ask("y\n", "y\n"), "y\n");
  const { server } = running;
  assertEquals([server.connections, server.connectionsRejected], [
    2,
    crowd.length,
  ]);
  // So many are told why, and may stay to read it; the others are closed.
  const told = await Promise.all(crowd.map((peer) => peer.receive(100)));
  const busy = "ERR busy: connection limit of 2 reached\n";
  assertEquals(told.filter((text) => text === busy).length, most);
  assertEquals(told.filter((text) => text === "").length, 100);
  for (const peer of crowd) peer.conn.close();
  assertEquals(await two.ask("z\n", "z\n"), "z\n");
  one.conn.close();
  two.conn.close();
  await running.events.next("connection_close", 2);
  assertEquals(server.connections, 0);
});

Deno.test("proxyProtocol makes the client's address the connection's", async () => {
  for (
    const [header, address] of [
      [proxied("203.0.113.7"), "203.0.113.7:40000"],
      [
        "PROXY TCP6 2001:db8::7 2001:db8::1 40000 8080\r\n",
        "[2001:db8::7]:40000",
      ],
      [CAPTURED, "127.0.0.1:43062"],
    ] as const
  ) {
    await using running = serveTest(commands, trusting);
    using peer = await Peer.to(running);
    // Byte by byte, and the first request with the last of them.
    const bytes = typeof header === "string"
      ? new TextEncoder().encode(header)
      : header;
    for (const byte of bytes) await peer.send(Uint8Array.of(byte));
    const expected = `id=1 peer=${address} framing=line\n`;
    assertEquals(await peer.ask("WHOAMI\n", expected), expected);
    const [{ remoteAddr }] = running.events.of("connection_open");
    assertStringIncludes(JSON.stringify(remoteAddr), "hostname");
    assertEquals(
      (remoteAddr as Deno.NetAddr).port,
      Number(address.split(":").at(-1)),
    );
  }
});

Deno.test("proxyProtocol keeps the real address where the header has none", async () => {
  for (
    const header of [
      "PROXY UNKNOWN\r\n",
      "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
    ]
  ) {
    await using running = serveTest(commands, trusting);
    using peer = await Peer.to(running);
    const { port } = peer.conn.localAddr as Deno.NetAddr;
    const expected = `id=1 peer=127.0.0.1:${port} framing=line\n`;
    assertEquals(await peer.ask(`${header}WHOAMI\n`, expected), expected);
  }
});

Deno.test("proxyProtocol takes no header from a peer that is not trusted", async () => {
  await using running = serveTest(commands, {
    proxyProtocol: "any",
    proxyTrust: "10.0.0.0/8",
  });
  using peer = await Peer.to(running);
  await peer.send(proxied("203.0.113.7"));
  await peer.finish();
  assertEquals(
    await peer.rest(),
    'ERR unknown command: "PROXY" (try HELP)\r\n',
  );
});

Deno.test("proxyProtocol turns away a trusted peer without a right header", async () => {
  for (
    const [sent, message] of [
      ["PING\n", "expected"],
      ["PROXY TCP4 1.2.3.4", "stream ended after 18 bytes"],
      ["PROXY TCP4 999.2.3.4 1.2.3.4 1 2\r\n", "999.2.3.4"],
    ]
  ) {
    await using running = serveTest(commands, trusting);
    using peer = await Peer.to(running);
    await peer.send(sent);
    await peer.finish();
    assertEquals(await peer.rest(), "");
    const { reason, error } = await running.events.next("connection_rejected");
    assertEquals(reason, "proxy_error");
    assertStringIncludes(String(error), message);
    assertEquals(running.server.requests, 0);
    assertEquals(running.events.of("connection_open"), []);
  }
});

Deno.test("proxyProtocol handles nothing before the header is whole, and waits so long", async () => {
  const clock = new FakeClock();
  await using running = serveTest(commands, trusting, { clock });
  using peer = await Peer.to(running);
  await peer.send("PROXY TCP4 ");
  const { server } = running;
  while (server.received < 11) await turnOfLoop();
  clock.advance(4999);
  await settle();
  assertEquals(running.events.of("connection_rejected"), []);
  clock.advance(2000);
  assertEquals(await peer.rest(), "");
  const { reason, error } = await running.events.next("connection_rejected");
  assertEquals(reason, "proxy_error");
  assertStringIncludes(String(error), "No PROXY header within 5000 ms");
});

Deno.test("serve refuses lists and PROXY options that are not allowed", () => {
  const form = "an address or CIDR such as 10.0.0.0/8 or fd00::/8";
  const bad: [ServeOptions, string][] = [
    [{ allow: "10.0.0.0/33" }, `allow "10.0.0.0/33": expected ${form}`],
    [{ deny: "127.0.0.1,x" }, `deny "x": expected ${form}`],
    [{ allow: "" }, `allow "": expected ${form}`],
    [{ maxConnectionsPerIp: -1 }, "maxConnectionsPerIp -1"],
    [
      { proxyProtocol: "v3" as "v2" },
      'proxyProtocol "v3": expected one of off, v1, v2, any',
    ],
    [{ proxyProtocol: "v2" }, `proxyTrust "": expected ${form}`],
    [{ proxyTrust: "x" }, `proxyTrust "x": expected ${form}`],
  ];
  for (const [options, message] of bad) {
    assertThrows(() => serveTest(echo, options), OptionError, message);
  }
});
