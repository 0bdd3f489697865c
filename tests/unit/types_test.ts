// What the types of the library say, of which the compiler is the test. The
// functions are never called.

import {
  type ParleyConnection,
  type ParleyServer,
  type RequestInfo,
  serve,
  serveConnections,
  type ServeOptions,
} from "../../lib/mod.ts";
import {
  serveThread,
  serveThreadConnections,
  serveThreads,
  type ServeThreadsOptions,
} from "../../lib/threads/mod.ts";
import { assertEquals } from "../support/std.ts";

/** Whether two types are the same, and not only assignable. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends
  (<T>() => T extends B ? 1 : 2) ? true : false;

/** Compiles only where a type is as it is said to be. */
function is<Expected, Given>(_: Same<Expected, Given>): void {}

const checks = [
  () => {
    const server = serve((_, { remoteAddr, localAddr, state }) => {
      is<Deno.NetAddr, typeof remoteAddr>(true);
      is<Deno.NetAddr, typeof localAddr>(true);
      is<Record<string, unknown>, typeof state>(true);
    });
    is<Deno.NetAddr, typeof server.addr>(true);
    is<Deno.NetAddr, ReturnType<typeof one>>(true);
    function one() {
      return serveConnections(async ({ remoteAddr }) => {
        is<Deno.NetAddr, typeof remoteAddr>(true);
        await Promise.resolve();
      }).addr;
    }
  },
  () => {
    const server = serve({
      port: 0,
      onListen: (addr) => is<Deno.NetAddr, typeof addr>(true),
      onOpen: ({ remoteAddr }) => is<Deno.NetAddr, typeof remoteAddr>(true),
      onClose: ({ remoteAddr }) => is<Deno.NetAddr, typeof remoteAddr>(true),
      onError: (_, { localAddr }) => is<Deno.NetAddr, typeof localAddr>(true),
    }, (_, { remoteAddr }) => is<Deno.NetAddr, typeof remoteAddr>(true));
    is<Deno.NetAddr, typeof server.addr>(true);
  },
  () => {
    const server = serve({
      path: "/run/one.sock",
      onListen: (addr) => is<Deno.UnixAddr, typeof addr>(true),
      onOpen: ({ remoteAddr }) => is<Deno.UnixAddr, typeof remoteAddr>(true),
    }, (_, { remoteAddr }) => is<Deno.UnixAddr, typeof remoteAddr>(true));
    is<Deno.UnixAddr, typeof server.addr>(true);
  },
  () => {
    const options: ServeOptions = { port: 0 };
    const server = serve(
      options,
      (_, { remoteAddr }) => is<Deno.Addr, typeof remoteAddr>(true),
    );
    is<ParleyServer, typeof server>(true);
    is<Deno.Addr, typeof server.addr>(true);
  },
  () => {
    const state = () => ({ count: 0 });
    const tcp = serveConnections(
      { state, onListen: (addr) => is<Deno.NetAddr, typeof addr>(true) },
      (connection) => {
        is<{ count: number }, typeof connection.state>(true);
        is<Deno.NetAddr, typeof connection.remoteAddr>(true);
      },
    );
    is<Deno.NetAddr, typeof tcp.addr>(true);
    const unix = serveConnections({ state, path: "/run/two.sock" }, (one) => {
      is<{ count: number }, typeof one.state>(true);
      is<Deno.UnixAddr, typeof one.remoteAddr>(true);
    });
    is<Deno.UnixAddr, typeof unix.addr>(true);
  },
  async (options: ServeThreadsOptions) => {
    const server = await serveThreads({
      ...options,
      onListen: (addr) => is<Deno.NetAddr, typeof addr>(true),
    });
    is<Deno.NetAddr, typeof server.addr>(true);
    serveThread((_, { remoteAddr, state }) => {
      is<Deno.NetAddr, typeof remoteAddr>(true);
      is<number, typeof state>(true);
    }, { state: () => 1 });
  },
  (counting: (_: Uint8Array, info: RequestInfo<{ n: number }>) => void) => {
    serve({ state: () => ({ n: 1 }) }, counting);
    // @ts-expect-error: nobody makes its state.
    serve({ port: 0 }, counting);
    // @ts-expect-error: nobody makes its state.
    serve(counting);
    // @ts-expect-error: nobody makes its state.
    serveThread(counting);
    // @ts-expect-error: what is made is another.
    serve({ state: () => ({ m: 1 }) }, counting);
    // @ts-expect-error: there is no such option.
    serve({ prot: 0 }, () => {});
    // @ts-expect-error: a task has no request that could be late.
    serveConnections({ requestTimeout: 0 }, () => {});
    const task = (_: ParleyConnection<{ n: number }, Deno.NetAddr>) => {};
    serveThreadConnections(task, { state: () => ({ n: 1 }) });
    serveThreadConnections(({ state }) => {
      is<{ n: number }, typeof state>(true);
    }, { state: () => ({ n: 1 }) });
    serveThreadConnections(({ state }) => {
      is<Record<string, unknown>, typeof state>(true);
    });
    // @ts-expect-error: nobody makes its state.
    serveThreadConnections(task);
    // @ts-expect-error: nobody makes its state.
    serveThreadConnections(task, {});
    // @ts-expect-error: what is made is another.
    serveThreadConnections(task, { state: () => ({ m: 1 }) });
    // @ts-expect-error: nobody makes its state.
    serveConnections({ port: 0 }, task);
    // Whoever knows of no state is served any.
    serve(
      { state: () => 1 },
      (_: Uint8Array, _info: RequestInfo<unknown>) => {},
    );
  },
];

Deno.test("types say where a server listens, and what state it has", () => {
  assertEquals(
    checks.map((check) => typeof check),
    checks.map(() => "function"),
  );
});
