/**
 * What comes before the first request: a proxy's header, TLS, and a place.
 *
 * @module
 */

import { ProxyHeaderError } from "../../core/errors.ts";
import { ipOf } from "../../core/address.ts";
import type { Connection } from "../../net/connection.ts";
import {
  parseProxyHeader,
  type ProxyVersion,
} from "../../net/proxy_protocol/mod.ts";
import type { TlsIdentity } from "../../tls/identity.ts";
import type { SessionParts } from "./context.ts";
import type { Refusal } from "./ending.ts";

/**
 * Reads the header of a trusted proxy, then agrees on TLS, where there are such.
 * A peer that leaves before its first byte, by its end or by a reset (throws),
 * did nothing wrong: TCP checks do so. That is its ending then.
 *
 * @returns Why the connection is of no use; nothing if it is, or has ended.
 */
export async function prepare(
  { connection, stage, ending, context }: SessionParts,
): Promise<Refusal | undefined> {
  const { config: { proxy }, tls, clock } = context;
  if (proxy?.trusted.matches(ipOf(connection.remoteAddr))) {
    stage.enter("greeting");
    if (!await hear(connection)) return void ending.name("peer_closed");
    try {
      await greet(connection, proxy.version);
      connection.heardAt = clock.now();
    } catch (error) {
      // A broken header does not come from our proxy: close without a reply.
      return { reason: "proxy_error", error };
    }
  }
  if (tls !== undefined) {
    stage.enter("handshaking");
    if (!await hear(connection)) return void ending.name("peer_closed");
    try {
      await secure(connection, tls);
      connection.heardAt = clock.now();
    } catch (error) {
      return { reason: "tls_error", error };
    }
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

async function secure(connection: Connection, tls: TlsIdentity): Promise<void> {
  const layer = connection.layer((below, received) =>
    tls.secure(below, received)
  );
  await layer.handshake();
  connection.secured = true;
}
