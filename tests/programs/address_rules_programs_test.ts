// The flags that limit each address, and what a web page may send, in the
// programs: by `deno run` and as executables.

import { ONE } from "../support/certificates.ts";
import { Peer } from "../support/fixtures.ts";
import {
  run,
  RunningServer,
  shareOf,
  testPrograms,
} from "../support/programs.ts";
import { Folder } from "../support/socket_files.ts";
import { assert, assertEquals, assertMatch } from "../support/std.ts";

const ADMIN = ["--admin", "127.0.0.1:0"];
const PROXY = ["--proxy-protocol", "v1", "--proxy-trust", "127.0.0.1"];

/** Sends a text and the end, and gives all that comes back. */
async function ask(server: RunningServer, sent: string): Promise<string> {
  using peer = await Peer.to(server);
  await peer.send(sent);
  await peer.finish().catch(() => {});
  return await peer.rest();
}

async function metric(server: RunningServer, name: string): Promise<number> {
  const text = await (await fetch(`${server.admin}/metrics`)).text();
  const line = text.split("\n").find((line) => line.startsWith(`${name} `));
  return Number(line?.slice(name.length + 1));
}

testPrograms(
  "server refuses connections over --max-connection-rate",
  async (way) => {
    await using server = await RunningServer.start(way, [
      ...["--max-connection-rate", "1/h:2", ...ADMIN],
    ]);
    const replies = [];
    for (let i = 0; i < 4; i++) replies.push(await ask(server, "PING\n"));
    const busy =
      "ERR busy: connection rate of 1/h:2 for this address reached\n";
    assertEquals(replies, ["PONG\n", "PONG\n", busy, busy]);
    const record = await server.logged("connection rejected");
    assertEquals([record.level, record.reason], ["warn", "busy_rate"]);
    assertEquals(
      await metric(
        server,
        'parley_connections_rejected_total{reason="busy_rate"}',
      ),
      2,
    );
  },
);

for (const threads of Deno.build.os === "linux" ? ["1", "2"] : ["1"]) {
  testPrograms(
    `server answers requests over --max-request-rate, on ${threads} threads`,
    async (way) => {
      await using server = await RunningServer.start(way, [
        ...["--max-request-rate", "1/h:10", "--threads", threads, ...ADMIN],
      ]);
      const place = `127.0.0.1:${server.addr.port}`;
      const busy =
        "ERR busy: request rate of 1/h:10 for this address reached\n";
      for (let i = 0; i < 4; i++) {
        assertEquals(await run(way, "client", [place, "PING", "PING"]), {
          code: 0,
          stdout: "PONG\nPONG\n",
          stderr: "",
        });
      }
      assertEquals(
        await run(way, "client", [place, "PING", "PING", "PING", "PING"]),
        { code: 0, stdout: "PONG\nPONG\n" + busy + busy, stderr: "" },
      );
      assertEquals(
        await metric(server, 'parley_requests_total{status="ok"}'),
        10,
      );
      assertEquals(
        await metric(server, 'parley_requests_total{status="busy"}'),
        2,
      );
      assertEquals(await metric(server, "parley_requests_in_flight"), 0);
    },
  );
}

testPrograms("server counts IPv6 addresses by --ip-prefix", async (way) => {
  for (const [flags, expected] of [[[], 1], [["--ip-prefix", "128"], 0]]) {
    await using server = await RunningServer.start(way, [
      ...[...PROXY, ...ADMIN, "--max-connections-per-ip", "1"],
      ...flags as string[],
    ]);
    using first = await Peer.to(server);
    await first.send("PROXY TCP6 2001:db8::1 ::1 1 2\r\nPING\n");
    assertEquals(await first.receive(5), "PONG\n");
    const reply = await ask(
      server,
      "PROXY TCP6 2001:db8::2 ::1 1 2\r\nPING\n",
    );
    assertEquals(
      /^ERR busy: connection limit of 1 for/.test(reply) ? 1 : 0,
      expected,
    );
    const { columns, rows: [row] } = await (await fetch(
      `${server.admin}/connections.json`,
    )).json();
    assertEquals(
      row[columns.indexOf("network")],
      expected === 1 ? "2001:db8::/64" : "2001:db8::1/128",
    );
  }
});

testPrograms(
  "server applies its rules for addresses before TLS",
  async (way) => {
    await using folder = await Folder.make();
    const [cert, key] = [`${folder.name}/cert`, `${folder.name}/key`];
    await Deno.writeTextFile(cert, ONE.cert);
    await Deno.writeTextFile(key, ONE.key);
    const tls = ["--tls-cert", cert, "--tls-key", key, ...ADMIN];
    {
      await using server = await RunningServer.start(way, [
        ...[...tls, "--max-connections", "50", "--max-connections-per-ip", "5"],
      ]);
      const peers = [];
      for (let i = 0; i < 50; i++) peers.push(await Peer.to(server));
      for (const peer of peers.slice(5)) assertEquals(await peer.rest(), "");
      assertEquals(await metric(server, "parley_connections_opening"), 5);
      const rejected = 'parley_connections_rejected_total{reason="busy_ip"}';
      assertEquals(await metric(server, rejected), 45);
      for (const peer of peers) peer[Symbol.dispose]();
    }
    await using server = await RunningServer.start(way, [
      ...[...tls, "--deny", "127.0.0.1"],
    ]);
    using silent = await Peer.to(server);
    assertEquals(await silent.rest(), "");
    const record = await server.logged("connection rejected");
    assertEquals([record.level, record.reason], ["info", "denied"]);
    const { code, stderr } = await run(way, "client", [
      ...["--tls", `127.0.0.1:${server.addr.port}`, "PING"],
    ]);
    assertEquals(code, 1);
    assertMatch(
      stderr,
      /^client: .*: closed during the handshake \(denied, or not TLS\?\)\n$/,
    );
  },
);

const POST = "POST / HTTP/1.1\r\nHost: localhost\r\n\r\nECHO run\r\n";

testPrograms("server runs no line of a web page", async (way) => {
  await using server = await RunningServer.start(way, [
    ...[...ADMIN, "--log-level", "debug"],
  ]);
  const refused =
    "ERR malformed frame: an HTTP request, and this port speaks no HTTP\r\n";
  assertEquals(await ask(server, POST), refused);
  const answer = await fetch(`http://127.0.0.1:${server.addr.port}/`, {
    method: "POST",
    body: "\r\nECHO run\r\n",
  }).then(() => "answered", (error) => error.message);
  assert(answer !== "answered", answer);
  // The first of a second at its own level, the others at debug.
  for (const expected of ["info", "debug"]) {
    const { level, reason, requests } = await server.logged(
      "connection closed",
    );
    assertEquals([level, reason, requests], [expected, "http_request", 0]);
  }
  assertEquals(
    await metric(
      server,
      'parley_connections_closed_total{reason="http_request"}',
    ),
    2,
  );
  assertEquals(await metric(server, 'parley_requests_total{status="ok"}'), 0);
});

testPrograms("server takes --http-guard off, and its twin", async (way) => {
  for (
    const [flags, env] of [
      [["--http-guard", "off"], {}],
      [[], { PARLEY_HTTP_GUARD: "off" }],
    ] as const
  ) {
    await using server = await RunningServer.start(way, flags, env);
    assertMatch(await ask(server, POST), /\r\nrun\r\n$/);
  }
});

testPrograms(
  "server refuses rates, prefixes and guards that are none",
  async (way) => {
    const rate = "expected a rate such as 100/s, 600/m, 1000/h or 10/s:50 " +
      "(with its burst), or 0 for no limit";
    for (
      const [flag, value, expected] of shareOf(way, [
        ["--max-connection-rate", "10", rate],
        ["--max-request-rate", "10/s:0", rate],
        ["--ip-prefix", "0", "expected a whole number from 1 to 128"],
        ["--http-guard", "maybe", "expected one of on, off"],
      ])
    ) {
      assertEquals(await run(way, "server", [flag, value]), {
        code: 2,
        stdout: "",
        stderr: `server: ${flag} is ${JSON.stringify(value)}, ${expected}\n`,
      });
    }
  },
);
