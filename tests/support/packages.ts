/**
 * What the tests talk to, or are judged by, beside Parley: packages of Debian.
 *
 * @module
 */

/** Each with the shell's way to find out whether it is there. */
export const packages: Readonly<Record<string, string>> = {
  chromium: "command -v chromium",
  "erlang-base": "command -v escript",
  "fonts-liberation": "ls /usr/share/fonts/truetype/liberation*",
  haproxy: "command -v haproxy",
  iproute2: "command -v ip",
  ncat: "command -v ncat",
  // Several programs go by this name, and this is the one with -N.
  "netcat-openbsd": "nc -h 2>&1 | grep OpenBSD",
  openssl: "command -v openssl",
  prometheus: "command -v promtool",
  // Debian's own Python has Debian's Twisted; another may come first on the
  // path.
  "python3-twisted": "/usr/bin/python3 -c 'import twisted'",
  "redis-server": "command -v redis-server",
  "redis-tools": "command -v redis-cli",
  socat: "command -v socat",
  sslscan: "command -v sslscan",
  systemd: "command -v systemd-analyze",
  telnet: "command -v telnet",
};

export function isInstalled(name: string): boolean {
  // Elsewhere programs of these names differ.
  if (Deno.build.os !== "linux") return false;
  const args = ["-c", packages[name]];
  try {
    return new Deno.Command("/bin/sh", { args }).outputSync().success;
  } catch {
    return false;
  }
}
