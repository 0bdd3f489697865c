/** A running server, as its owner sees it. */

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
  /** The limits that hold; 0 is none. */
  readonly limits: ServerLimits;
  /** How many descriptors its connections have. */
  readonly descriptors: DescriptorCount;
  /** The certificate that is shown; undefined without TLS. */
  readonly tls: TlsStatus | undefined;
  /** How many threads serve. */
  readonly threads: number;
  /** How many threads have died and were replaced. */
  readonly threadsLost: number;
  /** Whether it accepts connections and is to go on with that. */
  readonly ready: boolean;
  /** Whether it is to end, from the first moment of a shutdown on. */
  readonly draining: boolean;
  /** How far a shutdown is; undefined before one, and while it stops accepting. */
  readonly drain: DrainStatus | undefined;
  /** All its numbers, at this moment. */
  metrics(): Metrics;
  /** The connections that are open. */
  connectionList(): Promise<ConnectionInfo[]>;
  /**
   * Closes a connection now, whatever it is owed.
   *
   * @param id The connection's number.
   * @returns Whether there was one of that number.
   */
  disconnect(id: number): Promise<boolean>;
  /**
   * Ends the server in stages: goes on for `preDrainDelay`, no longer `ready`;
   * stops accepting, lets every request that has arrived have its reply, closes
   * the idle connections, and forces the rest at the drain timeout.
   *
   * @param by Who asks for it, for the log.
   * @returns Resolves with `finished`.
   */
  shutdown(by?: string): Promise<void>;
  /**
   * Shows another certificate from the next handshake on. Connections that are
   * open go on, nobody is refused, and what cannot be used changes nothing: a
   * handshake in memory is made first.
   *
   * @param files The new certificate and key, and authorities of clients; or a
   * promise of them, whose failure counts as that of a reload.
   * @returns Whether they are shown; not where a later call has overtaken this.
   * @throws {OptionError} One of them cannot be used.
   * @throws {TlsError} No handshake works with them.
   * @throws {ParleyError} The server was started without TLS.
   */
  reloadTls(files: TlsFiles | Promise<TlsFiles>): Promise<boolean>;
  /** Keeps the process alive while the server listens; so it is at first. */
  ref(): void;
  /** Lets the process end though the server listens. */
  unref(): void;
}

/** A stage of a shutdown. */
export interface DrainStatus {
  /** Whether connections are still accepted, in the time before the drain. */
  readonly accepting: boolean;
  /** How long until the stage ends, in milliseconds; `Infinity` for no limit. */
  readonly left: number;
}

/** Descriptors of connections, also of those that are told of a refusal. */
export interface DescriptorCount {
  /** How many are open now. */
  readonly open: number;
  /** How many there are, as met the last time that they were out; 0 before. */
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

/** What an operator sees a connection do: `idle` has nothing of a request. */
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
  /** What of it the limits go by: an IPv4 address, or a prefix of IPv6. */
  readonly network: string;
  /** How long it is open, in milliseconds. */
  readonly age: number;
  /** How long since bytes came from the peer, in milliseconds. */
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
