// Pools on the loopback: `connect` and `createPool` with real servers.

import {
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertThrows,
} from "../support/std.ts";

import {
  type Client,
  connect,
  ConnectError,
  ConnectionLostError,
  createPool,
  echo,
  OptionError,
  type Pool,
  type PoolOptions,
  serve,
} from "../../lib/mod.ts";
import { NOBODY, outcome, ownAddress, text } from "../support/fixtures.ts";

const plain = { hostname: "127.0.0.1", port: 0 };

function addrOf({ addr }: { addr: Deno.Addr }): Deno.NetAddr {
  return addr as Deno.NetAddr;
}

Deno.test("connect goes to the first of several servers that is there", async () => {
  await using server = serve(plain, echo);
  await using pool: Pool = await connect({
    servers: [NOBODY, addrOf(server)],
    balance: "failover",
  });
  assertEquals(text(await pool.request("hello")), "hello");
  assertEquals([pool.pending, pool.queued], [0, 0]);
  const error = await assertRejects(
    () => connect({ servers: [NOBODY, NOBODY] }),
    ConnectError,
  );
  const refused =
    `Cannot connect to 127.0.0.1:${NOBODY.port}: connection refused`;
  assertEquals(error.message, `No server is there: ${refused}; ${refused}`);
  // One alone says just that, as it does without a list.
  await assertRejects(
    () => connect({ servers: [NOBODY] }),
    ConnectError,
    refused,
  );
});

Deno.test("a pool says why, where each connection is lost at once", async () => {
  using listener = Deno.listen(plain);
  const closing = (async () => {
    for await (const conn of listener) conn.close();
  })();
  for (let i = 0; i < 20; i++) {
    // It may be lost before the pool is there, or behind that.
    const failure = await outcome((async () => {
      await using pool = await connect({ servers: [addrOf(listener)] });
      return await pool.request("hello", { timeout: 200 });
    })());
    assertInstanceOf(failure, Error);
    assertMatch(failure.message, /127\.0\.0\.1/);
  }
  listener.close();
  await closing;
});

Deno.test("a pool loses nothing that may be repeated when its server restarts", async () => {
  const changes: string[] = [];
  const hostname = ownAddress();
  const held = Promise.withResolvers<void>();
  const first = serve({ hostname, port: 0, drainTimeout: 1 }, () => {
    held.resolve();
    return new Promise(() => {});
  });
  const { port } = addrOf(first);
  await using pool = createPool({
    servers: [{ hostname, port }],
    size: 2,
    onStateChange: (server, error) =>
      void changes.push(`${server} ${error === undefined}`),
  });
  const once = outcome(pool.request("once"));
  const replies = Array.from(
    { length: 40 },
    (_, i) => outcome(pool.request(`${i}`, { idempotent: true })),
  );
  await held.promise;
  await first.shutdown();
  await using second = serve({ hostname, port }, echo);
  assertEquals(
    await Promise.all(replies),
    Array.from({ length: 40 }, (_, i) => `${i}`),
  );
  assertInstanceOf(await once, ConnectionLostError);
  const place = `${hostname}:${port}`;
  assertEquals(changes.slice(0, 3), [
    ...[`${place} true`, `${place} false`, `${place} true`],
  ]);
  assertEquals(second.requests, 40);
});

Deno.test("a pool's Unix sockets and its options are checked at once", () => {
  const table: [Partial<PoolOptions>, RegExp][] = [
    [{ servers: [] }, /^Cannot use servers "": expected a server$/],
    [{ servers: [{ port: -1 }] }, /^Cannot use port -1/],
    [{ servers: [{ hostname: "" }] }, /^Cannot use hostname ""/],
    [{ servers: [{ path: "" }] }, /^Cannot use path ""/],
    [{ servers: [{ path: "/a" }], tls: true }, /^Cannot use tls/],
    [{ balance: "random" as "failover" }, /^Cannot use balance "random"/],
    [{ size: 0 }, /^Cannot use size 0: expected a whole number from 1 to/],
    [{ maxPending: 0 }, /^Cannot use maxPending 0/],
    [{ maxQueued: 0 }, /^Cannot use maxQueued 0/],
    [{ retries: 0.5 }, /^Cannot use retries 0.5/],
    [{ maxDelay: 0 }, /^Cannot use maxDelay 0/],
    [{ checkInterval: 0 }, /^Cannot use checkInterval 0/],
    [{ timeout: -1 }, /^Cannot use timeout -1/],
    [{ isPush: 1 } as object, /^Cannot use isPush 1: expected no such option/],
    [{ servers: [{ host: "a" } as object] }, /^Cannot use host "a"/],
  ];
  for (const [options, message] of table) {
    const error = assertThrows(
      () => createPool({ servers: [{}], ...options }),
      OptionError,
    );
    assertMatch(error.message, message);
  }
});

Deno.test("connect without servers has no option of a pool", async () => {
  await assertRejects(
    (): Promise<Client> => connect({ retries: 1 } as object),
    OptionError,
    "Cannot use retries 1: expected no such option",
  );
});
