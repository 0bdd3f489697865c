/**
 * The files of a `server`: its certificate, and that of its Unix socket. Once
 * it is bound, only the keeper may touch them.
 *
 * @module
 */

import type { TlsKeyPair } from "../pem.ts";
import { fileId, removeStaleSocket } from "../unix.ts";
import { openKeeper } from "./keeper.ts";
import { readKeyPair } from "./tls_files.ts";

/** The flags that name files; empty for none. */
export interface FileFlags {
  readonly "tls-cert": string;
  readonly "tls-key": string;
  readonly unix: string;
}

/** See the module's text. */
export interface ServerFiles {
  /** The certificate, as it is now; nothing without one. */
  readonly readPair: (() => Promise<TlsKeyPair>) | undefined;
  /** Call it when the socket is bound, so that its file is known. */
  bound(): void;
  /**
   * Removes the socket's file, if it is still the one that was bound. It is
   * done once, however often it is asked for.
   */
  removeSocket(): Promise<void>;
}

/**
 * Clears the way for the socket, and starts the keeper if there is anything to
 * keep. From then on the program's own permissions can be given up.
 *
 * @param flags Which files there are.
 * @throws {OptionError} What is at the socket's path is no socket.
 * @throws {Deno.errors.AddrInUse} Somebody listens there.
 */
export async function openFiles(flags: FileFlags): Promise<ServerFiles> {
  const { "tls-cert": cert, "tls-key": key, unix } = flags;
  if (unix !== "") await removeStaleSocket(unix);
  const read = cert === "" ? [] : [cert, key];
  const keeper = read.length === 0 && unix === ""
    ? undefined
    : await openKeeper({ read, socket: unix || undefined });
  let file: ReturnType<typeof fileId> | undefined;
  let removed: Promise<void> | undefined;
  return {
    readPair: keeper === undefined || cert === ""
      ? undefined
      : () => readKeyPair({ cert, key }, (path) => keeper.readText(path)),
    bound() {
      if (unix !== "") file = fileId(unix);
    },
    removeSocket() {
      if (keeper === undefined || file === undefined) return Promise.resolve();
      return removed ??= keeper.removeSocket(file);
    },
  };
}
