/** An open connection, as an operator sees it. */

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
