/** What all connections of one server share. */

import type { Clock } from "../../core/clock.ts";
import type { Connection } from "../../net/connection.ts";
import type { Deadlines } from "../../core/deadlines.ts";
import type { EventListeners } from "../../events/events.ts";
import type { ConnectionTask, Handler } from "../handler.ts";
import type { Hooks } from "../options.ts";
import type { Counters, ServerStats } from "../../events/metrics.ts";
import type { TokenBuckets } from "../../core/rate_limit.ts";
import type { ServeConfig } from "../config.ts";
import type { TlsIdentity } from "../../tls/identity.ts";
import type { MemoryBound } from "../memory.ts";
import type { Scheduler } from "../scheduler.ts";
import type { Ending } from "./ending.ts";
import type { Stage } from "./stage.ts";

export interface SharedContext {
  readonly config: ServeConfig;
  readonly handler: Handler;
  /** Who serves the connections in place of the handler. */
  readonly task: ConnectionTask | undefined;
  readonly hooks: Hooks;
  readonly events: EventListeners;
  readonly deadlines: Deadlines;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly memory: MemoryBound;
  /** The rates that hold for each address; undefined where there is none. */
  readonly connectionRate: TokenBuckets | undefined;
  readonly requestRate: TokenBuckets | undefined;
  readonly stats: ServerStats;
  readonly counters: Counters;
  /** What the server shows its peers, if it speaks TLS. */
  readonly tls: TlsIdentity | undefined;
}

/** One connection, and what goes with it. */
export interface SessionParts {
  readonly id: number;
  readonly connection: Connection;
  readonly stage: Stage;
  readonly ending: Ending;
  readonly context: SharedContext;
}
