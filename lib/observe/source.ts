/**
 * What the admin port and the exporters need of a server.
 *
 * @module
 */

import type { ParleyServer } from "../server/parley_server.ts";

/** A running server, as far as its operator is concerned. */
export type AdminSource = Pick<
  ParleyServer,
  | "addr"
  | "connectionList"
  | "disconnect"
  | "draining"
  | "finished"
  | "framing"
  | "limits"
  | "metrics"
  | "ready"
  | "shutdown"
  | "startedAt"
  | "uptime"
  | "threads"
  | "threadsLost"
>;
