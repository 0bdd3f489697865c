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

import { isIP } from "node:net";

import { canonicalIPv6 } from "../core/cidr.ts";
import { ProxyHeaderError } from "../core/errors.ts";
import { hex, quote } from "../core/text.ts";

/** The names of what may be accepted, for flags and messages. */
export const proxyVersions: readonly ProxyVersion[] = ["v1", "v2", "any"];

/** Which versions of the header are accepted. */
export type ProxyVersion = "v1" | "v2" | "any";

export interface ProxyHeader {
  /** How many bytes it takes. What follows them is the client's. */
  length: number;
  /**
   * The client. If it is missing, the connection's own addresses are the ones
   * to use: the proxy speaks for itself, as in a health check, or for a client
   * that has no TCP address. An IPv4-mapped address stays one.
   */
  source?: Deno.NetAddr;
  /** Where the client connected to; there if `source` is. */
  destination?: Deno.NetAddr;
}

/** The most bytes that a version 1 header has, its CRLF included (2.1). */
const V1_MAX = 107;
const V1_TCP4 = "PROXY TCP4 ";
const V1_STARTS = [
  ...[V1_TCP4, "PROXY TCP6 ", "PROXY UNKNOWN ", "PROXY UNKNOWN\r\n"],
];

/** How every version 2 header starts (2.2). */
const V2_SIGNATURE = "\r\n\r\n\0\r\nQUIT\n";
/** The signature, version and command, family, and the length of the rest. */
const V2_FIXED = 16;
const V2_LOCAL = 0x20;
const V2_PROXY = 0x21;

const TCP4 = 0x11;
const TCP6 = 0x21;

/** The families of addresses (2.2), and how many bytes their addresses take. */
const ADDRESS_BYTES: Readonly<Record<number, number | undefined>> = {
  ...{ 0x00: 0, [TCP4]: 12, 0x12: 12, [TCP6]: 36, 0x22: 36 },
  ...{ 0x31: 216, 0x32: 216 },
};

/** A TLV's type and length, in front of its value. */
const TLV_FIXED = 3;
const TLV_CRC32C = 3;

/**
 * Reads a header from the start of a connection.
 *
 * Call it again from the same start when more bytes have come. However they are
 * cut, the outcome is the same, and a header that is wrong already is refused
 * without a wait for the rest.
 *
 * @returns The header; `undefined` when more bytes are needed.
 * @throws {ProxyHeaderError} The bytes are no such header.
 */
export function parseProxyHeader(
  bytes: Uint8Array,
  start: number,
  end: number,
  accept: ProxyVersion,
): ProxyHeader | undefined {
  if (start === end) return undefined;
  const received = bytes.subarray(start, end);
  // The two versions differ in their first byte.
  const first = String.fromCharCode(received[0]);
  if (accept === "v1" || (accept === "any" && first === "P")) {
    return parseV1(received);
  }
  if (accept === "v2" || first === "\r") {
    return parseV2(received);
  }
  const got = hex(received[0]);
  broken(`expected "PROXY" or the v2 signature, got ${got} at byte 1`);
}

function broken(text: string): never {
  throw new ProxyHeaderError(text);
}

/**
 * Finds what the received bytes start with: one of `starts`, or `undefined`
 * when more bytes are needed. Throws once none of them is possible.
 */
function startOf(
  received: string,
  starts: readonly string[],
  expected: string,
): string | undefined {
  const found = starts.find((start) => received.startsWith(start));
  if (found !== undefined) return found;
  let same = 0;
  for (const start of starts) {
    if (start.startsWith(received)) return undefined;
    while (start.startsWith(received.slice(0, same + 1))) same++;
  }
  const got = hex(received.charCodeAt(same));
  broken(`expected ${expected}, got ${got} at byte ${same + 1}`);
}

/** Reads version 1: a line of text (2.1). */
function parseV1(bytes: Uint8Array): ProxyHeader | undefined {
  // One character for each byte, so a byte that is not ASCII matches nothing.
  const received = String.fromCharCode(...bytes.subarray(0, V1_MAX));
  const expected = '"PROXY", then TCP4, TCP6 or UNKNOWN';
  const begin = startOf(received, V1_STARTS, expected);
  if (begin === undefined) return undefined;
  const unknown = begin.startsWith("PROXY UNKNOWN");
  const lineEnd = unknown
    // Anything before the CRLF is ignored (2.1).
    ? received.indexOf("\r\n")
    : endOfLine(received, begin.length);
  if (lineEnd === -1) {
    if (received.length < V1_MAX) return undefined;
    broken(`no CRLF within ${V1_MAX} bytes`);
  }
  const length = lineEnd + 2;
  if (unknown) return { length };

  const fields = received.slice(begin.length, lineEnd).split(" ");
  if (fields.length !== 4) {
    broken(
      "expected two addresses and two ports with one space between, got " +
        `${fields.length} fields`,
    );
  }
  const version = begin === V1_TCP4 ? 4 : 6;
  const [source, destination] = ["source", "destination"].map((whose, i) =>
    addr(address(fields[i], whose, version), port(fields[2 + i], whose))
  );
  return { length, source, destination };
}

/**
 * Finds the CRLF of a line with addresses, -1 if it has not come yet. A CR or
 * an LF alone must not pass for one (2.1).
 */
function endOfLine(received: string, from: number): number {
  const at = from + received.slice(from).search(/[\r\n]/);
  if (at < from) return -1;
  if (received[at] === "\n") broken("expected CR before LF");
  if (at + 1 === received.length) return -1;
  if (received[at + 1] === "\n") return at;
  broken(`expected LF after CR, got ${hex(received.charCodeAt(at + 1))}`);
}

function address(field: string, whose: string, version: 4 | 6): string {
  // The specification has hex groups only, but the usual formatters write
  // mapped addresses with a dotted end. It has no zones; isIP has.
  if (isIP(field) === version && !field.includes("%")) {
    return version === 4 ? field : canonicalIPv6(field);
  }
  broken(`${whose} address ${quote(field)} is not an IPv${version} address`);
}

function port(field: string, whose: string): number {
  if (/^(0|[1-9]\d{0,4})$/.test(field) && Number(field) <= 0xffff) {
    return Number(field);
  }
  broken(
    `${whose} port ${quote(field)} is not a number from 0 to 65535 without ` +
      "leading zeros",
  );
}

/** Reads version 2: bytes (2.2). */
function parseV2(received: Uint8Array): ProxyHeader | undefined {
  const start = received.subarray(0, V2_SIGNATURE.length);
  startOf(String.fromCharCode(...start), [V2_SIGNATURE], "the v2 signature");

  // Each field is checked as soon as it is there, in its order.
  const [command, family] = received.subarray(V2_SIGNATURE.length);
  if (command === undefined) return undefined;
  if (command !== V2_LOCAL && command !== V2_PROXY) {
    broken(`expected version and command 0x20 or 0x21, got ${hex(command)}`);
  }
  const local = command === V2_LOCAL;

  if (family === undefined) return undefined;
  // UNSPEC with only one of the two given (0x01, 0x10 and the like) may be
  // rejected (2.2): nothing says how long its addresses are.
  const addressBytes = ADDRESS_BYTES[family];
  if (addressBytes === undefined && !local) {
    broken(`address family and transport ${hex(family)} are unknown`);
  }

  if (received.length < V2_FIXED) return undefined;
  // Receivers must skip as many bytes as this says (2.2), up to all 65,535.
  const rest = uint16(received, V2_FIXED - 2);
  const fits = addressBytes !== undefined && addressBytes <= rest;
  if (!fits && !local) {
    broken(`length is ${rest}, family ${hex(family)} needs ${addressBytes}`);
  }

  const length = V2_FIXED + rest;
  if (received.length < length) return undefined;
  const header = received.subarray(0, length);
  // A LOCAL header must be accepted whatever its family says (2.2). Where its
  // addresses do not fit, nobody knows where its TLVs begin.
  if (fits) checkTlvs(header, V2_FIXED + addressBytes, local);
  const size = { [TCP4]: 4, [TCP6]: 16 }[family];
  // UNSPEC, UDP and Unix sockets. A receiver without use for one of them falls
  // back to UNSPEC (2.2): the connection's own addresses.
  if (local || size === undefined) return { length };
  const [source, destination] = [0, 1].map((i) => {
    const from = V2_FIXED + i * size;
    const ip = header.subarray(from, from + size);
    return addr(formatIP(ip), uint16(header, V2_FIXED + 2 * (size + i)));
  });
  return { length, source, destination };
}

/**
 * Walks over the TLVs (2.2). All are skipped but the checksum.
 *
 * In a LOCAL header the block is to be discarded, and may be anything. There,
 * what is not a TLV ends the walk; elsewhere it is an error.
 */
function checkTlvs(header: Uint8Array, from: number, local: boolean): void {
  let summed = false;
  for (let at = from; at < header.length;) {
    const left = header.length - at;
    const needed = TLV_FIXED + (left < TLV_FIXED ? 0 : uint16(header, at + 1));
    if (left < needed) {
      if (local) return;
      broken(`TLV at byte ${at + 1} needs ${needed} bytes, ${left} are left`);
    }
    if (header[at] === TLV_CRC32C) {
      // Each costs a pass over all bytes, so 9,000 in one header would be an
      // attack. A second one could not be right anyway.
      if (summed) broken("CRC32C is there twice");
      summed = true;
      checkSum(header, at + TLV_FIXED, needed - TLV_FIXED);
    }
    at += needed;
  }
}

/** Checks the CRC32C of a header (2.2.3), whose own four bytes count as 0. */
function checkSum(header: Uint8Array, at: number, length: number): void {
  if (length !== 4) broken(`CRC32C has ${length} bytes, expected 4`);
  const sent = (uint16(header, at) * 0x10000) + uint16(header, at + 2);
  let crc = 0xffffffff;
  for (let i = 0; i < header.length; i++) {
    if (i < at || i >= at + length) crc ^= header[i];
    // The reflected polynomial of RFC 4960, appendix B.
    for (let bit = 0; bit < 8; bit++) {
      crc = crc & 1 ? crc >>> 1 ^ 0x82f63b78 : crc >>> 1;
    }
  }
  crc = ~crc >>> 0;
  if (sent === crc) return;
  broken(`CRC32C is ${hex(sent, 8)}, expected ${hex(crc, 8)}`);
}

function addr(hostname: string, port: number): Deno.NetAddr {
  return { transport: "tcp", hostname, port };
}

/** Writes an address of 4 bytes, or of 16. */
export function formatIP(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  return canonicalIPv6(bytes.toHex().match(/.{4}/g)!.join(":"));
}

function uint16(bytes: Uint8Array, at: number): number {
  return bytes[at] << 8 | bytes[at + 1];
}
