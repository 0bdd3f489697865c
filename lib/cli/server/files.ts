/**
 * The files of a `server`: its certificate, and those of its Unix sockets. Once
 * it is bound, only the keeper may touch them.
 *
 * @module
 */

import { type FileId, fileId } from "../../net/unix.ts";
import type { TlsKeyPair } from "../../tls/pem.ts";
import { readKeyPair } from "../flags/tls_files.ts";
import { openKeeper } from "./keeper.ts";

/** What there is to keep. */
export interface FilePlaces {
  /** The files of the certificate and its key; empty for none. */
  readonly cert: string;
  readonly key: string;
  /** The paths of the Unix sockets. */
  readonly sockets: readonly string[];
}

/** See the module's text. */
export interface ServerFiles {
  /** The certificate, as it is now; nothing without one. */
  readonly readPair: (() => Promise<TlsKeyPair>) | undefined;
  /**
   * Call it when a socket is bound, so that its file is known.
   *
   * @param path One of `sockets`.
   */
  bound(path: string): void;
  /**
   * Removes a socket's file, if it is still the one that was bound. It is done
   * once, however often it is asked for; what was not bound is left alone.
   *
   * @param path One of `sockets`.
   */
  removeSocket(path: string): Promise<void>;
}

/**
 * Starts the keeper if there is anything to keep. From then on the program's
 * own permissions can be given up.
 *
 * @param places Which files there are.
 */
export async function openFiles(
  { cert, key, sockets }: FilePlaces,
): Promise<ServerFiles> {
  const read = cert === "" ? [] : [cert, key];
  const keeper = read.length === 0 && sockets.length === 0
    ? undefined
    : await openKeeper({ read, sockets });
  const files = new Map<string, FileId>();
  const removed = new Map<string, Promise<void>>();
  return {
    readPair: keeper === undefined || cert === ""
      ? undefined
      : () => readKeyPair({ cert, key }, (path) => keeper.readText(path)),
    bound(path) {
      files.set(path, fileId(path));
    },
    removeSocket(path) {
      const file = files.get(path);
      if (keeper === undefined || file === undefined) return Promise.resolve();
      const removal = removed.get(path) ?? keeper.removeSocket(path, file);
      removed.set(path, removal);
      return removal;
    },
  };
}
