/** The flags of `server`. */

import { isToken, TOKEN_FORM } from "../../admin/access.ts";
import { quote } from "../../core/text.ts";
import { FRAMING_FORM } from "../../framing/mod.ts";
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
import { completionHelp } from "../flags/completion.ts";
import {
  type CommandLine,
  commonFlags,
  type FlagTable,
  onlyOneOf,
  refuse,
} from "../flags/flags.ts";
import * as values from "../flags/values.ts";
import { logFormats } from "./logging.ts";

const handlerNames = Object.keys(handlers) as (keyof typeof handlers)[];

export const serverFlags = {
  hostname: {
    ...values.textFlag("HOST", "an address of this machine"),
    default: defaults.hostname,
    shown: defaults.hostname,
  },
  port: values.numberFlag("port"),
  unix: values.textFlag("PATH", LISTEN_PATH_FORM, isListenPath),
  "unix-mode": values.modeFlag,
  framing: values.framingFlag,
  handler: values.choiceFlag(handlerNames, "commands"),
  "max-frame": values.sizeFlag("maxFrame"),
  "max-reply": values.sizeFlag("maxReply"),
  "max-connections": values.numberFlag("maxConnections"),
  "max-connections-per-ip": values.numberFlag("maxConnectionsPerIp"),
  "max-connection-rate": values.rateFlag,
  "max-request-rate": values.rateFlag,
  "ip-prefix": values.numberFlag("ipPrefix"),
  "max-memory": values.sizeFlag("maxMemory"),
  allow: values.cidrsFlag("everybody"),
  deny: values.cidrsFlag("nobody"),
  "proxy-protocol": values.choiceFlag(proxyModes, defaults.proxyProtocol),
  "proxy-trust": values.cidrsFlag("nobody"),
  "http-guard": values.choiceFlag(["on", "off"], "on"),
  ...values.certificateFlags,
  "tls-client-ca": {
    ...values.textFlag("FILE", "the file of the authorities of clients in PEM"),
    guards: true,
  },
  "tls-client-auth": values.choiceFlag(clientAuths, "require"),
  "tls-min-version": values.choiceFlag(tlsVersions, "1.2"),
  "tls-alpn": values.alpnFlag,
  "idle-timeout": values.durationFlag("idleTimeout"),
  "request-timeout": values.durationFlag("requestTimeout"),
  "write-timeout": values.durationFlag("writeTimeout"),
  "slow-request": values.durationFlag("slowRequest"),
  "drain-timeout": values.durationFlag("drainTimeout"),
  "pre-drain-delay": values.durationFlag("preDrainDelay"),
  backlog: values.numberFlag("tcpBacklog"),
  threads: values.threadsFlag,
  "log-format": values.choiceFlag(logFormats, "auto"),
  "log-level": values.choiceFlag(logLevels, "info"),
  admin: values.placeFlag,
  "admin-token": {
    ...values.textFlag("TOKEN", TOKEN_FORM, isToken),
    ...{ secret: true, guards: true },
  },
  check: {},
  ...commonFlags,
} as const satisfies FlagTable;

const serverHelp = `Usage: server [flags]
       server completion bash|zsh|fish

Serves TCP, plain or with TLS, or a Unix socket: a request in, a reply out.

  server --port 7000 --max-connections 500
  server --tls-cert cert.pem --tls-key key.pem --admin 127.0.0.1:9090
  server --unix /run/parley.sock --handler echo

Where it listens, and what it does:
--hostname  address to listen on
--port  port to listen on, 0 picks one
--unix  Unix socket to listen on, instead of address and port
--unix-mode  permissions of the Unix socket's file
--framing  how the bytes are cut into requests and replies: ${FRAMING_FORM}
--handler  what answers the requests
--threads  how many event loops share the port (Linux)
--backlog  how many connections may wait to be accepted

Limits:
--max-frame  maximum payload of a request
--max-reply  maximum payload of a reply
--max-memory  maximum memory of all connections together, 0 for no limit
--max-connections  maximum number of open connections, 0 for no limit
--max-connections-per-ip  the same for one address
--max-connection-rate  how fast one address may connect: 10/s or 10/s:50
--max-request-rate  how fast one address may ask, 50 at once with 10/s:50
--ip-prefix  bits of an IPv6 address that count for these three
--idle-timeout  how long to wait for the next whole request
--request-timeout  how long the handler may take for a reply
--write-timeout  how long to wait while a client reads nothing of a reply
--drain-timeout  how long connections may take to finish after SIGTERM
--pre-drain-delay  how long to go on accepting after SIGTERM, while /readyz says 503

Who may connect:
--allow  who may connect
--deny  who may not connect
--proxy-protocol  version of the PROXY header that trusted peers send first
--proxy-trust  peers whose PROXY header is believed
--http-guard  close connections that speak HTTP, as web pages do (line framing)

TLS:
--tls-cert  certificate in PEM: speak TLS; it is read again on SIGHUP
--tls-key  private key of the certificate in PEM
--tls-client-ca  authorities in PEM: ask clients for a certificate of theirs
--tls-client-auth  whether a client may or must show a certificate
--tls-min-version  lowest version of TLS
--tls-alpn  application protocols, the preferred one first

For operators:
--log-format  form of the log; auto is pretty at a terminal, else json
--log-level  lowest level that is logged
--slow-request  log requests that take this long or longer; 0 for none
--admin  HTTP port for operators: health, metrics and a live page
--admin-token  password for their actions; other users see command lines, so set its twin
--check  check all this without serving, and print what is wrong; exits with 0 or 2
--version  print the version and end
--help  print this and end

Each flag has a twin in the environment: PARLEY_MAX_FRAME for --max-frame. The
flag beats the twin. SIGINT and SIGTERM drain and end the server; a second one
ends it at once. SIGHUP makes it read the certificate again.

Exit codes: 0 ended normally; 1 it could not start, or its listener failed; 2
wrong command line; 130 or 143 ended at once by a second SIGINT or SIGTERM.`;

/** What its first word may be; \`""\` is what has none. */
export const serverCommands = {
  "": { flags: serverFlags, help: serverHelp },
  completion: { flags: commonFlags, help: completionHelp("server") },
};

export type ServerLine = CommandLine<typeof serverFlags>;

/** Flags that say nothing without another. */
const needed: Readonly<Record<string, string>> = {
  "unix-mode": "unix",
  "admin-token": "admin",
  "proxy-trust": "proxy-protocol",
  "tls-client-ca": "tls-cert",
  "tls-min-version": "tls-cert",
  "tls-alpn": "tls-cert",
  "tls-client-auth": "tls-client-ca",
};

/** @throws {UsageError} Flags do not go together, or one lacks another. */
export function checkTogether({ flags, given, rest }: ServerLine): void {
  if (rest.length > 0) {
    refuse(`unexpected argument ${quote(rest[0])} (try --help)`);
  }
  const unix = given.get("unix");
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
  values.checkCertificateFlags(given);
  for (const [name, missing] of Object.entries(needed)) {
    const value = flags[missing as keyof typeof serverFlags];
    if (!given.has(name) || (value && value !== "off")) continue;
    refuse(`${given.get(name)} is given, expected --${missing} beside it`);
  }
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
  const options = Object.entries(flags)
    .filter(([name]) => given.has(name) && optionOf(name) in serveOptions)
    .map(([name, value]) => [optionOf(name), value]);
  const httpGuard = flags["http-guard"] === "on";
  return { ...Object.fromEntries(options), httpGuard };
}

function optionOf(flag: string): keyof ServeOptions {
  const name = flag.replace(/-./g, ([, letter]) => letter.toUpperCase());
  return renamed[flag] ?? name as keyof ServeOptions;
}
