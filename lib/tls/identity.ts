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

/** What a server shows its peers. */
export class TlsIdentity {
  #context: SecureContext;

  /**
   * @param pair Certificate and key, checked.
   */
  constructor(pair: TlsKeyPair) {
    this.#context = contextOf(pair);
  }

  /**
   * Shows another certificate from now on. Connections that are secured, and
   * handshakes that have begun, keep the one they have.
   *
   * @param pair Certificate and key, checked.
   */
  replace(pair: TlsKeyPair): void {
    this.#context = contextOf(pair);
  }

  /**
   * Puts TLS on top of a connection.
   *
   * @param below The connection, plain.
   * @param received What of the handshake has been read from it already.
   */
  secure(below: Transport, received: Uint8Array): TlsTransport {
    return new TlsTransport(below, received, this.#context);
  }
}

/** What serves TLS is loaded for the first certificate: others start faster. */
function contextOf(pair: TlsKeyPair): SecureContext {
  return process.getBuiltinModule("node:tls").createSecureContext(pair);
}
