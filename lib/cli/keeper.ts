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

import { type Clock, systemClock } from "../clock.ts";
import { received, TimeoutError } from "../errors.ts";
import type { FileId } from "../unix.ts";
import type { KeeperReply, KeeperRequest } from "./keeper_worker.ts";

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
export const LIMIT = 5000;

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
  const keeper = new WorkerKeeper(worker, clock);
  await keeper.ready;
  return keeper;
}

class WorkerKeeper implements Keeper {
  /** Resolves when the worker is there. */
  readonly ready: Promise<unknown>;
  readonly #worker: Worker;
  readonly #clock: Clock;
  readonly #waiting = new Map<number, PromiseWithResolvers<KeeperReply>>();
  #ids = 0;
  /** Why there is no worker any more. */
  #failure: Error | undefined;

  constructor(worker: Worker, clock: Clock) {
    this.#worker = worker;
    this.#clock = clock;
    this.ready = this.#wait(0);
    worker.onmessage = ({ data }: MessageEvent<KeeperReply>) => {
      this.#waiting.get(data.id)?.resolve(data);
      this.#waiting.delete(data.id);
    };
    worker.onerror = (event) => {
      // Without this, a worker's failure is the end of the program.
      event.preventDefault();
      this.#end(new Error(`The keeper failed: ${event.message}`));
    };
  }

  async readText(path: string): Promise<string> {
    return await this.#ask((id) => ({ id, readText: path })) ?? "";
  }

  async removeSocket(path: string, file: FileId): Promise<void> {
    await this.#ask((id) => ({ id, remove: path, file }));
  }

  [Symbol.dispose](): void {
    this.#worker.terminate();
    this.#end(new Error("The keeper has ended"));
  }

  async #ask(
    request: (id: number) => KeeperRequest,
  ): Promise<string | undefined> {
    if (this.#failure !== undefined) throw this.#failure;
    const id = ++this.#ids;
    const reply = this.#wait(id);
    this.#worker.postMessage(request(id));
    const cancel = this.#clock.after(LIMIT, () => {
      this.#waiting.get(id)?.reject(
        new TimeoutError(`no answer within ${LIMIT} ms`),
      );
      this.#waiting.delete(id);
    });
    const { text, failure } = await reply.finally(cancel);
    if (failure !== undefined) throw received(failure);
    return text;
  }

  #wait(id: number): Promise<KeeperReply> {
    const waiting = Promise.withResolvers<KeeperReply>();
    this.#waiting.set(id, waiting);
    return waiting.promise;
  }

  #end(failure: Error): void {
    this.#failure ??= failure;
    for (const { reject } of this.#waiting.values()) reject(this.#failure);
    this.#waiting.clear();
  }
}
