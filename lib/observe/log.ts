/**
 * The core's events as log records: what an operator wants to know of each,
 * and how much it matters; `docs/operations.md` has the levels.
 *
 * Whatever strangers can bring about in numbers is told once a second for each
 * reason, with the `count` that the line stands for. No record has a payload.
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

/** How often a drain's progress is told, and repeats are, in milliseconds. */
const PROGRESS = 1000;
const GATHER = 1000;

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

/** Resets matter while a reply is outstanding only; see `levelOf`. */
const closeLevels: Readonly<Record<CloseReason, LogLevel>> = {
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
  request_timeout: "warn",
  overload: "warn",
  forced: "warn",
  error: "warn",
};

const rejectLevels: Readonly<Record<RejectReason, LogLevel>> = {
  denied: "info",
  busy: "warn",
  overload: "warn",
  busy_ip: "warn",
  busy_rate: "warn",
  proxy_error: "warn",
  tls_error: "info",
};

/**
 * Makes the listeners that log a server's events. What the logger does not take
 * now is not listened to, so that the core does not even make those events. The
 * one for `finished` ends all timers.
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
  const write = (level: LogLevel, event: ServerEvent, count?: number) =>
    logger[level](messageOf(event), { ...fieldsOf(event, on.debug), count });
  const repeats = gatherRepeats(
    (event, count) =>
      write(levelOf(event), event, count > 1 ? count : undefined),
    clock,
  );
  let endProgress: (() => void) | undefined;
  const log = (event: ServerEvent) => {
    if (event.type === "finished") {
      endProgress?.();
      repeats.flush();
    }
    const level = levelOf(event);
    if (!on[level]) return;
    // These may come in floods: each but the first is told at debug.
    if (level !== "debug" && comesInFloods(event)) {
      const { reason = level }: { reason?: string | number } = "status" in event
        ? { reason: event.status }
        : event as object;
      const first = repeats.add(`${event.type} ${reason}`, event);
      if (!first && on.debug) write("debug", event);
    } else write(level, event);
    if (event.type === "drain") {
      endProgress = logProgress(logger, { connections, drainTimeout, clock });
    }
  };
  return Object.fromEntries(
    Object.entries(messages).map(([type, [most]]) => [
      type,
      on[most] || type === "finished" ? log : undefined,
    ]),
  );
}

function logProgress(
  logger: Logger,
  { connections, drainTimeout, clock }: Required<LogOptions>,
): () => void {
  const forcedAt = clock.now() + drainTimeout;
  let cancel: () => void;
  const next = () => {
    cancel = clock.after(PROGRESS, () => {
      const left = Math.max(Math.round(forcedAt - clock.now()), 0);
      logger.info("drain progress", {
        connections: connections(),
        forced_in_ms: drainTimeout > 0 ? left : undefined,
      });
      next();
    });
  };
  next();
  return () => cancel();
}

/**
 * Reports the first event of a kind at once, and those of each second after it
 * together at its end. Kinds must be few, and none that a peer can make up.
 */
function gatherRepeats(
  report: (last: ServerEvent, count: number) => void,
  clock: Clock,
) {
  /** What has come of each kind since its last report. */
  type Gathered = { count: number; last?: ServerEvent; cancel: () => void };
  const kinds = new Map<string, Gathered>();
  const gather = (kind: string) => {
    const cancel = clock.after(GATHER, () => {
      const { count, last } = kinds.get(kind)!;
      if (count === 0) return void kinds.delete(kind);
      gather(kind);
      report(last!, count);
    });
    kinds.set(kind, { count: 0, cancel });
  };
  return {
    /** Says whether it was reported on its own. */
    add(kind: string, event: ServerEvent): boolean {
      const gathered = kinds.get(kind);
      if (gathered === undefined) {
        gather(kind);
        report(event, 1);
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
      // Many a client, and every health check of a proxy, leaves by a reset.
      return event.reason === "peer_reset" && !event.unanswered
        ? "debug"
        : closeLevels[event.reason];
    case "connection_rejected":
      return rejectLevels[event.reason];
    case "accept_error":
      if (event.fatal) return "error";
      // Without a wait it was the peer, which reset while it was queued.
      return event.retryIn > 0 ? "warn" : "debug";
    default:
      return messages[event.type][0];
  }
}

function messageOf(event: ServerEvent): string {
  if (event.type === "certificate_expiry" && event.days > 0) {
    return `certificate expires within ${event.days} days`;
  }
  return "fatal" in event && event.fatal
    ? "listener failed"
    : messages[event.type][1];
}

export function certificateFields({ subject, notAfter }: Certificate): Fields {
  return { subject, not_after: new Date(notAfter).toISOString() };
}

/** What a record has of an event; what is undefined is left out. */
function fieldsOf(event: ServerEvent, stack: boolean): Fields {
  // deno-lint-ignore no-explicit-any -- some event or other has it
  const of: Partial<Record<KeyOf<ServerEvent>, any>> = event;
  return {
    addr: of.addr && formatAddr(of.addr),
    conn_id: of.id,
    remote: of.remoteAddr && formatAddr(of.remoteAddr),
    tls: of.tls?.version,
    alpn: of.tls?.alpn,
    ...of.tls?.peer,
    ...of.notAfter !== undefined && certificateFields(event as Certificate),
    action: of.action,
    status: of.status,
    reason: of.reason,
    // More digits than microseconds are noise of the clock.
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
    // A connection ends without an error, too.
    ...("error" in of && !("reason" in of && of.error === undefined)) &&
      errorFields(of.error, stack),
  };
}

/** What a record has beside its message. */
export type Fields = Record<string, unknown>;
/** What is said of a certificate. */
export type Certificate = Pick<TlsStatus, "subject" | "notAfter">;
type KeyOf<Event> = Event extends unknown ? keyof Event : never;

/**
 * An error's name and message, cut. What handlers throw may be anything, and
 * may itself throw when it is looked at.
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
