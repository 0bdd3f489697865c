/**
 * The flags of `server`.
 *
 * @module
 */

import { type FramingName, framingNames } from "../framing/mod.ts";
import { handlers } from "../handlers/mod.ts";
import { defaults, type ProxyMode, proxyModes } from "../options.ts";
import type { FlagTable } from "./flags.ts";
import {
  choiceFlag,
  cidrsFlag,
  durationFlag,
  numberFlag,
  sizeFlag,
  textFlag,
} from "./values.ts";

const handlerNames = Object.keys(handlers) as (keyof typeof handlers)[];

/** What `--tls-cert` takes. */
export const CERT_FILE = "the file of a certificate in PEM";

/** What `--tls-key` takes. */
export const KEY_FILE = "the file of the certificate's private key in PEM";

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
  "max-connections": numberFlag("maxConnections", {
    help: "most connections open at once, 0 for no limit",
    default: defaults.maxConnections,
  }),
  "max-connections-per-ip": numberFlag("maxConnectionsPerIp", {
    help: "most connections open at once from one address, 0 for no limit",
    default: defaults.maxConnectionsPerIp,
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
  "tls-cert": textFlag("FILE", CERT_FILE, {
    help: "certificate in PEM: speak TLS, read again on SIGHUP",
    default: "",
    shown: "none",
  }),
  "tls-key": textFlag("FILE", KEY_FILE, {
    help: "private key of the certificate in PEM",
    default: "",
    shown: "none",
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
  backlog: numberFlag("tcpBacklog", {
    help: "how many connections may wait to be accepted",
    default: defaults.tcpBacklog,
  }),
  version: { help: "print the version and end" },
  help: { help: "print this and end" },
} as const satisfies FlagTable;
