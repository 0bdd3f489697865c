/**
 * A `server`'s files. The program gives its own permissions up once it is bound,
 * so that no handler opens a file. What it needs later a worker does, the
 * keeper: a program cannot narrow its permissions, but start a worker with
 * narrower ones.
 */

import { closeBackDoors } from "../../core/back_doors.ts";
import { type Clock, systemClock, within } from "../../core/clock.ts";
import { TimeoutError } from "../../core/errors.ts";
import { runtimeWarning } from "../../core/version.ts";
import { type FileId, fileId } from "../../net/unix.ts";
import { WorkerCalls } from "../../threads/worker_calls.ts";
import type { TlsFiles } from "../../tls/settings.ts";
import { readTlsFiles } from "../flags/tls_files.ts";
import type { ServerLine } from "./flags.ts";
import type { KeeperProcedures } from "./keeper_worker.ts";
import type { Log } from "./logging.ts";

/**
 * Gives permissions up, at once: the next turn may handle a request. But the
 * main thread of several, which serves nobody, has still to load and bind those
 * that take the place of others.
 */
export function confine(threads: number): void {
  const serves = threads === 1;
  const always = ["env", "ffi", "import", "run", "sys", "write"] as const;
  for (const name of [...always, ...serves ? ["net", "read"] as const : []]) {
    Deno.permissions.revokeSync({ name });
  }
  if (serves) closeBackDoors();
}

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
  const worker = new Worker(new URL("./keeper_worker.ts", import.meta.url), {
    type: "module",
    name: "keeper",
    // It has no permission that is not named.
    deno: { permissions: { read: [...read, ...write], write, net } },
  });
  const calls = new WorkerCalls<KeeperProcedures>(worker, {});
  worker.onerror = (event) => {
    // Without this, a worker's failure is the end of the program.
    event.preventDefault();
    calls.end(new Error(`The keeper failed: ${event.message}`));
  };
  await calls.call("ready");
  const inTime = async <Answer>(answer: Promise<Answer>): Promise<Answer> => {
    const value = await within(clock, LIMIT, answer);
    if (value !== undefined) return value;
    throw new TimeoutError(`no answer within ${LIMIT} ms`);
  };
  return {
    readText: (path: string) => inTime(calls.call("readText", path, LIMIT)),
    notify: (to: string, own: string, text: string) =>
      inTime(calls.call("notify", to, own, text)),
    removeSocket: (path: string, file: FileId) =>
      inTime(calls.call("removeFile", path, file)),
    [Symbol.dispose](): void {
      worker.terminate();
      calls.end(new Error("The keeper has ended"));
    },
  };
}

export type ServerFiles = Awaited<ReturnType<typeof openFiles>>;

/** Starts the keeper of a server's files, if there is anything to keep. */
export async function openFiles(
  { "tls-cert": cert, "tls-key": key, "tls-client-ca": clientCa }:
    ServerLine["flags"],
  sockets: readonly string[],
  { logger }: Log,
  { NOTIFY_SOCKET: systemd = "", TMPDIR = "/tmp" }: Record<string, string>,
) {
  const own = `${TMPDIR}/.parley-${crypto.randomUUID()}`;
  const notices = systemd === "" ? [] : [systemd, own];
  const read = [cert, key, clientCa].filter((path) => path !== "");
  const keeper = read.length + sockets.length + notices.length === 0
    ? undefined
    : await openKeeper({ read, sockets, notices });
  const files = new Map<string, FileId>();
  /** All that the program must not end before. */
  let pending: Promise<unknown> = Promise.resolve();
  return {
    readTls: keeper === undefined || cert === ""
      ? undefined
      : () =>
        readTlsFiles({ cert, key, clientCa }, keeper.readText) as Promise<
          TlsFiles
        >,
    /** Tells systemd, if it asks to be told (`sd_notify(3)`). */
    notify(state: "READY=1" | "STOPPING=1"): void {
      if (systemd === "") return;
      const told = keeper?.notify(systemd, own, state)
        .catch(({ message: error }) =>
          logger.warn("systemd not told", { state, error })
        );
      pending = Promise.all([pending, told]);
    },
    /** Call it when a socket is bound, so that its file is known. */
    bound(path: string): void {
      files.set(path, fileId(path));
    },
    /** Removes sockets' files, once, that are still the ones that were bound. */
    async removeSockets(paths = sockets): Promise<void> {
      for (const path of paths) {
        const file = files.get(path);
        if (file === undefined) continue;
        files.delete(path);
        const removed = keeper?.removeSocket(path, file)
          .catch(({ message: error }) =>
            logger.error("socket not removed", { path, error })
          );
        pending = Promise.all([pending, removed]);
      }
      await pending;
    },
  };
}
