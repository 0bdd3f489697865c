/**
 * Checks that only look whether a port is open: they connect, and leave by an
 * end or a reset. Nothing is wrong then, whatever the port speaks.
 *
 * @module
 */

import { assertEquals } from "../support/std.ts";

import { echo, type ServeOptions } from "../../lib/mod.ts";
import { ONE } from "../support/certificates.ts";
import {
  type Events,
  Peer,
  RudePeer,
  serveTest,
  turnOfLoop,
} from "../support/fixtures.ts";
import { RunningServer, testPrograms } from "../support/programs.ts";

/** What HAProxy says of itself in front of a check (see its specification). */
const LOCAL = "\r\n\r\n\0\r\nQUIT\n \0\0\0";

const CHECKS = 5;

const proxied: ServeOptions = {
  proxyProtocol: "any",
  proxyTrust: "127.0.0.1",
};

const ports: [string, ServeOptions, header: string][] = [
  ["a plain port", {}, ""],
  ["TLS", ONE, ""],
  ["a proxy's port", proxied, ""],
  ["a proxy's port, after LOCAL", proxied, LOCAL],
  ["a proxy's port, after UNKNOWN", proxied, "PROXY UNKNOWN\r\n"],
  ["TLS behind a proxy", { ...ONE, ...proxied }, ""],
  ["TLS behind a proxy, after LOCAL", { ...ONE, ...proxied }, LOCAL],
  [
    "TLS behind a proxy, after UNKNOWN",
    { ...ONE, ...proxied },
    "PROXY UNKNOWN\r\n",
  ],
];

/** Connects, says no more than what a proxy does, and leaves. */
async function check(
  to: { addr: Deno.Addr },
  how: "close" | "finish" | "reset",
  header: string,
): Promise<void> {
  if (how === "reset") {
    const peer = await RudePeer.to(to);
    if (header !== "") await peer.send(header);
    return await peer.reset();
  }
  using peer = await Peer.to(to);
  if (header !== "") await peer.send(header);
  if (how === "close") return;
  await peer.finish();
  assertEquals(await peer.rest(), "");
}

function endsOf(events: Events): number {
  return events.of("connection_close").length +
    events.of("connection_rejected").length;
}

for (const [port, options, header] of ports) {
  for (const how of ["close", "finish", "reset"] as const) {
    Deno.test(`serve counts no error for a check of ${port} (${how})`, async () => {
      await using running = serveTest(echo, options);
      const { server, events } = running;
      for (let i = 1; i <= CHECKS; i++) {
        await check(running, how, header);
        // A reset may have come before it was accepted.
        while (how !== "reset" && endsOf(events) < i) await turnOfLoop();
      }
      await server.shutdown();
      assertEquals(events.of("connection_rejected"), []);
      assertEquals(server.connectionsRejected, 0);
      const { active, accepted, closed } = server.metrics();
      const { peer_closed, peer_reset, ...others } = closed;
      assertEquals(Object.values(others).every((count) => count === 0), true);
      assertEquals([active, accepted], [0, peer_closed + peer_reset]);
      assertEquals(events.of("connection_open").length, accepted);
      assertEquals(events.of("connection_close").length, accepted);
      if (how !== "reset") assertEquals(peer_closed, CHECKS);
    });
  }
}

Deno.test("serve names what is no check: a part of a header or handshake", async () => {
  for (
    const [options, sent, reason] of [
      [{ ...ONE, ...proxied }, LOCAL.slice(0, 9), "proxy_error"],
      [{ ...ONE, ...proxied }, LOCAL + "\x16", "tls_error"],
      [ONE, "\x16", "tls_error"],
    ] as const
  ) {
    await using running = serveTest(echo, options);
    await check(running, "finish", sent).catch(() => {});
    const event = await running.events.next("connection_rejected");
    assertEquals(event.reason, reason);
  }
});

Deno.test("serve cuts who says nothing when its drain is forced, and tells", async () => {
  await using running = serveTest(echo, { ...ONE, drainTimeout: 1 });
  using _silent = await Peer.to(running);
  using second = await Peer.to(running);
  await second.finish();
  await running.events.closed();
  await running.server.shutdown();
  assertEquals(running.events.reasons, ["peer_closed", "forced"]);
  assertEquals(running.events.of("finished")[0].forced, 1);
});

testPrograms("server says nothing above debug of TCP checks", async (way) => {
  const folder = await Deno.makeTempDir();
  try {
    const [cert, key] = [`${folder}/cert.pem`, `${folder}/key.pem`];
    await Deno.writeTextFile(cert, ONE.cert);
    await Deno.writeTextFile(key, ONE.key);
    const tls = ["--tls-cert", cert, "--tls-key", key];
    const proxy = ["--proxy-protocol", "v2", "--proxy-trust", "127.0.0.1"];
    for (
      const [flags, header] of [
        [tls, ""],
        [proxy, ""],
        [proxy, LOCAL],
        [[...tls, ...proxy], ""],
        [[...tls, ...proxy], LOCAL],
      ] as const
    ) {
      await using server = await RunningServer.start(way, [
        ...["--log-level", "debug", "--admin", "127.0.0.1:0"],
        ...flags,
      ]);
      await server.logged("ready");
      for (let i = 0; i < CHECKS; i++) {
        for (const how of ["close", "finish", "reset"] as const) {
          await check(server, how, header);
        }
      }
      // The last one that is no reset; those may not have been accepted.
      const records: Record<string, unknown>[] = [];
      for (let closed = 0; closed < 2 * CHECKS;) {
        const record = JSON.parse(await server.stderr.next());
        records.push(record);
        if (/closed|error/.test(record.reason)) closed++;
      }
      assertEquals(records.filter(({ level }) => level !== "debug"), []);
      const response = await fetch(`${server.admin}/metrics`);
      const rejected = (await response.text()).split("\n").filter((line) =>
        /^parley_connections_rejected_total.* [^0]/.test(line)
      );
      assertEquals(rejected, []);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
