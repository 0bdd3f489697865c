/** Writes requests: those of one turn together, and a large one by itself. */

import { Queue } from "../core/queue.ts";
import type { Codec } from "../framing/mod.ts";
import type { Connection } from "../net/connection.ts";
import { Outbox } from "../net/outbox.ts";

export interface Outgoing {
  readonly payload: Uint8Array;
  /** Whether any of it may be on its way. */
  sent: boolean;
}

export type RequestWriter = ReturnType<typeof requestWriter>;

/** `onError` is called once, when a write has failed: there is no other. */
export function requestWriter(
  connection: Connection,
  codec: Codec,
  onError: (error: unknown) => void,
) {
  const outbox = new Outbox();
  const unsent = new Queue<Outgoing>();
  /** A write is under way, or has failed. */
  let writing = false;

  async function write(): Promise<void> {
    writing = true;
    try {
      // What is asked for in the same turn goes out in the same write.
      await undefined;
      while (unsent.length > 0) {
        for (const request of unsent) {
          if (!outbox.add(codec, request.payload)) break;
          request.sent = true;
          unsent.shift();
        }
        if (outbox.length === 0) await writeLarge(unsent.shift()!);
        else await flush();
      }
      writing = false;
    } catch (error) {
      onError(error);
    }
  }

  /** Writes a request by itself, since the outbox has no room for it. */
  async function writeLarge(request: Outgoing): Promise<void> {
    request.sent = true;
    const { payload } = request;
    const sent = outbox.addStart(codec, payload);
    await flush();
    if (sent < payload.length) await connection.write(payload.subarray(sent));
    outbox.addTrailer(codec, payload);
    await flush();
  }

  async function flush(): Promise<void> {
    if (outbox.length > 0) await connection.write(outbox.take());
    outbox.done();
  }

  return {
    add(request: Outgoing): void {
      unsent.push(request);
      if (!writing) write();
    },
    delete: (request: Outgoing): void => unsent.delete(request),
    end(): void {
      unsent.clear();
      // A write that is still pending goes on using this memory: leave it then.
      if (!writing) outbox.clear();
    },
  };
}
