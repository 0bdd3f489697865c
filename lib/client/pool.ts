/**
 * Connections to servers: which one a request goes to, and what becomes of it
 * when that is lost. A server that fails is left alone for a while ("full
 * jitter": clients that lose it together do not come back together), and then
 * connected to again, whether or not a request needs it.
 */

import { formatAddr } from "../core/address.ts";
import { checkNumber } from "../core/checks.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import * as errors from "../core/errors.ts";
import { Queue } from "../core/queue.ts";
import { decodeText, messageOf, quote } from "../core/text.ts";
import type { Pool, RequestOptions, ServersOptions } from "./api.ts";
import type { Place } from "./dial.ts";
import type { Frame } from "./frames.ts";
import type { Hooks, PipelinedClient } from "./pipelined_client.ts";

/** The bound of the first while, in milliseconds. */
const FIRST_DELAY = 100;

/** The options, with the defaults in place of what is left out. */
export interface PoolSettings
  extends
    Required<Omit<ServersOptions, "servers" | "healthCheck" | "onStateChange">>,
    Pick<ServersOptions, "healthCheck" | "onStateChange"> {
  readonly servers: readonly Place[];
  readonly timeout: number;
  link(
    place: Place,
    signal: AbortSignal,
    hooks: Hooks,
  ): Promise<PipelinedClient>;
}

interface Waiter {
  ask(client: PipelinedClient): Promise<Frame>;
  resolve(reply: Promise<Frame>): void;
  reject(error: unknown): void;
}

class Server {
  readonly links: PipelinedClient[] = [];
  opening: Promise<void> | undefined;
  failures = 0;
  error: Error | undefined;
  /** What was told last. */
  connected: boolean | undefined;
  /** There while it is left alone. */
  cancelRetry: (() => void) | undefined;

  constructor(readonly place: Place) {}

  get pending(): number {
    return this.links.reduce((sum, { pending }) => sum + pending, 0);
  }
}

export class ServerPool implements Pool {
  readonly #servers: readonly Server[];
  readonly #waiting = new Queue<Waiter>();
  readonly #closing = new AbortController();
  #turn = 0;
  #cancelCheck: (() => void) | undefined;

  constructor(
    private readonly settings: PoolSettings,
    private readonly clock: Clock = systemClock,
    private readonly random: () => number = Math.random,
  ) {
    this.#servers = settings.servers.map((place) => new Server(place));
    if (settings.healthCheck !== undefined) this.#checkIdle();
  }

  /** Opens a first connection, trying each server once. */
  async open(): Promise<this> {
    for (const server of this.#servers) {
      await this.#open(server);
      if (server.links.length > 0) return this;
    }
    this.close();
    throw this.#unreachable();
  }

  get queued(): number {
    return this.#waiting.length;
  }

  get pending(): number {
    return this.#servers.reduce((sum, server) => sum + server.pending, 0) +
      this.queued;
  }

  request(
    data: Uint8Array | string,
    options: RequestOptions = {},
  ): Promise<Frame> {
    const client = this.queued === 0 ? this.#pick() : undefined;
    // One that has replied refuses no more: there is nothing to see to.
    return client !== undefined && client.received > 0 && !options.idempotent
      ? client.request(data, options)
      : this.#ask(data, options);
  }

  close(): void {
    this.#closing.abort();
    this.#cancelCheck?.();
    for (const { cancelRetry, links } of this.#servers) {
      cancelRetry?.();
      for (const client of [...links]) client.close();
    }
    this.#failAll(closedError());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await Promise.all(this.#servers.map(({ opening }) => opening));
  }

  /** Asks one server, and then another where that is safe. */
  async #ask(
    data: Uint8Array | string,
    { timeout = this.settings.timeout, signal, idempotent }: RequestOptions,
  ): Promise<Frame> {
    checkNumber("timeout", timeout);
    const until = this.clock.now() + (timeout || Infinity);
    const ask = (client: PipelinedClient) => {
      // A timeout of its own costs a finer timer: not for a little less.
      const left = Math.max(until - this.clock.now(), timeout / 8);
      const own = left > timeout * 7 / 8 ? timeout : Math.ceil(left);
      return client.request(data, { signal, timeout: own });
    };
    for (let repeats = idempotent ? this.settings.retries : 0;;) {
      try {
        return await this.#with(ask, until, signal);
      } catch (error) {
        // Who refuses has handled nothing.
        const isSafe = error instanceof errors.RefusedError
          ? this.#usable().length > 0
          : error instanceof errors.ConnectionLostError && repeats-- > 0;
        if (!isSafe) throw error;
      }
    }
  }

  /** Uses a connection as soon as one has room. */
  async #with(
    ask: Waiter["ask"],
    until: number,
    signal?: AbortSignal,
  ): Promise<Frame> {
    if (this.#closing.signal.aborted) throw closedError();
    signal?.throwIfAborted();
    const client = this.queued === 0 ? this.#pick() : undefined;
    if (client !== undefined) return await ask(client);
    const { failFast, maxQueued } = this.settings;
    if (failFast && this.#isDown()) throw this.#unreachable();
    if (this.queued >= maxQueued) throw new errors.PoolBusyError(maxQueued);
    const { promise, resolve, reject } = Promise.withResolvers<Frame>();
    const waiter = { ask, resolve, reject };
    this.#waiting.push(waiter);
    const giveUp = (error: unknown) => {
      this.#waiting.delete(waiter);
      reject(error);
    };
    const abort = () => giveUp(signal!.reason);
    signal?.addEventListener("abort", abort);
    const left = Math.min(until - this.clock.now(), 2 ** 31 - 1);
    const cancel = this.clock.after(left, () => {
      const why = this.#usable().length > 0 ? "all are busy" : this.#reasons();
      giveUp(new errors.TimeoutError(`No connection in time: ${why}`));
    });
    return await promise.finally(() => {
      cancel();
      signal?.removeEventListener("abort", abort);
    });
  }

  /** Hands connections that have room to those who wait. */
  #next(): void {
    for (let client; this.queued > 0 && (client = this.#pick());) {
      const { ask, resolve } = this.#waiting.shift()!;
      resolve(ask(client));
    }
  }

  #failAll(error: Error): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const { reject } of waiting) reject(error);
  }

  /** A connection with room, of the server whose turn it is. */
  #pick(): PipelinedClient | undefined {
    for (const server of this.#order()) {
      const [best] = server.links.toSorted((a, b) => a.pending - b.pending);
      if (best === undefined || best.pending > 0) this.#open(server);
      if (best?.pending < this.settings.maxPending) return best;
    }
  }

  /** The servers that may be asked, the preferred one first. */
  #order(): Server[] {
    const usable = this.#usable();
    const { balance } = this.settings;
    if (balance === "failover") return usable.slice(0, 1);
    const at = this.#turn++ % usable.length;
    const turned = [...usable.slice(at), ...usable.slice(0, at)];
    if (balance === "round-robin") return turned;
    return turned.sort((a, b) => a.pending - b.pending);
  }

  /** Whether none of them has let us connect. One that was lost soon may. */
  #isDown(): boolean {
    return this.#usable().length === 0 &&
      !this.#servers.some(({ error }) =>
        error instanceof errors.ConnectionLostError
      );
  }

  #usable(): Server[] {
    return this.#servers.filter(({ links, cancelRetry }) =>
      links.length > 0 || cancelRetry === undefined
    );
  }

  /** Opens one more connection to a server, if it may have one. */
  #open(server: Server): Promise<void> | undefined {
    const isFull = server.links.length >= this.settings.size;
    if (isFull || server.cancelRetry || this.#closing.signal.aborted) return;
    return server.opening ??= this.#connect(server).finally(() => {
      server.opening = undefined;
    });
  }

  async #connect(server: Server): Promise<void> {
    const { signal } = this.#closing;
    const { links, place } = server;
    let client: PipelinedClient | undefined;
    let lost: Error | undefined;
    try {
      client = await this.settings.link(place, signal, {
        onRoom: () => this.#next(),
        onEnd: (error, pending) => {
          lost = error;
          if (client) this.#lost(server, client, error, pending);
        },
      });
      if (server.failures > 0) await this.#check(client);
      if (lost !== undefined) throw lost;
    } catch (error) {
      client?.close();
      return this.#fail(server, error as Error);
    }
    if (signal.aborted) return client.close();
    if (links.push(client) === 1) this.#tell(server);
    this.#next();
  }

  #lost(
    server: Server,
    client: PipelinedClient,
    error: Error,
    pending: number,
  ): void {
    const at = server.links.indexOf(client);
    if (at === -1) return;
    server.links.splice(at, 1);
    if (error instanceof errors.ClientClosedError) return;
    const refused = error instanceof errors.RefusedError;
    if (client.received > 0 && !refused) server.failures = 0;
    // A server that closes what nobody uses is well.
    if (pending > 0 || refused) this.#fail(server, error);
    else if (server.links.length === 0) this.#tell(server, error);
  }

  /** Leaves a server alone for a while. */
  #fail(server: Server, error: Error): void {
    if (this.#closing.signal.aborted) return;
    server.error = error;
    const bound = FIRST_DELAY * 2 ** server.failures++;
    const delay = this.random() * Math.min(this.settings.maxDelay, bound);
    server.cancelRetry?.();
    server.cancelRetry = this.clock.after(delay, () => {
      server.cancelRetry = undefined;
      this.#open(server);
    });
    if (server.links.length === 0) this.#tell(server, error);
    // Those who wait go to another, which may have no connection yet.
    if (this.#usable().length > 0) this.#next();
    if (this.settings.failFast && this.#isDown()) {
      this.#failAll(this.#unreachable());
    }
  }

  #tell(server: Server, error?: Error): void {
    const { onStateChange } = this.settings;
    const connected = error === undefined;
    if (server.connected === connected) return;
    server.connected = connected;
    const place = { transport: "tcp", ...server.place } as Deno.Addr;
    const change = { server: formatAddr(place), connected, error };
    // What it throws is not to end what is under way here.
    queueMicrotask(() => onStateChange?.(change));
  }

  /** Throws if a server is not well. */
  async #check(client: PipelinedClient): Promise<void> {
    const { healthCheck, checkInterval } = this.settings;
    if (healthCheck === undefined) return;
    const { request, expect } = healthCheck;
    const reply = await client.request(request, { timeout: checkInterval });
    const text = decodeText(reply);
    if (typeof expect === "function" ? expect(reply) : text === expect) return;
    throw new errors.ConnectError(`Health check got the reply ${quote(text)}`);
  }

  #checkIdle(): void {
    const check = (server: Server, client: PipelinedClient) =>
      this.#check(client).catch((error) => {
        // Its loss has been seen to already.
        if (!server.links.includes(client)) return;
        client.close();
        this.#fail(server, error);
      });
    this.#cancelCheck = this.clock.after(this.settings.checkInterval, () => {
      for (const server of this.#servers) {
        for (const client of server.links) {
          if (client.pending === 0) check(server, client);
        }
      }
      this.#checkIdle();
    });
  }

  #reasons(): string {
    return this.#servers.flatMap(({ error = [] }) => error).map(messageOf)
      .join("; ");
  }

  /** Why there is no server, for a request that none was asked. */
  #unreachable(): Error {
    const [{ error }, ...others] = this.#servers;
    const isPlain = others.length === 0 &&
      !(error instanceof errors.ConnectionLostError);
    if (error !== undefined && isPlain) return error;
    return new errors.ConnectError(`No server is there: ${this.#reasons()}`);
  }
}

function closedError(): errors.ClientClosedError {
  return new errors.ClientClosedError("Client is closed");
}
