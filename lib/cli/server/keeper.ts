/**
 * The keeper: a worker that may read a few files and remove a few sockets. The
 * program gives its own permissions up, so that no handler opens a file; it
 * cannot narrow them, but start a worker with narrower ones.
 */

import { type Clock, systemClock, within } from "../../core/clock.ts";
import { runtimeWarning } from "../../core/version.ts";
import { TimeoutError } from "../../core/errors.ts";
import type { FileId } from "../../net/unix.ts";
import { WorkerCalls } from "../../threads/worker_calls.ts";
import type { KeeperProcedures } from "./keeper_worker.ts";

/** How long it may take, in milliseconds: a pipe may have nobody who writes. */
const LIMIT = 5000;

/** Starts a keeper, before the permissions that it is to have are given up. */
export async function openKeeper(
  { read, sockets = [], notices = [] }: {
    read: readonly string[];
    sockets?: readonly string[];
    /** Sockets of datagrams. */
    notices?: readonly string[];
  },
  clock: Clock = systemClock,
) {
  const write = [...sockets, ...notices];
  // An older runtime asks for no such permission, and cannot give it.
  const older = runtimeWarning(Deno.version.deno) !== undefined;
  const net = older ? [] : notices.map((path) => `unix:${path}`);
  const permissions = { read: [...read, ...write], write, net };
  const worker = new Worker(new URL("./keeper_worker.ts", import.meta.url), {
    type: "module",
    name: "keeper",
    // It has no permission that is not named.
    deno: { permissions },
  });
  const calls = new WorkerCalls<KeeperProcedures>(worker, {});
  worker.onerror = (event) => {
    // Without this, a worker's failure is the end of the program.
    event.preventDefault();
    calls.end(new Error(`The keeper failed: ${event.message}`));
  };
  await calls.call("ready");
  return {
    readText: (path: string): Promise<string> =>
      inTime(clock, calls.call("readText", path, LIMIT)),
    notify: (to: string, own: string, text: string): Promise<true> =>
      inTime(clock, calls.call("notify", to, own, text)),
    async removeSocket(path: string, file: FileId): Promise<void> {
      await inTime(clock, calls.call("removeFile", path, file));
    },
    [Symbol.dispose](): void {
      worker.terminate();
      calls.end(new Error("The keeper has ended"));
    },
  };
}

async function inTime<T>(clock: Clock, answer: Promise<T>): Promise<T> {
  const value = await within(clock, LIMIT, answer);
  if (value !== undefined) return value;
  throw new TimeoutError(`no answer within ${LIMIT} ms`);
}
