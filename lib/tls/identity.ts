/**
 * The server's certificate, which may change while the server runs.
 *
 * @module
 */

import process from "node:process";
import type { SecureContext } from "node:tls";

import type { Transport } from "../net/connection.ts";
import type { TlsKeyPair } from "./pem.ts";
import { TlsTransport } from "./transport.ts";

export class TlsIdentity {
  #context: SecureContext;

  constructor(pair: TlsKeyPair) {
    this.#context = contextOf(pair);
  }

  /**
   * Shows another certificate from now on. Connections that are secured, and
   * handshakes that have begun, keep the one they have.
   */
  replace(pair: TlsKeyPair): void {
    this.#context = contextOf(pair);
  }

  /** Puts TLS on top of a connection; see {@linkcode TlsTransport}. */
  secure(below: Transport, received: Uint8Array): TlsTransport {
    return new TlsTransport(below, received, this.#context);
  }
}

/** What serves TLS is loaded for the first certificate: others start faster. */
function contextOf(pair: TlsKeyPair): SecureContext {
  return process.getBuiltinModule("node:tls").createSecureContext(pair);
}
