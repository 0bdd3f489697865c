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
 *
 * @module
 */

import { isIPv4, isIPv6 } from "node:net";

import { canonicalIPv6 } from "../core/cidr.ts";
import { ProxyHeaderError } from "../core/errors.ts";
import { hex, quote } from "../core/text.ts";

/** The names of what may be accepted, for flags and messages. */
export const proxyVersions: readonly ProxyVersion[] = ["v1", "v2", "any"];

/** Which versions of the header are accepted. */
export type ProxyVersion = "v1" | "v2" | "any";

/** What a header says. */
export interface ProxyHeader {
  /** How many bytes it takes. What follows them is the client's. */
  length: number;
  /**
   * The client. If it is missing, the connection's own addresses are the ones
   * to use: the proxy speaks for itself, as in a health check, or for a client
   * that has no TCP address.
   *
   * IPv6 is spelled as {@linkcode canonicalIPv6} does. An IPv4-mapped address
   * stays one, as it does when Deno shows a peer; lists know it for IPv4.
   */
  source?: Deno.NetAddr;
  /** Where the client connected to; there if `source` is. */
  destination?: Deno.NetAddr;
}

/** The most bytes that a version 1 header has, its CRLF included (2.1). */
const V1_MAX = 107;

const V1_TCP4 = "PROXY TCP4 ";
const V1_TCP6 = "PROXY TCP6 ";
const V1_UNKNOWN = "PROXY UNKNOWN";
const V1_STARTS = [V1_TCP4, V1_TCP6, V1_UNKNOWN];

/** How every version 2 header starts (2.2). */
const V2_SIGNATURE = "\r\n\r\n\0\r\nQUIT\n";

/** The signature, version and command, family, and the length of the rest. */
const V2_FIXED = 16;
const V2_LOCAL = 0x20;
const V2_PROXY = 0x21;

const TCP4 = 0x11;
const TCP6 = 0x21;

/**
 * The pairs of family and transport that a sender may use (2.2), with the
 * bytes that their addresses take.
 */
const ADDRESS_BYTES: ReadonlyMap<number, number> = new Map([
  [0x00, 0],
  [TCP4, 12],
  [0x12, 12],
  [TCP6, 36],
  [0x22, 36],
  [0x31, 216],
  [0x32, 216],
]);

/** A TLV's type and length, in front of its value. */
const TLV_FIXED = 3;
const TLV_CRC32C = 3;

/**
 * The most bytes that a header has: that of version 2, whose length field has
 * 16 bits.
 *
 * There is no lower bound of our own. Receivers must always skip as much as
 * the field says (2.2), and what TLVs carry, certificates among them, is the
 * proxy's affair. A half header holds no more memory than half a frame of the
 * default `maxFrame`, and only trusted peers get so far.
 */
export const MAX_PROXY_HEADER: number = V2_FIXED + 0xffff;

/**
 * Reads a header from the start of a connection.
 *
 * Call it again from the same start when more bytes have come. It keeps no
 * state: what it looks at again are the 16 fixed bytes of version 2, or the
 * at most 107 of version 1. However the bytes are cut, the outcome is the
 * same, and hopeless ones are refused without waiting for the rest.
 *
 * @param bytes The buffer.
 * @param start Where the connection's first byte is in it.
 * @param end Where the received bytes end.
 * @param accept The versions that are accepted.
 * @returns The header; or `undefined` when more bytes are needed, at most
 * {@linkcode MAX_PROXY_HEADER} in all.
 * @throws {ProxyHeaderError} The bytes are no such header.
 *
 * @example
 * ```ts
 * import { parseProxyHeader } from "./proxy_protocol.ts";
 *
 * const bytes = new TextEncoder().encode(
 *   "PROXY TCP4 192.0.2.7 192.0.2.1 56324 8080\r\nhello\n",
 * );
 * const header = parseProxyHeader(bytes, 0, bytes.length, "any");
 * header?.source?.hostname; // 192.0.2.7
 * bytes.subarray(header?.length); // hello
 * ```
 *
 * @example
 * ```ts
 * import { ProxyHeaderError } from "../core/errors.ts";
 * import { parseProxyHeader } from "./proxy_protocol.ts";
 *
 * try {
 *   parseProxyHeader(new TextEncoder().encode("GET / HTTP/1.1"), 0, 14, "v1");
 * } catch (error) {
 *   if (!(error instanceof ProxyHeaderError)) throw error;
 *   error.message; // Cannot read PROXY header: expected …, got 0x47 at byte 1
 * }
 * ```
 */
export function parseProxyHeader(
  bytes: Uint8Array,
  start: number,
  end: number,
  accept: ProxyVersion,
): ProxyHeader | undefined {
  if (start === end) return undefined;
  switch (accept) {
    case "v1":
      return parseV1(bytes, start, end);
    case "v2":
      return parseV2(bytes, start, end);
    case "any":
      // Their first bytes differ, so the first byte tells which it must be.
      if (bytes[start] === V1_UNKNOWN.charCodeAt(0)) {
        return parseV1(bytes, start, end);
      }
      if (bytes[start] === V2_SIGNATURE.charCodeAt(0)) {
        return parseV2(bytes, start, end);
      }
      throw new ProxyHeaderError(
        `expected "PROXY" or the v2 signature, got ${hex(bytes[start])} at ` +
          "byte 1",
      );
  }
}

/** Section 2.1. */
function parseV1(
  bytes: Uint8Array,
  start: number,
  end: number,
): ProxyHeader | undefined {
  // A code unit for each byte: what is not ASCII must match nothing.
  const received = String.fromCharCode(
    ...bytes.subarray(start, Math.min(end, start + V1_MAX)),
  );
  const begin = startOf(
    received,
    V1_STARTS,
    '"PROXY", then TCP4, TCP6 or UNKNOWN',
  );
  if (begin === undefined) return undefined;
  const lineEnd = begin === V1_UNKNOWN
    ? endOfUnknown(received)
    : endOfLine(received, begin.length);
  if (lineEnd === undefined) {
    if (received.length < V1_MAX) return undefined;
    throw new ProxyHeaderError(`no CRLF within ${V1_MAX} bytes`);
  }
  const length = lineEnd + 2;
  // To be accepted, with the connection's own addresses.
  if (begin === V1_UNKNOWN) return { length };

  const fields = received.slice(begin.length, lineEnd).split(" ");
  if (fields.length !== 4) {
    throw new ProxyHeaderError(
      "expected two addresses and two ports with one space between, got " +
        `${fields.length} fields`,
    );
  }
  const address = begin === V1_TCP4 ? addressV4 : addressV6;
  const hostnames = [
    address(fields[0], "source"),
    address(fields[1], "destination"),
  ];
  const ports = [port(fields[2], "source"), port(fields[3], "destination")];
  return {
    length,
    source: addr(hostnames[0], ports[0]),
    destination: addr(hostnames[1], ports[1]),
  };
}

/**
 * Finds the CRLF of a line with addresses; a CR or an LF by itself must not
 * pass for one (2.1).
 */
function endOfLine(received: string, from: number): number | undefined {
  const length = received.slice(from).search(/[\r\n]/);
  if (length === -1) return undefined;
  const at = from + length;
  if (received[at] === "\n") {
    throw new ProxyHeaderError("expected CR before LF");
  }
  if (at + 1 === received.length) return undefined;
  if (received[at + 1] === "\n") return at;
  throw new ProxyHeaderError(
    `expected LF after CR, got ${hex(received.charCodeAt(at + 1))}`,
  );
}

/** Finds the CRLF behind `UNKNOWN`; anything before it is ignored (2.1). */
function endOfUnknown(received: string): number | undefined {
  const at = V1_UNKNOWN.length;
  if (at === received.length) return undefined;
  if (received[at] === "\r") return endOfLine(received, at);
  if (received[at] !== " ") {
    throw new ProxyHeaderError(
      `expected a space or CRLF after UNKNOWN, got ${
        hex(received.charCodeAt(at))
      }`,
    );
  }
  const lineEnd = received.indexOf("\r\n", at);
  return lineEnd === -1 ? undefined : lineEnd;
}

function addressV4(field: string, whose: string): string {
  // No leading zeros: isIPv4 has it so too.
  if (isIPv4(field)) return field;
  throw new ProxyHeaderError(
    `${whose} address ${quote(field)} is not an IPv4 address`,
  );
}

function addressV6(field: string, whose: string): string {
  // The specification has hex groups only, but the usual formatters write
  // mapped addresses with a dotted end. It has no zones; isIPv6 has.
  if (isIPv6(field) && !field.includes("%")) return canonicalIPv6(field);
  throw new ProxyHeaderError(
    `${whose} address ${quote(field)} is not an IPv6 address`,
  );
}

function port(field: string, whose: string): number {
  if (/^(0|[1-9]\d{0,4})$/.test(field) && Number(field) <= 0xffff) {
    return Number(field);
  }
  throw new ProxyHeaderError(
    `${whose} port ${
      quote(field)
    } is not a number from 0 to 65535 without leading zeros`,
  );
}

/** Section 2.2. */
function parseV2(
  bytes: Uint8Array,
  start: number,
  end: number,
): ProxyHeader | undefined {
  const received = String.fromCharCode(
    ...bytes.subarray(start, Math.min(end, start + V2_SIGNATURE.length)),
  );
  startOf(received, [V2_SIGNATURE], "the v2 signature");

  // Each field is looked at as soon as it is there, in its order.
  const have = end - start;
  if (have < 13) return undefined;
  const command = bytes[start + 12];
  if (command !== V2_LOCAL && command !== V2_PROXY) {
    throw new ProxyHeaderError(
      `expected version and command 0x20 or 0x21, got ${hex(command)}`,
    );
  }
  const local = command === V2_LOCAL;

  if (have < 14) return undefined;
  const family = bytes[start + 13];
  // UNSPEC with only one of the two given (0x01, 0x10 and the like) may be
  // rejected (2.2): nothing says how long its addresses are.
  const addressBytes = ADDRESS_BYTES.get(family);
  if (addressBytes === undefined && !local) {
    throw new ProxyHeaderError(
      `address family and transport ${hex(family)} are unknown`,
    );
  }

  if (have < V2_FIXED) return undefined;
  const rest = uint16(bytes, start + 14);
  const fits = addressBytes !== undefined && addressBytes <= rest;
  if (!fits && !local) {
    throw new ProxyHeaderError(
      `length is ${rest}, family ${hex(family)} needs ${addressBytes}`,
    );
  }

  const length = V2_FIXED + rest;
  if (have < length) return undefined;
  const header = bytes.subarray(start, start + length);
  // A LOCAL header must be accepted whatever its family says (2.2), so what
  // cannot be told apart from addresses is left alone.
  if (fits) checkTlvs(header, V2_FIXED + addressBytes, local);
  if (local) return { length };
  switch (family) {
    case TCP4:
      return { length, ...addresses(header, 4, formatIPv4) };
    case TCP6:
      return { length, ...addresses(header, 16, formatIPv6) };
    default:
      // UNSPEC, UDP and Unix sockets. A receiver without use for one of them
      // falls back to UNSPEC (2.2): the connection's own addresses.
      return { length };
  }
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
    const needed = left < TLV_FIXED
      ? TLV_FIXED
      : TLV_FIXED + uint16(header, at + 1);
    if (left < needed) {
      if (local) return;
      throw new ProxyHeaderError(
        `TLV at byte ${at + 1} needs ${needed} bytes, ${left} are left`,
      );
    }
    if (header[at] === TLV_CRC32C) {
      // Each costs a pass over all bytes, so 9,000 in one header would be an
      // attack. A second one could not be right anyway.
      if (summed) throw new ProxyHeaderError("CRC32C is there twice");
      summed = true;
      checkSum(header, at + TLV_FIXED, needed - TLV_FIXED);
    }
    at += needed;
  }
}

/** Section 2.2.3. */
function checkSum(header: Uint8Array, at: number, length: number): void {
  if (length !== 4) {
    throw new ProxyHeaderError(`CRC32C has ${length} bytes, expected 4`);
  }
  const sent = (uint16(header, at) * 0x10000) + uint16(header, at + 2);
  const computed = crc32c(header, at);
  if (sent === computed) return;
  throw new ProxyHeaderError(
    `CRC32C is ${hex(sent, 8)}, expected ${hex(computed, 8)}`,
  );
}

/** Addresses of `size` bytes each, then ports (2.2). */
function addresses(
  header: Uint8Array,
  size: number,
  format: (header: Uint8Array, at: number) => string,
): Required<Omit<ProxyHeader, "length">> {
  const ports = V2_FIXED + 2 * size;
  return {
    source: addr(format(header, V2_FIXED), uint16(header, ports)),
    destination: addr(
      format(header, V2_FIXED + size),
      uint16(header, ports + 2),
    ),
  };
}

function formatIPv4(header: Uint8Array, at: number): string {
  return header.subarray(at, at + 4).join(".");
}

function formatIPv6(header: Uint8Array, at: number): string {
  const groups = Array.from(
    { length: 8 },
    (_, group) => uint16(header, at + 2 * group).toString(16),
  );
  return canonicalIPv6(groups.join(":"));
}

function addr(hostname: string, port: number): Deno.NetAddr {
  return { transport: "tcp", hostname, port };
}

/**
 * Finds what the received bytes start with.
 *
 * @returns The one of `starts`; `undefined` when more bytes are needed.
 * @throws {ProxyHeaderError} None of them is possible any more.
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
  throw new ProxyHeaderError(
    `expected ${expected}, got ${hex(received.charCodeAt(same))} at byte ${
      same + 1
    }`,
  );
}

/** CRC32C of each byte value: the reflected polynomial of RFC 4960, B. */
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; bit++) {
    value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  }
  return value;
});

/** The checksum of a header, with the four bytes of the checksum as zeros. */
function crc32c(header: Uint8Array, field: number): number {
  let crc = 0xffffffff;
  for (let i = 0; i < header.length; i++) {
    const byte = i >= field && i < field + 4 ? 0 : header[i];
    crc = CRC_TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  }
  return ~crc >>> 0;
}

function uint16(bytes: Uint8Array, at: number): number {
  return bytes[at] << 8 | bytes[at + 1];
}
