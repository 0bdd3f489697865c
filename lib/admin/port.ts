/**
 * The admin port's listener and its connections: few at a time, with a request
 * each. It works on when no descriptor is free, and keeps no process alive.
 */

import { type Clock, within } from "../core/clock.ts";
import type { Transport } from "../net/connection.ts";
import { type Acceptor, faultOf } from "../net/listen.ts";
import { readRequest, reply, RequestError, sendAnswer } from "./http.ts";

/** A browser has six, and probes come too; one more closes the oldest. */
const MAX_CONNECTIONS = 16;

/** How long to wait before accepting again after a failure, in milliseconds. */
const RETRY = 50;

/** How long `close` waits for answers under way, in milliseconds. */
const LAST_ANSWERS = 100;

export interface PortOptions {
  readonly listener: Acceptor;
  readonly clock: Clock;
  readonly answer: (request: Request, from: Deno.Addr) => Promise<Response>;
  /** What is closed where there is no descriptor left, one for each client. */
  readonly spares: { close(): void }[];
}

export function openPort(
  { listener, clock, answer, spares }: PortOptions,
): { finished: Promise<void>; close(): Promise<void> } {
  /** The connections, the oldest first. */
  const open = new Set<Transport>();
  const answering = new Set<Promise<void>>();
  const finished = Promise.withResolvers<void>();
  const most = spares.length;
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
        const spare = fault === "descriptors" ? spares.pop() : undefined;
        if (spare !== undefined) {
          close(spare);
          continue;
        }
        // A closed descriptor is free once its pending read has ended.
        if (closeOldest()) await new Promise((ended) => setImmediate(ended));
        else await within(clock, RETRY, finished.promise);
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
      const request = await readRequest(conn).catch((error) => {
        if (error instanceof RequestError) return error;
        throw error;
      });
      if (request === undefined) return;
      const head = request instanceof Request && request.method === "HEAD";
      const answered = request instanceof Request
        // A bug here must not end the program, and its text is not for the peer.
        ? answer(request, conn.remoteAddr)
          .catch(() => reply("internal error\n", 500))
        : Promise.resolve(reply(`${request.message}\n`, request.status));
      const sent = answered.then((answer) => sendAnswer(conn, answer, !head));
      answering.add(sent);
      await sent.finally(() => answering.delete(sent));
      // Closing while bytes of the peer are unread would reset the connection,
      // and the peer would lose the answer.
      const bytes = new Uint8Array(1024);
      while (await conn.read(bytes) !== null);
      // Both sides have ended, so its descriptor serves for one that was closed.
      if (spares.length < most && open.delete(conn)) spares.push(conn);
    } catch {
      // The peer is gone, or its connection was closed here.
    } finally {
      if (open.delete(conn)) close(conn);
    }
  }

  async function end(): Promise<void> {
    if (!accepts) return await finished.promise;
    accepts = false;
    listener.close();
    await within(clock, LAST_ANSWERS, Promise.allSettled(answering));
    for (const one of [...open, ...spares]) close(one);
    finished.resolve();
  }

  listener.unref?.();
  acceptAll();
  return { finished: finished.promise, close: end };
}

function close(one: { close(): void }): void {
  try {
    one.close();
  } catch {
    // It is closed already.
  }
}
