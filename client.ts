/**
 * The executable `client`: flags in, signals in, exit code out.
 *
 * @module
 */

import type { BatchResult } from "./lib/cli/client/batch.ts";
import {
  benchRequest,
  checkBenchFlags,
  checkConnectFlags,
  checkPrintFlags,
  type CommandName,
  commandOf,
  commands,
  type ConnectLine,
} from "./lib/cli/client/flags.ts";
import type { Target } from "./lib/cli/client/prompt.ts";
import { parseTarget } from "./lib/cli/client/target.ts";
import {
  helpOf,
  parseFlags,
  refuse,
  UsageError,
} from "./lib/cli/flags/flags.ts";
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
import {
  messageOf,
  printableLine,
  quote,
  systemReason,
} from "./lib/core/text.ts";
import { VERSION } from "./lib/core/version.ts";

/** How many bytes of frames may wait for a slow reader of the output. */
const LISTEN_BUFFER = 64 * 1024 * 1024;

/** What each command does; it gives the exit code. */
const programs: Readonly<
  Record<CommandName, (args: readonly string[]) => Promise<number>>
> = { "": converse, bench: measure };

if (import.meta.main) Deno.exit(await main());

async function main(): Promise<number> {
  surviveFileSizeLimit();
  const [name, args] = commandOf(Deno.args);
  return await programs[name](args).catch(fail);
}

/** Sends requests and prints their replies, or asks for them at a prompt. */
async function converse(args: readonly string[]): Promise<number> {
  const line = await readLine("", args);
  const { flags, rest } = line;
  if (!flags.unix && Object.hasOwn(commands, rest[0] || " ")) {
    refuse(
      `${quote(rest[0])} is a command, expected as the first word ` +
        `(${rest[0]}:8080 is a host of that name)`,
    );
  }
  const { place, requests: given, target } = serverOf(line);
  checkPrintFlags(line, given);
  const atTerminal = given.length === 0 && !flags.x && !flags.listen &&
    !flags["no-newline"] && Deno.stdin.isTerminal() &&
    Deno.stdout.isTerminal();
  const history = atTerminal && !flags["no-history"]
    ? await ownHistory()
    : undefined;
  const plain = Deno.noColor || Deno.env.get("TERM") === "dumb";
  // With a dumb terminal, readline would know no key that edits.
  Deno.env.delete("TERM");
  const connect = await connector(line, target);
  if (atTerminal) {
    const { runPrompt } = await import("./lib/cli/client/prompt.ts");
    const { interrupted, errors } = await runPrompt({
      target: { place, options: {} },
      targetOf: otherTarget,
      framing: flags.framing,
      connect,
      history,
      form: flags,
      plain,
    });
    return interrupted ? 130 : flags.e && errors > 0 ? 1 : 0;
  }

  const encoder = new TextEncoder();
  const { listen, runBatch } = await import("./lib/cli/client/batch.ts");
  const { readWhole, splitLines } = await import("./lib/cli/client/lines.ts");
  const encoded = flags.x
    ? [await readWhole(standardInput(), flags["max-frame"], given[0])]
    : given.map((text) => encoder.encode(text));
  const client = await connect(
    flags.listen ? { isPush: () => true, maxBuffered: LISTEN_BUFFER } : {},
  );
  revoke("read", "write");
  const { lines: requests, failure } = encoded.length > 0
    ? { lines: ReadableStream.from(encoded), failure: () => undefined }
    : splitLines(standardInput(), flags["max-frame"]);
  const form = {
    json: flags.json,
    hex: flags.hex,
    newline: !flags["no-newline"],
    terminal: Deno.stdout.isTerminal(),
  };
  const result = flags.listen
    ? await listen(client, given, Deno.stdout, form)
    : await runBatch(client, requests, Deno.stdout, form);
  client.close();
  if (isReaderGone(result.outputFailure)) return 0;
  if (result.outputFailure !== undefined) {
    const reason = systemReason(result.outputFailure);
    return fail(`cannot write the replies: ${reason}`);
  }
  if (result.failure !== undefined) {
    return fail(result.failure, unanswered(result, encoded.length));
  }
  const inputFailure = failure();
  if (inputFailure !== undefined) return fail(inputFailure);
  return flags.e && result.errors > 0 ? 1 : 0;
}

/** Runs a measurement, until it is done or Ctrl-C ends it. */
async function measure(args: readonly string[]): Promise<number> {
  const line = await readLine("bench", args);
  checkBenchFlags(line);
  const { place, requests, target } = serverOf(line);
  const payload = benchRequest(line, requests);
  // All requests of a measurement are alike: any reply will do.
  const options = { keepAfterTimeout: true };
  const connect = await connector(line, target);
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
    return await benchMode(line, place, {
      payload,
      connect: (signal) => connect({ ...options, signal }),
      signal,
    });
  } catch (error) {
    // A run that was interrupted may also have a report that is not written.
    if (signal.aborted && error === signal.reason) return 130;
    throw error;
  }
}

/** Reads a command's flags; asked for help or the version, it ends with that. */
async function readLine<Name extends CommandName>(
  name: Name,
  args: readonly string[],
) {
  const { flags: table, help }: typeof commands[Name] = commands[name];
  const line = parseFlags<typeof commands[Name]["flags"]>(table, args);
  const { flags } = line as ConnectLine;
  if (flags.help) {
    Deno.exit(await print(helpOf(table, help)).then(() => 0, fail));
  }
  if (flags.version) {
    Deno.exit(await print(`parley ${VERSION}`).then(() => 0, fail));
  }
  return line;
}

/** The server that a command line names, and the requests behind it. */
function serverOf(line: ConnectLine) {
  checkConnectFlags(line);
  const { flags, rest } = line;
  if (flags.unix) {
    return { place: flags.unix, target: { path: flags.unix }, requests: rest };
  }
  const { requests, ...target } = parseTarget(rest);
  return {
    place: formatHostPort(target.hostname, target.port),
    target,
    requests,
  };
}

/** Reads a place that is typed at the prompt. */
function otherTarget(text: string): Target {
  const { requests, hostname, port } = parseTarget(text.split(/\s+/));
  if (requests.length > 0) {
    refuse(`server is ${quote(text)}, expected HOST[:PORT]`);
  }
  const place = formatHostPort(hostname, port);
  return { place, options: { path: undefined, hostname, port } };
}

/** Makes what connects, once all is read that it takes. */
async function connector(
  { flags }: ConnectLine,
  target: ConnectOptions,
): Promise<(options: ConnectOptions) => Promise<Client>> {
  const tls = flags.tls && await readTls(flags);
  // From here on only the network is needed, by a peer we need not trust; but a
  // Unix socket is a file as well, whenever it is connected to.
  revoke("env");
  if (target.path === undefined) revoke("read", "write");
  return (options) =>
    connect({
      ...target,
      framing: flags.framing,
      maxFrame: flags["max-frame"],
      timeout: flags.timeout,
      tls,
      ...options,
    });
}

/** Reads the files of TLS, and says what else it goes by. */
async function readTls(
  flags: ConnectLine["flags"],
): Promise<TlsConnectOptions> {
  const { "tls-ca": ca, "tls-cert": cert, "tls-key": key } = flags;
  const { readCertificates, readKeyPair } = await import(
    "./lib/cli/flags/tls_files.ts"
  );
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

async function ownHistory() {
  const home = Deno.env.get("HOME");
  const path = Deno.env.get("PARLEY_HISTORY") ??
    (home ? `${home}/.parley_history` : "");
  if (path === "") return undefined;
  const { openHistory } = await import("./lib/cli/client/history.ts");
  try {
    return await openHistory(
      path,
      (error) => warn(`the history is not kept: ${systemReason(error)}`),
    );
  } catch (error) {
    warn(`no history: ${systemReason(error)}`);
  }
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
  return error instanceof OptionError || error instanceof UsageError ? 2 : 1;
}

function warn(message: string): void {
  // A peer's words may be in it, such as the names in a certificate.
  show(`client: ${printableLine(message)}\n`);
}
