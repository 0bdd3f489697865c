/**
 * TLS on top of a connection, by `node:tls`. `Deno.listenTls` cannot change its
 * certificate, and a new listener in its place would reset the connections that
 * the kernel has queued.
 */

import process from "node:process";
import { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";

import { TlsError } from "../core/errors.ts";
import type { TlsInfo } from "../core/tls_info.ts";
import { hex } from "../core/text.ts";
import { isOlder } from "../core/version.ts";
import { giveBack, lend } from "../net/buffers.ts";
import type { Transport } from "../net/connection.ts";
import type { TlsContext } from "./context.ts";
import { HANDSHAKE, HANDSHAKE_FAILURE, MAX_RECORD } from "./record.ts";

/** The size of the memory that a quiet connection keeps for reads, in bytes. */
const SMALL = 2048;

const NOTHING = new Uint8Array();

/** Whether the runtime goes on after a write only with the next bytes received. */
const NUDGES = isOlder(Deno.version.deno, [2, 9, 0]);

/** A read of plain bytes that is not done. */
interface Reader {
  readonly space: Uint8Array;
  readonly resolve: (n: number | null) => void;
  readonly reject: (error: unknown) => void;
}

export class TlsTransport implements Transport {
  readonly localAddr: Deno.Addr;
  readonly remoteAddr: Deno.Addr;
  /** The engine does not tell whether it holds more. */
  readonly shortReadMeansEmpty = false;
  readonly #wire: Duplex;
  readonly #engine: TLSSocket;
  readonly #small = new Uint8Array(SMALL);
  readonly #secured = Promise.withResolvers<void>();
  #handshaking = true;
  /** Received before this was made, and not handed to the engine yet. */
  #unused: Uint8Array;
  #received = 0;
  #filled = false;
  #pumping = false;
  /** Plain bytes that no reader has got yet. */
  readonly #plain: Uint8Array[] = [];
  #reader: Reader | undefined;
  #interrupt: ((error: unknown) => void) | undefined;
  #written: Promise<void> | undefined;
  #ended = false;
  #failure: { error: unknown } | undefined;

  /** @param received What of the handshake has been read from it already. */
  constructor(
    private readonly below: Transport,
    received: Uint8Array,
    private readonly context: Pick<TlsContext, "engine" | "introduce">,
  ) {
    this.#unused = received;
    this.localAddr = below.localAddr;
    this.remoteAddr = below.remoteAddr;
    // `read` does nothing, since the stream would read ahead: `#pump` reads when
    // somebody waits for bytes, and `#feed` hands them over.
    this.#wire = new Duplex({
      allowHalfOpen: true,
      read() {},
      write: (chunk, _encoding, done) => {
        this.#written = this.#send(chunk, done);
      },
    });
    this.#wire.on("error", () => {});
    this.#engine = context.engine(this.#wire);
    this.#engine.on("error", ({ message }) => {
      // OpenSSL's codes stand behind the runtime's own words.
      this.#fail(new TlsError(message.replace(/ \(SSL routines:.*$/s, "")));
    });
    // They are few: bytes are handed to the engine while a reader waits.
    this.#engine.on("data", (bytes) => {
      this.#plain.push(bytes);
      this.#deliver();
    });
    this.#engine.once("end", () => this.#end());
    this.#engine.once("close", () => this.#end());
    this.#engine.once("secure", () => {
      this.#handshaking = false;
      this.#secured.resolve();
    });
    // It may fail while nobody waits for it yet.
    this.#secured.promise.catch(() => {});
  }

  /** Waits until both sides have agreed; the peer's end or `close()` throws. */
  async handshake(): Promise<TlsInfo> {
    // The engine starts in the tick that its constructor has asked for. Bytes
    // that it refuses before that would end the process.
    process.nextTick(() => this.#pump());
    await this.#secured.promise;
    return this.context.introduce(this.#engine);
  }

  get received(): number {
    return this.#received;
  }

  read(space: Uint8Array): Promise<number | null> {
    const { promise, resolve, reject } = Promise.withResolvers<number | null>();
    this.#reader = { space, resolve, reject };
    this.#deliver();
    this.#pump();
    return promise;
  }

  write(bytes: Uint8Array): Promise<number> {
    // For no bytes the engine makes no record, and never calls back.
    if (bytes.length === 0) return Promise.resolve(0);
    // One record at a time: each that a slow peer takes is progress, which the
    // write timeout looks for.
    const part = bytes.length > MAX_RECORD
      ? bytes.subarray(0, MAX_RECORD)
      : bytes;
    return this.#do((done) => this.#engine.write(part, done), part.length);
  }

  async closeWrite(): Promise<void> {
    await this.#do((done) => {
      this.#engine.end(done);
      this.#nudge();
    }, 0);
    await this.#written;
    await this.below.closeWrite();
  }

  close(): void {
    this.#fail(new Deno.errors.BadResource("Connection is closed"));
    this.below.close();
  }

  /** Starts a task of the engine; rejects if the connection fails before its end. */
  #do<Result>(
    task: (done: (error?: Error | null) => void) => void,
    result: Result,
  ): Promise<Result> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure.error);
      this.#interrupt = reject;
      task((error) => {
        this.#interrupt = undefined;
        if (error) reject(this.#failure?.error ?? error);
        else resolve(result);
      });
    });
  }

  /** Reads from below for as long as somebody waits for what it brings. */
  async #pump(): Promise<void> {
    if (this.#pumping || this.#failure !== undefined) return;
    this.#pumping = true;
    try {
      if (this.#unused.length > 0) this.#feed(this.#unused);
      this.#unused = NOTHING;
      while (this.#handshaking || this.#reader !== undefined) {
        const space = this.#filled ? lend() : this.#small;
        try {
          const n = await this.below.read(space);
          if (n === null) {
            this.#end();
            break;
          }
          this.#filled = n === space.length;
          this.#feed(space.subarray(0, n));
        } finally {
          if (space !== this.#small) giveBack(space);
        }
        this.#deliver();
      }
    } catch (error) {
      this.#fail(error);
    }
    this.#pumping = false;
  }

  /** Hands received bytes to the engine, which copies them. */
  #feed(bytes: Uint8Array): void {
    if (this.#received === 0 && bytes[0] !== HANDSHAKE) {
      const first = hex(bytes[0]);
      throw new TlsError(`expected a handshake, got first byte ${first}`);
    }
    this.#received += bytes.length;
    this.#wire.emit("data", bytes);
  }

  #deliver(): void {
    if (this.#reader === undefined) return;
    const { space, resolve, reject } = this.#reader;
    const [bytes] = this.#plain;
    if (bytes !== undefined) {
      const n = Math.min(bytes.length, space.length);
      space.set(n < bytes.length ? bytes.subarray(0, n) : bytes);
      if (n < bytes.length) this.#plain[0] = bytes.subarray(n);
      else this.#plain.shift();
      resolve(n);
    } else if (this.#failure !== undefined) reject(this.#failure.error);
    else if (this.#ended) resolve(null);
    else return;
    this.#reader = undefined;
  }

  async #send(bytes: Uint8Array, done: (error?: Error) => void): Promise<void> {
    try {
      for (let sent = 0; sent < bytes.length;) {
        sent += await this.below.write(sent ? bytes.subarray(sent) : bytes);
      }
      done();
      if (NUDGES) this.#nudge();
    } catch (error) {
      this.#fail(error);
      done(error as Error);
    }
  }

  /** Has the engine go on: an end waits for it whatever the runtime. */
  #nudge(): void {
    this.#wire.emit("data", NOTHING);
  }

  /** The peer has finished: by an alert that says so, or without one. */
  #end(): void {
    this.#ended = true;
    if (this.#handshaking) {
      const received = `${this.#received} bytes of a handshake`;
      this.#fail(new TlsError(`peer closed after ${received}`));
    } else this.#deliver();
  }

  #fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = { error };
    // The engine ends without an alert. If it has written nothing, the peer can
    // still read one that is not encrypted.
    if (error instanceof TlsError && this.#written === undefined) {
      this.below.write(HANDSHAKE_FAILURE).catch(() => {});
    }
    this.#handshaking = false;
    this.#secured.reject(error);
    this.#interrupt?.(error);
    this.#deliver();
    this.#engine.destroy();
  }
}
