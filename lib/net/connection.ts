/**
 * One `Deno.Conn`, as the server's sessions and the client both use it: bytes
 * received, whole writes, and a close that may be called twice.
 */

import type { TlsInfo } from "../core/tls_info.ts";
import { CHUNK, type Holder, ReceiveBuffer } from "./buffers.ts";

/**
 * What Parley needs of a connection; `Deno.Conn` has it. A layer on top of one
 * says with `shortReadMeansEmpty` that there may be more behind a short read, and
 * with `received` how many bytes it has taken from below.
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

/** Whoever writes; an object, for a function would be one more for each. */
export interface Writer {
  /**
   * The kernel has taken some bytes but not all.
   *
   * @returns What to wait for before the rest, if anything.
   */
  progress(): Promise<void> | void;
}

/** What is read to be forgotten, of all connections: nobody looks at it. */
const scratch = new Uint8Array(CHUNK);

export class Connection implements Holder {
  /** What has come in and is not used up yet. */
  readonly inbox: ReceiveBuffer;
  localAddr: Deno.Addr;
  /** The address of the other side; behind a trusted proxy, the client's. */
  remoteAddr: Deno.Addr;
  received = 0;
  sent = 0;
  /** Memory it holds with bytes not handled and replies not taken. */
  held = 0;
  eof = false;
  /** What is known by the TLS on top of it, once its keys are agreed on. */
  tls: TlsInfo | undefined;
  /** Whether the last read took all that the kernel had. */
  emptied = false;
  /** The read under way; its bytes are handed to {@linkcode took} by who reads. */
  reading: Promise<number | null> | undefined;
  /** When bytes came last, by the clock of who reads. */
  heardAt = 0;
  closed = false;
  /** How many bytes the read under way, or the last one, has room for. */
  #room = 0;
  #sending: Uint8Array | undefined;
  #writing: Promise<number> | undefined;

  /** @param limit The most bytes of a frame that comes in. */
  constructor(
    private transport: Transport,
    limit: number,
    private readonly counters?: ByteCounter,
  ) {
    this.inbox = new ReceiveBuffer(limit, this);
    // A handler is given them, and the limits go by them.
    this.localAddr = Object.freeze(transport.localAddr);
    this.remoteAddr = Object.freeze(transport.remoteAddr);
    // Nagle holds a reply back until the last one is acknowledged. A batch is
    // one write here, so there is nothing for it to join.
    transport.setNoDelay?.(true);
  }

  /** Puts a layer on top of the transport, from here on the one that is used. */
  layer<Layer extends Transport>(
    over: (below: Transport, received: Uint8Array<ArrayBuffer>) => Layer,
  ): Layer {
    const { inbox } = this;
    const received = inbox.bytes.slice(inbox.start, inbox.end);
    inbox.release();
    // They are counted as what the layer makes of them.
    this.received -= received.length;
    this.counters?.received(-received.length);
    const layer = over(this.transport, received);
    this.transport = layer;
    return layer;
  }

  /**
   * Reads once. Hand what it gives to {@linkcode took}.
   *
   * The wait ends with bytes, with the peer's end, with the peer's reset
   * (throws), or with `close()` (throws). At most one read may be pending.
   * Into `inbox.space()`, or `inbox.tail()` while views of the inbox are in use.
   */
  read(space: Uint8Array<ArrayBuffer>): Promise<number | null> {
    this.#room = space.length;
    return this.reading = this.transport.read(space);
  }

  /**
   * Takes what a read has brought into the inbox. It is apart from the read,
   * for a wrapper around each would cost a promise for each.
   */
  took(n: number | null): void {
    this.#heard(n);
    if (n !== null) this.inbox.end += n;
  }

  /** Reads and forgets until the peer has finished, or `close()` (throws). */
  async discard(turns: { turn(): Promise<void> }): Promise<void> {
    // Its bytes were handed to `took` by then: that was registered first.
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

  /**
   * Writes all bytes, however many the kernel takes at a time.
   * They must not change until this is done.
   */
  async write(bytes: Uint8Array, writer?: Writer): Promise<void> {
    await this.wrote(await this.send(bytes), writer);
  }

  /**
   * Writes once. Hand what it gives to {@linkcode wrote}: whoever has no use for
   * a promise around both saves one.
   * They must not change until all are written.
   */
  send(bytes: Uint8Array): Promise<number> {
    this.#sending = bytes;
    return this.#writing = this.transport.write(bytes);
  }

  /**
   * Takes what a write has done, and writes the rest if there is one.
   *
   * @returns What to wait for, if anything is left to write.
   */
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

  /** Gives its receive buffer back, once no read or write can touch it. */
  async letGo(): Promise<void> {
    await Promise.allSettled([this.reading, this.#writing]);
    this.inbox.release();
  }

  hold(bytes: number): void {
    if (this.closed) return;
    this.held += bytes;
    this.counters?.hold(bytes);
  }

  /** Says that nothing more will be sent; replies on their way still arrive. */
  async closeWrite(): Promise<void> {
    await this.transport.closeWrite();
  }

  /** Closes now. What is pending throws. May be called more than once. */
  close(): void {
    if (this.closed) return;
    // What does not go back to the pool is garbage from now on.
    this.hold(-this.held);
    this.closed = true;
    this.transport.close();
  }

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
