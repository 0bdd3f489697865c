/** {@linkcode serveThread}: what the worker of a threaded server runs. */

import { closeBackDoors } from "../core/back_doors.ts";
import { systemClock } from "../core/clock.ts";
import { OptionError } from "../core/errors.ts";
import type { Framing } from "../framing/mod.ts";
import { Descriptors } from "../server/descriptors.ts";
import type { EventListeners, ServerEvent } from "../events/events.ts";
import { Counters } from "../events/metrics.ts";
import type { ConnectionTask, Handler } from "../server/handler.ts";
import { resolveServeOptions } from "../server/config.ts";
import type { AnyOptions, Hooks } from "../server/options.ts";
import type { ParleyServer } from "../server/parley_server.ts";
import { Places } from "../server/places.ts";
import { type MadeState, startServer, taskOptions } from "../server/serve.ts";
import type { Service } from "../server/server.ts";
import type {
  SupervisorProcedures,
  ThreadEvent,
  ThreadProcedures,
} from "./messages.ts";
import { serializeError } from "./sent_error.ts";
import { type Port, WorkerCalls } from "./worker_calls.ts";

/** The worker's side of its channel; the types of a page do not have it. */
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
  startThread(handler, options, (given) => given);
}

/**
 * Serves connections with a task for each, in a worker that `serveThreads` has
 * started. Call it as {@linkcode serveThread}.
 *
 * @typeParam State What the option `state` makes.
 * @param task Serves one connection.
 * @param options What cannot be sent from the main thread.
 */
export function serveThreadConnections<State = Record<string, unknown>>(
  task: ConnectionTask<State, Deno.NetAddr>,
  options: ThreadTaskOptions<State> = {},
): void {
  startThread({ task: task as ConnectionTask }, options, taskOptions);
}

function startThread(
  service: Service,
  options: AnyOptions,
  complete: (options: AnyOptions) => AnyOptions,
): void {
  let server: ParleyServer<Deno.NetAddr> | undefined;
  const supervisor: WorkerCalls<SupervisorProcedures> = new WorkerCalls(
    scope,
    {
      start(order) {
        const { index, shared, startedAt, uptime } = order;
        const { cells, rates, descriptors } = shared;
        const given = complete({ ...order.options, ...options });
        const limits = resolveServeOptions(given, { startTls: 0 });
        const { name } = limits.framing;
        if (name !== order.options.framing) {
          const form = `${order.options.framing}, as serveThreads has it`;
          throw new OptionError("framing", name, form);
        }
        const addresses = {
          enter: (ip: string) => supervisor.call("enter", ip),
          leave: (ip: string) => supervisor.tell("leave", ip),
        };
        let forced = 0;
        const started = server = startServer(
          {
            ...given,
            events: {
              ...forwarding(order.events, supervisor),
              finished: (event) => forced = event.forced,
            },
          },
          service,
          {
            counters: new Counters(cells[index], cells),
            places: new Places(limits, addresses, shared, index),
            rates,
            descriptors: new Descriptors(systemClock, descriptors, index),
            startedAt,
            uptime,
          },
        );
        // A listener that failed is the loss of this thread.
        started.finished.then(() => supervisor.tell("finished", forced));
        if (order.confine) {
          // What is bound needs no permission any more.
          Deno.permissions.revokeSync({ name: "net" });
          closeBackDoors();
        }
        return started.addr;
      },
      connections: async () => await server?.connectionList() ?? [],
      disconnect: async (id) => await server?.disconnect(id) ?? false,
      reloadTls: async (files) => await server?.reloadTls(files) ?? false,
      shutdown: () => void server?.shutdown(),
    } satisfies ThreadProcedures,
  );
  // A thread that ended itself would be gone without a word.
  Deno.exit = scope.close = () => {
    throw new Error("Cannot end a thread from within: it has connections");
  };
}

/** Listeners that pass events on, for those that somebody listens to. */
function forwarding(
  types: readonly ThreadEvent[],
  supervisor: WorkerCalls<SupervisorProcedures>,
): EventListeners {
  const forward = (event: ServerEvent & { error?: unknown }) => {
    const { error } = event;
    if (error === undefined) return supervisor.tell("event", event);
    const rest = { ...event, error: undefined };
    supervisor.tell("event", rest, serializeError(error));
  };
  return Object.fromEntries(types.map((type) => [type, forward]));
}
