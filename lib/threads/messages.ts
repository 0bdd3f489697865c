/**
 * What a threaded server and its threads tell each other, and the memory that
 * they share.
 *
 * @module
 */

import { type DescriptorCells, descriptorCells } from "../descriptors.ts";
import type { SentError } from "../errors.ts";
import { METRIC_CELLS } from "../metrics.ts";
import type { ServerEvent } from "../events.ts";
import type { ServeOptions } from "../options.ts";
import type { TlsKeyPair } from "../pem.ts";
import type { ConnectionInfo } from "../session.ts";

/** The options that a thread serves with: those that can be sent to it. */
export type ThreadOptions = Omit<
  ServeOptions,
  "signal" | "onListen" | "onError" | "events"
>;

/** Events that a thread passes on; the others are the whole server's. */
export type ThreadEvent = Exclude<
  ServerEvent["type"],
  "listening" | "pre_drain" | "drain" | "finished" | "thread_lost"
>;

/** Every {@linkcode ThreadEvent}. */
export const threadEvents: readonly ThreadEvent[] = [
  "connection_open",
  "connection_close",
  "connection_rejected",
  "request",
  "handler_error",
  "accept_error",
];

/** To a thread. */
export type Order =
  | {
    type: "start";
    options: ThreadOptions;
    events: ThreadEvent[];
    index: number;
    shared: Shared;
    startedAt: number;
    uptime: number;
    confine: boolean;
  }
  | { type: "entered"; call: number; entered: boolean }
  | { type: "connections"; call: number }
  | { type: "disconnect"; call: number; id: number }
  | { type: "reload_tls"; pair: TlsKeyPair }
  | { type: "shutdown" };

/** From a thread. */
export type Report =
  | { type: "listening"; addr: Deno.NetAddr }
  | { type: "failed"; error: SentError }
  | { type: "event"; event: ServerEvent }
  | { type: "enter"; call: number; ip: string }
  | { type: "leave"; ip: string }
  | { type: "connections"; call: number; value: ConnectionInfo[] }
  | { type: "disconnect"; call: number; value: boolean }
  | { type: "finished"; forced: number };

/** Memory that all threads see. */
export interface Shared {
  /** The numbers of each thread; see `METRIC_CELLS`. */
  readonly cells: readonly Float64Array[];
  /** How many places each thread has taken. */
  readonly taken: Int32Array;
  /** The last connection's number. */
  readonly lastId: BigInt64Array;
  /** How many connections there are descriptors for. */
  readonly descriptors: DescriptorCells;
}

/**
 * Makes the memory for a number of threads.
 *
 * @param threads How many.
 */
export function share(threads: number): Shared {
  const bytes = METRIC_CELLS * Float64Array.BYTES_PER_ELEMENT;
  return {
    cells: Array.from(
      { length: threads },
      () => new Float64Array(new SharedArrayBuffer(bytes)),
    ),
    taken: new Int32Array(
      new SharedArrayBuffer(threads * Int32Array.BYTES_PER_ELEMENT),
    ),
    lastId: new BigInt64Array(
      new SharedArrayBuffer(BigInt64Array.BYTES_PER_ELEMENT),
    ),
    descriptors: descriptorCells(threads),
  };
}
