/** What a server and its threads ask each other, and the memory they share. */

import { rateCells } from "../core/rate_limit.ts";
import type { ServerEvent } from "../events/events.ts";
import { METRIC_CELLS } from "../events/metrics.ts";
import { descriptorCells } from "../server/descriptors.ts";
import type { Hooks, ServeOptions } from "../server/options.ts";
import type { ParleyServer } from "../server/parley_server.ts";
import type { AddressCounts } from "../server/places.ts";
import type { SentError } from "./sent_error.ts";

/** Events that a thread passes on; the others are the whole server's. */
export const threadEvents = [
  ...["connection_open", "connection_close", "connection_rejected"] as const,
  ...["request", "slow_request", "handler_error", "accept_error"] as const,
];

export interface ThreadStart {
  /** Those that can be sent to a thread. */
  readonly options: Omit<
    ServeOptions,
    "signal" | "onListen" | "events" | keyof Hooks
  >;
  /** The events that somebody listens to. */
  readonly events: typeof threadEvents;
  /** Its place in the shared memory. */
  readonly index: number;
  readonly shared: ReturnType<typeof share>;
  /** When the whole server started, in milliseconds since 1970. */
  readonly startedAt: number;
  readonly uptime: number;
  readonly confine: boolean;
}

export type ThreadProcedures =
  & { start(start: ThreadStart): Deno.NetAddr }
  & Pick<
    ParleyServer,
    "connectionList" | "disconnect" | "reloadTls" | "shutdown"
  >;

export type SupervisorProcedures = Pick<AddressCounts, "enter" | "leave"> & {
  event(event: ServerEvent, error?: SentError): void;
  /** The thread has ended; so many connections were cut. */
  finished(forced: number): void;
};

/** Makes the memory that the threads of one server share. */
export function share(threads: number) {
  const bytes = (count: number) => new SharedArrayBuffer(count);
  return {
    /** The numbers of each thread; see `METRIC_CELLS`. */
    cells: Array.from(
      { length: threads },
      () => new Float64Array(bytes(METRIC_CELLS * 8)),
    ),
    taken: new Int32Array(bytes(threads * 4)),
    lastId: new BigInt64Array(bytes(8)),
    /** The buckets of addresses, for connections and for requests. */
    rates: [rateCells(), rateCells()],
    descriptors: descriptorCells(threads),
  };
}
