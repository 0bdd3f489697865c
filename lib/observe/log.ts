/**
 * The core's events as log records: what an operator wants to know of each,
 * and how much it matters.
 *
 * | level | what |
 * | --- | --- |
 * | `error` | a handler failed; the listener failed; a thread was lost |
 * | `warn` | the server could not do its part: it cannot accept for lack of descriptors or memory; a connection refused at a limit, or for a PROXY header; one ended as `forced`, `request_timeout` or `error` |
 * | `info` | what the operator did (start, drain, its progress, end, a connection `closed`), and what a client did wrong: one denied, or ended as `frame_error`, `write_timeout`, or `peer_reset` with a reply outstanding |
 * | `debug` | each connection, each request, and peers that were gone before they could be accepted |
 *
 * Whatever strangers can bring about in numbers is told once a second for each
 * reason, with the `count` that the line stands for. No record has a payload.
 *
 * @module
 */

import type { Logger } from "@logtape/logtape";

import { formatAddr } from "../core/address.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import type {
  AcceptErrorEvent,
  CloseReason,
  ConnectionCloseEvent,
  ConnectionRejectedEvent,
  EventListeners,
  RejectReason,
} from "../events/events.ts";
import { Repeats } from "./repeats.ts";

/** How much a record matters, from the least to the most. */
export const logLevels = ["debug", "info", "warn", "error"] as const;

/** One of {@linkcode logLevels}. */
export type LogLevel = typeof logLevels[number];

/** What the log needs of the server beside its events. */
export interface LogOptions {
  /** How many connections are open; asked once a second during a drain. */
  connections: () => number;
  /** When a drain is forced, in milliseconds; 0 for never. */
  drainTimeout: number;
  clock?: Clock;
}

/** How often a drain's progress is told, in milliseconds. */
const PROGRESS = 1000;

/** How much of an error's text and of its stack is logged, in characters. */
const MAX_ERROR = 256;
const MAX_STACK = 4096;

/** Resets matter while a reply is outstanding only; see `closeLevel`. */
const closeLevels: Readonly<Record<CloseReason, LogLevel>> = {
  peer_closed: "debug",
  handler_closed: "debug",
  idle_timeout: "debug",
  shutdown: "debug",
  peer_reset: "info",
  frame_error: "info",
  write_timeout: "info",
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
  proxy_error: "warn",
  tls_error: "info",
};

type Fields = Record<string, unknown>;

/** A record that is made only if it is written. */
interface Entry {
  level: LogLevel;
  message: string;
  fields: () => Fields;
}

/**
 * Makes the listeners that log a server's events. Which of them there are goes
 * by the logger's level now: what it does not take is not listened to, so that
 * the core does not even make those events.
 *
 * Errors may be of any kind, also such as came from another thread.
 *
 * @returns To be given to `serve`. The `finished` one ends all timers.
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
  const { debug, info, warn } = on;

  const repeats = new Repeats<Entry>(
    ({ level, message, fields }, count) =>
      logger[level](message, count === 1 ? fields() : { ...fields(), count }),
    clock,
  );
  /** Logs the first of a kind; the ones after it alone at debug. */
  const limited = (kind: string, entry: Entry) => {
    if (!on[entry.level]) return;
    if (entry.level === "debug") logger.debug(entry.message, entry.fields());
    else if (!repeats.add(kind, entry) && debug) {
      logger.debug(entry.message, entry.fields());
    }
  };
  let endProgress: (() => void) | undefined;

  return {
    listening: info
      ? ({ addr }) => logger.info("listening", { addr: formatAddr(addr) })
      : undefined,
    connection_open: debug
      ? ({ id, remoteAddr }) =>
        logger.debug("connection opened", {
          conn_id: id,
          remote: formatAddr(remoteAddr),
        })
      : undefined,
    connection_close: warn
      ? (event) => {
        const level = closeLevel(event);
        if (level === "debug" && !debug) return;
        limited(`connection_close ${event.reason}`, {
          level,
          message: "connection closed",
          fields: () => closeFields(event, debug),
        });
      }
      : undefined,
    connection_rejected: warn
      ? (event) =>
        limited(`connection_rejected ${event.reason}`, {
          level: rejectLevels[event.reason],
          message: "connection rejected",
          fields: () => rejectFields(event, debug),
        })
      : undefined,
    request: debug
      ? ({ id, status, duration, requestBytes }) =>
        logger.debug("request", {
          conn_id: id,
          status,
          duration_ms: rounded(duration),
          request_bytes: requestBytes,
        })
      : undefined,
    handler_error: ({ id, error }) =>
      limited("handler_error", {
        level: "error",
        message: "handler failed",
        fields: () => ({ conn_id: id, ...errorFields(error, debug) }),
      }),
    accept_error: (event) => {
      const level = acceptLevel(event);
      limited(`accept_error ${level}`, {
        level,
        message: event.fatal ? "listener failed" : "cannot accept",
        fields: () => ({
          connections_limit: event.limit,
          retry_in_ms: event.fatal ? undefined : event.retryIn,
          ...errorFields(event.error, debug),
        }),
      });
    },
    pre_drain: info
      ? ({ connections: open, delay }) =>
        logger.info("about to drain", { connections: open, delay_ms: delay })
      : undefined,
    drain: info
      ? ({ connections: open }) => {
        logger.info("draining", { connections: open });
        endProgress = logProgress(logger, { connections, drainTimeout, clock });
      }
      : undefined,
    thread_lost: ({ error, connections: lost, requests, retryIn }) =>
      limited("thread_lost", {
        level: "error",
        message: "thread lost",
        fields: () => ({
          connections: lost,
          requests,
          retry_in_ms: retryIn,
          ...errorFields(error, debug),
        }),
      }),
    finished: ({ forced }) => {
      endProgress?.();
      repeats.flush();
      if (info) logger.info("finished", { forced });
    },
  };
}

/** Tells how far a drain is, from now until it is called off. */
function logProgress(
  logger: Logger,
  { connections, drainTimeout, clock }: Required<LogOptions>,
): () => void {
  const forcedAt = clock.now() + drainTimeout;
  let cancel: () => void;
  const next = () => {
    cancel = clock.after(PROGRESS, () => {
      logger.info("drain progress", {
        connections: connections(),
        forced_in_ms: drainTimeout > 0
          ? Math.max(Math.round(forcedAt - clock.now()), 0)
          : undefined,
      });
      next();
    });
  };
  next();
  return () => cancel();
}

function closeLevel({ reason, unanswered }: ConnectionCloseEvent): LogLevel {
  // Many a client, and every health check of a proxy, leaves by a reset.
  if (reason === "peer_reset" && !unanswered) return "debug";
  return closeLevels[reason];
}

function acceptLevel({ fatal, retryIn }: AcceptErrorEvent): LogLevel {
  if (fatal) return "error";
  // Without a wait it was the peer, which reset while it was queued.
  return retryIn > 0 ? "warn" : "debug";
}

function closeFields(event: ConnectionCloseEvent, stack: boolean): Fields {
  return {
    conn_id: event.id,
    remote: formatAddr(event.remoteAddr),
    reason: event.reason,
    duration_ms: rounded(event.duration),
    requests: event.requests,
    received_bytes: event.received,
    sent_bytes: event.sent,
    unanswered: event.unanswered || undefined,
    ...(event.error === undefined ? {} : errorFields(event.error, stack)),
  };
}

function rejectFields(event: ConnectionRejectedEvent, stack: boolean): Fields {
  return {
    remote: formatAddr(event.remoteAddr),
    reason: event.reason,
    ...(event.error === undefined ? {} : errorFields(event.error, stack)),
  };
}

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

/** To the microsecond: more digits are noise of the clock. */
function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
