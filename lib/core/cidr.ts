/** Lists of addresses and networks: whom to allow, to deny, or to trust. */

import { BlockList, isIP } from "node:net";

import { OptionError } from "./errors.ts";

export const CIDR_FORM = "an address or CIDR such as 10.0.0.0/8 or fd00::/8";

/** No zone is allowed: `BlockList` drops it, and matches on every interface. */
const ENTRY = /^([^/%]*)(?:\/(0|[1-9]\d{0,2}))?$/;

/**
 * Addresses and CIDRs, IPv4 and IPv6, with commas between and spaces where one
 * likes. There is no empty list: a variable that is empty by mistake must neither
 * shut everybody out nor let everybody in. Bits behind the prefix do not count, so
 * `10.0.0.1/8` is `10.0.0.0/8`, as for nginx and HAProxy.
 *
 * An IPv4 client is IPv4 in whatever way the listener shows it: one on `::`
 * shows `10.1.2.3` as `::ffff:10.1.2.3`. So IPv6 entries never match it, not even
 * `::/0`; as in nginx, everybody is `0.0.0.0/0,::/0`.
 */
export class CidrList {
  // One list for both would match a mapped address by IPv6 entries as well, but
  // not the same client in its IPv4 form.
  readonly #ipv4 = new BlockList();
  readonly #ipv6 = new BlockList();

  constructor(option: string, text: string) {
    for (const part of text.split(",")) {
      const entry = part.trim();
      const [, address = "", digits] = ENTRY.exec(entry) ?? [];
      const version = isIP(address);
      const mapped = version === 6
        ? mappedIPv4(canonicalIPv6(address))
        : undefined;
      const bits = version === 4 ? 32 : 128;
      const prefix = Number(digits ?? bits);
      // ::ffff:10.0.0.0/8 would be ::/8, which is not what anybody means.
      const least = mapped === undefined ? 0 : 96;
      if (version === 0 || prefix < least || prefix > bits) {
        throw new OptionError(option, entry, CIDR_FORM);
      }
      if (mapped ?? version === 4) {
        this.#ipv4.addSubnet(mapped ?? address, prefix - least, "ipv4");
      } else this.#ipv6.addSubnet(address, prefix, "ipv6");
    }
  }

  /** A zone (`fe80::1%eth0`) does not count: entries cannot have any. */
  matches(address: string): boolean {
    const [bare] = address.split("%", 1);
    const version = isIP(bare);
    // It may be the path of a socket.
    if (version === 0) return false;
    const ipv4 = version === 4 ? bare : mappedIPv4(canonicalIPv6(bare));
    return ipv4 === undefined
      ? this.#ipv6.check(bare, "ipv6")
      : this.#ipv4.check(ipv4, "ipv4");
  }
}

/**
 * Spells an IPv6 address as RFC 5952 has it, and an IPv4-mapped one as Deno does:
 * `::ffff:10.1.2.3`. Throws if it is none, or has a zone.
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
