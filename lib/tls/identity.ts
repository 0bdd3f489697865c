/** The server's certificate, which may change while the server runs. */

import type { Clock } from "../core/clock.ts";
import { OptionError } from "../core/errors.ts";
import type { Connection } from "../net/connection.ts";
import { TlsContext } from "./context.ts";
import { namesOf } from "./names.ts";
import { certificatesOf, checkCertificates, checkKeyPair } from "./pem.ts";
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

type Tell = (step: ExpiryStep, status: TlsStatus) => void;

export class TlsIdentity {
  /** Rejects where a handshake in memory has shown that something is wrong. */
  readonly proven: Promise<void>;
  #context: TlsContext;
  #certificate: Omit<TlsStatus, "failedReloads">;
  #failedReloads = 0;
  #endWatch: (() => void) | undefined;
  /** How many reloads have begun, and which of them is shown. */
  #begun = 0;
  #shown = 0;

  /** @param tell Is told as the certificate's end comes near. */
  constructor(
    settings: TlsSettings,
    private readonly clock: Clock,
    private readonly tell?: Tell,
  ) {
    this.#context = new TlsContext(settings);
    this.#certificate = certificateOf(settings);
    this.proven = prove(this.#context);
    // Somebody may look later.
    this.proven.catch(() => {});
  }

  get status(): TlsStatus {
    return { ...this.#certificate, failedReloads: this.#failedReloads };
  }

  /** Watches the certificate's end, if there is anybody to be told of it. */
  watch(): void {
    const tell = this.tell;
    const { notAfter } = this.#certificate;
    this.close();
    this.#endWatch = tell &&
      watchExpiry(notAfter, this.clock, (step) => tell(step, this.status));
  }

  close(): void {
    this.#endWatch?.();
    this.#endWatch = undefined;
  }

  /**
   * Shows another certificate from now on; handshakes that have begun keep the
   * one they have. None waits for the one before it, which may hang: the last
   * one that was asked for stays, and others that come later give nothing.
   */
  async reload(
    files: TlsFiles | Promise<TlsFiles>,
  ): Promise<TlsSettings | undefined> {
    const turn = ++this.#begun;
    try {
      const settings = this.#settingsOf(await files);
      const context = new TlsContext(settings, this.#context);
      await prove(context);
      if (turn < this.#shown) return undefined;
      this.#shown = turn;
      this.#context = context;
      this.#certificate = certificateOf(context.settings);
      if (this.#endWatch) this.watch();
      return context.settings;
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

  #settingsOf({ cert, key, clientCa }: TlsFiles): TlsSettings {
    const { settings } = this.#context;
    const pair = checkKeyPair(cert, key);
    if (clientCa === undefined) return { ...settings, ...pair };
    if (settings.clientCa === undefined) {
      throw new OptionError("clientCa", clientCa, "none, as at the start");
    }
    const authorities = checkCertificates("clientCa", clientCa);
    return { ...settings, ...pair, clientCa: authorities };
  }
}

function certificateOf({ cert }: TlsSettings) {
  const [{ raw, validToDate }] = certificatesOf(cert);
  const { subject, names } = namesOf(raw);
  return { subject: subject || names[0], notAfter: validToDate.getTime() };
}

/** How many days may be left when it is told; 0 is when it has expired. */
const STEPS = [0, 7, 30] as const;
type ExpiryStep = typeof STEPS[number];

const HOUR = 60 * 60_000;

/** Tells of a certificate's end, once for each step; gives what ends that. */
function watchExpiry(
  notAfter: number,
  clock: Clock,
  tell: (step: ExpiryStep) => void,
): () => void {
  let told: number | undefined;
  let cancel: () => void;
  const look = () => {
    const left = notAfter - Date.now();
    const step = STEPS.find((days) => left <= days * 24 * HOUR);
    if (step !== undefined && step < (told ?? Infinity)) tell(told = step);
    // The date may be set meanwhile, and a timer holds 24 days only.
    cancel = clock.after(HOUR, look, { background: true });
  };
  look();
  return () => cancel();
}
