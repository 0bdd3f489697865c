/** The server's certificate, which may change while the server runs. */

import type { Clock } from "../core/clock.ts";
import { OptionError } from "../core/errors.ts";
import type { Connection } from "../net/connection.ts";
import { TlsContext } from "./context.ts";
import { checkCertificates, checkKeyPair } from "./pem.ts";
import { prove } from "./proof.ts";
import type { TlsFiles, TlsSettings } from "./settings.ts";
import { TlsTransport } from "./transport.ts";

/** The certificate that a server shows. */
export interface TlsStatus {
  /**
   * Whose it is, as RFC 4514 writes it: `CN=example.net`. The first of its other
   * names, such as `DNS:example.net`, where it has no subject.
   */
  readonly subject: string;
  /** Until when it is valid, in milliseconds since 1970. */
  readonly notAfter: number;
  /** How many times `reloadTls` has failed. */
  readonly failedReloads: number;
}

/** How many days may be left when it is told; 0 is when it has expired. */
const STEPS = [0, 7, 30] as const;
const HOUR = 60 * 60_000;

export class TlsIdentity {
  /** Rejects if the handshakes in memory fail, see `proof.ts`. */
  readonly proven: Promise<void>;
  #context: TlsContext;
  #failedReloads = 0;
  #endWatch: (() => void) | undefined;
  /** How many reloads have begun, and which of them is shown. */
  #begun = 0;
  #shown = 0;

  /** @param tell Called as the certificate's end comes near. */
  constructor(
    settings: TlsSettings,
    private readonly clock: Clock,
    private readonly tell?: (
      step: 0 | 7 | 30,
      status: TlsStatus,
      notBefore?: number,
    ) => void,
  ) {
    this.#context = new TlsContext(settings);
    this.proven = prove(this.#context);
    // Who waits for it may come later than a failure.
    this.proven.catch(() => {});
  }

  get status(): TlsStatus {
    const { certificate } = this.#context;
    return { ...certificate, failedReloads: this.#failedReloads };
  }

  /** Begins to look each hour how near the certificate's end is. */
  watch(): void {
    const { tell } = this;
    this.close();
    if (tell === undefined) return;
    let told = Infinity;
    const look = () => {
      const now = Date.now();
      const left = this.status.notAfter - now;
      const step = STEPS.find((days) => left <= days * 24 * HOUR);
      const notBefore = this.#context.chain[0].validFromDate.getTime();
      if (notBefore > now) tell(0, this.status, notBefore);
      else if (step !== undefined && step < told) {
        tell(told = step, this.status);
      }
      this.#endWatch = this.clock.after(HOUR, look, { background: true });
    };
    look();
  }

  close(): void {
    this.#endWatch?.();
    this.#endWatch = undefined;
  }

  /**
   * Shows another certificate from now on; handshakes that have begun keep the
   * one they have. No reload waits for an earlier one, which may hang: if that
   * is done after a later one, it changes nothing and gives undefined.
   */
  async reload(
    files: TlsFiles | Promise<TlsFiles>,
  ): Promise<TlsSettings | undefined> {
    const turn = ++this.#begun;
    try {
      const { cert, key, clientCa } = await files;
      const settings = {
        ...this.#context.settings,
        ...checkKeyPair(cert, key),
      };
      if (clientCa !== undefined) {
        if (settings.clientCa === undefined) {
          throw new OptionError("clientCa", clientCa, "none, as at the start");
        }
        settings.clientCa = checkCertificates("clientCa", clientCa);
      }
      const context = new TlsContext(settings, this.#context);
      await prove(context);
      if (turn < this.#shown) return undefined;
      this.#shown = turn;
      this.#context = context;
      if (this.#endWatch) this.watch();
      return settings;
    } catch (error) {
      if (turn < this.#shown) return undefined;
      this.#failedReloads++;
      throw error;
    }
  }

  /** Agrees on TLS with the client of a connection, on top of it. */
  async secure(connection: Connection): Promise<void> {
    const layer = connection.layer((below, received) =>
      new TlsTransport(below, received, this.#context)
    );
    connection.tls = await layer.handshake();
  }
}
