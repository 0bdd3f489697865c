/**
 * CRC32C, the checksum that a version 2 header may have (section 2.2.3).
 *
 * @module
 */

/** The checksum of each byte value: the reflected polynomial of RFC 4960, B. */
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; bit++) {
    value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  }
  return value;
});

/** The checksum of a header, with the four bytes of the checksum as zeros. */
export function crc32c(header: Uint8Array, field: number): number {
  let crc = 0xffffffff;
  for (let i = 0; i < header.length; i++) {
    const byte = i >= field && i < field + 4 ? 0 : header[i];
    crc = CRC_TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  }
  return ~crc >>> 0;
}
