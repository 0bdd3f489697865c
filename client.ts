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
  oneRequest,
} from "./lib/cli/client/flags.ts";
import type { Target } from "./lib/cli/client/prompt.ts";
import { parseTarget } from "./lib/cli/client/target.ts";
import {
  helpOf,
  onlyOneOf,
  parseFlags,
  refuse,
  UsageError,
} from "./lib/cli/flags/flags.ts";
import {
  columns,
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
  decodeText,
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
> = { "": converse, bench: measure, wait, latency, completion: complete };

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
  let unexpected = "";
  const onReply = (reply: Uint8Array, number: number) => {
    if (unexpected !== "" || flags.expect?.test(decodeText(reply)) !== false) {
      return;
    }
    unexpected = `reply ${number} is ${quote(decodeText(reply))}, expected ` +
      `what matches ${quote(flags.expect.source)}`;
  };
  if (atTerminal) {
    const { runPrompt } = await import("./lib/cli/client/prompt.ts");
    const { interrupted, errors } = await runPrompt({
      target: { place, options: {} },
      targetOf: otherTarget,
      ...{ framing: flags.framing, form: flags },
      ...{ connect, history, plain, onReply },
    });
    if (interrupted) return 130;
    if (unexpected !== "") return fail(unexpected);
    return flags.e && errors > 0 ? 1 : 0;
  }

  const encoder = new TextEncoder();
  const { listen, runBatch } = await import("./lib/cli/client/batch.ts");
  const { readWhole, splitLines } = await import("./lib/cli/client/lines.ts");
  const max = flags["max-frame"];
  const encoded = flags.x
    ? [await readWhole(standardInput(), max, given[0])]
    : given.map((text) => encoder.encode(text));
  const client = await connect(
    undefined,
    flags.listen ? { isPush: () => true, maxBuffered: LISTEN_BUFFER } : {},
  );
  revoke("read", "write");
  const { lines: requests, failure } = encoded.length > 0
    ? {
      lines: ReadableStream.from(repeated(encoded, flags.r, flags.i)),
      failure: () => undefined,
    }
    : splitLines(standardInput(), max);
  const form = {
    ...{ json: flags.json, hex: flags.hex, newline: !flags["no-newline"] },
    ...{ terminal: Deno.stdout.isTerminal(), onReply },
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
  if (unexpected !== "") return fail(unexpected);
  return flags.e && result.errors > 0 ? 1 : 0;
}

/** Requests so many times, with a pause before each repetition. */
async function* repeated(
  requests: readonly Uint8Array[],
  times: number,
  pause = 0,
) {
  for (let time = 0; time < times; time++) {
    if (time > 0 && pause > 0) {
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
    yield* requests;
  }
}

/** Runs a measurement, until it is done or Ctrl-C ends it. */
async function measure(args: readonly string[]): Promise<number> {
  const line = await readLine("bench", args);
  checkBenchFlags(line);
  const { place, requests, target } = serverOf(line);
  const payload = benchRequest(line, requests);
  // All requests of a measurement are alike: any reply will do.
  const connect = await connector(line, target, { keepAfterTimeout: true });
  const { benchMode } = await import("./lib/cli/bench/mode.ts");
  return await interruptible((signal) =>
    benchMode(line, place, { payload, connect, signal })
  );
}

/** Waits until a server answers. */
async function wait(args: readonly string[]): Promise<number> {
  const line = await readLine("wait", args);
  const { tcp, tls, timeout } = line.flags;
  const { place, requests, target } = serverOf(line);
  const given = requests.length > 0 ? "a request" : tls && "--tls";
  if (tcp && given) onlyOneOf("--tcp", given);
  const request = tcp ? undefined : oneRequest(requests);
  const connect = await connector(line, target, { timeout: 0 });
  const { waitFor } = await import("./lib/cli/client/wait.ts");
  await waitFor({ connect, request, timeout, place });
  return 0;
}

/** Shows how long single requests take. */
async function latency(args: readonly string[]): Promise<number> {
  const line = await readLine("latency", args);
  const { i: interval, n: count = Infinity, json } = line.flags;
  const { requests, target } = serverOf(line);
  const payload = oneRequest(requests);
  const connect = await connector(line, target);
  const { sampleLatency } = await import("./lib/cli/client/latency.ts");
  const client = await connect();
  const live = !json && Deno.stdout.isTerminal();
  const options = { payload, interval, count, json };
  let up = "";
  for await (const text of sampleLatency(client, options)) {
    await print(live ? up + text.slice(0, columns()) : text);
    up = "\x1b[F\x1b[K";
  }
  client.close();
  return 0;
}

/** Prints what a shell needs to complete command lines. */
async function complete(args: readonly string[]): Promise<number> {
  const { completion } = await import("./lib/cli/flags/completion.ts");
  await print(completion("client", commands, args));
  return 0;
}

/** Runs something that Ctrl-C has end in good order. */
async function interruptible(
  run: (signal: AbortSignal) => Promise<number>,
): Promise<number> {
  const interrupted = new AbortController();
  const onInterrupt = () => {
    // Whoever presses it again waits no longer.
    Deno.removeSignalListener("SIGINT", onInterrupt);
    interrupted.abort();
  };
  Deno.addSignalListener("SIGINT", onInterrupt);
  const { signal } = interrupted;
  try {
    return await run(signal);
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
  options: ConnectOptions = {},
): Promise<
  (signal?: AbortSignal, more?: ConnectOptions) => Promise<Client>
> {
  const tls = flags.tls && await readTls(flags);
  // From here on only the network is needed, by a peer we need not trust; but a
  // Unix socket is a file as well, whenever it is connected to.
  revoke("env");
  if (target.path === undefined) revoke("read", "write");
  return (signal, more) =>
    connect({
      ...target,
      framing: flags.framing,
      maxFrame: flags["max-frame"],
      timeout: flags.timeout,
      tls,
      signal,
      ...options,
      ...more,
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
