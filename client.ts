/**
 * The executable `client`: flags in, signals in, exit code out.
 *
 * @module
 */

import { type BatchResult, runBatch } from "./lib/cli/client/batch.ts";
import {
  benchFlags,
  benchRequest,
  checkClientFlags,
  clientFlags,
  type ClientLine,
} from "./lib/cli/client/flags.ts";
import { type History, openHistory } from "./lib/cli/client/history.ts";
import { splitLines } from "./lib/cli/client/lines.ts";
import { runPrompt } from "./lib/cli/client/prompt.ts";
import { parseTarget } from "./lib/cli/client/target.ts";
import { flagHelp, parseFlags, UsageError } from "./lib/cli/flags/flags.ts";
import { readCertificates, readKeyPair } from "./lib/cli/flags/tls_files.ts";
import {
  isReaderGone,
  print,
  show,
  standardInput,
  surviveFileSizeLimit,
} from "./lib/cli/streams/standard_streams.ts";
import { connect, type ConnectOptions } from "./lib/client/client.ts";
import type { TlsConnectOptions } from "./lib/client/dial.ts";
import type { Client } from "./lib/client/api.ts";
import { formatHostPort } from "./lib/core/address.ts";
import { OptionError } from "./lib/core/errors.ts";
import { messageOf, printableLine, systemReason } from "./lib/core/text.ts";
import { VERSION } from "./lib/core/version.ts";

const HELP = `Usage: client [flags] HOST[:PORT] [request]...
       client [flags] HOST PORT [request]...
       client [flags] --unix PATH [request]...
       client [flags] --bench HOST[:PORT] [request]

Sends requests to a server and prints the replies: the arguments; or standard
input, a request a line; or, at a terminal, what is typed at a prompt.
The port is 8080 if none is given. -- ends the flags.

${flagHelp(clientFlags)}

With --bench:

${flagHelp(benchFlags)}

PARLEY_HISTORY names the history file (default ~/.parley_history); empty keeps
none. Exit codes: 0 done, or nobody reads the output any more; 1 a request
failed, or the output could not be written; 2 usage; 130 interrupted.`;

if (import.meta.main) Deno.exit(await main());

async function main(): Promise<number> {
  surviveFileSizeLimit();
  const { line, target: { requests: given, ...target }, payload } =
    await readFlags();
  const { flags } = line;
  const place = "path" in target
    ? target.path
    : formatHostPort(target.hostname, target.port);
  const atTerminal = given.length === 0 && payload === undefined &&
    Deno.stdin.isTerminal() && Deno.stdout.isTerminal();
  const history = atTerminal && !flags["no-history"]
    ? await ownHistory()
    : undefined;
  let tls: ConnectOptions["tls"];
  try {
    tls = flags.tls && await readTls(flags);
  } catch (error) {
    return fail(error);
  }
  // From here on only the network is needed, by a peer we need not trust; but a
  // Unix socket is a file as well, whenever it is connected to.
  revoke("env");
  if (!("path" in target)) revoke("read", "write");

  const reconnect = (signal?: AbortSignal): Promise<Client> =>
    connect({
      ...target,
      framing: flags.framing,
      maxFrame: flags["max-frame"],
      timeout: flags.timeout,
      // All requests of a measurement are alike: any reply will do.
      keepAfterTimeout: flags.bench,
      tls,
      signal,
    });
  if (payload !== undefined) {
    return await measure(line, place, payload, reconnect);
  }
  let client;
  try {
    client = await reconnect();
  } catch (error) {
    return fail(error);
  }
  if (atTerminal) {
    await runPrompt(client, {
      place,
      reconnect,
      history,
      onInterrupt: () => Deno.exit(130),
    });
    return 0;
  }
  revoke("read", "write");

  const encoder = new TextEncoder();
  const { lines: requests, failure } = given.length > 0
    ? {
      lines: ReadableStream.from(
        given.map((text) => encoder.encode(text)),
      ),
      failure: () => undefined,
    }
    : splitLines(standardInput(), flags["max-frame"]);
  const result = await runBatch(client, requests, Deno.stdout, {
    json: flags.json,
    terminal: Deno.stdout.isTerminal(),
  });
  client.close();
  if (isReaderGone(result.outputFailure)) return 0;
  if (result.outputFailure !== undefined) {
    const reason = systemReason(result.outputFailure);
    return fail(`cannot write the replies: ${reason}`);
  }
  if (result.failure !== undefined) {
    return fail(result.failure, unanswered(result, given.length));
  }
  const inputFailure = failure();
  if (inputFailure !== undefined) return fail(inputFailure);
  return flags.e && result.errors > 0 ? 1 : 0;
}

/** Runs a measurement, until it is done or Ctrl-C ends it. */
async function measure(
  line: ClientLine,
  target: string,
  payload: Uint8Array,
  connect: (signal: AbortSignal) => Promise<Client>,
): Promise<number> {
  const { benchMode } = await import("./lib/cli/bench/mode.ts");
  const interrupted = new AbortController();
  const onInterrupt = () => {
    // Whoever presses it again waits no longer.
    Deno.removeSignalListener("SIGINT", onInterrupt);
    interrupted.abort();
  };
  Deno.addSignalListener("SIGINT", onInterrupt);
  const { signal } = interrupted;
  try {
    return await benchMode(line, target, { payload, connect, signal });
  } catch (error) {
    // A run that was interrupted may also have a report that is not written.
    return signal.aborted && error === signal.reason ? 130 : fail(error);
  }
}

async function readFlags() {
  try {
    const line = parseFlags({ ...clientFlags, ...benchFlags }, Deno.args);
    const { flags, rest } = line;
    if (flags.help) await finish(HELP);
    if (flags.version) await finish(`parley ${VERSION}`);
    checkClientFlags(line);
    const target = flags.unix
      ? { path: flags.unix, requests: rest }
      : parseTarget(rest);
    const payload = flags.bench
      ? benchRequest(line, target.requests)
      : undefined;
    return { line, target, payload };
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    warn(error.message);
    Deno.exit(2);
  }
}

/** Reads the files of TLS, and says what else it goes by. */
async function readTls(flags: ClientLine["flags"]): Promise<TlsConnectOptions> {
  const { "tls-ca": ca, "tls-cert": cert, "tls-key": key } = flags;
  const read = Deno.readTextFile;
  return {
    caCerts: ca === "" ? [] : [await readCertificates("--tls-ca", ca, read)],
    serverName: flags["tls-server-name"] || undefined,
    alpnProtocols: flags["tls-alpn"],
    ...cert === "" ? {} : await readKeyPair({ cert, key }, read),
  };
}

function revoke(...names: ("env" | "read" | "write")[]): void {
  for (const name of names) Deno.permissions.revokeSync({ name });
}

async function ownHistory(): Promise<History | undefined> {
  const home = Deno.env.get("HOME");
  const path = Deno.env.get("PARLEY_HISTORY") ??
    (home ? `${home}/.parley_history` : "");
  if (path === "") return undefined;
  try {
    return await openHistory(
      path,
      (error) => warn(`the history is not kept: ${systemReason(error)}`),
    );
  } catch (error) {
    warn(`no history: ${systemReason(error)}`);
  }
}

async function finish(text: string): Promise<never> {
  Deno.exit(await print(text).then(() => 0, fail));
}

/** Names the requests that a failed batch leaves without a reply. */
function unanswered(
  { replied, requested, inputEnded }: BatchResult,
  given: number,
): string {
  const first = replied + 1;
  // The last argument may fail before the batch has seen that it is the last.
  const allGiven = given > 0 && requested === given;
  const unsent = inputEnded || allGiven
    ? ""
    : `requests from ${requested + 1} on not sent`;
  if (first > requested) return unsent && `${unsent}: `;
  const range = first === requested
    ? `request ${first}`
    : `requests ${first} to ${requested}`;
  return `no reply to ${range}${unsent && `, ${unsent}`}: `;
}

function fail(error: unknown, prefix = ""): number {
  warn(prefix + messageOf(error));
  return error instanceof OptionError ? 2 : 1;
}

function warn(message: string): void {
  // A peer's words may be in it, such as the names in a certificate.
  show(`client: ${printableLine(message)}\n`);
}
