/**
 * The admin port's listener and its connections: few at a time, with a request
 * each. It survives a process without descriptors, and keeps none alive.
 */

import { type Clock, within } from "../core/clock.ts";
import type { Transport } from "../net/connection.ts";
import { type Acceptor, faultOf } from "../net/listen.ts";
import { type Answer, readRequest, RequestError, sendAnswer } from "./http.ts";

/** A browser's six, and probes. For the next one the oldest is closed. */
const MAX_CONNECTIONS = 16;

/** How long to wait before accepting again after a failure, in milliseconds. */
const RETRY = 50;

/** How long the port's end waits for answers on their way, in milliseconds. */
const LAST_ANSWERS = 100;

export interface PortOptions {
  readonly listener: Acceptor;
  readonly clock: Clock;
  readonly answer: (request: Request, from: Deno.Addr) => Promise<Answer>;
  /** Closes something where there is no descriptor left, and says whether. */
  readonly makeRoom: () => boolean;
}

export function openPort(
  { listener, clock, answer, makeRoom }: PortOptions,
): { finished: Promise<void>; close(): Promise<void> } {
  /** The connections, the oldest first. */
  const open = new Set<Transport>();
  const answering = new Set<Promise<void>>();
  const closing = Promise.withResolvers<void>();
  const finished = Promise.withResolvers<void>();
  let accepts = true;

  async function acceptAll(): Promise<void> {
    while (accepts) {
      try {
        const conn = await listener.accept();
        if (open.size >= MAX_CONNECTIONS) closeOldest();
        serve(conn);
      } catch (error) {
        const fault = faultOf(error);
        if (fault === "peer" || !accepts) continue;
        if (fault === "listener") return void end();
        if (fault === "descriptors" && makeRoom()) continue;
        // What is closed is free once its pending read has been told.
        if (closeOldest()) await new Promise((told) => setImmediate(told));
        else await within(clock, RETRY, closing.promise);
      }
    }
  }

  function closeOldest(): boolean {
    const [oldest] = open;
    if (oldest === undefined) return false;
    open.delete(oldest);
    close(oldest);
    return true;
  }

  async function serve(conn: Transport): Promise<void> {
    (conn as Partial<Deno.TcpConn>).unref?.();
    open.add(conn);
    try {
      await exchange(conn);
      // A peer that has sent more than we have read would lose the answer if we
      // closed now.
      const bytes = new Uint8Array(1024);
      while (await conn.read(bytes) !== null);
    } catch {
      // The peer is gone, or its connection was closed here.
    }
    open.delete(conn);
    close(conn);
  }

  async function exchange(conn: Transport): Promise<void> {
    const request = await readRequest(conn).catch((error) => {
      if (error instanceof RequestError) return error;
      throw error;
    });
    if (request === undefined) return;
    const bare = request instanceof Request && request.method === "HEAD";
    const sent = answerTo(request, conn.remoteAddr)
      .then((answer) => sendAnswer(conn, answer, !bare));
    // It rejects where the client has left before its answer.
    const done = sent.catch(() => {}).finally(() => answering.delete(done));
    answering.add(done);
    await sent;
  }

  async function answerTo(
    request: Request | RequestError,
    from: Deno.Addr,
  ): Promise<Answer> {
    if (request instanceof RequestError) {
      return { status: request.status, body: `${request.message}\n` };
    }
    try {
      return await answer(request, from);
    } catch {
      // A failure of this port is none of the program's, and not for the peer.
      return { status: 500, body: "internal error\n" };
    }
  }

  async function end(): Promise<void> {
    if (!accepts) return await finished.promise;
    accepts = false;
    closing.resolve();
    listener.close();
    await within(clock, LAST_ANSWERS, Promise.all(answering));
    for (const conn of open) close(conn);
    finished.resolve();
  }

  listener.unref?.();
  acceptAll();
  return { finished: finished.promise, close: end };
}

function close(conn: Transport): void {
  try {
    conn.close();
  } catch {
    // It was.
  }
}
