/**
 * {@linkcode serveThread}: what the worker of a threaded server runs.
 *
 * @module
 */

import { closeBackDoors } from "../back_doors.ts";
import { systemClock } from "../clock.ts";
import { Descriptors } from "../descriptors.ts";
import { sendable } from "../errors.ts";
import type { EventListeners, ServerEvent } from "../events.ts";
import type { ErrorHandler, Handler } from "../handler.ts";
import { Counters } from "../metrics.ts";
import { resolveServeOptions } from "../options.ts";
import type { Places } from "../places.ts";
import { type ParleyServer, start } from "../server.ts";
import type { Order, Report, Shared, ThreadEvent } from "./messages.ts";

/** The worker's side of its channel; the types of a page do not have it. */
interface WorkerScope {
  onmessage: ((message: MessageEvent<Order>) => void) | null;
  postMessage(report: Report): void;
  close(): void;
}

const scope = globalThis as unknown as WorkerScope;

/** Options of {@linkcode serveThread}. */
export interface ServeThreadOptions<State = Record<string, unknown>> {
  /** As for `serve`. */
  onError?: ErrorHandler<State>;
}

/**
 * Serves connections in a worker that `serveThreads` has started. Call it once,
 * from the worker's main module, before anything is awaited there.
 *
 * @param handler Answers one request.
 * @param options What cannot be sent from the main thread.
 *
 * @example
 * ```ts ignore
 * import { serveThread } from "@parley/parley";
 *
 * serveThread((request) => request);
 * ```
 */
export function serveThread<State = Record<string, unknown>>(
  handler: Handler<State>,
  options: ServeThreadOptions<State> = {},
): void {
  let server: ParleyServer | undefined;
  let places: SharedPlaces | undefined;
  scope.onmessage = async ({ data: order }) => {
    switch (order.type) {
      case "start": {
        const { index, shared, events, startedAt, uptime, confine } = order;
        const { maxConnections, maxConnectionsPerIp } = resolveServeOptions(
          order.options,
        );
        places = new SharedPlaces(
          maxConnections,
          maxConnectionsPerIp,
          index,
          shared,
        );
        let forced = 0;
        try {
          server = start(
            {
              ...order.options,
              ...options,
              events: {
                ...forwarding(events),
                finished: (event) => forced = event.forced,
              },
            },
            handler,
            {
              counters: new Counters(shared.cells[index], shared.cells),
              places,
              descriptors: new Descriptors(
                systemClock,
                shared.descriptors,
                index,
              ),
              startedAt,
              uptime,
            },
          );
        } catch (error) {
          return scope.postMessage({ type: "failed", error: sendable(error) });
        }
        if (confine) {
          // What is bound needs no permission any more.
          Deno.permissions.revokeSync({ name: "net" });
          closeBackDoors();
        }
        const addr = server.addr as Deno.NetAddr;
        scope.postMessage({ type: "listening", addr });
        // A listener that failed is the loss of this thread.
        await server.finished;
        return scope.postMessage({ type: "finished", forced });
      }
      case "entered":
        return places?.entered(order.call, order.entered);
      case "connections": {
        const value = await server?.connectionList() ?? [];
        return scope.postMessage({ ...order, value });
      }
      case "disconnect": {
        const value = await server?.disconnect(order.id) ?? false;
        const { type, call } = order;
        return scope.postMessage({ type, call, value });
      }
      case "reload_tls":
        return server?.reloadTls(order.pair);
      case "shutdown":
        return void server?.shutdown();
    }
  };
  // A thread that ended itself would be gone without a word.
  Deno.exit = scope.close = () => {
    throw new Error("Cannot end a thread from within: it has connections");
  };
}

/** Listeners that pass events on, for those that somebody listens to. */
function forwarding(types: readonly ThreadEvent[]): EventListeners {
  return Object.fromEntries(types.map((type) => [type, forward]));
}

function forward(event: ServerEvent): void {
  try {
    scope.postMessage({ type: "event", event });
  } catch {
    // Anything may be thrown, also what cannot be sent.
    const { error } = event as { error?: unknown };
    const { message } = sendable(error);
    const sent = { ...event, error: new Error(message) } as ServerEvent;
    scope.postMessage({ type: "event", event: sent });
  }
}

/** Places that all threads share. */
class SharedPlaces implements Places {
  readonly #most: number;
  readonly #mostPerIp: number;
  readonly #index: number;
  readonly #shared: Shared;
  /** Those who wait for the main thread's answer. */
  readonly #waiting = new Map<number, (entered: boolean) => void>();
  #calls = 0;

  constructor(
    most: number,
    mostPerIp: number,
    index: number,
    shared: Shared,
  ) {
    this.#most = most;
    this.#mostPerIp = mostPerIp;
    this.#index = index;
    this.#shared = shared;
  }

  nextId(): number {
    return Number(Atomics.add(this.#shared.lastId, 0, 1n)) + 1;
  }

  /**
   * Counts first and looks then, so that two threads never take the last place
   * both; it can be that neither gets it.
   */
  take(): boolean {
    const { taken } = this.#shared;
    Atomics.add(taken, this.#index, 1);
    if (this.#most === 0) return true;
    let sum = 0;
    for (let i = 0; i < taken.length; i++) sum += Atomics.load(taken, i);
    if (sum <= this.#most) return true;
    this.free();
    return false;
  }

  free(): void {
    Atomics.sub(this.#shared.taken, this.#index, 1);
  }

  /** The main thread counts by address, for all. */
  enter(ip: string): boolean | Promise<boolean> {
    if (this.#mostPerIp === 0) return true;
    const call = ++this.#calls;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#waiting.set(call, resolve);
    scope.postMessage({ type: "enter", call, ip });
    return promise;
  }

  entered(call: number, entered: boolean): void {
    this.#waiting.get(call)?.(entered);
    this.#waiting.delete(call);
  }

  leave(ip: string): void {
    if (this.#mostPerIp > 0) scope.postMessage({ type: "leave", ip });
  }
}
