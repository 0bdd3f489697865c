/**
 * The core's events as log records: what an operator wants to know of each,
 * and how much it matters; `docs/operations.md` has the levels.
 *
 * Strangers can cause some events in great numbers. Those are logged once a
 * second for each reason, with a `count`. No record has a payload.
 */

import type { Logger } from "@logtape/logtape";

import { formatAddr } from "../core/address.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import type {
  CloseReason,
  EventListeners,
  RejectReason,
  ServerEvent,
} from "../events/events.ts";
import type { TlsStatus } from "../tls/identity.ts";

/** How much a record matters, from the least to the most. */
export const logLevels = ["debug", "info", "warn", "error"] as const;

export type LogLevel = typeof logLevels[number];

interface LogOptions {
  /** How many connections are open; asked once a second during a drain. */
  connections: () => number;
  /** When a drain is forced, in milliseconds; 0 for never. */
  drainTimeout: number;
  /** The source of time, for tests. @internal */
  clock?: Clock;
}

/** How often a drain's progress, and repeats, are logged, in milliseconds. */
const INTERVAL = 1000;

/** How much of an error's text and of its stack is logged, in characters. */
const MAX_ERROR = 256;
const MAX_STACK = 4096;

/** What is said of each event, and how much it matters at the most. */
const messages: Readonly<
  Record<ServerEvent["type"], readonly [most: LogLevel, message: string]>
> = {
  listening: ["info", "listening"],
  connection_open: ["debug", "connection opened"],
  connection_close: ["warn", "connection closed"],
  connection_rejected: ["warn", "connection rejected"],
  request: ["debug", "request"],
  slow_request: ["info", "slow request"],
  handler_error: ["error", "handler failed"],
  accept_error: ["error", "cannot accept"],
  pre_drain: ["info", "about to drain"],
  drain: ["info", "draining"],
  thread_lost: ["error", "thread lost"],
  certificate_expiry: ["warn", "certificate has expired"],
  finished: ["info", "finished"],
  admin_action: ["info", "admin action"],
};

/** How much the end or the refusal of a connection matters; `warn` by default. */
const reasonLevels: Readonly<
  Partial<Record<CloseReason | RejectReason, LogLevel>>
> = {
  peer_closed: "debug",
  handler_closed: "debug",
  idle_timeout: "debug",
  shutdown: "debug",
  peer_reset: "info",
  frame_error: "info",
  http_request: "info",
  write_timeout: "info",
  slow_consumer: "info",
  closed: "info",
  denied: "info",
  tls_error: "info",
};

/**
 * Makes the listeners that log a server's events. What the logger does not log
 * at its present level has no listener, so the core does not make those events.
 * The listener for `finished` ends all timers.
 *
 * @example
 * ```ts
 * import { getLogger } from "@logtape/logtape";
 * import { serve } from "@parley/parley";
 * import { logListeners } from "@parley/parley/log";
 *
 * const events = logListeners(getLogger("parley"), {
 *   connections: () => server.connections,
 *   drainTimeout: 10_000,
 * });
 * await using server = serve(
 *   { hostname: "127.0.0.1", port: 0, events },
 *   (request) => request,
 * );
 * ```
 */
export function logListeners(
  logger: Logger,
  { connections, drainTimeout, clock = systemClock }: LogOptions,
): EventListeners {
  const on = {
    debug: logger.isEnabledFor("debug"),
    info: logger.isEnabledFor("info"),
    warn: logger.isEnabledFor("warning"),
    error: logger.isEnabledFor("error"),
  };
  const write = (event: ServerEvent, times = 1, level = levelOf(event)) => {
    const count = times > 1 ? times : undefined;
    logger[level](messageOf(event), { ...fieldsOf(event, on.debug), count });
  };
  const repeats = gatherRepeats(write, clock);
  let endProgress: (() => void) | undefined;
  const logProgress = (forcedAt: number) => {
    endProgress = clock.after(INTERVAL, () => {
      const left = Math.max(Math.round(forcedAt - clock.now()), 0);
      logger.info("drain progress", {
        connections: connections(),
        forced_in_ms: drainTimeout > 0 ? left : undefined,
      });
      logProgress(forcedAt);
    });
  };
  const log = (event: ServerEvent) => {
    if (event.type === "finished") {
      endProgress?.();
      repeats.flush();
    }
    const level = levelOf(event);
    if (!on[level]) return;
    if (level !== "debug" && comesInFloods(event)) {
      const { status, reason = status ?? level } = event as AnyFields;
      const first = repeats.add(`${event.type} ${reason}`, event);
      if (!first && on.debug) write(event, 1, "debug");
    } else write(event);
    if (event.type === "drain") logProgress(clock.now() + drainTimeout);
  };
  return Object.fromEntries(
    Object.entries(messages).map(([type, [most]]) => [
      type,
      on[most] || type === "finished" ? log : undefined,
    ]),
  );
}

/**
 * Reports the first event of a kind at once. The later ones are reported once a
 * second, as the last of them and their count. Kinds must be few, so no peer may
 * be able to invent one.
 */
function gatherRepeats(
  report: (last: ServerEvent, count?: number) => void,
  clock: Clock,
) {
  /** What has come of each kind since its last report. */
  type Gathered = { count: number; last?: ServerEvent; cancel: () => void };
  const kinds = new Map<string, Gathered>();
  const gather = (kind: string) => {
    const cancel = clock.after(INTERVAL, () => {
      const { count, last } = kinds.get(kind)!;
      if (count === 0) return void kinds.delete(kind);
      gather(kind);
      report(last!, count);
    });
    kinds.set(kind, { count: 0, cancel });
  };
  return {
    /** Returns whether the event was reported at once. */
    add(kind: string, event: ServerEvent): boolean {
      const gathered = kinds.get(kind);
      if (gathered === undefined) {
        gather(kind);
        report(event);
        return true;
      }
      gathered.count++;
      gathered.last = event;
      return false;
    },
    flush(): void {
      for (const { count, last, cancel } of kinds.values()) {
        cancel();
        if (count > 0) report(last!, count);
      }
      kinds.clear();
    },
  };
}

function comesInFloods(event: ServerEvent): boolean {
  return "reason" in event || "error" in event ||
    event.type === "slow_request" ||
    event.type === "admin_action" && event.status >= 400;
}

function levelOf(event: ServerEvent): LogLevel {
  switch (event.type) {
    case "connection_close":
    case "connection_rejected":
      // Many clients, and the health checks of proxies, end by a reset. That
      // matters only if a reply was outstanding.
      return event.reason === "peer_reset" && !event.unanswered
        ? "debug"
        : reasonLevels[event.reason] ?? "warn";
    case "accept_error":
      if (event.fatal) return "error";
      // The server does not wait if the peer reset while it was queued.
      return event.retryIn > 0 ? "warn" : "debug";
    default:
      return messages[event.type][0];
  }
}

function messageOf(event: ServerEvent): string {
  if (event.type === "certificate_expiry") {
    const { days, notBefore } = event;
    if (notBefore !== undefined) return "certificate is not valid yet";
    if (days > 0) return `certificate expires within ${days} days`;
  }
  return "fatal" in event && event.fatal
    ? "listener failed"
    : messages[event.type][1];
}

export function certificateFields({ subject, notAfter }: Certificate): Fields {
  return { subject, not_after: new Date(notAfter).toISOString() };
}

/** The fields of an event's record; undefined ones are not written. */
function fieldsOf(event: ServerEvent, stack: boolean): Fields {
  const of: AnyFields = event;
  return {
    addr: of.addr && formatAddr(of.addr),
    conn_id: of.id,
    remote: of.remoteAddr && formatAddr(of.remoteAddr),
    tls: of.tls?.version,
    alpn: of.tls?.alpn,
    ...of.tls?.peer,
    ...of.notAfter !== undefined && certificateFields(event as Certificate),
    not_before: of.notBefore && new Date(of.notBefore).toISOString(),
    action: of.action,
    status: of.status,
    reason: of.reason,
    // The clock is not more exact than a microsecond.
    duration_ms: of.duration && Math.round(of.duration * 1000) / 1000,
    connections: of.connections,
    by: of.by,
    requests: of.requests,
    received_bytes: of.received,
    sent_bytes: of.sent,
    request_bytes: of.requestBytes,
    unanswered: of.unanswered || undefined,
    connections_limit: of.limit,
    delay_ms: of.delay,
    retry_in_ms: of.fatal ? undefined : of.retryIn,
    forced: of.forced,
    // A connection may end without an error.
    ...("error" in of && !("reason" in of && of.error === undefined)) &&
      errorFields(of.error, stack),
  };
}

/** What a record has beside its message. */
export type Fields = Record<string, unknown>;
/** What a record says of a certificate. */
export type Certificate = Pick<TlsStatus, "subject" | "notAfter">;
/** The fields of all events; each event has some of them. */
// deno-lint-ignore no-explicit-any
type AnyFields = Partial<Record<KeyOf<ServerEvent>, any>>;
type KeyOf<Event> = Event extends unknown ? keyof Event : never;

/**
 * An error's name and message, cut to a length. A handler may throw any value,
 * also one whose properties throw when they are read.
 */
function errorFields(error: unknown, withStack: boolean): Fields {
  try {
    if (typeof error !== "object" || error === null || !("message" in error)) {
      return { error: cut(String(error), MAX_ERROR) };
    }
    const { name, message, stack } = error as Partial<Error>;
    const text = message === "" ? `${name}` : `${name ?? "Error"}: ${message}`;
    return {
      error: cut(text, MAX_ERROR),
      stack: withStack && stack ? cut(String(stack), MAX_STACK) : undefined,
    };
  } catch {
    return { error: "an error that cannot be shown" };
  }
}

function cut(text: string, max: number): string {
  return text.length > max ? text.slice(0, max) + "…" : text;
}
