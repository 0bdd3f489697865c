/** What one certificate makes of connections: an engine, and who the peer is. */

import process from "node:process";
import { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import type { X509Certificate } from "node:crypto";

import { ClientCertificateError } from "../core/errors.ts";
import type { PeerCertificate, TlsInfo } from "../core/tls_info.ts";
import { namesOf } from "./names.ts";
import { certificatesOf } from "./pem.ts";
import type { TlsSettings } from "./settings.ts";

/** How many client certificates are remembered for sessions to resume. */
const MAX_VOUCHED = 10_000;

/** What the engine has against the peer's certificate; empty for nothing. */
type Verifier = { ssl: { verifyError(): string | null } };

export class TlsContext {
  readonly chain: readonly X509Certificate[];
  readonly certificate: { subject: string; notAfter: number };
  readonly #context: object;
  readonly #authorities: (() => object[]) | undefined;
  /**
   * The fingerprints of client certificates that were checked. The runtime does
   * not check again that of a client who resumes a session.
   */
  readonly #vouched: Set<string>;

  /** @param before The context whose place it takes; its sessions go on. */
  constructor(readonly settings: TlsSettings, before?: TlsContext) {
    const { cert, key, clientCa, tlsMinVersion } = settings;
    const minVersion = `TLSv${tlsMinVersion}` as const;
    this.chain = certificatesOf(cert);
    const [{ raw, validToDate }] = this.chain;
    const { subject, names: [name] } = namesOf(raw);
    const notAfter = validToDate.getTime();
    this.certificate = { subject: subject || name, notAfter };
    const options = { cert, key, minVersion };
    this.#context = tls().createSecureContext(options).context;
    // With other authorities, nobody vouches for those that were checked before.
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
      // `#check` does it: the engine would not tell the client why.
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
    // The engine names no fault well, and does not check the dates where a
    // session is resumed.
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
   * Gives the authorities to the last one of the runtime's reads alone. Deno 2.9
   * reads them twice: first to show them as a part of its own chain, which they
   * are not, then to check clients.
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

/** Loaded when it is needed: without a certificate, programs start faster. */
export const tls = () => process.getBuiltinModule("node:tls");
