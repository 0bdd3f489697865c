/**
 * The files of a `server`: its certificate, and those of its Unix sockets. Once
 * it is bound, only the keeper may touch them.
 */

import { type FileId, fileId } from "../../net/unix.ts";
import { readKeyPair } from "../flags/tls_files.ts";
import { openKeeper } from "./keeper.ts";

export type ServerFiles = Awaited<ReturnType<typeof openFiles>>;

/**
 * Starts the keeper if there is anything to keep. From then on the program's
 * own permissions can be given up.
 */
export async function openFiles(
  { cert, key, sockets }: {
    /** Empty for none; so is `key`. */
    cert: string;
    key: string;
    sockets: readonly string[];
  },
) {
  const read = cert === "" ? [] : [cert, key];
  const keeper = read.length === 0 && sockets.length === 0
    ? undefined
    : await openKeeper({ read, sockets });
  const files = new Map<string, FileId>();
  const removed = new Map<string, Promise<void>>();
  return {
    /** The certificate, as it is now; nothing without one. */
    readPair: keeper === undefined || cert === ""
      ? undefined
      : () => readKeyPair({ cert, key }, (path) => keeper.readText(path)),
    /** Call it when a socket is bound, so that its file is known. */
    bound(path: string): void {
      files.set(path, fileId(path));
    },
    /**
     * Removes a socket's file, if it is still the one that was bound. It is done
     * once, however often it is asked for; what was not bound is left alone.
     */
    removeSocket(path: string): Promise<void> {
      const file = files.get(path);
      if (keeper === undefined || file === undefined) return Promise.resolve();
      const removal = removed.get(path) ?? keeper.removeSocket(path, file);
      removed.set(path, removal);
      return removal;
    },
  };
}
