/** A running server, as its program sees it. */

import type { Metrics, ServerStats } from "../events/metrics.ts";
import type { TlsStatus } from "../tls/identity.ts";
import type { TlsFiles } from "../tls/settings.ts";

/** A running server. */
export interface ParleyServer<Addr = Deno.Addr>
  extends ServerStats, AsyncDisposable {
  /** The bound address, with the real port where 0 was asked for. */
  readonly addr: Addr;
  /**
   * Resolves when the server has ended: the listener is closed, and so is
   * every connection. Rejects when the listener failed; the connections were
   * drained first.
   */
  readonly finished: Promise<void>;
  /** The framing's name. */
  readonly framing: string;
  /** The limits; 0 is no limit. */
  readonly limits: ServerLimits;
  /** How many descriptors its connections have, and may have. */
  readonly descriptors: DescriptorCount;
  /** The certificate that is shown; undefined without TLS. */
  readonly tls: TlsStatus | undefined;
  /** How many threads serve. */
  readonly threads: number;
  /** How many threads have died and were replaced. */
  readonly threadsLost: number;
  /** Whether it accepts connections, and no shutdown has begun. */
  readonly ready: boolean;
  /** Whether a shutdown has begun. */
  readonly draining: boolean;
  /** The stage of a shutdown; undefined before, and while it stops accepting. */
  readonly drain: DrainStatus | undefined;
  /** All its numbers, at this moment. */
  metrics(): Metrics;
  /** The connections that are open. */
  connectionList(): Promise<ConnectionInfo[]>;
  /**
   * Closes a connection now, without the replies that it waits for.
   *
   * @param id The connection's number.
   * @returns Whether there was one of that number.
   */
  disconnect(id: number): Promise<boolean>;
  /**
   * Ends the server in stages: for `preDrainDelay` it goes on, but is not `ready`.
   * Then it stops accepting, replies to every request that has arrived, closes
   * the idle connections, and cuts the others at the drain timeout.
   *
   * @param by Who asks for it, for the log.
   * @returns Resolves with `finished`.
   */
  shutdown(by?: string): Promise<void>;
  /**
   * Shows another certificate from the next handshake on. Open connections go on,
   * and nobody is refused. A handshake in memory is made first: if it fails,
   * nothing changes.
   *
   * @param files The new certificate and key, and authorities of clients; or a
   * promise of them, whose failure counts as a failed reload.
   * @returns Whether they are shown; they are not if a later call was faster.
   * @throws {OptionError} One of them cannot be used.
   * @throws {TlsError} No handshake works with them.
   * @throws {ParleyError} The server was started without TLS.
   */
  reloadTls(files: TlsFiles | Promise<TlsFiles>): Promise<boolean>;
  /** Keeps the process alive while the server listens, as it does at first. */
  ref(): void;
  /** Lets the process end while the server listens. */
  unref(): void;
}

/** A stage of a shutdown. */
export interface DrainStatus {
  /** Whether connections are still accepted, in the time before the drain. */
  readonly accepting: boolean;
  /** How long until the stage ends, in milliseconds; `Infinity` for no limit. */
  readonly left: number;
}

/** Descriptors of connections, also of those that are being refused. */
export interface DescriptorCount {
  /** How many are open now. */
  readonly open: number;
  /** How many may be open, since the process last ran out of them; 0 before. */
  readonly limit: number;
}

/** The limits of a server that its operator looks at. */
export interface ServerLimits {
  /** The most connections open at once, 0 for no limit. */
  readonly connections: number;
  /** The most connections open at once from one address, 0 for no limit. */
  readonly connectionsPerIp: number;
  /** The most memory that connections hold, in bytes, 0 for no limit. */
  readonly memory: number;
  /** The maximum payload of a request in bytes. */
  readonly maxFrame: number;
  /** How long each thing may take, in milliseconds, 0 for no limit. */
  readonly timeouts: {
    readonly idle: number;
    readonly request: number;
    readonly write: number;
    readonly drain: number;
  };
}

/** What a connection is doing. An `idle` one has sent no part of a request. */
export type ConnectionState =
  | "idle"
  | "greeting"
  | "handshaking"
  | "admitting"
  | "reading"
  | "handling"
  | "writing"
  | "paused"
  | "lingering";

/** An open connection, as an operator sees it. */
export interface ConnectionInfo {
  /** The connection's number. */
  readonly id: number;
  /** The peer's address. */
  readonly remoteAddr: Deno.Addr;
  /** The part of it that the limits count by: an IPv4 address or IPv6 prefix. */
  readonly network: string;
  /** For how long it has been open, in milliseconds. */
  readonly age: number;
  /** For how long no bytes have come from the peer, in milliseconds. */
  readonly idle: number;
  /** What it is doing. */
  readonly state: ConnectionState;
  /** Requests handed to the handler. */
  readonly requests: number;
  /** Bytes received. */
  readonly received: number;
  /** Bytes sent. */
  readonly sent: number;
}
