/** Writes requests: those of one turn together, and a large one by itself. */

import { Queue } from "../core/queue.ts";
import type { Codec } from "../framing/mod.ts";
import type { Connection } from "../net/connection.ts";
import { Outbox } from "../net/outbox.ts";

export interface Outgoing {
  readonly payload: Uint8Array;
  /** Whether any of it may be on its way. */
  sent: boolean;
  /** Who waits until the kernel has taken it. */
  readonly taken?: { resolve(): void; reject(error: Error): void };
}

/** `onError` is called when a write has failed: then there is no further one. */
export function requestWriter(
  connection: Connection,
  codec: Codec,
  maxBuffered: number,
  onError: (error: unknown) => void,
) {
  const outbox = new Outbox();
  const unsent = new Queue<Outgoing>();
  /** Those in the write under way that somebody waits for. */
  const waited: Outgoing[] = [];
  /** A write is under way, or has failed. */
  let writing = false;
  /** The payloads of `unsent`, in bytes. */
  let queued = 0;
  /** All bytes that were ever given to the connection to be written. */
  let given = 0;
  let room: PromiseWithResolvers<void> | undefined;

  async function write(): Promise<void> {
    writing = true;
    try {
      // What is asked for in the same turn goes out in the same write.
      await undefined;
      while (unsent.length > 0) {
        for (const request of unsent) {
          if (!outbox.add(codec, request.payload)) break;
          take();
        }
        if (outbox.length === 0) await writeLarge(take());
        else await flush();
        for (const { taken } of waited) taken?.resolve();
        waited.length = 0;
        makeRoom();
      }
      writing = false;
    } catch (error) {
      onError(error);
    }
  }

  /** Takes the next request out, to be written. */
  function take(): Outgoing {
    const request = unsent.shift()!;
    request.sent = true;
    queued -= request.payload.length;
    if (request.taken !== undefined) waited.push(request);
    return request;
  }

  /** Writes a request by itself, since the outbox has no room for it. */
  async function writeLarge({ payload }: Outgoing): Promise<void> {
    const sent = outbox.addStart(codec, payload);
    given += payload.length - sent;
    await flush();
    if (sent < payload.length) await connection.write(payload.subarray(sent));
    outbox.addTrailer(codec, payload);
    await flush();
  }

  async function flush(): Promise<void> {
    given += outbox.length;
    if (outbox.length > 0) await connection.write(outbox.take());
    outbox.done();
  }

  /** How many bytes the kernel has not taken. */
  function buffered(): number {
    return queued + outbox.length + given - connection.sent;
  }

  /** Tells who waits for room, if there is some. */
  function makeRoom(): void {
    if (buffered() > maxBuffered) return;
    room?.resolve();
    room = undefined;
  }

  return {
    buffered,
    add(request: Outgoing): void {
      unsent.push(request);
      queued += request.payload.length;
      if (!writing) write();
    },
    delete(request: Outgoing): void {
      unsent.delete(request);
      queued -= request.payload.length;
      makeRoom();
    },
    /** Resolves when there is room; also when the connection ends. */
    ready(): Promise<void> {
      if (buffered() <= maxBuffered) return Promise.resolve();
      return (room ??= Promise.withResolvers()).promise;
    },
    end(error: Error): void {
      for (const { taken } of [...waited, ...unsent]) taken?.reject(error);
      unsent.clear();
      room?.resolve();
      // A write that is still pending goes on using this memory: leave it then.
      if (!writing) outbox.clear();
    },
  };
}
