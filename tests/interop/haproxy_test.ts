// A real HAProxy in front: its PROXY headers and its health checks.

import { assertEquals } from "../support/std.ts";

import { commands } from "../../lib/mod.ts";
import { freePorts } from "../support/cluster.ts";
import {
  ownAddress,
  Peer,
  serveTest,
  type TestServer,
} from "../support/fixtures.ts";
import { testWithTools } from "../support/programs.ts";

/** Runs HAProxy with some options for its server line. */
class HaProxy implements AsyncDisposable {
  /** Where its clients connect. */
  readonly addr: Deno.Addr;
  readonly #child: Deno.ChildProcess;
  readonly #config: string;

  private constructor(
    child: Deno.ChildProcess,
    addr: Deno.Addr,
    config: string,
  ) {
    this.#child = child;
    this.#config = config;
    this.addr = addr;
  }

  static async start(
    to: TestServer,
    options: string,
    checks = "",
  ): Promise<HaProxy> {
    const hostname = ownAddress();
    const [port] = freePorts(hostname, 1);
    const config = await Deno.makeTempFile({ suffix: ".cfg" });
    await Deno.writeTextFile(
      config,
      `
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend in
  bind ${hostname}:${port}
  default_backend parley
backend parley
  ${checks}
  server one 127.0.0.1:${(to.addr as Deno.NetAddr).port} ${options}
`,
    );
    const child = new Deno.Command("haproxy", {
      args: ["-db", "-q", "-f", config],
      stdout: "null",
      stderr: "null",
    }).spawn();
    const addr = { transport: "tcp", hostname, port } as const;
    return new HaProxy(child, addr, config);
  }

  /** Connects, as soon as it is there. */
  async connect(): Promise<Peer> {
    while (true) {
      try {
        return await Peer.to(this);
      } catch (error) {
        if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGTERM");
    await this.#child.status;
    await Deno.remove(this.#config);
  }
}

for (
  const [send, version] of [
    ["send-proxy", "v1"],
    ["send-proxy-v2", "v2"],
    ["send-proxy-v2 proxy-v2-options crc32c,unique-id", "v2"],
    ["send-proxy-v2", "any"],
  ] as const
) {
  testWithTools(
    `haproxy with ${send} names its client to a server that takes ${version}`,
    ["haproxy"],
    async () => {
      await using running = serveTest(commands, {
        proxyProtocol: version,
        proxyTrust: "127.0.0.1",
      });
      await using proxy = await HaProxy.start(running, send);
      using peer = await proxy.connect();
      const { port } = peer.conn.localAddr as Deno.NetAddr;
      const expected = `id=1 peer=127.0.0.1:${port} framing=line\n`;
      const got = await peer.ask("WHOAMI\n", expected);
      // The id is of the first that was served; retries may have come before.
      assertEquals(got.replace(/^id=\d+/, "id=1"), expected);
    },
  );
}

testWithTools(
  "haproxy asking every 20 ms, and resetting, does a server no harm",
  ["haproxy"],
  async () => {
    await using running = serveTest(commands);
    await using proxy = await HaProxy.start(
      running,
      "check inter 20ms fall 1000 rise 1",
      "option tcp-check\n  tcp-check send PING\\n\n  tcp-check expect string PONG",
    );
    using peer = await proxy.connect();
    const { events } = running;
    const last = await events.next("connection_close", 20);
    assertEquals(last.requests, 1);
    assertEquals(await peer.ask("PING\n", "PONG\n"), "PONG\n");
    assertEquals(events.of("accept_error").filter(({ fatal }) => fatal), []);
  },
);
