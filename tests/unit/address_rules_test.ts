// Who may connect, by its address: the lists, the limit and the rate hold from
// accept on, or right behind a proxy's header, and never only after TLS.

import type { RejectReason } from "../../lib/events/events.ts";
import { OptionError, type ServeOptions } from "../../lib/mod.ts";
import { replies } from "../../lib/server/replies.ts";
import { ONE } from "../support/certificates.ts";
import { text } from "../support/fixtures.ts";
import { InMemory, turns } from "../support/in_memory.ts";
import type { MemoryTransport } from "../support/memory_transport.ts";
import { assert, assertEquals, assertThrows } from "../support/std.ts";

const PROXY: ServeOptions = { proxyProtocol: "any", proxyTrust: "10.9.9.9" };
const PROXY_IP = "10.9.9.9";

/** What comes first from a proxy for a client with that address. */
function header(client: string): string {
  return client.includes(":")
    ? `PROXY TCP6 ${client} 2001:db8::1 1 2\r\n`
    : `PROXY TCP4 ${client} 192.0.2.1 1 2\r\n`;
}

/** The ports that there are, and how a client gets to them. */
const ports: Record<string, [ServeOptions, proxied: boolean]> = {
  "a plain port": [{}, false],
  "a TLS port": [ONE, false],
  "a plain port behind a proxy": [PROXY, true],
  "a TLS port behind a proxy": [{ ...PROXY, ...ONE }, true],
  "a plain port, past the proxy": [PROXY, false],
  "a TLS port, past the proxy": [{ ...PROXY, ...ONE }, false],
};

function server(options: ServeOptions): InMemory {
  return new InMemory((request) => request, options);
}

async function connect(
  running: InMemory,
  client: string,
  proxied: boolean,
): Promise<MemoryTransport> {
  const peer = await running.connect(proxied ? PROXY_IP : client);
  if (proxied) peer.push(header(client));
  await turns(3);
  return peer;
}

/** Why connections were turned away so far, by their clients. */
function rejected({ events }: InMemory): [string, RejectReason][] {
  return events.of("connection_rejected").map((
    { remoteAddr, reason },
  ) => [(remoteAddr as Deno.NetAddr).hostname, reason]);
}

async function end(...peers: MemoryTransport[]): Promise<void> {
  for (const peer of peers) peer.end();
  await turns(4);
}

const RATE = { text: "1/h:2", interval: 0, burst: 0 };

/** Rules under which the third client of an address gets no place. */
const rules: [ServeOptions, RejectReason, words: string, served: number][] = [
  [{ deny: "192.0.2.0/24" }, "denied", replies.denied, 0],
  [{ allow: "198.51.100.7" }, "denied", replies.denied, 0],
  [{ maxConnectionsPerIp: 2 }, "busy_ip", replies.busyIp(2), 2],
  [
    { maxConnectionRate: RATE.text },
    "busy_rate",
    replies.busyRate("connection", RATE),
    2,
  ],
];

for (const [port, [base, proxied]] of Object.entries(ports)) {
  for (const [options, reason, words, served] of rules) {
    const [name] = Object.keys(options);

    Deno.test(`${name} holds for who says nothing at ${port}`, async () => {
      await using running = server({ ...base, ...options });
      const peers = [];
      for (let i = 0; i < 4; i++) {
        peers.push(await connect(running, "192.0.2.7", proxied));
      }
      // Those that may not stay have been told so, or closed over TLS.
      const said = base.cert === undefined ? `${words}\n` : "";
      const refused = peers.slice(served);
      for (const { text, closed, finished } of refused) {
        assertEquals([text, closed || finished], [said, true]);
      }
      for (const { text, closed } of peers.slice(0, served)) {
        assertEquals([text, closed], ["", false]);
      }
      assertEquals(
        rejected(running),
        refused.map(() => ["192.0.2.7", reason]),
      );
      const { active, opening, rejected: counts } = running.server.metrics();
      assertEquals([active + opening, counts[reason]], [served, 4 - served]);
      assertEquals((await running.server.connectionList()).length, served);
      // Another one is none of that.
      const other = await connect(running, "198.51.100.7", proxied);
      assertEquals([other.text, other.closed], ["", false]);
      await end(...peers, other);
    });
  }

  Deno.test(`no place is held by who has no right to one at ${port}`, async () => {
    await using running = server({
      ...base,
      maxConnections: 3,
      maxConnectionsPerIp: 2,
      deny: "203.0.113.0/24",
    });
    const peers = [];
    for (let i = 0; i < 50; i++) {
      peers.push(await connect(running, "192.0.2.7", proxied));
      peers.push(await connect(running, "203.0.113.7", proxied));
    }
    const other = await connect(running, "198.51.100.7", proxied);
    assertEquals([other.text, other.closed], ["", false]);
    assertEquals((await running.server.connectionList()).length, 3);
    const reasons = rejected(running).map(([, reason]) => reason);
    // A full server says so, but for who may not connect in any case.
    assertEquals(new Set(reasons), new Set(["busy_ip", "denied"]));
    assertEquals(reasons.length, 98);
    await end(...peers, other);
  });

  Deno.test(`a place goes back however its connection ends at ${port}`, async () => {
    await using running = server({ ...base, maxConnectionsPerIp: 1 });
    const leave: ((peer: MemoryTransport, id: number) => unknown)[] = [
      (peer) => peer.end(),
      (peer) => peer.reset(),
      (_, id) => running.server.disconnect(id),
      // No handshake, or a request and the end.
      (peer) => (peer.push("x\n"), peer.end()),
      () => running.pass(10_000 + 300_000 + 100_000, 5000),
    ];
    for (const [i, go] of leave.entries()) {
      const peer = await connect(running, "192.0.2.7", proxied);
      assertEquals(peer.closed, false, `${i}`);
      const [{ id }] = await running.server.connectionList();
      await go(peer, id);
      await turns(4);
      peer.end();
      await turns(4);
      assertEquals(await running.server.connectionList(), []);
    }
    const reasons = rejected(running).map(([, reason]) => reason);
    assertEquals(reasons.includes("busy_ip"), false);
  });
}

Deno.test("the rules come in one order: lists, rate, memory and places, the limit", async () => {
  const all: ServeOptions = {
    deny: "192.0.2.1",
    maxConnectionRate: "1/h",
    maxConnections: 2,
    maxConnectionsPerIp: 1,
  };
  await using running = server(all);
  const peers = [];
  for (
    const client of [
      ...["192.0.2.2", "192.0.2.3", "192.0.2.1", "192.0.2.2", "192.0.2.4"],
    ]
  ) peers.push(await connect(running, client, false));
  assertEquals(rejected(running), [
    ["192.0.2.1", "denied"],
    ["192.0.2.2", "busy_rate"],
    ["192.0.2.4", "busy"],
  ]);
  await end(...peers);
  await using without = server({ ...all, maxConnectionRate: "9/h" });
  const again = [];
  for (const client of ["192.0.2.2", "192.0.2.2", "192.0.2.1", "192.0.2.3"]) {
    again.push(await connect(without, client, false));
  }
  assertEquals(rejected(without), [
    ["192.0.2.2", "busy_ip"],
    ["192.0.2.1", "denied"],
  ]);
  await end(...again);
});

Deno.test("what is refused over TLS is not read from, nor answered", async () => {
  await using running = server({ ...ONE, maxConnections: 1 });
  const first = await connect(running, "192.0.2.1", false);
  for (let i = 0; i < 300; i++) {
    const peer = running.listener.connect("192.0.2.2");
    peer.push("\x16\x03\x01");
    await turns(1);
    assertEquals([peer.closed, peer.text, peer.reading], [true, "", false]);
  }
  assertEquals(running.server.metrics().received, 0);
  assertEquals(running.server.metrics().rejected.busy, 300);
  await end(first);
});

Deno.test("a proxy's own address is neither denied nor counted", async () => {
  await using running = server({
    ...PROXY,
    deny: PROXY_IP,
    maxConnectionsPerIp: 1,
    maxConnectionRate: "1/h",
  });
  const peers = [];
  for (let i = 0; i < 5; i++) {
    const peer = await connect(running, `192.0.2.${i}`, true);
    peer.push("x\n");
    peers.push(peer);
  }
  await turns(2);
  for (const { text } of peers) assertEquals(text, "x\n");
  // Where the header names nobody it speaks for itself.
  const own = await running.connect(PROXY_IP);
  own.push("PROXY UNKNOWN\r\n");
  await turns(3);
  assertEquals(own.text, `${replies.denied}\n`);
  await end(...peers, own);
});

for (const proxied of [false, true]) {
  const way = proxied ? "by a proxy's header" : "by the connection";

  Deno.test(`an IPv6 address is its prefix, ${way}`, async () => {
    for (
      const [ipPrefix, expected] of [
        [undefined, [2, 2, 2, 2]],
        [128, [100, 2, 2, 2]],
        [48, [2, 0, 2, 2]],
      ] as const
    ) {
      await using running = server({
        ...PROXY,
        maxConnectionsPerIp: 2,
        ipPrefix,
      });
      const served = [];
      const groups: ((i: number) => string)[] = [
        (i) => `2001:db8:0:1::${i.toString(16)}`,
        () => "2001:db8:0:2::1",
        () => "192.0.2.7",
        () => "2001:db8:1:2::1",
      ];
      const peers = [];
      for (const [at, addressOf] of groups.entries()) {
        const before = running.server.connections;
        for (let i = 0; i < (at === 0 ? 100 : 5); i++) {
          peers.push(await connect(running, addressOf(i), proxied));
        }
        served.push(running.server.connections - before);
      }
      assertEquals(served, [...expected]);
      // The same IPv4 client, as a listener on `::` shows it.
      peers.push(await connect(running, "::ffff:192.0.2.7", proxied));
      assertEquals(rejected(running).at(-1)?.[1], "busy_ip");
      await end(...peers);
    }
  });
}

Deno.test("maxConnectionRate lets in its burst, and then one an interval", async () => {
  await using running = server({
    maxConnectionRate: "2/s:3",
    deny: "192.0.2.9",
  });
  const from = async (client: string, count: number) => {
    const before = running.server.connectionsTotal;
    for (let i = 0; i < count; i++) {
      await end(await connect(running, client, false));
    }
    return running.server.connectionsTotal - before;
  };
  assertEquals(await from("192.0.2.1", 9), 3);
  assertEquals(await from("192.0.2.2", 9), 3);
  assertEquals(await from("2001:db8::1", 2), 2);
  assertEquals(await from("2001:db8::2", 9), 1);
  await running.pass(499, 499);
  assertEquals(await from("192.0.2.1", 1), 0);
  await running.pass(1, 1);
  assertEquals(await from("192.0.2.1", 9), 1);
  await running.pass(60_000, 60_000);
  assertEquals(await from("192.0.2.1", 9), 3);
});

Deno.test("maxRequestRate answers what is over it, and goes on", async () => {
  const handled: string[] = [];
  await using running = new InMemory((request) => {
    handled.push(text(request));
    return request.slice();
  }, { maxRequestRate: "2/s:3" });
  const rate = { text: "2/s:3", interval: 0, burst: 0 };
  const busy = replies.busyRate("request", rate);
  const [one, two, other] = [
    await running.connect("2001:db8::1"),
    await running.connect("2001:db8::2"),
    await running.connect("192.0.2.1"),
  ];
  one.push("a\nb\n");
  await turns(2);
  two.push("c\r\nd\r\n");
  other.push("e\n");
  await turns(2);
  one.push("f\ng\n");
  await turns(2);
  assertEquals(one.text, `a\nb\n${busy}\n${busy}\n`);
  assertEquals(two.text, `c\r\n${busy}\r\n`);
  assertEquals(other.text, "e\n");
  await running.pass(500, 500);
  two.push("h\r\ni\r\n");
  await turns(2);
  assertEquals(two.text, `c\r\n${busy}\r\nh\r\n${busy}\r\n`);
  assertEquals(handled, ["a", "b", "c", "e", "h"]);

  const { requests, inFlight, durations } = running.server.metrics();
  assertEquals([requests.ok, requests.busy, inFlight], [5, 4, 0]);
  assertEquals([running.server.requests, durations.count], [5, 5]);
  assertEquals(
    running.events.of("request").filter(({ status }) => status === "busy")
      .map(({ id, duration, requestBytes }) => [id, duration, requestBytes]),
    [[2, 0, 1], [1, 0, 1], [1, 0, 1], [2, 0, 1]],
  );
  const list = await running.server.connectionList();
  assertEquals(
    list.map(({ state, requests, network }) => [
      state,
      requests,
      network,
    ]),
    [
      ["idle", 2, "2001:db8::/64"],
      ["idle", 2, "2001:db8::/64"],
      ["idle", 1, "192.0.2.1"],
    ],
  );
  await end(one, two, other);
  assertEquals(
    running.events.of("connection_close").map(({ requests }) => requests),
    [2, 2, 1],
  );
});

Deno.test("maxRequestRate holds for who sends without reading, in bounded memory", async () => {
  await using running = new InMemory((request) => request, {
    maxRequestRate: "1/h",
  });
  const peer = await running.connect();
  peer.take(100);
  for (let i = 0; i < 50; i++) {
    peer.push("x\n".repeat(1000));
    await turns(2);
  }
  const { held, received } = running.server.metrics();
  assert(held < 300_000, `${held} bytes are held`);
  assert(received < 50 * 2000, "it is read from no more");
  peer.take(Infinity);
  peer.end();
  for (let i = 0; i < 600 && running.server.connections > 0; i++) {
    await turns(1);
  }
  assertEquals(running.server.metrics().requests.busy, 49_999);
  assertEquals(running.events.reasons, ["peer_closed"]);
});

Deno.test("serve refuses rates and prefixes that are none", () => {
  const form = "expected a rate such as 100/s, 600/m, 1000/h or 10/s:50 " +
    "(with its burst), or 0 for no limit";
  for (const name of ["maxConnectionRate", "maxRequestRate"]) {
    for (const rate of ["", "10", "0/s", "10/s:0", "10/day", "10/s "]) {
      assertThrows(
        () => server({ [name]: rate }),
        OptionError,
        `Cannot use ${name} ${JSON.stringify(rate)}: ${form}`,
      );
    }
  }
  for (const ipPrefix of [0, 129, 63.5, NaN]) {
    assertThrows(
      () => server({ ipPrefix }),
      OptionError,
      `Cannot use ipPrefix ${ipPrefix}: expected a whole number from 1 to 128`,
    );
  }
});
