/** A connection, as the server's sessions and the client both use it. */

import type { TlsInfo } from "../core/tls_info.ts";
import { CHUNK, type Holder, ReceiveBuffer } from "./buffers.ts";

/**
 * What Parley needs of a connection; `Deno.Conn` has it. A layer on top of one
 * has `shortReadMeansEmpty: false` if there may be more after a short read, and
 * in `received` how many bytes it has read from below.
 */
export type Transport =
  & Pick<
    Deno.Conn,
    "read" | "write" | "closeWrite" | "close" | "localAddr" | "remoteAddr"
  >
  & Partial<Pick<Deno.TcpConn, "setNoDelay">>
  & { readonly shortReadMeansEmpty?: false; readonly received?: number };

export interface ByteCounter extends Holder {
  received(bytes: number): void;
  sent(bytes: number): void;
}

/** Who writes: an object, which spares a function for each connection. */
export interface Writer {
  /** Some bytes are out, not all; gives what to wait for before the rest. */
  progress(): Promise<void> | void;
}

/** Where all connections read bytes to that nobody looks at. */
const scratch = new Uint8Array(CHUNK);

export class Connection implements Holder {
  readonly inbox: ReceiveBuffer;
  localAddr: Deno.Addr;
  /** The address of the other side; behind a trusted proxy, the client's. */
  remoteAddr: Deno.Addr;
  received = 0;
  sent = 0;
  /** Memory it holds with bytes not handled and replies not taken. */
  held = 0;
  eof = false;
  /** What TLS knows about the peer, after its handshake. */
  tls: TlsInfo | undefined;
  /** Whether the last read took all that the kernel had. */
  emptied = false;
  /** The read under way. */
  reading: Promise<number | null> | undefined;
  /** When bytes came last; who reads sets it. */
  heardAt = 0;
  closed = false;
  /** How many bytes the read under way, or the last one, has room for. */
  #room = 0;
  #sending: Uint8Array | undefined;
  #writing: Promise<number> | undefined;
  #finished: Promise<void> | undefined;

  /** @param limit The most bytes of a frame that comes in. */
  constructor(
    private transport: Transport,
    limit: number,
    private readonly counters?: ByteCounter,
  ) {
    this.inbox = new ReceiveBuffer(limit, this);
    // A handler is given them, and must not change what the limits go by.
    this.localAddr = Object.freeze(transport.localAddr);
    this.remoteAddr = Object.freeze(transport.remoteAddr);
    // Nagle's algorithm would hold a reply back until the one before is
    // acknowledged, to join small writes. Batches are one write already.
    transport.setNoDelay?.(true);
  }

  /** Puts a layer on top of the transport, to be used in its place. */
  layer<Layer extends Transport>(
    over: (below: Transport, received: Uint8Array<ArrayBuffer>) => Layer,
  ): Layer {
    const { inbox } = this;
    const received = inbox.bytes.slice(inbox.start, inbox.end);
    inbox.release();
    // They are counted again as what the layer makes of them.
    this.received -= received.length;
    this.counters?.received(-received.length);
    const layer = over(this.transport, received);
    this.transport = layer;
    return layer;
  }

  /**
   * Reads once, into `inbox.space()`, or `inbox.tail()` while views of the inbox
   * are in use. Hand what it gives to {@linkcode took}. At most one read may be
   * pending; the peer's reset and `close()` make it throw.
   */
  read(space: Uint8Array<ArrayBuffer>): Promise<number | null> {
    this.#room = space.length;
    return this.reading = this.transport.read(space);
  }

  /**
   * Takes what a read has brought into the inbox. One method that does both
   * would cost a promise more for each read.
   */
  took(n: number | null): void {
    this.#heard(n);
    if (n !== null) this.inbox.end += n;
  }

  /** Reads and forgets until the peer has finished, or `close()` (throws). */
  async discard(turns: { turn(): Promise<void> }): Promise<void> {
    // Who began this read is called first, and hands its bytes to `took`.
    await this.reading;
    this.inbox.release();
    while (!this.eof) {
      this.#heard(await this.read(scratch));
      await turns.turn();
    }
  }

  #heard(n: number | null): void {
    this.reading = undefined;
    if (n === null) {
      this.eof = true;
      return;
    }
    this.emptied = n < this.#room &&
      this.transport.shortReadMeansEmpty !== false;
    this.received += n;
    this.counters?.received(n);
  }

  /** Writes all bytes, which must not change until this is done. */
  async write(bytes: Uint8Array, writer?: Writer): Promise<void> {
    await this.wrote(await this.send(bytes), writer);
  }

  /** Writes once. Hand what it gives to {@linkcode wrote}, which saves a promise. */
  send(bytes: Uint8Array): Promise<number> {
    this.#sending = bytes;
    return this.#writing = this.transport.write(bytes);
  }

  /** Takes what a write has done; gives what to wait for if a rest is left. */
  wrote(n: number, writer?: Writer): Promise<void> | undefined {
    const bytes = this.#sending!;
    this.#wrote(n);
    return n < bytes.length ? this.#writeRest(bytes, n, writer) : undefined;
  }

  async #writeRest(
    bytes: Uint8Array,
    done: number,
    writer: Writer | undefined,
  ): Promise<void> {
    while (done < bytes.length) {
      const pause = writer?.progress();
      if (pause !== undefined) await pause;
      const n = await this.send(bytes.subarray(done));
      this.#wrote(n);
      done += n;
    }
  }

  #wrote(n: number): void {
    this.#sending = this.#writing = undefined;
    this.sent += n;
    this.counters?.sent(n);
  }

  /** Gives the receive buffer back, once no read or write can touch it. */
  async letGo(): Promise<void> {
    await Promise.allSettled([this.reading, this.#writing]);
    this.inbox.release();
  }

  hold(bytes: number): void {
    if (this.closed) return;
    this.held += bytes;
    this.counters?.hold(bytes);
  }

  /** A task may have done so before the farewell does. */
  closeWrite(): Promise<void> {
    return this.#finished ??= this.transport.closeWrite();
  }

  /** Closes now, and makes what is pending throw. May be called twice. */
  close(): void {
    if (this.closed) return;
    // Memory that is not given back is garbage from now on.
    this.hold(-this.held);
    this.closed = true;
    this.transport.close();
  }

  /** Whether no byte came from the peer, not even of TLS. */
  get silent(): boolean {
    return this.received === 0 && !this.transport.received;
  }
}

export function isGone(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset ||
    error instanceof Deno.errors.BrokenPipe ||
    error instanceof Deno.errors.NotConnected ||
    error instanceof Deno.errors.ConnectionAborted ||
    error instanceof Deno.errors.TimedOut;
}
