/** Addresses as people write them. */

import { canonicalIPv6, mappedIPv4 } from "./cidr.ts";

/** Where a server is, or listens, as it was checked. */
export type Place = { hostname: string; port: number } | { path: string };

/**
 * Formats an address.
 *
 * @param addr Any address.
 * @returns `127.0.0.1:8080`, `[::1]:8080`, or a Unix socket's path; `unix` for
 * one that has none, as clients of Unix sockets rarely do.
 *
 * @example
 * ```ts
 * import { formatAddr } from "./address.ts";
 *
 * formatAddr({ transport: "tcp", hostname: "::1", port: 8080 }); // [::1]:8080
 * ```
 */
export function formatAddr(addr: Deno.Addr): string {
  if ("path" in addr) return addr.path || "unix";
  if ("hostname" in addr) return formatHostPort(addr.hostname, addr.port);
  return JSON.stringify(addr);
}

/**
 * Formats a host and a port, an IPv6 address in brackets.
 *
 * @param hostname A name or an address.
 * @param port The port.
 */
export function formatHostPort(hostname: string, port: number): string {
  return hostname.includes(":")
    ? `[${hostname}]:${port}`
    : `${hostname}:${port}`;
}

/** The part of an address that lists match: the IP address without the port. */
export function ipOf(addr: Deno.Addr): string {
  return "hostname" in addr ? addr.hostname : formatAddr(addr);
}

/**
 * The part of an address that limits and rates count by: `192.0.2.1`, or the first
 * bits of IPv6 (`2001:db8::/64`), since each client has a whole network of those.
 * `::ffff:192.0.2.1` is IPv4, as a listener on `::` shows it.
 */
export function networkOf(addr: Deno.Addr, ipPrefix: number): string {
  const ip = ipOf(addr);
  if (!("hostname" in addr) || !ip.includes(":")) return ip;
  const canonical = canonicalIPv6(ip.split("%", 1)[0]);
  const mapped = mappedIPv4(canonical);
  if (mapped !== undefined) return mapped;
  const [head, tail = []] = canonical.split("::")
    .map((part) => part === "" ? [] : part.split(":"));
  const zeros = Array<string>(8 - head.length - tail.length).fill("0");
  const groups = [...head, ...zeros, ...tail].map((group, i) => {
    const bits = Math.min(Math.max(ipPrefix - 16 * i, 0), 16);
    return (parseInt(group, 16) & (0xffff << (16 - bits))).toString(16);
  });
  return `${canonicalIPv6(groups.join(":"))}/${ipPrefix}`;
}
