/**
 * The keeper: a worker that may read a few files and remove a few sockets,
 * and nothing else. A program that has one gives its own permissions up, so that no
 * handler opens a file; what still has to be read or removed later is asked of
 * the keeper.
 *
 * It is a worker since a Deno process cannot narrow a permission, but start a
 * worker with a narrower one.
 *
 * @module
 */

import { type Clock, systemClock } from "../../core/clock.ts";
import { TimeoutError } from "../../core/errors.ts";
import type { FileId } from "../../net/unix.ts";
import { WorkerCalls } from "../../threads/worker_calls.ts";
import type { KeeperProcedures } from "./keeper_worker.ts";

/** What the keeper may touch. */
export interface KeeperOptions {
  /** The files that it may read. */
  read: readonly string[];
  /** The paths of the Unix sockets that it may remove. */
  sockets?: readonly string[];
}

/**
 * How long the keeper may take for what it is asked, in milliseconds: a file may
 * be a pipe that nobody writes to, or on a disk that is gone.
 */
const LIMIT = 5000;

/** See the module's text. Disposing ends the worker. */
export interface Keeper extends Disposable {
  /**
   * Reads a file of `read`, as it is by now.
   *
   * @param path One of the paths, as it was given.
   * @throws {TimeoutError} It takes too long. Others can be read meanwhile.
   */
  readText(path: string): Promise<string>;
  /**
   * Removes the file of a socket, if it is still the one that is meant.
   *
   * @param path One of `sockets`, as it was given.
   * @param file The file of the socket, of {@linkcode fileId}.
   */
  removeSocket(path: string, file: FileId): Promise<void>;
}

/**
 * Starts a keeper. It needs the permissions that it is to have, and those to
 * read its own module: open it before they are given up.
 *
 * @param options What it may touch.
 * @param clock The source of time.
 * @returns The keeper, at work.
 *
 * @example
 * ```ts
 * import { openKeeper } from "./keeper.ts";
 *
 * const path = await Deno.makeTempFile();
 * using keeper = await openKeeper({ read: [path] });
 * console.log(await keeper.readText(path));
 * ```
 */
export async function openKeeper(
  { read, sockets = [] }: KeeperOptions,
  clock: Clock = systemClock,
): Promise<Keeper> {
  const worker = new Worker(new URL("./keeper_worker.ts", import.meta.url), {
    type: "module",
    name: "keeper",
    deno: {
      permissions: {
        read: [...read, ...sockets],
        write: [...sockets],
        env: false,
        ffi: false,
        import: false,
        net: false,
        run: false,
        sys: false,
      },
    },
  });
  const calls = new WorkerCalls<KeeperProcedures>(worker, {});
  worker.onerror = (event) => {
    // Without this, a worker's failure is the end of the program.
    event.preventDefault();
    calls.end(new Error(`The keeper failed: ${event.message}`));
  };
  await calls.call("ready");
  return {
    readText: (path) => inTime(clock, calls.call("readText", path, LIMIT)),
    async removeSocket(path, file) {
      await inTime(clock, calls.call("removeFile", path, file));
    },
    [Symbol.dispose]() {
      worker.terminate();
      calls.end(new Error("The keeper has ended"));
    },
  };
}

/** Waits for an answer, but not for longer than the limit. */
async function inTime<T>(clock: Clock, answer: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const late = () => reject(new TimeoutError(`no answer within ${LIMIT} ms`));
  const cancel = clock.after(LIMIT, late);
  return await Promise.race([answer, promise]).finally(cancel);
}
