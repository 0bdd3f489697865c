/** The events of a server. The core prints nothing itself: the log listens. */

import type { TlsInfo } from "../core/tls_info.ts";

/** How a connection ended; `docs/operations.md`, "Words", says what each is. */
export type CloseReason = typeof closeReasons[number];

/** Every {@linkcode CloseReason}. */
export const closeReasons = [
  ...["peer_closed", "handler_closed", "idle_timeout"] as const,
  ...["request_timeout", "write_timeout", "frame_error"] as const,
  ...["http_request", "shutdown", "forced", "peer_reset"] as const,
  ...["overload", "slow_consumer", "closed", "error"] as const,
] as const;

/** What all events have in common. */
export interface TypedEvent<Type extends string> {
  /** Tells it from the other events. */
  type: Type;
}

/** The server is bound and accepts connections. */
export interface ListeningEvent extends TypedEvent<"listening"> {
  /** The bound address; its port is the real one where 0 was asked for. */
  addr: Deno.Addr;
}

/**
 * A connection was accepted and has a place. With TLS or behind a proxy, a
 * connection that ends without a byte, as a TCP check does, has this event when
 * it ends, so that it counts as on a plain port.
 */
export interface ConnectionOpenEvent extends TypedEvent<"connection_open"> {
  /** The connection's number, from 1, never used twice by one server. */
  id: number;
  /** The peer's address. */
  remoteAddr: Deno.Addr;
  /** What TLS knows of the peer; undefined without it. */
  tls?: TlsInfo;
}

/**
 * A connection ended. Each `connection_open` has exactly one of these, unless the
 * connection was lost with its thread.
 */
export interface ConnectionCloseEvent extends TypedEvent<"connection_close"> {
  /** The number of the `connection_open` event. */
  id: number;
  /** The peer's address. */
  remoteAddr: Deno.Addr;
  /** How it ended. */
  reason: CloseReason;
  /** The error behind the reason, where there is one. */
  error?: unknown;
  /** How long it was open, in milliseconds. */
  duration: number;
  /** How many requests were handed to the handler. */
  requests: number;
  /** Bytes received from the peer. */
  received: number;
  /** Bytes that the kernel has taken for the peer. */
  sent: number;
  /** Whether the handler has got a request whose reply was not sent. */
  unanswered: boolean;
}

/** Why a connection was turned away; the same page says what each is. */
export type RejectReason = typeof rejectReasons[number];

/** Every {@linkcode RejectReason}. */
export const rejectReasons = [
  ...["busy", "overload", "busy_ip", "busy_rate"] as const,
  ...["denied", "proxy_error", "tls_error"] as const,
] as const;

/** A connection was turned away before it had a place. */
export interface ConnectionRejectedEvent
  extends TypedEvent<"connection_rejected"> {
  /** Why. */
  reason: RejectReason;
  /** The peer's address; the client's, where a PROXY header named it. */
  remoteAddr: Deno.Addr;
  /** The error behind the reason, where there is one. */
  error?: unknown;
}

/** How a request went; the same page says what each is. */
export type RequestStatus = typeof requestStatuses[number];

/** Every {@linkcode RequestStatus}. */
export const requestStatuses = [
  ...["ok", "error_reply", "error", "timeout", "abandoned", "busy"] as const,
] as const;

/** A request was answered, or its handler failed. */
export interface RequestEvent extends TypedEvent<"request"> {
  /** The connection's number. */
  id: number;
  /** How it went. */
  status: Exclude<RequestStatus, "abandoned">;
  /**
   * How long it took, in milliseconds: from when it was read, or the wait for the
   * one before it ended, until its reply was about to go out. Requests of one
   * batch that are answered at once share one duration, as to read the clock for
   * each would cost as much as some handlers do. 0 if no handler has got it.
   */
  duration: number;
  /** Length of the request's payload in bytes. */
  requestBytes: number;
}

/** Requests took as long as the option `slowRequest`, or longer. */
export interface SlowRequestEvent extends TypedEvent<"slow_request"> {
  /** The connection's number. */
  id: number;
  /** The peer's address. */
  remoteAddr: Deno.Addr;
  /** As of a {@linkcode RequestEvent}, in milliseconds. */
  duration: number;
  /** How many requests: those of one batch share their duration. */
  requests: number;
  /** The length of all their payloads, in bytes. */
  requestBytes: number;
}

/** A handler threw, rejected, or gave a reply that cannot be sent. */
export interface HandlerErrorEvent extends TypedEvent<"handler_error"> {
  /** The connection's number. */
  id: number;
  /** What was thrown. */
  error: unknown;
}

/** Accepting failed; the server goes on unless `fatal`. */
export interface AcceptErrorEvent extends TypedEvent<"accept_error"> {
  /** What the listener threw. */
  error: unknown;
  /** How long the server waits before it accepts again, in milliseconds. */
  retryIn: number;
  /** Whether the listener itself has failed. */
  fatal: boolean;
  /**
   * If the process has no descriptor left: how many connections may be open for
   * the next minute, after which the server tries more.
   */
  limit?: number;
}

/**
 * The server is to stop: it counts as not ready, but still accepts connections
 * for `preDrainDelay`. There is no such event if that is 0.
 */
export interface PreDrainEvent extends TypedEvent<"pre_drain"> {
  /** Connections that are there, also those that are not open yet. */
  connections: number;
  /** How long it still accepts, in milliseconds. */
  delay: number;
  /** Who asked for it: what `shutdown()` was given. */
  by: string;
}

/** The server stopped accepting and begins to drain. */
export interface DrainEvent extends TypedEvent<"drain"> {
  /** Connections that are there, also those that are not open yet. */
  connections: number;
  /** Who asked for it: what `shutdown()` was given. */
  by: string;
}

/** The server has ended: no listener, no connection. */
export interface FinishedEvent extends TypedEvent<"finished"> {
  /** Connections that the drain timeout cut. */
  forced: number;
}

/** A thread of a threaded server died; another takes its place. */
export interface ThreadLostEvent extends TypedEvent<"thread_lost"> {
  /** Why it died. */
  error: unknown;
  /** Connections that were lost with it; they have no `connection_close`. */
  connections: number;
  /** Requests that its handlers were working on. */
  requests: number;
  /** In how many milliseconds it is replaced; never, if the server drains. */
  retryIn: number | undefined;
}

/** The certificate that is shown expires soon, has expired, or is not valid yet. */
export interface CertificateExpiryEvent
  extends TypedEvent<"certificate_expiry"> {
  /** How many days are left at the most; 0 if it is not valid now. */
  days: 30 | 7 | 0;
  /** Whose the certificate is, as RFC 4514 writes it. */
  subject: string;
  /** Until when it is valid, in milliseconds since 1970. */
  notAfter: number;
  /** From when on it is valid, where that is still to come. */
  notBefore?: number;
}

/** Somebody asked the admin port for an action. */
export interface AdminActionEvent extends TypedEvent<"admin_action"> {
  /** The path: `/drain`, or `/connections/ID/close`. */
  action: string;
  /** The status of the answer: 401 if the token was wrong. */
  status: number;
  /** The address of the client. */
  remoteAddr: Deno.Addr;
}

/** Every event of the core and of its admin port, told apart by `type`. */
export type ServerEvent =
  | ListeningEvent
  | ConnectionOpenEvent
  | ConnectionCloseEvent
  | ConnectionRejectedEvent
  | RequestEvent
  | SlowRequestEvent
  | HandlerErrorEvent
  | AcceptErrorEvent
  | PreDrainEvent
  | DrainEvent
  | FinishedEvent
  | ThreadLostEvent
  | CertificateExpiryEvent
  | AdminActionEvent;

/** The types of all events. */
export const eventTypes: readonly string[] = Object.keys(
  {
    ...{ listening: 0, connection_open: 0, connection_close: 0, request: 0 },
    ...{ connection_rejected: 0, slow_request: 0, handler_error: 0 },
    ...{ accept_error: 0, pre_drain: 0, drain: 0, finished: 0 },
    ...{ thread_lost: 0, certificate_expiry: 0, admin_action: 0 },
  } satisfies Record<ServerEvent["type"], 0>,
);

/**
 * Listeners by event type. An event that nobody listens to is never made, so
 * an empty table costs nothing.
 *
 * A listener must not throw. If it does, that is an uncaught error of the
 * program, as with `EventTarget`; the connection goes on.
 *
 * @example
 * ```ts
 * import type { EventListeners } from "./events.ts";
 *
 * const events: EventListeners = {
 *   connection_close: (e) => console.error(e.id, e.reason, e.requests),
 * };
 * ```
 */
export type EventListeners = {
  readonly [Type in ServerEvent["type"]]?: (
    event: Extract<ServerEvent, { type: Type }>,
  ) => void;
};

/** Calls a listener. What it throws is reported, and does not reach the core. */
export function emit<E extends ServerEvent>(
  listener: ((event: E) => void) | undefined,
  event: E,
): void {
  try {
    listener?.(event);
  } catch (error) {
    reportError(error);
  }
}
