/**
 * Connections to servers: which one a request goes to, and what becomes of it
 * when that is lost. A server that fails is left alone for a while ("full
 * jitter": clients that lose it together do not come back together), and then
 * connected to again, whether or not a request needs it.
 */

import { formatAddr, type Place } from "../core/address.ts";
import { checkNumber } from "../core/checks.ts";
import { type Clock, systemClock, within } from "../core/clock.ts";
import * as errors from "../core/errors.ts";
import { Queue } from "../core/queue.ts";
import { decodeText, messageOf, quote } from "../core/text.ts";
import type { Pool, RequestOptions, ServersOptions } from "./api.ts";
import type { Frame } from "./frames.ts";
import type { Hooks, PipelinedClient } from "./pipelined_client.ts";

/** The bound of the first while, in milliseconds. */
const FIRST_DELAY = 100;

/** How long all servers are waited for when one is there, in milliseconds. */
const HEAD_START = 250;

/** The options, with the defaults in place of what is left out. */
export interface PoolSettings
  extends Required<Omit<ServersOptions, keyof Optional | "servers">>, Optional {
  servers: readonly Place[];
  timeout: number;
  link(at: Place, signal: AbortSignal, hooks: Hooks): Promise<PipelinedClient>;
}

type Optional = Pick<ServersOptions, "healthCheck" | "onStateChange">;

interface Waiter extends PromiseWithResolvers<Frame> {
  ask(client: PipelinedClient): Promise<Frame>;
}

class Server {
  readonly links: PipelinedClient[] = [];
  opening: Promise<void> | undefined;
  failures = 0;
  error: Error | undefined;
  /** What `onStateChange` was told last. */
  connected: boolean | undefined;
  /** Defined while the server is left alone after a failure. */
  cancelRetry: (() => void) | undefined;

  constructor(readonly place: Place) {}

  get pending(): number {
    return this.links.reduce((sum, { pending }) => sum + pending, 0);
  }

  /** Whether a request may be sent to it, or a connection opened. */
  get isUsable(): boolean {
    return this.links.length > 0 || this.cancelRetry === undefined;
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
    const isThere = () => this.#servers.some(({ links }) => links.length > 0);
    if (this.settings.balance !== "failover") {
      // So the first requests are already spread over all servers.
      const all = this.#servers.map((server) => this.#open(server));
      await within(this.clock, HEAD_START, Promise.all(all));
    }
    for (const server of this.#servers) {
      if (!isThere()) await this.#open(server);
    }
    if (isThere()) return this;
    this.close();
    if (this.#servers.length === 1) throw this.#servers[0].error;
    throw new errors.ConnectError(`No server is there: ${this.#reasons()}`);
  }

  get queued(): number {
    return this.#waiting.length;
  }

  get pending(): number {
    return this.#servers.reduce((sum, s) => sum + s.pending, this.queued);
  }

  request(
    data: Uint8Array | string,
    options: RequestOptions = {},
  ): Promise<Frame> {
    const client = this.queued === 0 ? this.#pick() : undefined;
    // After its first reply a connection is not refused any more, so there is
    // nothing to repeat.
    return client !== undefined && client.received > 0 && !options.idempotent
      ? client.request(data, options)
      : this.#ask(data, options, client);
  }

  close(): void {
    const end = new errors.ClientClosedError("Client is closed");
    this.#closing.abort(end);
    this.#cancelCheck?.();
    for (const { cancelRetry, links } of this.#servers) {
      cancelRetry?.();
      for (const client of [...links]) client.close();
    }
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const { reject } of waiting) reject(end);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await Promise.all(this.#servers.map(({ opening }) => opening));
  }

  /** Asks one server, and then another where that is safe. */
  async #ask(
    data: Uint8Array | string,
    { timeout = this.settings.timeout, signal, idempotent }: RequestOptions,
    client?: PipelinedClient,
  ): Promise<Frame> {
    checkNumber("timeout", timeout);
    const until = this.clock.now() + (timeout || Infinity);
    const ask = (client: PipelinedClient) => {
      const left = timeout && Math.max(Math.ceil(until - this.clock.now()), 1);
      return client.request(data, { signal, timeout: left });
    };
    for (let repeats = idempotent ? this.settings.retries : 0;;) {
      this.#closing.signal.throwIfAborted();
      signal?.throwIfAborted();
      try {
        return await (client ? ask(client) : this.#wait(ask, until, signal));
      } catch (error) {
        client = undefined;
        // A server that refuses has handled nothing, so that can be sent again.
        const isSafe = error instanceof errors.RefusedError
          ? this.#servers.some(({ isUsable }) => isUsable)
          : error instanceof errors.ConnectionLostError && repeats-- > 0;
        if (!isSafe) throw error;
      }
    }
  }

  /** Waits for a connection that has room. */
  #wait(
    ask: Waiter["ask"],
    until: number,
    signal?: AbortSignal,
  ): Promise<Frame> {
    const { maxQueued } = this.settings;
    if (this.queued >= maxQueued) {
      throw new errors.PoolBusyError(`${maxQueued} requests wait already`);
    }
    const waiter = { ask, ...Promise.withResolvers<Frame>() };
    this.#waiting.push(waiter);
    this.#next();
    const giveUp = (error: unknown) => {
      this.#waiting.delete(waiter);
      waiter.reject(error);
    };
    const abort = () => giveUp(signal!.reason);
    signal?.addEventListener("abort", abort);
    const left = Math.min(until - this.clock.now(), 2 ** 31 - 1);
    const cancel = this.clock.after(left, () => {
      const why = this.#reasons() || "all are busy, or do not answer";
      giveUp(new errors.TimeoutError(`No connection in time: ${why}`));
    });
    return waiter.promise.finally(() => {
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

  /** A connection with room, of the server whose turn it is. */
  #pick(): PipelinedClient | undefined {
    for (const server of this.#order()) {
      const { links } = server;
      const [best] = links.length < 2
        ? links
        : links.toSorted((a, b) => a.pending - b.pending);
      if (best === undefined || best.pending > 0) this.#open(server);
      if (best?.pending < this.settings.maxPending) return best;
    }
  }

  /** The servers that may be asked, the preferred one first. */
  #order(): Server[] {
    const usable = this.#servers.filter(({ isUsable }) => isUsable);
    const { balance } = this.settings;
    if (balance === "failover") return usable.slice(0, 1);
    const at = this.#turn++ % usable.length;
    const turned = [...usable.slice(at), ...usable.slice(0, at)];
    if (balance === "round-robin") return turned;
    return turned.sort((a, b) => a.pending - b.pending);
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
          const at = links.indexOf(client!);
          if (at === -1) return;
          links.splice(at, 1);
          if (error instanceof errors.ClientClosedError) return;
          const refused = error instanceof errors.RefusedError;
          if (client!.received > 0 && !refused) server.failures = 0;
          // To close a connection that nobody uses is no failure of the server.
          if (pending > 0 || refused) return this.#fail(server, error);
          server.error = error;
          this.#tell(server, error);
        },
      });
      if (server.failures > 0) await this.#check(client);
      if (lost !== undefined) throw lost;
    } catch (error) {
      client?.close();
      return this.#fail(server, error as Error);
    }
    if (signal.aborted) return client.close();
    links.push(client);
    server.error = undefined;
    this.#tell(server);
    this.#next();
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
    this.#tell(server, error);
    // The requests that wait may go to another server.
    this.#next();
  }

  #tell(server: Server, error?: Error): void {
    const connected = server.links.length > 0;
    if (server.connected === connected) return;
    server.connected = connected;
    const place = { transport: "tcp", ...server.place } as Deno.Addr;
    const { onStateChange } = this.settings;
    // If it throws, nothing that is under way here ends by it.
    queueMicrotask(() => onStateChange?.(formatAddr(place), error));
  }

  /** Throws if a server is not well. */
  async #check(client: PipelinedClient): Promise<void> {
    const { healthCheck, checkInterval } = this.settings;
    if (healthCheck === undefined) return;
    const { request, expect } = healthCheck;
    const { signal } = this.#closing;
    const options = { timeout: checkInterval, signal };
    const reply = await client.request(request, options);
    const text = decodeText(reply);
    const isWell = typeof expect === "function"
      ? await this.#judge(async () => await expect(reply))
      : text === expect;
    if (isWell) return;
    throw new errors.ConnectError(`Health check got the reply ${quote(text)}`);
  }

  /** Has a reply judged; nothing comes if that takes too long, or the pool ends. */
  async #judge(judge: () => Promise<boolean>): Promise<boolean | void> {
    const { signal } = this.#closing;
    const ended = Promise.withResolvers<void>();
    const end = () => ended.resolve();
    signal.addEventListener("abort", end);
    const answer = Promise.race([judge(), ended.promise]);
    return await within(this.clock, this.settings.checkInterval, answer)
      .finally(() => signal.removeEventListener("abort", end));
  }

  #checkIdle(): void {
    const check = (server: Server, client: PipelinedClient) =>
      this.#check(client).catch((error) => {
        // If it was lost meanwhile, `onEnd` has been called.
        if (!server.links.includes(client)) return;
        client.close();
        this.#fail(server, error);
      });
    this.#cancelCheck = this.clock.after(this.settings.checkInterval, () => {
      for (const server of this.#servers) {
        const idle = server.links.filter(({ pending }) => pending === 0);
        for (const client of idle) check(server, client);
      }
      this.#checkIdle();
    });
  }

  #reasons(): string {
    return this.#servers.flatMap(({ error = [] }) => error).map(messageOf)
      .join("; ");
  }
}
