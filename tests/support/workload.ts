/**
 * Clients at work while something happens to their servers.
 *
 * @module
 */

import { assertEquals } from "./std.ts";

import { type Client, connect, ConnectionLostError } from "../../lib/mod.ts";
import { text } from "./fixtures.ts";

/** A connection that was not to be had, or a request that has no reply. */
export interface Failure {
  /** The client's port, where it was connected. */
  readonly port?: number;
  readonly error: unknown;
}

/** How many requests a short-lived connection makes. */
const REQUESTS = 10;

/** The load ends by itself: no worker makes more connections than this. */
const MOST_CONNECTIONS = 20_000;

/** Clients at work until they are told to stop. Every reply is compared. */
export class Load implements AsyncDisposable {
  /** Connections made. */
  connections = 0;
  /** Requests that have their reply. */
  requests = 0;
  /** Connections that the server closed in good order while they were idle. */
  closedIdle = 0;
  readonly failures: Failure[] = [];
  readonly #place: { hostname: string; port: number };
  readonly #command: string;
  readonly #workers: Promise<void>[] = [];
  readonly #idle = new Set<Client>();
  #stopping = false;
  #connectNoMore = false;
  #progress = Promise.withResolvers<void>();

  /**
   * @param place Where clients connect.
   * @param ms How long each reply takes the server: a request is under way all
   * the while, and the load leaves the processors to others.
   */
  constructor(place: { hostname: string; port: number }, ms = 0) {
    this.#place = { hostname: place.hostname, port: place.port };
    this.#command = ms > 0 ? `DELAY ${ms}` : "ECHO";
  }

  /** Workers that connect, make ten requests, close, and begin again. */
  shortLived(workers: number): void {
    this.#start(workers, async (client) => {
      for (let i = 0; i < REQUESTS; i++) {
        if (!await this.#request(client)) return;
      }
    });
  }

  /**
   * Workers that keep their connection, and ask as soon as they are answered.
   * Who loses it begins again.
   */
  busy(workers: number): void {
    this.#start(workers, async (client) => {
      while (!this.#stopping && await this.#request(client));
    });
  }

  /**
   * Workers that ask once, wait until the server closes the connection, and
   * begin again. Returns when all have been answered once.
   */
  async idle(workers: number): Promise<void> {
    const goal = this.requests + workers;
    this.#start(workers, async (client) => {
      this.#idle.add(client);
      await this.#request(client);
      const error = await client.closed;
      this.#idle.delete(client);
      // In good order, between two requests: nothing is lost.
      if (closedInGoodOrder(error)) this.closedIdle++;
      else if (error !== undefined) this.#failed(error, client);
    });
    await this.more(goal - this.requests);
  }

  /** Waits until so many more requests have their reply. */
  async more(requests: number): Promise<void> {
    const goal = this.requests + requests;
    while (this.requests < goal) await this.#progress.promise;
  }

  /** From now on, whoever has no connection leaves it at that. */
  connectNoMore(): void {
    this.#connectNoMore = true;
  }

  /** Lets each worker finish what it does, and waits for that. */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const client of this.#idle) client.close();
    await Promise.all(this.#workers);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #start(workers: number, work: (client: Client) => Promise<void>): void {
    for (let i = 0; i < workers; i++) this.#workers.push(this.#repeat(work));
  }

  async #repeat(work: (client: Client) => Promise<void>): Promise<void> {
    for (let n = 0; n < MOST_CONNECTIONS; n++) {
      if (this.#stopping || this.#connectNoMore) return;
      let client;
      try {
        client = await connect(this.#place);
      } catch (error) {
        this.#failed(error);
        continue;
      }
      this.connections++;
      // Whoever is told to stop while it connects would be told by nobody else.
      if (!this.#stopping) await work(client);
      client.close();
    }
  }

  async #request(client: Client): Promise<boolean> {
    const said = `${this.connections} ${this.requests}`;
    try {
      const reply = await client.request(`${this.#command} ${said}`);
      assertEquals(text(reply), said);
    } catch (error) {
      this.#failed(error, client);
      return false;
    }
    this.requests++;
    this.#progress.resolve();
    this.#progress = Promise.withResolvers();
    return true;
  }

  #failed(error: unknown, client?: Client): void {
    this.failures.push({ port: client && portOf(client), error });
  }
}

/** The port of a client's own end. */
export function portOf({ localAddr }: Client): number {
  return (localAddr as Deno.NetAddr).port;
}

/** Whether the server finished the connection, and did not just break off. */
export function closedInGoodOrder(error: unknown): boolean {
  return error instanceof ConnectionLostError && error.cause === undefined;
}
