/** What a server and its threads tell each other, and the memory they share. */

import { type RateCells, rateCells } from "../core/rate_limit.ts";
import type { ServerEvent } from "../events/events.ts";
import { METRIC_CELLS } from "../events/metrics.ts";
import {
  type DescriptorCells,
  descriptorCells,
} from "../server/descriptors.ts";
import type { PlaceCells } from "../server/places.ts";
import type { ConnectionInfo } from "../server/parley_server.ts";
import type { Hooks, ServeOptions } from "../server/options.ts";
import type { TlsFiles } from "../tls/settings.ts";
import type { SentError } from "./sent_error.ts";

/** Those that can be sent to a thread. */
export type ThreadOptions = Omit<
  ServeOptions,
  "signal" | "onListen" | "events" | keyof Hooks
>;

/** Events that a thread passes on; the others are the whole server's. */
export const threadEvents = [
  ...["connection_open", "connection_close", "connection_rejected"] as const,
  ...["request", "slow_request", "handler_error", "accept_error"] as const,
];

export type ThreadEvent = typeof threadEvents[number];

export interface ThreadStart {
  readonly options: ThreadOptions;
  /** The events that somebody listens to. */
  readonly events: readonly ThreadEvent[];
  /** Its place in the shared memory. */
  readonly index: number;
  readonly shared: Shared;
  /** When the whole server started, in milliseconds since 1970. */
  readonly startedAt: number;
  readonly uptime: number;
  readonly confine: boolean;
}

export type ThreadProcedures = {
  /** Resolves once it is bound. */
  start(start: ThreadStart): Deno.NetAddr;
  connections(): Promise<ConnectionInfo[]>;
  disconnect(id: number): Promise<boolean>;
  reloadTls(files: TlsFiles): Promise<boolean>;
  shutdown(): void;
};

export type SupervisorProcedures = {
  event(event: ServerEvent, error?: SentError): void;
  enter(ip: string): boolean | Promise<boolean>;
  leave(ip: string): void;
  /** It has ended; so many connections were cut. */
  finished(forced: number): void;
};

export interface Shared extends PlaceCells {
  /** The numbers of each thread; see `METRIC_CELLS`. */
  readonly cells: readonly Float64Array[];
  /** The buckets of addresses, for connections and for requests. */
  readonly rates: readonly [RateCells, RateCells];
  readonly descriptors: DescriptorCells;
}

export function share(threads: number): Shared {
  const bytes = (count: number) => new SharedArrayBuffer(count);
  const cells = () => new Float64Array(bytes(METRIC_CELLS * 8));
  return {
    cells: Array.from({ length: threads }, cells),
    taken: new Int32Array(bytes(threads * 4)),
    lastId: new BigInt64Array(bytes(8)),
    rates: [rateCells(), rateCells()],
    descriptors: descriptorCells(threads),
  };
}
