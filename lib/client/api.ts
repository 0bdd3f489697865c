/** The interfaces of clients and pools, and the options of their requests. */

/** Options of {@linkcode Client.request}. */
export interface RequestOptions {
  /**
   * Gives up waiting. A request already sent cannot be taken back: its reply
   * is dropped when it comes, and the replies of others stay their own.
   */
  signal?: AbortSignal;
  /**
   * How long the reply may take, or each frame of a streamed one, in
   * milliseconds, in place of the client's `timeout`; 0 means no limit.
   */
  timeout?: number;
  /** Whether a pool may send it again if its connection is lost. */
  idempotent?: boolean;
}

/** Options of {@linkcode Client.stream}. */
export interface StreamOptions extends RequestOptions {
  /**
   * Whether a frame is the last one of the reply. It is called for each frame,
   * also after the stream was cancelled. If it throws, the connection ends, since
   * the end of the reply is not known.
   */
  isLast: (frame: Uint8Array<ArrayBuffer>) => boolean;
}

/**
 * A connection to a server; `connect` makes it.
 *
 * @example
 * ```ts
 * import { connect, serve } from "../mod.ts";
 *
 * await using server = serve(
 *   { hostname: "127.0.0.1", port: 0, onOpen: () => "! welcome" },
 *   (line) => line.length === 0 ? undefined : ReadableStream.from(["a", "."]),
 * );
 * const { port } = server.addr;
 * const isPush = ([first]: Uint8Array) => first === 33; // "!"
 * await using client = await connect({ port, isPush });
 * for await (const push of client.pushes) {
 *   console.log(push);
 *   break;
 * }
 * await client.send(""); // It gets no reply.
 * const isLast = ([first]: Uint8Array) => first === 46; // "."
 * for await (const frame of client.stream("all", { isLast, timeout: 500 })) {
 *   console.log(frame);
 * }
 * await client.ready; // Not much is unsent.
 * ```
 */
export interface Client extends AsyncDisposable {
  /** The server's address. */
  readonly remoteAddr: Deno.Addr;
  /** This side's address. */
  readonly localAddr: Deno.Addr;
  /**
   * Resolves when the connection has ended: with the error that ended it, or
   * with nothing after `close()`. Never rejects.
   */
  readonly closed: Promise<Error | undefined>;
  /** How many requests wait for a reply. */
  readonly pending: number;
  /** Bytes that the system has taken so far, the framing's included. */
  readonly sent: number;
  /** Bytes that it has not taken yet. */
  readonly buffered: number;
  /**
   * Resolves when there is room for a request: at once, while at most
   * `maxBuffered` bytes are unsent. A request does not wait for it by itself, so
   * wait for it where there are many of them, or large ones. It resolves, too,
   * when the connection has ended, and the request says why. Never rejects.
   */
  readonly ready: Promise<void>;
  /**
   * The frames that `isPush` says answer no request, each a copy. If more than
   * `maxBuffered` bytes wait to be taken, the connection is given up; once its
   * loop is left, they are dropped. It ends with the connection.
   *
   * @throws {TypeError} The option `isPush` was not given.
   */
  readonly pushes: ReadableStream<Uint8Array<ArrayBuffer>>;

  /**
   * Sends a request and waits for its reply. It does not wait for the replies
   * of earlier requests: call it again at once to pipeline.
   *
   * @param data The payload; text is sent as UTF-8. Bytes must not change
   * before the reply is there.
   * @param options A signal to give up by, and a timeout of its own.
   * @returns The reply's payload, the caller's to keep.
   * @throws {EncodeError} The framing cannot carry the payload. It is not sent.
   * @throws {TimeoutError} No reply within `timeout`. The connection is closed,
   * unless `keepAfterTimeout` keeps it.
   * @throws {RefusedError} The server turned the connection away.
   * @throws {ConnectionLostError} The connection ended before the reply.
   * @throws {FrameError} The server's bytes are no reply, or one that is larger
   * than `maxFrame`. The connection is closed.
   * @throws {ClientClosedError} `close()` was called.
   */
  request(
    data: Uint8Array | string,
    options?: RequestOptions,
  ): Promise<Uint8Array<ArrayBuffer>>;

  /**
   * Sends a request that gets no reply, behind those before it.
   *
   * @param data The payload; bytes must not change before they are taken.
   * @returns Resolves when the system has taken it, so a caller that waits
   * for it sends no faster than the server reads. Rejects if the connection ends before; that may
   * be ignored.
   * @throws {EncodeError} The framing cannot carry the payload. It is not sent.
   */
  send(data: Uint8Array | string): Promise<void>;

  /**
   * Sends a request, and gives the frames of its reply as they come, the last
   * included: each is a copy. While they are not taken, the client reads nothing
   * more, so a reply may be larger than memory. What comes behind it waits too:
   * take it to its end, and wait in its loop for no other reply of this client.
   *
   * When the loop is left early, the rest is dropped as it comes, and the replies
   * behind it stay with their own requests. If the rest is more than 1 MiB, the
   * connection is given up.
   *
   * @param data The payload, as for `request`, whose errors it has too.
   * @param options How the last frame is known.
   */
  stream(
    data: Uint8Array | string,
    options: StreamOptions,
  ): ReadableStream<Uint8Array<ArrayBuffer>>;

  /**
   * Closes the connection now, with what is unsent. Requests without a reply
   * reject with {@linkcode ClientClosedError}. May be called more than once.
   */
  close(): void;
}

/** Where a server is; what stands in brackets is the default. */
export interface ServerPlace {
  /** The server's address or name (`127.0.0.1`). */
  hostname?: string;
  /** The server's port (8080). */
  port?: number;
  /** The path of a Unix socket, in place of `hostname` and `port`. */
  path?: string;
}

/** The options of a {@linkcode Pool}, beside those of its connections. */
export interface ServersOptions {
  /** The servers, any of which can be asked anything. */
  servers: readonly ServerPlace[];
  /**
   * Which one a request goes to: that with the fewest requests in flight (the
   * default), each in its turn, or the first that is there.
   */
  balance?: "least-pending" | "round-robin" | "failover";
  /** The most connections to a server, by default 4: opened as all are busy. */
  size?: number;
  /** The most requests in flight on a connection, by default 16. */
  maxPending?: number;
  /** The most requests that wait for a connection, by default 1024. */
  maxQueued?: number;
  /** How often an `idempotent` request is sent again, at most; by default 3. */
  retries?: number;
  /**
   * How long a server that has failed is left alone, at most, in milliseconds,
   * by default 10000: after the nth failure in a row for a random time between 0
   * and 100 × 2^(n - 1).
   */
  maxDelay?: number;
  /**
   * A request, and the reply to expect, or a function that checks it. It is sent
   * on idle connections, and on the first one to a server that has failed.
   */
  healthCheck?: {
    request: string | Uint8Array;
    expect: string | ((reply: Uint8Array) => boolean | Promise<boolean>);
  };
  /** The milliseconds between two checks, and for the reply; by default 5000. */
  checkInterval?: number;
  /** Called when a server gets its first connection or, `error` given, has none. */
  onStateChange?: (server: string, error?: Error) => void;
}

/** Connections to servers; `createPool` makes it. */
export interface Pool
  extends Pick<Client, "pending" | "request" | "close">, AsyncDisposable {
  /** How many requests wait for a connection, of those that are pending. */
  readonly queued: number;
}
