/**
 * What the core tells whoever listens. The core itself never prints and never
 * counts for anybody else: logs and metrics are listeners.
 */

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
 * A connection was accepted and has a place. With TLS, or behind a proxy, one
 * that ends before it has said anything, as a TCP check does, has this event
 * when it ends: it counts as it would on a plain port.
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
 * A connection ended. Each `connection_open` has exactly one of these, but for
 * those lost with their thread.
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
  /** Bytes taken by the kernel for the peer. */
  sent: number;
  /** Whether a request was handed to the handler whose reply is not out. */
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
   * From when it was read, or the wait for the one before it ended, until its
   * reply was about to go out, in milliseconds. Requests that are answered at
   * once share their batch's: to look at the clock for each of them would cost
   * as much as some handlers do. 0 for one that no handler was asked.
   */
  duration: number;
  /** Length of the request's payload in bytes. */
  requestBytes: number;
}

/** Requests took as long as the option `slowRequest` or longer. */
export interface SlowRequestEvent extends TypedEvent<"slow_request"> {
  /** The connection's number. */
  id: number;
  /** The peer's address. */
  remoteAddr: Deno.Addr;
  /** As of a {@linkcode RequestEvent}, in milliseconds. */
  duration: number;
  /** How many they are: those of one batch share their duration. */
  requests: number;
  /** Length of their payloads together, in bytes. */
  requestBytes: number;
}

/** A handler threw, rejected, or replied with what cannot be sent. */
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
  /** Whether the listener itself is gone. */
  fatal: boolean;
  /**
   * Where the process has no descriptor left: how many connections are open at
   * the most from now on, until it is tried again a minute later.
   */
  limit?: number;
}

/**
 * The server is to stop: it counts as not ready from now on, but accepts for
 * `preDrainDelay` still. Left out where that is 0.
 */
export interface PreDrainEvent extends TypedEvent<"pre_drain"> {
  /** Connections open at this moment. */
  connections: number;
  /** How long it goes on accepting, in milliseconds. */
  delay: number;
  /** Who asked for it. */
  by: string;
}

/** The server stopped accepting and begins to drain. */
export interface DrainEvent extends TypedEvent<"drain"> {
  /** Connections open at this moment. */
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
  /** What it died of. */
  error: unknown;
  /** Connections that were lost with it; they have no `connection_close`. */
  connections: number;
  /** Requests among them that were at a handler. */
  requests: number;
  /** When it is replaced, in milliseconds; never, where the server drains. */
  retryIn: number | undefined;
}

/** The end of the certificate that is shown has come near. */
export interface CertificateExpiryEvent {
  /** Tells it from the other events. */
  type: "certificate_expiry";
  /** How many days are left at the most; 0 where it has expired. */
  days: 30 | 7 | 0;
  /** Whose the certificate is, as RFC 4514 writes it. */
  subject: string;
  /** Until when it is valid, in milliseconds since 1970. */
  notAfter: number;
}

/** Somebody asked the admin port for an action. */
export interface AdminActionEvent extends TypedEvent<"admin_action"> {
  /** The path: `/drain`, or `/connections/ID/close`. */
  action: string;
  /** What it was answered: 401 where the token was wrong. */
  status: number;
  /** The address of who asked. */
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

/**
 * Listeners by event type. An event that nobody listens to is never made, so
 * an empty table costs nothing.
 *
 * A listener must not throw. One that does is a bug of the program's own and
 * surfaces as an uncaught error, as with `EventTarget`; the connection it was
 * called for goes on.
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

/** Calls a listener so that its failure never reaches the core. */
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
