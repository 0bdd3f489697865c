/** Version 2 of the PROXY header: bytes (section 2.2). */

import { canonicalIPv6 } from "../../core/cidr.ts";
import { hex } from "../../core/text.ts";
import { addr, broken, type ProxyHeader, startOf } from "./header.ts";

/** How every version 2 header starts (2.2). */
export const V2_SIGNATURE = "\r\n\r\n\0\r\nQUIT\n";

/** The signature, version and command, family, and the length of the rest. */
export const V2_FIXED = 16;
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

/** The checksum of each byte value: the reflected polynomial of RFC 4960, B. */
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; bit++) {
    value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  }
  return value;
});

export function parseV2(
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
    broken(`expected version and command 0x20 or 0x21, got ${hex(command)}`);
  }
  const local = command === V2_LOCAL;

  if (have < 14) return undefined;
  const family = bytes[start + 13];
  // UNSPEC with only one of the two given (0x01, 0x10 and the like) may be
  // rejected (2.2): nothing says how long its addresses are.
  const addressBytes = ADDRESS_BYTES.get(family);
  if (addressBytes === undefined && !local) {
    broken(`address family and transport ${hex(family)} are unknown`);
  }

  if (have < V2_FIXED) return undefined;
  const rest = uint16(bytes, start + 14);
  const fits = addressBytes !== undefined && addressBytes <= rest;
  if (!fits && !local) {
    broken(`length is ${rest}, family ${hex(family)} needs ${addressBytes}`);
  }

  const length = V2_FIXED + rest;
  if (have < length) return undefined;
  const header = bytes.subarray(start, start + length);
  // A LOCAL header must be accepted whatever its family says (2.2), so what
  // cannot be told apart from addresses is left alone.
  if (fits) checkTlvs(header, V2_FIXED + addressBytes, local);
  const size = { [TCP4]: 4, [TCP6]: 16 }[family];
  // UNSPEC, UDP and Unix sockets. A receiver without use for one of them falls
  // back to UNSPEC (2.2): the connection's own addresses.
  if (local || size === undefined) return { length };
  const ports = V2_FIXED + 2 * size;
  const [source, destination] = [0, 1].map((i) => {
    const from = V2_FIXED + i * size;
    const ip = header.subarray(from, from + size);
    return addr(formatIP(ip), uint16(header, ports + 2 * i));
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
    const needed = left < TLV_FIXED
      ? TLV_FIXED
      : TLV_FIXED + uint16(header, at + 1);
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

/** Checks the CRC32C of a header (2.2.3). */
function checkSum(header: Uint8Array, at: number, length: number): void {
  if (length !== 4) broken(`CRC32C has ${length} bytes, expected 4`);
  const sent = (uint16(header, at) * 0x10000) + uint16(header, at + 2);
  const computed = crc32c(header, at);
  if (sent === computed) return;
  broken(`CRC32C is ${hex(sent, 8)}, expected ${hex(computed, 8)}`);
}

/** The checksum of a header, with the four bytes of the checksum as zeros. */
function crc32c(header: Uint8Array, field: number): number {
  let crc = 0xffffffff;
  for (let i = 0; i < header.length; i++) {
    const byte = i >= field && i < field + 4 ? 0 : header[i];
    crc = CRC_TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  }
  return ~crc >>> 0;
}

/** Writes an address of 4 bytes, or of 16. */
export function formatIP(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  return canonicalIPv6(bytes.toHex().match(/.{4}/g)!.join(":"));
}

function uint16(bytes: Uint8Array, at: number): number {
  return bytes[at] << 8 | bytes[at + 1];
}
