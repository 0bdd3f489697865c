/**
 * Unix sockets: a listener at a path, a connection to one, and the file that
 * stands for it.
 *
 * The socket is made in a private folder beside its path and only then linked
 * there. That way
 *
 * - nobody can connect before the file has its mode;
 * - a file that is at the path already is never replaced: `link` refuses;
 * - closing the listener, at which Deno removes the path that it has bound,
 *   whoever's file is there by now, removes nothing: the folder is long gone.
 */

import { dirname, join } from "node:path";

import { OptionError } from "../core/errors.ts";
import type { Transport } from "./connection.ts";

export interface UnixPlace {
  readonly path: string;
  readonly mode: number;
}

/** Tells a file from another that takes its place. */
export interface FileId {
  readonly dev: number;
  readonly ino: number | null;
  /** Inode numbers are given again as soon as they are free; times are not. */
  readonly mtime: number | undefined;
}

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
 * Whether a client may connect to a path. Linux's abstract sockets, whose
 * names begin with a NUL, have no file and so no permissions: they are out.
 */
export function isSocketPath(path: unknown): path is string {
  return typeof path === "string" && path !== "" && !path.includes("\0") &&
    byteLength(path) <= MAX_PATH;
}

export function isListenPath(path: unknown): path is string {
  return isSocketPath(path) &&
    byteLength(dirname(path)) + PRIVATE_LENGTH <= MAX_PATH;
}

/**
 * Listens at a path; the listener has what `Deno.Listener` has, and removes its
 * file when it closes.
 *
 * @throws {Deno.errors.AddrInUse} There is a socket at the path.
 * @throws {OptionError} There is something else at the path.
 * @throws {Deno.errors.NotFound} There is no such folder.
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
      if (socketAt(path) === undefined) {
        throw new OptionError("path", path, "a Unix socket there, or nothing");
      }
      throw new Deno.errors.AddrInUse(`There is a socket at ${path}`);
    }
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** Shows a listener at the path that its socket was linked to. */
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
        // While the socket is open nobody else takes the path for free.
        removeFile(path, file);
      } catch {
        // A program that has given its permissions up removes the file itself,
        // and one that is left is found stale by the next.
      }
      bound.close();
    },
    ref: () => bound.ref(),
    unref: () => bound.unref(),
  };
}

/**
 * Connects to a path. It needs no limit of time: the kernel connects or
 * refuses at once.
 */
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
  // A connection to what is no socket is refused as well.
  const found = socketAt(path);
  if (found === undefined) return false;
  try {
    (await Deno.connect({ transport: "unix", path })).close();
    return false;
  } catch (error) {
    if (!(error instanceof Deno.errors.ConnectionRefused)) return false;
  }
  // Another server that starts now may have put its own there in the meantime.
  return removeFile(path, found);
}

/** Removes a file if it is still the one that is meant; whether it was. */
export function removeFile(path: string, file: FileId): boolean {
  try {
    const { dev, ino, mtime } = fileId(path);
    if (dev !== file.dev || ino !== file.ino || mtime !== file.mtime) {
      return false;
    }
    Deno.removeSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

export function fileId(path: string): FileId {
  const { dev, ino, mtime } = Deno.lstatSync(path);
  return { dev, ino, mtime: mtime?.getTime() };
}

function socketAt(path: string): FileId | undefined {
  try {
    return Deno.lstatSync(path).isSocket ? fileId(path) : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Deno says null for the path of a peer that has bound none. */
function unixAddr(path: string | null): Deno.UnixAddr {
  return { transport: "unix", path: path ?? "" };
}

/** Shows a connection's ends as they are known, not as they were bound. */
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

function byteLength(text: string): number {
  return new TextEncoder().encode(text).length;
}
