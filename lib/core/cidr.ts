/** Lists of addresses and networks: whom to allow, to deny, or to trust. */

import { BlockList, isIP } from "node:net";

import { ParleyError } from "./errors.ts";
import { quote } from "./text.ts";

export const CIDR_FORM = "an address or CIDR such as 10.0.0.0/8 or fd00::/8";

/** An entry of a list is neither an address nor a CIDR. */
export class CidrError extends ParleyError {
  readonly entry: string;

  constructor(entry: string) {
    super(`${quote(entry)} is not ${CIDR_FORM}`);
    this.entry = entry;
  }
}

/**
 * A list of addresses and networks; see {@linkcode parseCidrList}.
 *
 * An IPv4 client is IPv4 in whatever way the listener shows it: one on `::`
 * shows `10.1.2.3` as `::ffff:10.1.2.3`, and both are the same to a list. So
 * IPv6 entries never match an IPv4 client, not even `::/0`; as in nginx,
 * everybody is `0.0.0.0/0,::/0`.
 */
export class CidrList {
  // Two, because one would match a mapped address by its IPv6 rules as well,
  // and the same client in its IPv4 form by some of them only.
  readonly #ipv4 = new BlockList();
  readonly #ipv6 = new BlockList();

  /** @throws {CidrError} An entry is neither an address nor a CIDR. */
  constructor(entries: Iterable<string>) {
    for (const entry of entries) this.#add(entry);
  }

  /**
   * Says whether an address is in the list: false also for what is no IP
   * address, such as a socket's path. A zone (`fe80::1%eth0`) does not count:
   * entries cannot have any.
   */
  matches(address: string): boolean {
    const [bare] = address.split("%", 1);
    switch (isIP(bare)) {
      case 4:
        return this.#ipv4.check(bare, "ipv4");
      case 6: {
        const mapped = mappedIPv4(canonicalIPv6(bare));
        return mapped === undefined
          ? this.#ipv6.check(bare, "ipv6")
          : this.#ipv4.check(mapped, "ipv4");
      }
      default:
        return false;
    }
  }

  #add(entry: string): void {
    const [address, digits, ...more] = entry.split("/");
    const version = isIP(address);
    // A zone would be dropped, and the entry match on every interface.
    if (version === 0 || address.includes("%") || more.length > 0) {
      throw new CidrError(entry);
    }
    const bits = version === 4 ? 32 : 128;
    const prefix = digits === undefined ? bits : parsePrefix(digits);
    if (prefix === undefined || prefix > bits) throw new CidrError(entry);
    const mapped = version === 6
      ? mappedIPv4(canonicalIPv6(address))
      : undefined;
    if (mapped !== undefined) {
      // ::ffff:10.0.0.0/8 would be ::/8, which is not what anybody means.
      if (prefix < 96) throw new CidrError(entry);
      this.#ipv4.addSubnet(mapped, prefix - 96, "ipv4");
    } else if (version === 4) {
      this.#ipv4.addSubnet(address, prefix, "ipv4");
    } else {
      this.#ipv6.addSubnet(address, prefix, "ipv6");
    }
  }
}

/**
 * Reads a list of addresses and CIDRs, IPv4 and IPv6, with commas between and
 * spaces where one likes.
 *
 * Bits behind the prefix do not count, so `10.0.0.1/8` is `10.0.0.0/8`. nginx
 * and HAProxy read it so too, and nginx has `10.1.1.0/16` in its own example
 * (https://nginx.org/en/docs/http/ngx_http_access_module.html). Entries may be
 * IPv4-mapped, from `::ffff:0.0.0.0/96` on. There is no empty list: a variable
 * of the environment that is empty by mistake must neither shut everybody out
 * nor let everybody in.
 *
 * @throws {CidrError} An entry is neither an address nor a CIDR.
 */
export function parseCidrList(text: string): CidrList {
  return new CidrList(text.split(",").map((entry) => entry.trim()));
}

/**
 * Spells an IPv6 address in the one way that RFC 5952 has for it: lower case,
 * no leading zeros, the longest run of zeros as `::`, and an IPv4-mapped one
 * as `::ffff:10.1.2.3`, as Deno has them.
 *
 * @throws {TypeError} It is none, or has a zone.
 */
export function canonicalIPv6(address: string): string {
  // A URL's host is spelled so, but for the mapped ones, which it has in hex.
  const canonical = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const groups = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(canonical);
  if (groups === null) return canonical;
  const [high, low] = groups.slice(1).map((group) => parseInt(group, 16));
  return `::ffff:${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
}

/** The IPv4 address that a canonical IPv6 one stands for, if it does. */
export function mappedIPv4(address: string): string | undefined {
  return /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
}

function parsePrefix(digits: string): number | undefined {
  return /^(0|[1-9]\d{0,2})$/.test(digits) ? Number(digits) : undefined;
}
