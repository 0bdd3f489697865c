/** {@linkcode serveThread}: what the worker of a threaded server runs. */

import { closeBackDoors } from "../core/back_doors.ts";
import { checkOptions } from "../core/checks.ts";
import { systemClock } from "../core/clock.ts";
import { OptionError, ParleyError } from "../core/errors.ts";
import type { Framing } from "../framing/mod.ts";
import { Descriptors } from "../server/descriptors.ts";
import type { ServerEvent } from "../events/events.ts";
import { Counters } from "../events/metrics.ts";
import type { ConnectionTask, Handler } from "../server/handler.ts";
import { hookOptions, resolveServeOptions } from "../server/config.ts";
import type { AnyOptions, Hooks } from "../server/options.ts";
import type { ParleyServer } from "../server/parley_server.ts";
import { Places } from "../server/places.ts";
import { type MadeState, startServer, taskOptions } from "../server/serve.ts";
import type { Service } from "../server/server.ts";
import type { SupervisorProcedures, ThreadProcedures } from "./messages.ts";
import { serializeError } from "./sent_error.ts";
import { type Port, WorkerCalls } from "./worker_calls.ts";

/** The worker's own side of its channel, which the types here do not have. */
const scope = globalThis as unknown as Port & { close(): void };

/** Options of {@linkcode serveThread}. */
export interface ServeThreadOptions<State = Record<string, unknown>>
  extends Hooks<State, Deno.NetAddr> {
  /** The framing that `serveThreads` has, if it is none that ships. */
  framing?: Framing;
}

/** Options of {@linkcode serveThreadConnections}. */
export type ThreadTaskOptions<State = Record<string, unknown>> = Pick<
  ServeThreadOptions<State>,
  "framing" | "state" | "onRefuse"
>;

/**
 * Serves connections in a worker that `serveThreads` has started. Call it once,
 * from the worker's main module, before anything is awaited there.
 *
 * @typeParam State What the option `state` makes.
 * @param handler Answers one request.
 * @param options What cannot be sent from the main thread.
 *
 * @example
 * ```ts ignore
 * import { serveThread } from "@parley/parley/threads";
 *
 * serveThread((request) => request);
 * ```
 */
export function serveThread<State>(
  handler: Handler<State, Deno.NetAddr>,
  options: ServeThreadOptions<State> & MadeState<State>,
): void;
/** Serves connections with a handler that keeps no state of its own. */
export function serveThread(
  handler: Handler<Record<string, unknown>, Deno.NetAddr>,
  options?: ServeThreadOptions,
): void;
// deno-lint-ignore no-explicit-any
export function serveThread(handler: Handler<any, any>, options = {}): void {
  startThread(handler, options);
}

/**
 * Serves connections with a task for each, in a worker that `serveThreads` has
 * started. Call it as {@linkcode serveThread}.
 *
 * @typeParam State What the option `state` makes.
 * @param task Serves one connection.
 * @param options What cannot be sent from the main thread.
 */
export function serveThreadConnections<State>(
  task: ConnectionTask<State, Deno.NetAddr>,
  options: ThreadTaskOptions<State> & MadeState<State>,
): void;
/** Serves connections with a task that keeps no state of its own. */
export function serveThreadConnections(
  task: ConnectionTask<Record<string, unknown>, Deno.NetAddr>,
  options?: ThreadTaskOptions,
): void;
// deno-lint-ignore no-explicit-any
export function serveThreadConnections(task: any, options = {}): void {
  startThread({ task }, options);
}

function startThread(service: Service, own: AnyOptions): void {
  if (typeof scope.postMessage !== "function") {
    throw new ParleyError("Cannot serve here: serveThreads runs this module");
  }
  let server!: ParleyServer<Deno.NetAddr>;
  const supervisor: WorkerCalls<SupervisorProcedures> = new WorkerCalls(
    scope,
    {
      start({ options: sent, events, index, shared, confine, ...since }) {
        checkOptions<object>(own, { framing: 0, ...hookOptions });
        const { cells, rates, descriptors } = shared;
        const framing = own.framing ?? sent.framing;
        const all = { ...sent, ...own, framing };
        const tasks = typeof service === "object";
        const options = tasks ? taskOptions(all) : all;
        const config = resolveServeOptions(options, { startTls: "boolean" });
        const { name } = config.framing;
        if (name !== sent.framing) {
          const form = `${sent.framing}, as serveThreads has it`;
          throw new OptionError("framing", name, form);
        }
        const addresses = {
          enter: (ip: string) => supervisor.call("enter", ip),
          leave: (ip: string) => supervisor.tell("leave", ip),
        };
        const forward = (event: ServerEvent & { error?: unknown }) => {
          const { error } = event;
          if (error === undefined) return supervisor.tell("event", event);
          const rest = { ...event, error: undefined };
          supervisor.tell("event", rest, serializeError(error));
        };
        let forced = 0;
        const listeners = {
          ...Object.fromEntries(events.map((type) => [type, forward])),
          finished: (event: { forced: number }) => forced = event.forced,
        };
        server = startServer({ ...options, events: listeners }, service, {
          counters: new Counters(cells[index], cells),
          places: new Places(config, addresses, shared, index),
          rates,
          descriptors: new Descriptors(systemClock, descriptors, index),
          ...since,
        });
        // If the listener fails, this rejects, and the thread counts as lost.
        server.finished.then(() => supervisor.tell("finished", forced));
        if (confine) {
          // What is bound needs no permission any more.
          Deno.permissions.revokeSync({ name: "net" });
          closeBackDoors();
        }
        return server.addr;
      },
      connectionList: () => server.connectionList(),
      disconnect: (id) => server.disconnect(id),
      reloadTls: (files) => server.reloadTls(files),
      shutdown: () => server.shutdown(),
    } satisfies ThreadProcedures,
  );
  // A worker that ends itself is gone without an event to anybody.
  Deno.exit = scope.close = () => {
    throw new Error("Cannot end a thread from within: it has connections");
  };
}
