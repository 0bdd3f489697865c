/** Addresses as people write them. */

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

/**
 * What of an address limits and lists go by: the IP address without the port.
 * A listener on `::` shows IPv4 clients as `::ffff:10.1.2.3`; they count by
 * their IPv4 address, whatever way they come in.
 */
export function ipOf(addr: Deno.Addr): string {
  if (!("hostname" in addr)) return formatAddr(addr);
  return /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(addr.hostname)?.[1] ??
    addr.hostname;
}
