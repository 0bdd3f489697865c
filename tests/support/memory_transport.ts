/**
 * Connections in memory: what a session does can be tested without sockets,
 * step by step, for nothing here happens by itself or by time.
 *
 * @module
 */

import { CHUNK, giveBack, lend, SHORT } from "../../lib/net/buffers.ts";
import type { Transport } from "../../lib/net/connection.ts";
import type { Acceptor } from "../../lib/net/listen.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

interface Pending<T> extends PromiseWithResolvers<T> {
  readonly bytes: Uint8Array;
}

/**
 * One connection. The server has it as its transport; a test plays the peer, by
 * `push`, `end` and `reset`, and by how much it takes of what is written.
 *
 * Errors are those of `Deno.Conn` on Linux. Beyond that it holds its user to
 * two rules: one read and one write pending at the most (another throws), and
 * no change of the bytes of a write that waits (the write rejects).
 */
export class MemoryTransport implements Transport {
  readonly localAddr: Deno.NetAddr = netAddr("127.0.0.1", 1);
  readonly remoteAddr: Deno.NetAddr;
  /** The most bytes that one write takes. */
  mostPerWrite = Infinity;
  /** Whether a read waits for {@linkcode release}, whatever has been pushed. */
  held = false;
  /** Whether the server has closed its side. */
  finished = false;
  /** Whether the server has closed the connection. */
  closed = false;
  #room = Infinity;
  #incoming = new Uint8Array();
  #ended = false;
  /** The reset that no read or write has told of yet. */
  #fault: Error | undefined;
  #gone = false;
  #read: Pending<number | null> | undefined;
  #write: (Pending<number> & { readonly copy: Uint8Array }) | undefined;
  #taken = new Uint8Array();
  readonly #watching = new Set<() => void>();

  /** @param hostname The peer's address. */
  constructor(hostname = "127.0.0.1") {
    this.remoteAddr = netAddr(hostname, 2);
  }

  /** Whether a read is pending. */
  get reading(): boolean {
    return this.#read !== undefined;
  }

  /** Whether a write is pending. */
  get writing(): boolean {
    return this.#write !== undefined;
  }

  /** All that the peer has taken so far. */
  get taken(): Uint8Array {
    return this.#taken;
  }

  /** The same, as text. */
  get text(): string {
    return decoder.decode(this.#taken);
  }

  /** The peer sends. As with a socket, a read brings all that fits. */
  push(data: string | Uint8Array): void {
    const bytes = typeof data === "string" ? encoder.encode(data) : data;
    this.#incoming = joined(this.#incoming, bytes);
    this.#proceed();
  }

  /** The peer has finished sending. */
  end(): void {
    this.#ended = true;
    this.#proceed();
  }

  /** The peer resets: what it has sent can still be read, as on Linux. */
  reset(): void {
    this.#ended = this.#gone = true;
    this.#fault = new Deno.errors.ConnectionReset("Connection reset by peer");
    this.#proceed();
  }

  /** Lets the held read settle that is pending; throws if it cannot. */
  release(): void {
    const { reading } = this;
    this.#settleRead();
    if (!reading || this.reading) throw new Error("No read can be released");
    this.#changed();
  }

  /** The peer takes so many bytes more, and no more: then writes wait. */
  take(bytes: number): void {
    this.#room = bytes;
    this.#proceed();
  }

  /** Waits until something is so: looks now, and after each change. */
  async until(isSo: (transport: this) => boolean): Promise<void> {
    while (!isSo(this)) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#watching.add(resolve);
      await promise;
    }
  }

  read(bytes: Uint8Array): Promise<number | null> {
    if (this.#read !== undefined) throw new Error("Two reads are pending");
    if (this.closed) return Promise.reject(badResource());
    const read = { bytes, ...Promise.withResolvers<number | null>() };
    this.#read = read;
    this.#proceed();
    return read.promise;
  }

  write(bytes: Uint8Array): Promise<number> {
    if (this.#write !== undefined) throw new Error("Two writes are pending");
    if (this.closed) return Promise.reject(badResource());
    const copy = bytes.slice();
    const write = { bytes, copy, ...Promise.withResolvers<number>() };
    this.#write = write;
    this.#proceed();
    return write.promise;
  }

  closeWrite(): Promise<void> {
    if (this.closed) return Promise.reject(badResource());
    this.finished = true;
    this.#changed();
    return Promise.resolve();
  }

  close(): void {
    if (this.closed) throw badResource();
    this.closed = true;
    const error = new Deno.errors.Interrupted("operation canceled");
    this.#read?.reject(error);
    this.#write?.reject(error);
    this.#read = this.#write = undefined;
    this.#changed();
  }

  #proceed(): void {
    if (!this.held) this.#settleRead();
    this.#settleWrite();
    this.#changed();
  }

  #settleRead(): void {
    if (this.#read === undefined) return;
    const { bytes, resolve, reject } = this.#read;
    const n = Math.min(bytes.length, this.#incoming.length);
    if (n > 0 || bytes.length === 0) {
      bytes.set(this.#incoming.subarray(0, n));
      this.#incoming = this.#incoming.slice(n);
      resolve(n);
    } else if (this.#fault !== undefined) reject(this.#tellFault());
    else if (this.#ended) resolve(null);
    else return;
    this.#read = undefined;
  }

  #settleWrite(): void {
    if (this.#write === undefined) return;
    const { bytes, copy, resolve, reject } = this.#write;
    const n = Math.min(copy.length, this.mostPerWrite, this.#room);
    if (this.#fault !== undefined) reject(this.#tellFault());
    else if (this.#gone || this.finished) {
      reject(new Deno.errors.BrokenPipe("Broken pipe"));
    } else if (!isSame(copy, bytes)) {
      reject(new Error("The bytes of a pending write have changed"));
    } else if (n > 0 || copy.length === 0) {
      this.#taken = joined(this.#taken, copy.subarray(0, n));
      this.#room -= n;
      resolve(n);
    } else return;
    this.#write = undefined;
  }

  /** A reset is told once, by the read or the write that comes first. */
  #tellFault(): Error {
    const error = this.#fault!;
    this.#fault = undefined;
    return error;
  }

  #changed(): void {
    const watching = [...this.#watching];
    this.#watching.clear();
    for (const look of watching) look();
  }
}

/** A listener whose clients are a test's. */
export class MemoryListener implements Acceptor {
  readonly addr: Deno.NetAddr = netAddr("127.0.0.1", 1);
  readonly #queued: MemoryTransport[] = [];
  #accept: PromiseWithResolvers<MemoryTransport> | undefined;
  #closed = false;

  /** How many have connected and were not accepted. */
  get queued(): number {
    return this.#queued.length;
  }

  /**
   * Connects.
   *
   * @param hostname The client's address.
   * @param transport What the server gets.
   * @returns The same, for the test to play the peer of.
   */
  connect(
    hostname?: string,
    transport: MemoryTransport = new MemoryTransport(hostname),
  ): MemoryTransport {
    if (this.#closed) throw new Deno.errors.ConnectionRefused("It is closed");
    if (this.#accept === undefined) this.#queued.push(transport);
    else this.#accept.resolve(transport);
    this.#accept = undefined;
    return transport;
  }

  accept(): Promise<MemoryTransport> {
    if (this.#accept !== undefined) throw new Deno.errors.Busy("Two accepts");
    if (this.#closed) return Promise.reject(badResource());
    const next = this.#queued.shift();
    if (next !== undefined) return Promise.resolve(next);
    this.#accept = Promise.withResolvers();
    return this.#accept.promise;
  }

  close(): void {
    if (this.#closed) throw badResource();
    this.#closed = true;
    this.#accept?.reject(badResource());
    this.#accept = undefined;
  }
}

/** Whether the next that needs memory may be lent this. */
export function isIdle({ buffer }: Uint8Array): boolean {
  const lent = [2048, SHORT, 8192, CHUNK]
    .flatMap((length) => Array.from({ length: 20 }, () => lend(length)));
  for (const bytes of lent.toReversed()) giveBack(bytes);
  return lent.some((bytes) => bytes.buffer === buffer);
}

/** Whether two have the same bytes; a loop, for many large ones are compared. */
export function isSame(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) {
    if (a[i] !== b[i]) return false;
  }
  return true;
}

function netAddr(hostname: string, port: number): Deno.NetAddr {
  return { transport: "tcp", hostname, port };
}

function badResource(): Error {
  return new Deno.errors.BadResource("Bad resource ID");
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
