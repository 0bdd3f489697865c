/** How records begin, the same in all versions of TLS (RFC 8446, section 5.1). */

import type { ReceiveBuffer } from "../net/buffers.ts";

export const MAX_RECORD = 16 * 1024;

// A record begins with its type, and then the major version.
export const HANDSHAKE = 0x16;
const ALERT = 0x15;
const MAJOR = 3;

/**
 * The fatal alert `handshake_failure`, in a record that all versions read (RFC
 * 8446, section 6). `unexpected_message` would say more, but its last byte is
 * an LF, which makes a line of it for a client that speaks lines.
 */
export const HANDSHAKE_FAILURE = new Uint8Array([ALERT, MAJOR, 3, 0, 2, 2, 40]);

type Received = Pick<ReceiveBuffer, "bytes" | "start" | "end">;

/**
 * The least and the most that each of a client's first bytes can be: a record of
 * little more than 16 KiB, and in it a `client_hello` of less than 64 KiB (section
 * 4). No text begins so.
 */
const CLIENT_HELLO = [
  ...[[HANDSHAKE, HANDSHAKE], [MAJOR, MAJOR], [0, 4]],
  ...[[0, 0x41], [0, 0xff], [1, 1], [0, 0]],
];

const LF = 10;

/** Whether bytes begin as a TLS client does; undefined if more are needed. */
export function startsTls({ bytes, start, end }: Received) {
  for (const [i, [least, most]] of CLIENT_HELLO.entries()) {
    if (start + i === end) return undefined;
    const byte = bytes[start + i];
    if (byte < least || byte > most) return false;
    // The record's length has an LF in it: it may be a line as well, whose sender
    // waits for a reply. So the answer cannot wait for further bytes.
    if (byte === LF) return true;
  }
  return true;
}

/** Whether bytes begin as a server's alert to one who does not speak TLS. */
export function isTlsAlert({ bytes, start, end }: Received): boolean {
  // Whole it has a length of 2, and 1 or 2 for what it means.
  return end - start >= 7 && bytes[start] === ALERT &&
    bytes[start + 1] === MAJOR && bytes[start + 3] === 0 &&
    bytes[start + 4] === 2 && bytes[start + 5] <= 2;
}
