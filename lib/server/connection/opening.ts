/**
 * What comes before the first request: a proxy's header, and TLS. A peer that
 * leaves before its first byte of either, by its end or by a reset (throws), did
 * nothing wrong: TCP checks do so. That is its ending then.
 */

import { ClientCertificateError, ProxyHeaderError } from "../../core/errors.ts";
import type { Connection } from "../../net/connection.ts";
import {
  parseProxyHeader,
  type ProxyVersion,
} from "../../net/proxy_protocol.ts";
import type { TlsIdentity } from "../../tls/identity.ts";
import { replies } from "../replies.ts";
import type { SessionParts } from "./context.ts";
import type { Refusal } from "./ending.ts";

/**
 * Reads the header of a trusted proxy, or agrees on TLS.
 *
 * @returns Why the connection is of no use; nothing if it is, or has ended.
 */
export async function prepare(
  { connection, stage, ending, context }: SessionParts,
  phase: "greeting" | "handshaking",
): Promise<Refusal | undefined> {
  stage.enter(phase);
  if (!await hear(connection)) return void ending.name("peer_closed");
  try {
    if (phase === "greeting") {
      await greet(connection, context.config.proxy!.version);
    } else await secure(connection, context.tls!);
    connection.heardAt = context.clock.now();
  } catch (error) {
    // A broken header does not come from our proxy: close without a reply.
    const reason = phase === "greeting" ? "proxy_error" : "tls_error";
    const text = error instanceof ClientCertificateError
      ? replies.certificate(error.reason)
      : undefined;
    return { reason, text, error };
  }
}

/** Waits for bytes; false where the peer has ended without any. */
async function hear(connection: Connection): Promise<boolean> {
  const { inbox } = connection;
  if (inbox.length > 0) return true;
  connection.took(await connection.read(inbox.space()));
  return !connection.eof;
}

/** Reads a header, which names the client, behind the first bytes. */
async function greet(
  connection: Connection,
  version: ProxyVersion,
): Promise<void> {
  const { inbox } = connection;
  while (true) {
    const { bytes, start, end } = inbox;
    const header = parseProxyHeader(bytes, start, end, version);
    if (header !== undefined) {
      const { source, destination, length } = header;
      inbox.start += length;
      connection.remoteAddr = Object.freeze(source ?? connection.remoteAddr);
      connection.localAddr = Object.freeze(destination ?? connection.localAddr);
      return;
    }
    if (connection.eof) {
      throw new ProxyHeaderError(`stream ended after ${inbox.length} bytes`);
    }
    connection.took(await connection.read(inbox.space()));
  }
}

export async function secure(
  connection: Connection,
  tls: TlsIdentity,
): Promise<void> {
  const layer = connection.layer((below, received) =>
    tls.secure(below, received)
  );
  connection.tls = await layer.handshake();
}
