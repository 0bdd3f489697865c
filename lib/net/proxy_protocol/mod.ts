/**
 * The PROXY protocol's header, versions 1 and 2: what a proxy puts in front of
 * a connection's bytes to say whose they are.
 *
 * The specification is HAProxy's
 * (https://github.com/haproxy/haproxy/blob/master/doc/proxy-protocol.txt); the
 * sections named below are its.
 *
 * Nothing here finds out whether there is a header. The specification forbids
 * it (section 2): a stranger who may send one can claim any address. Read
 * headers from addresses that are trusted, and from those always.
 */

import { hex } from "../../core/text.ts";
import { broken, type ProxyHeader } from "./header.ts";
import { parseV1, V1_UNKNOWN } from "./v1.ts";
import { parseV2, V2_FIXED, V2_SIGNATURE } from "./v2.ts";

export type { ProxyHeader } from "./header.ts";

/** The names of what may be accepted, for flags and messages. */
export const proxyVersions: readonly ProxyVersion[] = ["v1", "v2", "any"];

/** Which versions of the header are accepted. */
export type ProxyVersion = "v1" | "v2" | "any";

/**
 * The most bytes that a header has: version 2 has 16 bits for the length.
 * Receivers must skip as much as that says (2.2), so no bound of ours is lower.
 */
export const MAX_PROXY_HEADER: number = V2_FIXED + 0xffff;

/**
 * Reads a header from the start of a connection.
 *
 * Call it again from the same start when more bytes have come. However they are
 * cut, the outcome is the same, and hopeless ones are refused without waiting
 * for the rest.
 *
 * @returns The header; or `undefined` when more bytes are needed, at most
 * {@linkcode MAX_PROXY_HEADER} in all.
 * @throws {ProxyHeaderError} The bytes are no such header.
 */
export function parseProxyHeader(
  bytes: Uint8Array,
  start: number,
  end: number,
  accept: ProxyVersion,
): ProxyHeader | undefined {
  if (start === end) return undefined;
  // Their first bytes differ, so the first byte tells which it must be.
  const first = String.fromCharCode(bytes[start]);
  if (accept === "v1" || (accept === "any" && V1_UNKNOWN.startsWith(first))) {
    return parseV1(bytes, start, end);
  }
  if (accept === "v2" || V2_SIGNATURE.startsWith(first)) {
    return parseV2(bytes, start, end);
  }
  broken(
    `expected "PROXY" or the v2 signature, got ${hex(bytes[start])} at byte 1`,
  );
}
