/** The command line of `client`: its flags, the server, and the request. */

import { connectDefaults } from "../../client/client.ts";
import { isSocketPath, SOCKET_PATH_FORM } from "../../net/unix.ts";
import {
  type CommandLine,
  dashed,
  type FlagTable,
  onlyOneOf,
  refuse,
} from "../flags/flags.ts";
import {
  alpnFlag,
  countFlag,
  durationFlag,
  framingFlag,
  sizeFlag,
  spanFlag,
  textFlag,
} from "../flags/values.ts";

export const clientFlags = {
  unix: textFlag(
    "PATH",
    SOCKET_PATH_FORM,
    "Unix socket of the server, in place of HOST and PORT",
    isSocketPath,
  ),
  framing: framingFlag,
  timeout: durationFlag(
    "timeout",
    "how long connecting, and each reply, may take",
  ),
  "max-frame": sizeFlag(
    "maxFrame",
    "maximum payload of a reply, and of a line of input",
    connectDefaults.maxFrame,
  ),
  tls: { help: "speak TLS, and check the server's certificate" },
  "tls-ca": textFlag(
    "FILE",
    "the file of a certificate in PEM",
    "trust this authority too",
  ),
  "tls-server-name": {
    ...textFlag(
      "NAME",
      "a name or an address",
      "whom the server's certificate must be for",
    ),
    shown: "HOST",
  },
  "tls-cert": textFlag(
    "FILE",
    "the file of a certificate in PEM",
    "the client's own certificate, for servers that ask for one",
  ),
  "tls-key": textFlag(
    "FILE",
    "the file of that certificate's private key in PEM",
    "private key of the client's certificate",
  ),
  "tls-alpn": alpnFlag("application protocols, preferred one first"),
  json: {
    help: "print an object per reply: request, reply, ms; or with --bench one",
  },
  e: { help: "exit with 1 if any reply starts with ERR" },
  "no-history": { help: "neither read nor keep the history of the prompt" },
  bench: { help: "send many requests and report how fast the replies come" },
  version: { help: "print the version and end" },
  help: { help: "print this and end" },
} as const satisfies FlagTable;

export const benchFlags = {
  // More than any machine can have.
  c: countFlag([1, 1_000_000], "connections", 50),
  // 2^53 is as far as numbers are exact; so many take centuries.
  n: countFlag([1, 1e15], "requests in all", 100_000),
  duration: { ...spanFlag("go on for a time, in place of -n"), short: "z" },
  // Far more than keeps a server busy.
  P: countFlag([1, 10_000], "requests in flight on each connection", 1),
  d: sizeFlag(
    "maxFrame",
    "bytes of a request, PING and letters, if none is given",
    64,
  ),
  // Beyond one a microsecond there is no telling them apart.
  rate: {
    ...countFlag(
      [1, 1_000_000],
      "requests due each second, at even intervals, whatever is in flight",
      undefined,
    ),
    shown: "as fast as replies come",
  },
  csv: { help: "print a line of names and a line of values" },
  q: { help: "show no progress at a terminal" },
} as const satisfies FlagTable;

export type ClientLine = CommandLine<typeof clientFlags & typeof benchFlags>;

/** @throws {UsageError} Two flags do not go together, or one lacks another. */
export function checkClientFlags({ flags, given }: ClientLine): void {
  const lost = given.keys().find((name) => name.startsWith("tls-"));
  if (lost !== undefined && !flags.tls) {
    refuse(`--${lost} is given without --tls`);
  }
  if (given.has("tls-cert") !== given.has("tls-key")) {
    const missing = given.has("tls-cert") ? "key" : "cert";
    refuse(`--tls-${missing} is missing, expected a certificate and its key`);
  }
  if (flags.unix && flags.tls) onlyOneOf("--unix", "--tls");
  if (!flags.bench) {
    for (const name of Object.keys(benchFlags) as (keyof typeof benchFlags)[]) {
      const source = given.get(name) ??
        (flags[name] === true && dashed(name));
      if (source) refuse(`${source} is given without --bench`);
    }
    return;
  }
  if (flags.json && flags.csv) onlyOneOf("--json", "--csv");
  if (given.has("n") && given.has("duration")) {
    onlyOneOf("-n", given.get("duration")!);
  }
}

/**
 * Makes the request that a measurement sends: the one that is given, or as many
 * bytes as `-d` says of `PING` and letters behind it.
 */
export function benchRequest(
  { flags, given }: ClientLine,
  requests: readonly string[],
): Uint8Array<ArrayBuffer> {
  const [request] = requests;
  if (requests.length > 1) {
    refuse(
      `${requests.length} requests are given, expected one at most with --bench`,
    );
  }
  if (request === undefined) {
    const bytes = new Uint8Array(flags.d).fill("x".charCodeAt(0));
    new TextEncoder().encodeInto("PING ", bytes);
    return bytes;
  }
  if (given.has("d")) onlyOneOf("-d", "a request");
  return new TextEncoder().encode(request);
}
