/**
 * A client's connection of which everything is in a test's hands: when it
 * sends, how much it takes, and how it ends. TLS can be put on top of it.
 *
 * @module
 */

import { createConnection, type Socket } from "node:net";
import { Duplex } from "node:stream";
import { connect } from "node:tls";

import { ONE_CA } from "./certificates.ts";
import { joined } from "./wire_model.ts";

/** How long TLS may take to tell of the end, in milliseconds. */
const FORGOTTEN = 50;

/** How many pieces are made of encrypted bytes at the most. */
const MOST_PIECES = 40;

/**
 * How the record begins in which TLS 1.3 says its end: there are 19 encrypted
 * bytes in it, as in one of two plain bytes.
 */
const END = [0x17, 3, 3, 0, 19];
const END_LENGTH = END.length + 19;

/** See the module's text. */
export class Link {
  /** How the server has ended it: in good order, or by an error. */
  ended: "finished" | Error | undefined;
  /** When that was seen, as `performance.now()` has it. */
  endedAt = Infinity;
  /** The port of this side. */
  readonly port: number;
  /** When it began to connect: the server may know of it long before us. */
  readonly opened: number;
  readonly #raw: Socket;
  /** What plain bytes are written to and read from. */
  #plain: Duplex;
  #received: Uint8Array[] = [];
  /** The last encrypted bytes. */
  #last = new Uint8Array();
  /** How much more is taken. */
  #room = Infinity;
  #waiting = new Set<(changed: true) => void>();

  private constructor(raw: Socket, opened: number) {
    this.#raw = raw;
    this.opened = opened;
    // It is forgotten once the socket is destroyed.
    this.port = raw.localPort!;
    this.#plain = raw;
    this.#listen(raw);
  }

  /** Connects to a port of the loopback. */
  static async open(port: number): Promise<Link> {
    const opened = performance.now();
    const raw = createConnection({
      host: "127.0.0.1",
      port,
      allowHalfOpen: true,
      noDelay: true,
    });
    await new Promise((done, fail) => {
      raw.once("connect", done);
      raw.once("error", fail);
    });
    return new Link(raw, opened);
  }

  /**
   * Puts TLS on top.
   *
   * @param piece Encrypted bytes are sent in pieces of so many, at the least.
   */
  secure(piece: number): void {
    const raw = this.#raw;
    raw.removeAllListeners("readable").removeAllListeners("end");
    const wire = new Duplex({
      allowHalfOpen: true,
      read() {},
      write(bytes, _encoding, done) {
        const step = Math.max(piece, Math.ceil(bytes.length / MOST_PIECES));
        for (let at = 0; at < bytes.length; at += step) {
          raw.write(bytes.subarray(at, at + step));
        }
        done();
      },
      final(done) {
        raw.end();
        done();
      },
    });
    raw.on("data", (bytes) => {
      this.#last = joined([this.#last, bytes]).slice(-END_LENGTH);
      wire.push(bytes);
    });
    raw.once("end", () => {
      wire.push(null);
      // The engine forgets to say so at times, with all bytes handed over.
      setTimeout(() => this.#end("finished"), FORGOTTEN);
    });
    this.#plain = connect({
      socket: wire,
      ca: ONE_CA,
      servername: "localhost",
    });
    this.#listen(this.#plain);
  }

  /** Sends bytes, now or as soon as the server takes them. */
  send(bytes: Uint8Array): void {
    if (bytes.length > 0 && this.#plain.writable) this.#plain.write(bytes);
  }

  /** Finishes sending. */
  finish(): void {
    if (this.#plain.writable) this.#plain.end();
  }

  /** Finishes sending without TLS saying so. */
  cut(): void {
    this.#raw.end();
  }

  /** Sends RST: all that is under way is lost. */
  reset(): void {
    this.#raw.resetAndDestroy();
  }

  /** Closes, whatever is under way. */
  close(): void {
    this.#raw.destroy();
    if (this.#plain !== this.#raw) this.#plain.destroy();
  }

  /** Takes so much more, and no more then. */
  take(bytes: number): void {
    this.#room = bytes;
    // Under TLS the connection itself is held, for the engine takes all.
    if (this.#plain !== this.#raw) {
      if (bytes === 0) this.#raw.pause();
      else this.#raw.resume();
    }
    this.#read();
  }

  /** All that has been taken. */
  get received(): Uint8Array {
    if (this.#received.length > 1) this.#received = [joined(this.#received)];
    return this.#received[0] ?? new Uint8Array();
  }

  /** How much that is. */
  get length(): number {
    return this.#received.reduce((sum, { length }) => sum + length, 0);
  }

  /** Whether the last that came by TLS was that there is no more. */
  get isEndSaid(): boolean {
    return this.#last.length === END_LENGTH &&
      END.every((byte, i) => this.#last[i] === byte);
  }

  /**
   * Waits until something is so: looks now, and after each change.
   *
   * @param patience How long it waits for the next change, in milliseconds.
   * @returns Whether it is so; else nothing changed in time.
   */
  async until(isSo: () => boolean, patience: number): Promise<boolean> {
    while (!isSo()) {
      const { promise, resolve } = Promise.withResolvers<boolean>();
      this.#waiting.add(resolve);
      const timer = setTimeout(() => resolve(false), patience);
      const changed = await promise;
      clearTimeout(timer);
      if (!changed) return isSo();
    }
    return true;
  }

  #listen(stream: Duplex): void {
    stream.on("readable", () => this.#read());
    stream.once("end", () => this.#end("finished"));
    stream.on("error", (error) => this.#end(error));
  }

  #read(): void {
    while (this.#room > 0) {
      const most = Math.min(this.#room, this.#plain.readableLength);
      // One that is asked for nothing looks whether there is more, or the end.
      const bytes: Uint8Array | null = this.#plain.read(most);
      if (bytes === null) break;
      this.#received.push(bytes);
      this.#room -= bytes.length;
    }
    this.#changed();
  }

  #end(how: "finished" | Error): void {
    if (this.ended === undefined) this.endedAt = performance.now();
    this.ended ??= how;
    this.#changed();
  }

  #changed(): void {
    for (const resolve of this.#waiting) resolve(true);
    this.#waiting.clear();
  }
}
