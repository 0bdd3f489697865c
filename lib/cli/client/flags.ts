/** The commands of `client`: their flags, their help, and their requests. */

import type { ServersOptions } from "../../client/api.ts";
import { connectDefaults } from "../../client/connect.ts";
import { FRAMING_FORM } from "../../framing/mod.ts";
import { isSocketPath, SOCKET_PATH_FORM } from "../../net/unix.ts";
import { completionHelp } from "../flags/completion.ts";
import {
  type Command,
  type CommandLine,
  commonFlags,
  type FlagTable,
  onlyOneOf,
  refuse,
} from "../flags/flags.ts";
import * as values from "../flags/values.ts";

const encoder = new TextEncoder();

/** How a server is reached. */
const connectFlags = {
  unix: values.textFlag("PATH", SOCKET_PATH_FORM, isSocketPath),
  framing: values.framingFlag,
  timeout: values.durationFlag("timeout"),
  "max-frame": values.sizeFlag("maxFrame", connectDefaults.maxFrame),
  balance: values.choiceFlag<NonNullable<ServersOptions["balance"]>>(
    ["failover", "round-robin", "least-pending"],
    "failover",
  ),
  tls: {},
  "tls-ca": values.textFlag("FILE", "the file of a certificate in PEM"),
  "tls-server-name": {
    ...values.textFlag("NAME", "a name or an address"),
    shown: "HOST",
  },
  ...values.certificateFlags,
  "tls-alpn": values.alpnFlag,
  insecure: {},
  ...commonFlags,
} as const satisfies FlagTable;

// `wait` tries each server in turn: one without an answer must not hold it up.
const { balance: _, ...linkFlags } = connectFlags;

const BALANCE = `
--balance  which of several servers is asked: the first that can be reached, each in turn, or the one with the fewest requests in flight`;

const connectHelp = (
  timeout = "how long connecting, and each reply, may take",
  balance = BALANCE,
) =>
  `The server:
--unix  Unix socket of the server, instead of HOST and PORT
--framing  how the bytes are cut into requests and replies: ${FRAMING_FORM}
--timeout  ${timeout}
--max-frame  maximum payload of a reply, and of a line of input${balance}
--tls  speak TLS, and check the server's certificate
--tls-ca  certificates of an authority to trust too, in PEM
--tls-server-name  name that the server's certificate must have
--tls-cert  certificate of the client in PEM, for servers that ask for one
--tls-key  private key of that certificate in PEM
--tls-alpn  application protocols, the preferred one first
--insecure  do not check the server's certificate

--version  print the version and end
--help  print this and end`;

/** The first word of a command line is one of these; if it is none, `""`. */
export const commands = {
  "": {
    flags: {
      json: {},
      hex: {},
      "no-newline": {},
      x: {},
      listen: {},
      e: {},
      retry: values.countFlag([0, 1000], 0),
      expect: values.patternFlag,
      r: values.countFlag([1, 1e15], 1),
      i: values.spanFlag,
      "no-history": {},
      bench: {},
      ...connectFlags,
    },
    apart: [
      ["json", "hex"],
      ["json", "no-newline"],
      ["listen", "x"],
      ["r", "listen"],
      ["i", "listen"],
      ["retry", "listen"],
    ],
    help: `Usage: client [flags] HOST[:PORT] [request]...
       client [flags] HOST PORT [request]...
       client [flags] --unix PATH [request]...
       client COMMAND [flags] ... (client COMMAND --help says more)

Sends requests to a server and prints the replies: the arguments; or standard
input, a request a line; or, at a terminal, what is typed at a prompt.
The port is 8080 if none is given. -- ends the flags. A server may be written
tcp://HOST, tls://HOST or unix:/PATH; there may be several, with commas between.

  client 127.0.0.1 'ECHO hi' TIME
  client example.net:7000 --tls < requests.txt

Commands (tcp://bench is a host of that name):
  bench                   measure how fast a server is
  wait                    wait until a server answers
  latency                 measure how long single requests take
  completion              print a script with which a shell completes all this

Requests and replies:
--json  print a JSON object for each reply: request, reply, ms
--hex  print replies in hex
--no-newline  print no line end after a reply
-x  send standard input as one request, after the given text, if any
--listen  send the requests, and print all that comes until the connection ends
-e  exit with 1 if a reply starts with ERR
--retry  how often to send a request again if its connection is lost; it may be done twice
--expect  exit with 1 if a reply does not match this regular expression
-r  how many times to send the requests
-i  time to wait before each repetition
--no-history  do not read or keep the history of the prompt

${connectHelp()}
--bench  the same as the command bench

PARLEY_HISTORY names the history file (default ~/.parley_history); if it is
empty, there is none.

Exit codes: 0 done, or nobody reads the output any more; 1 a request failed, a
reply is not what -e or --expect asks for, or the output could not be written;
2 wrong command line; 130 interrupted.`,
  },
  bench: {
    flags: {
      // More than any machine can have.
      c: values.countFlag([1, 1_000_000], 50),
      // 2^53 is as far as numbers are exact; so many take centuries.
      n: values.countFlag([1, 1e15], 100_000),
      duration: { ...values.spanFlag, short: "z" },
      // Far more than keeps a server busy.
      P: values.countFlag([1, 10_000], 1),
      d: values.sizeFlag("maxFrame", 64),
      // Clocks cannot tell more than one in a microsecond apart.
      rate: {
        ...values.countFlag([1, 1_000_000], undefined),
        shown: "as fast as replies come",
      },
      requests: values.textFlag("FILE", "the name of a file"),
      reconnect: {},
      json: {},
      csv: {},
      e: {},
      "errors-ok": {},
      q: {},
      ...connectFlags,
    },
    apart: [
      ["json", "csv"],
      ["e", "errors-ok"],
      ["requests", "d"],
      ["reconnect", "P"],
      ["n", "duration"],
    ],
    help: `Usage: client bench [flags] HOST[:PORT] [request]

Sends a request many times, and reports how fast the replies come.

  client bench 127.0.0.1
  client bench -c 100 -P 16 -z 10s example.net:7000 'ECHO hi'
  client bench --rate 5000 -z 1m --json example.net:7000

The load:
-c  connections
-n  total number of requests
--duration  how long to send requests, instead of -n
-P  requests in flight on each connection
-d  bytes of a request (PING and letters), if none is given
--rate  requests per second, at even intervals, even if replies are late
--requests  send the lines of a file in turn, again and again
--reconnect  open a connection for each request

The report:
--json  print it as a JSON object
--csv  print it as CSV: a line of names and a line of values
--errors-ok  exit with 0 even if replies start with ERR
-e  exit with 1 if a reply starts with ERR: the default
-q  show no progress at a terminal

${connectHelp()}

Exit codes: 0 done; 1 a request failed, a reply starts with ERR, or a connection
was refused; 2 wrong command line; 130 interrupted.`,
  },
  wait: {
    flags: { tcp: {}, ...linkFlags },
    help: `Usage: client wait [flags] HOST[:PORT] [request]

Sends a request, PING if none is given, until the server answers. Any reply will
do.

  client wait 127.0.0.1 && ./deploy
  client wait --timeout 2m --tcp example.net:7000

--tcp  wait for a connection only, and send nothing

${connectHelp("how long to wait, 0 without a limit", "")}

Exit codes: 0 it answered; 1 it did not in time; 2 wrong command line; 130
interrupted.`,
  },
  latency: {
    flags: {
      i: { ...values.spanFlag, default: 1000, shown: "1s" },
      n: { ...values.countFlag([1, 1e15], undefined), shown: "until Ctrl-C" },
      json: {},
      ...connectFlags,
    },
    help: `Usage: client latency [flags] HOST[:PORT] [request]

Sends a request, PING if none is given, once a second, and prints how long the
reply took: in one line at a terminal, else in a line for each reply.

  client latency 127.0.0.1
  client latency -i 100ms -n 50 --json example.net:7000 'ECHO hi'

-i  time from one request to the next
-n  number of requests
--json  print a JSON object for each reply: samples, last_ms, min_ms, avg_ms, p99_ms, max_ms

${connectHelp()}

Exit codes: 0 done; 1 a request failed; 2 wrong command line; 130 interrupted.`,
  },
  completion: { flags: commonFlags, help: completionHelp("client") },
} as const satisfies Record<string, Command>;

export type CommandName = keyof typeof commands;

export type Line<Name extends CommandName> = CommandLine<
  typeof commands[Name]["flags"]
>;

export type ConnectLine = CommandLine<typeof linkFlags>;

/** Gives the command that a command line is for, and its arguments. */
export function commandOf(
  args: readonly string[],
): [name: CommandName, args: readonly string[]] {
  const [first, ...rest] = args;
  if (first && Object.hasOwn(commands, first)) {
    return [first as CommandName, rest];
  }
  const at = args.indexOf("--bench");
  // After "--" comes no flag.
  return at === -1 || args.lastIndexOf("--", at) !== -1
    ? ["", args]
    : ["bench", args.toSpliced(at, 1)];
}

/** @throws {UsageError} Flags of a command do not go together. */
export function checkPairs(
  name: CommandName,
  { given }: Pick<ConnectLine, "given">,
): void {
  const { apart = [] }: Command = commands[name];
  const pairs = [...apart, ["unix", "tls"], ["insecure", "tls-ca"]];
  for (const [one, other] of pairs) {
    if (given.has(one) && given.has(other)) {
      onlyOneOf(given.get(one)!, given.get(other)!);
    }
  }
}

/**
 * Says whether TLS is spoken, which the scheme of a server may ask for too.
 *
 * @throws {UsageError} Flags of TLS lack another, or contradict the scheme.
 */
export function speaksTls(
  { flags, given }: ConnectLine,
  scheme: string,
): boolean {
  if (flags.tls && /^(tcp|unix):/.test(scheme)) onlyOneOf(scheme, "--tls");
  const tls = flags.tls || scheme === "tls://";
  const lost = given.keys().find((name) => /^(tls-|insecure)/.test(name));
  if (lost !== undefined && !tls) refuse(`--${lost} is given without --tls`);
  values.checkCertificateFlags(given);
  return tls;
}

/** @throws {UsageError} Flags do not go with the requests, or lack one. */
export function checkRequests(
  { flags, given }: Line<"">,
  requests: readonly string[],
): void {
  if (flags.x) oneRequest(requests);
  const again = given.get("r") ?? given.get("i");
  if (again && !flags.x && requests.length === 0) {
    refuse(`${again} is given, expected a request to repeat`);
  }
  if (flags.i && flags.r === 1) refuse("-i is given, expected -r beside it");
}

/** The request of a command that needs one: the one that is given, or PING. */
export function oneRequest(
  requests: readonly string[],
): Uint8Array<ArrayBuffer> {
  if (requests.length > 1) {
    refuse(`${requests.length} requests are given, expected at most one`);
  }
  return encoder.encode(requests[0] ?? "PING");
}

/**
 * Makes the request that a measurement sends: the one that is given, or as many
 * bytes as `-d` says of `PING` and letters behind it.
 */
export function benchRequest(
  { flags, given }: Line<"bench">,
  requests: readonly string[],
): Uint8Array<ArrayBuffer> {
  if (requests.length > 0) {
    if (given.has("d")) onlyOneOf("-d", "a request");
    return oneRequest(requests);
  }
  // A text of more than 512 MiB cannot be made.
  const bytes = new Uint8Array(flags.d).fill("x".charCodeAt(0));
  encoder.encodeInto("PING ", bytes);
  return bytes;
}
