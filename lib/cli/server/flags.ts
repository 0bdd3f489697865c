/** The flags of `server`. */

import { type FramingName, framingNames } from "../../framing/mod.ts";
import { handlers } from "../../handlers/mod.ts";
import { isListenPath, LISTEN_PATH_FORM } from "../../net/unix.ts";
import { type LogLevel, logLevels } from "../../observe/log.ts";
import {
  defaults,
  type ProxyMode,
  proxyModes,
  type ServeOptions,
} from "../../server/options.ts";
import {
  type CommandLine,
  type FlagTable,
  type FlagValues,
  onlyOneOf,
  UsageError,
} from "../flags/flags.ts";
import {
  choiceFlag,
  cidrsFlag,
  durationFlag,
  fileFlag,
  modeFlag,
  numberFlag,
  pathFlag,
  placeFlag,
  sizeFlag,
  textFlag,
  threadsFlag,
  tokenFlag,
} from "../flags/values.ts";
import { type LogFormat, logFormats } from "./logging.ts";

const handlerNames = Object.keys(handlers) as (keyof typeof handlers)[];

const CERT_FILE = "the file of a certificate in PEM";
const KEY_FILE = "the file of the certificate's private key in PEM";

/** The flags of `server`, in the order that its help has them. */
export const serverFlags = {
  hostname: textFlag("HOST", "an address of this machine", {
    help: "address to listen on",
    default: defaults.hostname,
  }),
  port: numberFlag("port", {
    help: "port to listen on, 0 picks one",
    default: defaults.port,
  }),
  unix: pathFlag(LISTEN_PATH_FORM, isListenPath, {
    help: "Unix socket to listen on, in place of address and port",
  }),
  "unix-mode": modeFlag({
    help: "permissions of the Unix socket's file",
    default: defaults.unixMode,
    shown: "0600",
  }),
  framing: choiceFlag<FramingName>(framingNames, {
    help: "how requests and replies are told apart",
    default: defaults.framing,
  }),
  handler: choiceFlag<keyof typeof handlers>(handlerNames, {
    help: "what answers the requests",
    default: "commands",
  }),
  "max-frame": sizeFlag("maxFrame", {
    help: "maximum payload of a request",
    default: defaults.maxFrame,
    shown: "64KiB",
  }),
  "max-reply": sizeFlag("maxReply", {
    help: "maximum payload of a reply",
    default: defaults.maxReply,
    shown: "16MiB",
  }),
  "max-connections": numberFlag("maxConnections", {
    help: "most connections open at once, 0 for no limit",
    default: defaults.maxConnections,
  }),
  "max-connections-per-ip": numberFlag("maxConnectionsPerIp", {
    help: "most connections open at once from one address, 0 for no limit",
    default: defaults.maxConnectionsPerIp,
  }),
  "max-memory": sizeFlag("maxMemory", {
    help: "most memory held by all connections, 0 for no limit",
    default: defaults.maxMemory,
    shown: "256MiB",
  }),
  allow: cidrsFlag({ help: "who may connect", shown: "everybody" }),
  deny: cidrsFlag({ help: "who may not connect", shown: "nobody" }),
  "proxy-protocol": choiceFlag<ProxyMode>(proxyModes, {
    help: "PROXY header that trusted peers begin with",
    default: defaults.proxyProtocol,
  }),
  "proxy-trust": cidrsFlag({
    help: "peers whose PROXY header is believed",
    shown: "nobody",
  }),
  "tls-cert": fileFlag(CERT_FILE, {
    help: "certificate in PEM: speak TLS, read again on SIGHUP",
  }),
  "tls-key": fileFlag(KEY_FILE, {
    help: "private key of the certificate in PEM",
  }),
  "idle-timeout": durationFlag("idleTimeout", {
    help: "how long a connection may be without a whole request",
    default: defaults.idleTimeout,
    shown: "5m",
  }),
  "request-timeout": durationFlag("requestTimeout", {
    help: "how long a reply may take",
    default: defaults.requestTimeout,
    shown: "30s",
  }),
  "write-timeout": durationFlag("writeTimeout", {
    help: "how long a peer may take nothing of a reply",
    default: defaults.writeTimeout,
    shown: "30s",
  }),
  "drain-timeout": durationFlag("drainTimeout", {
    help: "how long connections may finish after SIGTERM",
    default: defaults.drainTimeout,
    shown: "10s",
  }),
  "pre-drain-delay": durationFlag("preDrainDelay", {
    help: "how long to accept still after SIGTERM, no longer ready",
    default: defaults.preDrainDelay,
    shown: "0s",
  }),
  backlog: numberFlag("tcpBacklog", {
    help: "how many connections may wait to be accepted",
    default: defaults.tcpBacklog,
  }),
  threads: threadsFlag({
    help: "how many event loops share the port (Linux)",
    default: 1,
  }),
  "log-format": choiceFlag<LogFormat>(logFormats, {
    help: "how the log looks; auto is pretty at a terminal, else json",
    default: "auto",
  }),
  "log-level": choiceFlag<LogLevel>(logLevels, {
    help: "least level that is logged",
    default: "info",
  }),
  admin: placeFlag({
    help: "where operators find health, metrics and a live page, by HTTP",
  }),
  "admin-token": tokenFlag({
    help: "what their actions need; others see command lines: set its twin",
  }),
  version: { help: "print the version and end" },
  help: { help: "print this and end" },
} as const satisfies FlagTable;

/** The flags that mean nothing where clients have no address. */
const tcpOnly = [
  "hostname",
  "port",
  "backlog",
  "threads",
  "max-connections-per-ip",
  "allow",
  "deny",
  "proxy-protocol",
  "proxy-trust",
  "tls-cert",
  "tls-key",
] as const satisfies readonly (keyof typeof serverFlags)[];

/**
 * Checks what no flag can tell by itself.
 *
 * @throws {UsageError} Flags do not go together, or one lacks another.
 */
export function checkTogether(
  { flags, given, rest }: CommandLine<typeof serverFlags>,
): void {
  if (rest.length > 0) {
    throw new UsageError(
      `unexpected argument ${JSON.stringify(rest[0])} (try --help)`,
    );
  }
  const unix = given.get("unix");
  if (unix === undefined) needs("--unix", given.get("unix-mode"));
  if (flags.admin === undefined) needs("--admin", given.get("admin-token"));
  const other = tcpOnly.find((name) => given.has(name));
  if (unix !== undefined && other !== undefined) {
    onlyOneOf(unix, given.get(other)!);
  }
  if (flags["proxy-protocol"] !== "off" && flags["proxy-trust"] === "") {
    throw new UsageError(
      "--proxy-trust is missing, expected the addresses of the proxies " +
        "whose --proxy-protocol header is believed",
    );
  }
  if ((flags["tls-cert"] === "") !== (flags["tls-key"] === "")) {
    throw new UsageError(
      flags["tls-cert"] === ""
        ? `--tls-cert is missing, expected with --tls-key: ${CERT_FILE}`
        : `--tls-key is missing, expected with --tls-cert: ${KEY_FILE}`,
    );
  }
}

function needs(missing: string, source: string | undefined): void {
  if (source === undefined) return;
  throw new UsageError(`${source} is given, expected ${missing} beside it`);
}

/**
 * The options of `serve` that flags stand for. What takes reading a file or a
 * listener is not among them.
 */
export function serveOptionsOf(
  flags: FlagValues<typeof serverFlags>,
): ServeOptions {
  const place: ServeOptions = flags.unix
    ? { path: flags.unix, unixMode: flags["unix-mode"] }
    : {
      hostname: flags.hostname,
      port: flags.port,
      tcpBacklog: flags.backlog,
      maxConnectionsPerIp: flags["max-connections-per-ip"],
      allow: flags.allow || undefined,
      deny: flags.deny || undefined,
      proxyProtocol: flags["proxy-protocol"],
      proxyTrust: flags["proxy-trust"] || undefined,
    };
  return {
    ...place,
    framing: flags.framing,
    maxFrame: flags["max-frame"],
    maxReply: flags["max-reply"],
    maxConnections: flags["max-connections"],
    maxMemory: flags["max-memory"],
    idleTimeout: flags["idle-timeout"],
    requestTimeout: flags["request-timeout"],
    writeTimeout: flags["write-timeout"],
    drainTimeout: flags["drain-timeout"],
    preDrainDelay: flags["pre-drain-delay"],
  };
}
