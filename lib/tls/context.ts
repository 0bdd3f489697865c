/** What one certificate makes of connections: an engine, and who the peer is. */

import process from "node:process";
import { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import type { X509Certificate } from "node:crypto";

import { ClientCertificateError } from "../core/errors.ts";
import type { PeerCertificate, TlsInfo } from "../core/tls_info.ts";
import { namesOf } from "./names.ts";
import type { TlsSettings } from "./settings.ts";

/** How many client certificates a session may be resumed with. */
const MAX_VOUCHED = 10_000;

/** What the engine has against the peer's certificate; empty for nothing. */
type Verifier = { ssl: { verifyError(): string | null } };

export class TlsContext {
  readonly #context: object;
  readonly #authorities: (() => object[]) | undefined;
  /**
   * The fingerprints of client certificates that an authority vouches for: the
   * runtime checks none that comes with a session that is resumed.
   */
  readonly #vouched: Set<string>;

  /** @param before What was shown before, whose sessions may be resumed. */
  constructor(readonly settings: TlsSettings, before?: TlsContext) {
    const { cert, key, clientCa, tlsMinVersion } = settings;
    const minVersion = `TLSv${tlsMinVersion}` as const;
    this.#context =
      tls().createSecureContext({ cert, key, minVersion }).context;
    this.#vouched = before && before.settings.clientCa === clientCa
      ? before.#vouched
      : new Set();
    this.#authorities = clientCa ? this.#authoritiesOf(clientCa) : undefined;
  }

  engine(wire: Duplex, ca = this.#authorities?.()): TLSSocket {
    const { alpnProtocols: alpn } = this.settings;
    return new (tls().TLSSocket)(wire, {
      isServer: true,
      secureContext: { context: { ...this.#context, ca } },
      requestCert: ca !== undefined,
      // A certificate that is refused by the engine is so without a word.
      rejectUnauthorized: false,
      ALPNProtocols: alpn.length > 0 ? alpn : undefined,
    });
  }

  introduce(engine: TLSSocket): TlsInfo {
    const { clientCa, clientAuth } = this.settings;
    const shown = clientCa ? engine.getPeerX509Certificate() : undefined;
    if (clientCa && !shown && clientAuth === "require") {
      throw new ClientCertificateError("required");
    }
    return Object.freeze({
      version: engine.getProtocol() ?? "",
      alpn: engine.alpnProtocol || undefined,
      peer: shown && this.#check(shown, engine),
    });
  }

  #check(shown: X509Certificate, engine: TLSSocket): PeerCertificate {
    const { raw, fingerprint256: fingerprint, validFromDate } = shown;
    const { subject, names } = namesOf(raw);
    const vouched = this.#vouched.delete(fingerprint);
    const now = Date.now();
    // The runtime has one name for most faults. It does not look at the dates
    // where a session is resumed, nor at those of an authority that is shown.
    const fault = shown.validToDate.getTime() < now
      ? "expired"
      : validFromDate.getTime() > now
      ? "not valid yet"
      : (engine as unknown as Verifier).ssl.verifyError()
      ? "not trusted"
      : engine.isSessionReused() && !vouched
      ? "from an old session: try again"
      : undefined;
    if (fault !== undefined) throw new ClientCertificateError(fault, subject);
    this.#vouched.add(fingerprint);
    if (this.#vouched.size > MAX_VOUCHED) {
      this.#vouched.delete(this.#vouched.values().next().value!);
    }
    return Object.freeze({ subject, names: Object.freeze(names), fingerprint });
  }

  /**
   * Has the runtime read the authorities once. Deno 2.9 reads them twice: at
   * first to show them as if they were of its chain, then to check clients.
   */
  #authoritiesOf(pem: string): () => object[] {
    let reads = 0;
    const counter = { toString: () => (reads++, pem) };
    this.engine(new Duplex(), [counter]).destroy();
    return () => {
      let left = reads;
      return [{ toString: () => --left > 0 ? "" : pem }];
    };
  }
}

/** Loaded for the first certificate: others start faster. */
export function tls(): typeof import("node:tls") {
  return process.getBuiltinModule("node:tls");
}
