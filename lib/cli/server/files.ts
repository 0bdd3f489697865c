/** A `server`'s files, which only the keeper may touch once it is bound. */

import { fileId } from "../../net/unix.ts";
import type { TlsFiles } from "../../tls/settings.ts";
import { readTlsFiles } from "../flags/tls_files.ts";
import type { ServerLine } from "./flags.ts";
import { openKeeper } from "./keeper.ts";
import type { Log } from "./logging.ts";

/** How many descriptors a server has open beside those of its connections. */
const OTHERS = 70;

export type ServerFiles = Awaited<ReturnType<typeof openFiles>>;

/** Starts the keeper if there is anything to keep. */
export async function openFiles(
  { "tls-cert": cert, "tls-key": key, "tls-client-ca": clientCa }:
    ServerLine["flags"],
  sockets: readonly string[],
  { logger }: Log,
  { NOTIFY_SOCKET: notified = "", TMPDIR = "/tmp" }: Record<string, string>,
) {
  const own = `${TMPDIR}/.parley-${crypto.randomUUID()}`;
  let told: Promise<unknown> | undefined;
  const notices = notified === "" ? [] : [notified, own];
  const read = [cert, key, clientCa].filter((path) => path !== "");
  const keeper = read.length + sockets.length + notices.length === 0
    ? undefined
    : await openKeeper({ read, sockets, notices });
  const removals = new Map<string, () => Promise<void> | undefined>();
  return {
    readTls: keeper === undefined || cert === ""
      ? undefined
      : () =>
        readTlsFiles({ cert, key, clientCa }, keeper.readText) as Promise<
          TlsFiles
        >,
    /** Tells systemd, if it asks to be told (`sd_notify(3)`). */
    notify(state: "READY=1" | "STOPPING=1"): void {
      if (notified === "") return;
      told = keeper?.notify(notified, own, state).catch(({ message: error }) =>
        logger.warn("systemd not told", { state, error })
      );
    },
    /** Call it when a socket is bound, so that its file is known. */
    bound(path: string): void {
      const file = fileId(path);
      let removal: Promise<void> | undefined;
      removals.set(path, () =>
        removal ??= keeper?.removeSocket(path, file)
          .catch(({ message }) =>
            logger.error("socket not removed", { path, error: message })
          ));
    },
    /** Removes sockets' files, once, that are still the ones that were bound. */
    async removeSockets(paths = sockets): Promise<void> {
      await Promise.all(paths.map((path) => removals.get(path)?.()));
      await told;
    },
  };
}

/** Says how many connections there are descriptors for, by trying. */
export function descriptorsFor(connections: number): string {
  const needed = connections + OTHERS;
  // At the limit the runtime cannot load what this loads.
  void new Error().stack;
  const closeOne = openSpares(needed);
  let count = 0;
  while (closeOne()) count++;
  return count === needed
    ? "descriptors for all connections"
    : `descriptors for ${
      Math.max(0, count - OTHERS)
    } of ${connections} connections`;
}

/**
 * Opens files that are of no use but to be closed, for when there is no other
 * descriptor left. Gives what closes one, and says whether there was one.
 */
export function openSpares(count: number): () => boolean {
  const path = Deno.build.os === "windows" ? "NUL" : "/dev/null";
  const files: Deno.FsFile[] = [];
  try {
    while (files.length < count) files.push(Deno.openSync(path));
  } catch {
    // Nothing can be kept, and nothing else depends on it.
  }
  return () => {
    const file = files.pop();
    file?.close();
    return file !== undefined;
  };
}
