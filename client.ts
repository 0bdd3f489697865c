/**
 * The executable `client`: flags in, signals in, exit code out.
 *
 * @module
 */

import { formatHostPort } from "./lib/address.ts";
import {
  benchFlags,
  benchRequest,
  checkClientFlags,
  clientFlags,
  type ClientLine,
} from "./lib/cli/client_flags.ts";
import { flagHelp, parseFlags, UsageError } from "./lib/cli/flags.ts";
import { History } from "./lib/cli/history.ts";
import { splitLines } from "./lib/cli/lines.ts";
import { type BatchResult, runBatch } from "./lib/cli/batch.ts";
import { runPrompt } from "./lib/cli/prompt.ts";
import { parseTarget } from "./lib/cli/target.ts";
import { readCertificates } from "./lib/cli/tls_files.ts";
import { type Client, connect, type ConnectOptions } from "./lib/client.ts";
import { VERSION } from "./lib/version.ts";

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
none. Exit codes: 0 done, 1 a request failed, 2 usage, 130 interrupted.`;

if (import.meta.main) Deno.exit(await main());

async function main(): Promise<number> {
  const { line, target: { requests: given, ...target }, payload } = readFlags();
  const { flags } = line;
  const place = "path" in target
    ? target.path
    : formatHostPort(target.hostname, target.port);
  const atTerminal = given.length === 0 && payload === undefined &&
    Deno.stdin.isTerminal() && Deno.stdout.isTerminal();
  const history = atTerminal && !flags["no-history"]
    ? await openHistory()
    : undefined;
  let tls: ConnectOptions["tls"];
  try {
    tls = flags.tls && {
      caCerts: flags["tls-ca"] === ""
        ? []
        : [await readCertificates(flags["tls-ca"], Deno.readTextFile)],
      serverName: flags["tls-server-name"] || undefined,
    };
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
    : splitLines(Deno.stdin.readable, flags["max-frame"]);
  const result = await runBatch(client, requests, Deno.stdout.writable, flags);
  client.close();
  if (result.outputClosed) return 0;
  if (result.outputFailure !== undefined) {
    return fail(result.outputFailure, "cannot write the replies: ");
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
  const { benchMode } = await import("./lib/cli/bench_mode.ts");
  const interrupted = new AbortController();
  const onInterrupt = () => {
    // Whoever presses it again waits no longer.
    Deno.removeSignalListener("SIGINT", onInterrupt);
    interrupted.abort();
  };
  Deno.addSignalListener("SIGINT", onInterrupt);
  const shown = Deno.stderr.isTerminal() && !line.flags.q;
  const encoder = new TextEncoder();
  try {
    return await benchMode({
      line,
      target,
      payload,
      connect,
      signal: interrupted.signal,
      show: shown
        ? (text) => void Deno.stderr.writeSync(encoder.encode(text))
        : undefined,
      print: (report) => console.log(report),
    });
  } catch (error) {
    return interrupted.signal.aborted ? 130 : fail(error);
  }
}

function readFlags() {
  try {
    const line = parseFlags(
      { ...clientFlags, ...benchFlags },
      Deno.args,
      (name) => Deno.env.get(name),
    );
    const { flags, rest } = line;
    if (flags.help) finish(HELP);
    if (flags.version) finish(`parley ${VERSION}`);
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

function revoke(...names: ("env" | "read" | "write")[]): void {
  for (const name of names) Deno.permissions.revokeSync({ name });
}

async function openHistory(): Promise<History | undefined> {
  const home = Deno.env.get("HOME");
  const path = Deno.env.get("PARLEY_HISTORY") ??
    (home ? `${home}/.parley_history` : "");
  if (path === "") return undefined;
  try {
    return await History.open(path);
  } catch (error) {
    warn(`no history: ${error instanceof Error ? error.message : error}`);
  }
}

function finish(text: string): never {
  console.log(text);
  Deno.exit(0);
}

/** Names the requests that a failed batch leaves without a reply. */
function unanswered(
  { replied, requested, inputEnded }: BatchResult,
  given: number,
): string {
  const first = replied + 1;
  // The last argument may fail before the batch has seen that it is the last.
  const unsent = inputEnded || requested === given
    ? ""
    : `requests from ${requested + 1} on not sent`;
  if (first > requested) return unsent && `${unsent}: `;
  const range = first === requested
    ? `request ${first}`
    : `requests ${first} to ${requested}`;
  return `no reply to ${range}${unsent && `, ${unsent}`}: `;
}

function fail(error: unknown, prefix = ""): number {
  warn(prefix + (error instanceof Error ? error.message : String(error)));
  return 1;
}

function warn(message: string): void {
  console.error(`client: ${message}`);
}
