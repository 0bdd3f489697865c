/** Version 1 of the PROXY header: a line of text (section 2.1). */

import { isIP } from "node:net";

import { canonicalIPv6 } from "../../core/cidr.ts";
import { hex, quote } from "../../core/text.ts";
import { addr, broken, type ProxyHeader, startOf } from "./header.ts";

/** The most bytes that a version 1 header has, its CRLF included (2.1). */
const V1_MAX = 107;

const V1_TCP4 = "PROXY TCP4 ";
const V1_TCP6 = "PROXY TCP6 ";
export const V1_UNKNOWN = "PROXY UNKNOWN";
const V1_STARTS = [V1_TCP4, V1_TCP6, V1_UNKNOWN];

export function parseV1(
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
    broken(`no CRLF within ${V1_MAX} bytes`);
  }
  const length = lineEnd + 2;
  // To be accepted, with the connection's own addresses.
  if (begin === V1_UNKNOWN) return { length };

  const fields = received.slice(begin.length, lineEnd).split(" ");
  if (fields.length !== 4) {
    broken(
      "expected two addresses and two ports with one space between, got " +
        `${fields.length} fields`,
    );
  }
  const version = begin === V1_TCP4 ? 4 : 6;
  const whose = ["source", "destination"];
  const hostnames = whose.map((end, i) => address(fields[i], end, version));
  const ports = whose.map((end, i) => port(fields[2 + i], end));
  const [source, destination] = whose.map((_, i) =>
    addr(hostnames[i], ports[i])
  );
  return { length, source, destination };
}

/**
 * Finds the CRLF of a line with addresses; a CR or an LF by itself must not
 * pass for one (2.1).
 */
function endOfLine(received: string, from: number): number | undefined {
  const length = received.slice(from).search(/[\r\n]/);
  if (length === -1) return undefined;
  const at = from + length;
  if (received[at] === "\n") broken("expected CR before LF");
  if (at + 1 === received.length) return undefined;
  if (received[at + 1] === "\n") return at;
  broken(`expected LF after CR, got ${hex(received.charCodeAt(at + 1))}`);
}

/** Finds the CRLF behind `UNKNOWN`; anything before it is ignored (2.1). */
function endOfUnknown(received: string): number | undefined {
  const at = V1_UNKNOWN.length;
  if (at === received.length) return undefined;
  if (received[at] === "\r") return endOfLine(received, at);
  if (received[at] !== " ") {
    const got = hex(received.charCodeAt(at));
    broken(`expected a space or CRLF after UNKNOWN, got ${got}`);
  }
  const lineEnd = received.indexOf("\r\n", at);
  return lineEnd === -1 ? undefined : lineEnd;
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
