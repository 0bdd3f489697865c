/**
 * Unix sockets: a listener at a path, a connection to one, and their file.
 *
 * The socket is made in a private folder beside its path, and then linked to
 * that path. So
 *
 * - nobody can connect before the file has its mode;
 * - a file that is at the path already is never replaced: `link` refuses;
 * - Deno, which removes the path that it has bound when the listener is closed,
 *   removes nobody else's file: the private folder is gone by then.
 */

import { Buffer } from "node:buffer";
import { dirname, join } from "node:path";

import { refuse } from "../core/checks.ts";
import { OptionError } from "../core/errors.ts";
import type { Transport } from "./connection.ts";

export interface UnixPlace {
  readonly path: string;
  readonly mode: number;
}

/** Tells a file from another that takes its place. */
export type FileId = string;

/**
 * The longest path in bytes: what `sun_path` holds without its closing NUL
 * (108 bytes on Linux, `unix(7)`; 104 on macOS and the BSDs).
 */
const MAX_PATH = Deno.build.os === "linux" ? 107 : 103;

/** The private folder and the socket in it: `/.abcdef/s`. */
const PRIVATE_LENGTH = 10;

export const SOCKET_PATH_FORM = `a path of at most ${MAX_PATH} bytes`;

export const LISTEN_PATH_FORM = `${SOCKET_PATH_FORM}, of which at most ` +
  `${MAX_PATH - PRIVATE_LENGTH} name the folder`;

/**
 * Whether a client may connect to a path. Linux's abstract sockets, whose names
 * begin with a NUL, are refused: without a file they have no permissions.
 */
export function isSocketPath(path: unknown): path is string {
  return typeof path === "string" && path !== "" && !path.includes("\0") &&
    Buffer.byteLength(path) <= MAX_PATH;
}

export function isListenPath(path: unknown): path is string {
  return isSocketPath(path) &&
    Buffer.byteLength(dirname(path)) + PRIVATE_LENGTH <= MAX_PATH;
}

/** Checks the options of a listener at a path: `names` are none beside it. */
export function checkListenPath(
  options: { readonly path?: string },
  names: readonly string[],
): void {
  if (!isListenPath(options.path)) {
    throw new OptionError("path", options.path, LISTEN_PATH_FORM);
  }
  refuse(options, names, "beside path");
}

/**
 * Listens at a path, and removes the file when the listener is closed.
 *
 * @throws {Deno.errors.AddrInUse} There is a socket at the path.
 * @throws {OptionError} There is something else at the path.
 */
export function listenUnix({ path, mode }: UnixPlace) {
  const folder = join(dirname(path), `.${crypto.randomUUID().slice(0, 6)}`);
  Deno.mkdirSync(folder, { mode: 0o700 });
  try {
    const socket = join(folder, "s");
    const bound = Deno.listen({ transport: "unix", path: socket });
    try {
      Deno.chmodSync(socket, mode);
      Deno.linkSync(socket, path);
      return listenerAt(path, bound);
    } catch (error) {
      bound.close();
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
      if (Deno.lstatSync(path).isSocket) {
        throw new Deno.errors.AddrInUse(`There is a socket at ${path}`);
      }
      throw new OptionError("path", path, "a Unix socket there, or nothing");
    }
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** A listener that shows the path that its socket was linked to. */
function listenerAt(path: string, bound: Deno.UnixListener) {
  const addr = unixAddr(path);
  const file = fileId(path);
  return {
    addr,
    async accept(): Promise<Transport> {
      const conn = await bound.accept();
      return named(conn, addr, unixAddr(conn.remoteAddr.path));
    },
    close(): void {
      try {
        // Before the socket is closed: another server takes the path of a
        // socket that is closed, and the file would be its own.
        removeFile(path, file);
      } catch {
        // A program that has given its permissions up removes the file by other
        // means. A file that is left is removed as stale by the next server.
      }
      bound.close();
    },
    ref: () => bound.ref(),
    unref: () => bound.unref(),
  };
}

/** Connects to a path. It needs no timeout: the kernel answers at once. */
export async function dialUnix(path: string): Promise<Transport> {
  const conn = await Deno.connect({ transport: "unix", path });
  return named(conn, unixAddr(conn.localAddr.path), unixAddr(path));
}

/**
 * Removes a socket's file that a server has left behind: one at which nobody
 * listens, which is to say that a connection is refused. Anything else stays.
 * Call it before {@linkcode serve} where a server may have been killed.
 *
 * @param path The socket's path.
 * @returns Whether a file was removed.
 *
 * @example
 * ```ts
 * import { connect, echo, removeStaleSocket, serve } from "../mod.ts";
 *
 * const path = `${await Deno.makeTempDir()}/echo.sock`;
 * await removeStaleSocket(path);
 * await using server = serve({ path }, echo);
 * await using client = await connect({ path });
 * console.log(new TextDecoder().decode(await client.request("hello")));
 * ```
 */
export async function removeStaleSocket(path: string): Promise<boolean> {
  const found = ifThere(() => Deno.lstatSync(path).isSocket && fileId(path));
  // A connection to a file that is no socket is refused, too.
  if (!found) return false;
  try {
    (await Deno.connect({ transport: "unix", path })).close();
    return false;
  } catch (error) {
    if (!(error instanceof Deno.errors.ConnectionRefused)) return false;
  }
  // Another server may have put its own socket there in the meantime.
  return removeFile(path, found);
}

/** Removes a file if it is still the one that is meant; whether it was. */
export function removeFile(path: string, file: FileId): boolean {
  return ifThere(() => {
    if (fileId(path) !== file) return false;
    Deno.removeSync(path);
    return true;
  }) ?? false;
}

export function fileId(path: string): FileId {
  // Inode numbers are given again as soon as they are free; times are not.
  const { dev, ino, mtime } = Deno.lstatSync(path);
  return [dev, ino, mtime?.getTime()].join();
}

function ifThere<Result>(look: () => Result): Result | undefined {
  try {
    return look();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Deno says null for the path of a peer that has bound none. */
function unixAddr(path: string | null): Deno.UnixAddr {
  return { transport: "unix", path: path ?? "" };
}

/** Gives a connection the addresses that people know its ends by. */
function named(
  conn: Deno.UnixConn,
  localAddr: Deno.UnixAddr,
  remoteAddr: Deno.UnixAddr,
): Transport {
  return Object.defineProperties(conn, {
    localAddr: { value: localAddr },
    remoteAddr: { value: remoteAddr },
  });
}
