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
  readonly answer: (request: Request) => Promise<Answer>;
  /** Closes something where there is no descriptor left, and says whether. */
  readonly makeRoom: () => boolean;
}

export class AdminPort {
  readonly #options: PortOptions;
  /** The connections, the oldest first. */
  readonly #open = new Set<Transport>();
  /** The answers that are not out. */
  readonly #answering = new Set<Promise<void>>();
  readonly #closing = Promise.withResolvers<void>();
  readonly #finished = Promise.withResolvers<void>();
  #accepts = true;

  constructor(options: PortOptions) {
    this.#options = options;
    options.listener.unref?.();
    this.#accept();
  }

  get finished(): Promise<void> {
    return this.#finished.promise;
  }

  async close(): Promise<void> {
    if (!this.#accepts) return await this.finished;
    this.#accepts = false;
    this.#closing.resolve();
    this.#options.listener.close();
    const answers = Promise.all(this.#answering);
    await within(this.#options.clock, LAST_ANSWERS, answers);
    for (const conn of this.#open) close(conn);
    this.#finished.resolve();
  }

  async #accept(): Promise<void> {
    while (this.#accepts) {
      try {
        const conn = await this.#options.listener.accept();
        if (this.#open.size >= MAX_CONNECTIONS) this.#closeOldest();
        this.#serve(conn);
      } catch (error) {
        const fault = faultOf(error);
        if (fault === "peer" || !this.#accepts) continue;
        if (fault === "listener") return void this.close();
        if (fault === "descriptors" && this.#options.makeRoom()) continue;
        // What is closed is free once its pending read has been told.
        if (this.#closeOldest()) {
          await new Promise((told) => setImmediate(told));
        } else await within(this.#options.clock, RETRY, this.#closing.promise);
      }
    }
  }

  #closeOldest(): boolean {
    const [oldest] = this.#open;
    if (oldest === undefined) return false;
    this.#open.delete(oldest);
    close(oldest);
    return true;
  }

  async #serve(conn: Transport): Promise<void> {
    (conn as Partial<Deno.TcpConn>).unref?.();
    this.#open.add(conn);
    try {
      await this.#exchange(conn);
      // A peer that has sent more than we have read would lose the answer if we
      // closed now.
      const bytes = new Uint8Array(1024);
      while (await conn.read(bytes) !== null);
    } catch {
      // The peer is gone, or its connection was closed here.
    }
    this.#open.delete(conn);
    close(conn);
  }

  async #exchange(conn: Transport): Promise<void> {
    const request = await readRequest(conn).catch((error) => {
      if (error instanceof RequestError) return error;
      throw error;
    });
    if (request === undefined) return;
    const bare = request instanceof Request && request.method === "HEAD";
    const sent = this.#answer(request)
      .then((answer) => sendAnswer(conn, answer, !bare));
    // It rejects where the client has left before its answer.
    const done = sent.catch(() => {})
      .finally(() => this.#answering.delete(done));
    this.#answering.add(done);
    await sent;
  }

  #answer(request: Request | RequestError): Promise<Answer> {
    if (request instanceof RequestError) {
      const { status, message } = request;
      return Promise.resolve({ status, body: `${message}\n` });
    }
    return this.#options.answer(request)
      // A failure of this port is none of the program's, and not for the peer.
      .catch(() => ({ status: 500, body: "internal error\n" }));
  }
}

/** Closes a connection that may be closed already. */
function close(conn: Transport): void {
  try {
    conn.close();
  } catch {
    // It was.
  }
}
