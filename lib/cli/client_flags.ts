/**
 * The flags of `client`.
 *
 * @module
 */

import { connectDefaults } from "../client.ts";
import { type FramingName, framingNames } from "../framing/mod.ts";
import type { FlagTable } from "./flags.ts";
import { isSocketPath, SOCKET_PATH_FORM } from "../unix.ts";
import {
  choiceFlag,
  durationFlag,
  pathFlag,
  sizeFlag,
  textFlag,
} from "./values.ts";

/** The flags of `client`, in the order that its help has them. */
export const clientFlags = {
  unix: pathFlag(SOCKET_PATH_FORM, isSocketPath, {
    help: "Unix socket of the server, in place of HOST and PORT",
    env: false,
  }),
  framing: choiceFlag<FramingName>(framingNames, {
    help: "how requests and replies are told apart, the server's own",
    default: connectDefaults.framing,
    env: false,
  }),
  timeout: durationFlag("timeout", {
    help: "how long connecting, and each reply, may take",
    default: connectDefaults.timeout,
    shown: "30s",
    env: false,
  }),
  "max-frame": sizeFlag("maxFrame", {
    help: "maximum payload of a reply, and of a line of input",
    default: connectDefaults.maxFrame,
    shown: "16MiB",
    env: false,
  }),
  tls: { help: "speak TLS, and check the server's certificate" },
  "tls-ca": textFlag("FILE", "the file of a certificate in PEM", {
    help: "trust this authority too",
    default: "",
    shown: "none",
    env: false,
  }),
  "tls-server-name": textFlag("NAME", "a name or an address", {
    help: "whom the server's certificate must be for",
    default: "",
    shown: "HOST",
    env: false,
  }),
  json: { help: "print an object per reply: request, reply, ms" },
  e: { help: "exit with 1 if any reply starts with ERR" },
  "no-history": { help: "neither read nor keep the history of the prompt" },
  version: { help: "print the version and end" },
  help: { help: "print this and end" },
} as const satisfies FlagTable;
