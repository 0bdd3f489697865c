/** The flags of `server`. */

import { isToken, TOKEN_FORM } from "../../admin/access.ts";
import { handlers } from "../../handlers/mod.ts";
import { isListenPath, LISTEN_PATH_FORM } from "../../net/unix.ts";
import { logLevels } from "../../observe/log.ts";
import { serveOptions, TCP_ONLY } from "../../server/config.ts";
import {
  defaults,
  proxyModes,
  type ServeOptions,
} from "../../server/options.ts";
import { clientAuths, tlsVersions } from "../../tls/settings.ts";
import {
  type CommandLine,
  type FlagTable,
  onlyOneOf,
  refuse,
} from "../flags/flags.ts";
import {
  alpnFlag,
  choiceFlag,
  cidrsFlag,
  durationFlag,
  framingFlag,
  modeFlag,
  numberFlag,
  placeFlag,
  rateFlag,
  sizeFlag,
  textFlag,
  threadsFlag,
} from "../flags/values.ts";
import { logFormats } from "./logging.ts";

const handlerNames = Object.keys(handlers) as (keyof typeof handlers)[];

const CERT_FILE = "the file of a certificate in PEM";
const KEY_FILE = "the file of the certificate's private key in PEM";
const CA_FILE = "the file of the authorities of clients in PEM";

export const serverFlags = {
  hostname: {
    ...textFlag("HOST", "an address of this machine", "address to listen on"),
    default: defaults.hostname,
    shown: defaults.hostname,
  },
  port: numberFlag("port", "port to listen on, 0 picks one"),
  unix: textFlag(
    "PATH",
    LISTEN_PATH_FORM,
    "Unix socket to listen on, in place of address and port",
    isListenPath,
  ),
  "unix-mode": modeFlag("permissions of the Unix socket's file"),
  framing: framingFlag,
  handler: choiceFlag(handlerNames, "what answers the requests", "commands"),
  "max-frame": sizeFlag("maxFrame", "maximum payload of a request"),
  "max-reply": sizeFlag("maxReply", "maximum payload of a reply"),
  "max-connections": numberFlag(
    "maxConnections",
    "most connections open at once, 0 for no limit",
  ),
  "max-connections-per-ip": numberFlag(
    "maxConnectionsPerIp",
    "most connections open at once from one address, 0 for no limit",
  ),
  "max-connection-rate": rateFlag(
    "how fast one address may connect, such as 10/s or 10/s:50",
  ),
  "max-request-rate": rateFlag(
    "how fast one address may ask, 50 at once with 10/s:50",
  ),
  "ip-prefix": numberFlag(
    "ipPrefix",
    "bits of an IPv6 address that count for these three",
  ),
  "max-memory": sizeFlag(
    "maxMemory",
    "most memory held by all connections, 0 for no limit",
  ),
  allow: cidrsFlag("who may connect", "everybody"),
  deny: cidrsFlag("who may not connect", "nobody"),
  "proxy-protocol": choiceFlag(
    proxyModes,
    "PROXY header that trusted peers begin with",
    defaults.proxyProtocol,
  ),
  "proxy-trust": cidrsFlag("peers whose PROXY header is believed", "nobody"),
  "http-guard": choiceFlag(
    ["on", "off"],
    "close connections that speak HTTP, as web pages do (line framing)",
    "on",
  ),
  "tls-cert": textFlag(
    "FILE",
    CERT_FILE,
    "certificate in PEM: speak TLS, read again on SIGHUP",
  ),
  "tls-key": textFlag(
    "FILE",
    KEY_FILE,
    "private key of the certificate in PEM",
  ),
  "tls-client-ca": textFlag(
    "FILE",
    CA_FILE,
    "authorities of clients in PEM: ask clients for a certificate",
  ),
  "tls-client-auth": choiceFlag(
    clientAuths,
    "whether a client may show a certificate or must",
    "require",
  ),
  "tls-min-version": choiceFlag(tlsVersions, "least version of TLS", "1.2"),
  "tls-alpn": alpnFlag("application protocols, preferred one first"),
  "idle-timeout": durationFlag(
    "idleTimeout",
    "how long a connection may be without a whole request",
  ),
  "request-timeout": durationFlag(
    "requestTimeout",
    "how long a reply may take",
  ),
  "write-timeout": durationFlag(
    "writeTimeout",
    "how long a peer may take nothing of a reply",
  ),
  "drain-timeout": durationFlag(
    "drainTimeout",
    "how long connections may finish after SIGTERM",
  ),
  "pre-drain-delay": durationFlag(
    "preDrainDelay",
    "how long to accept still after SIGTERM, no longer ready",
  ),
  backlog: numberFlag(
    "tcpBacklog",
    "how many connections may wait to be accepted",
  ),
  threads: threadsFlag("how many event loops share the port (Linux)"),
  "log-format": choiceFlag(
    logFormats,
    "how the log looks; auto is pretty at a terminal, else json",
    "auto",
  ),
  "log-level": choiceFlag(logLevels, "least level that is logged", "info"),
  admin: placeFlag(
    "where operators find health, metrics and a live page, by HTTP",
  ),
  "admin-token": {
    ...textFlag(
      "TOKEN",
      TOKEN_FORM,
      "what their actions need; others see command lines: set its twin",
      isToken,
    ),
    secret: true,
  },
  version: { help: "print the version and end" },
  help: { help: "print this and end" },
} as const satisfies FlagTable;

export type ServerLine = CommandLine<typeof serverFlags>;

/** @throws {UsageError} Flags do not go together, or one lacks another. */
export function checkTogether({ flags, given, rest }: ServerLine): void {
  if (rest.length > 0) {
    refuse(`unexpected argument ${JSON.stringify(rest[0])} (try --help)`);
  }
  const unix = given.get("unix");
  if (unix === undefined) needs("--unix", given.get("unix-mode"));
  if (flags.admin === undefined) needs("--admin", given.get("admin-token"));
  const other = given.keys().find((name) =>
    /^(threads|tls-.*)$/.test(name) || TCP_ONLY.includes(optionOf(name))
  );
  if (unix !== undefined && other !== undefined) {
    onlyOneOf(unix, given.get(other)!);
  }
  if (flags["proxy-protocol"] !== "off" && flags["proxy-trust"] === "") {
    refuse(
      "--proxy-trust is missing, expected the addresses of the proxies " +
        "whose --proxy-protocol header is believed",
    );
  }
  if ((flags["tls-cert"] === "") !== (flags["tls-key"] === "")) {
    refuse(
      flags["tls-cert"] === ""
        ? `--tls-cert is missing, expected with --tls-key: ${CERT_FILE}`
        : `--tls-key is missing, expected with --tls-cert: ${KEY_FILE}`,
    );
  }
  if (flags["tls-cert"] === "") {
    for (const name of ["client-ca", "min-version", "alpn"] as const) {
      needs("--tls-cert", given.get(`tls-${name}`));
    }
  }
  if (flags["tls-client-ca"] === "") {
    needs("--tls-client-ca", given.get("tls-client-auth"));
  }
}

function needs(missing: string, source: string | undefined): void {
  if (source === undefined) return;
  refuse(`${source} is given, expected ${missing} beside it`);
}

/** The options of `serve` whose flags have other names. */
const renamed: Readonly<Record<string, keyof ServeOptions>> = {
  unix: "path",
  backlog: "tcpBacklog",
  "tls-client-auth": "clientAuth",
  "tls-alpn": "alpnProtocols",
};

/** The options that are given; all but `httpGuard` have the same defaults. */
export function serveOptionsOf({ flags, given }: ServerLine): ServeOptions {
  const options = Object.fromEntries(
    Object.entries(flags)
      .filter(([name]) => given.has(name) && optionOf(name) in serveOptions)
      .map(([name, value]) => [optionOf(name), value]),
  );
  return { ...options, httpGuard: flags["http-guard"] === "on" };
}

function optionOf(flag: string): keyof ServeOptions {
  const name = flag.replace(/-./g, ([, letter]) => letter.toUpperCase());
  return renamed[flag] ?? name as keyof ServeOptions;
}
