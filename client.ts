/**
 * The executable `client`: flags in, signals in, exit code out.
 *
 * @module
 */

import { setTimeout as delay } from "node:timers/promises";

import type { BatchResult } from "./lib/cli/client/batch.ts";
import {
  benchRequest,
  checkPairs,
  checkRequests,
  type CommandName,
  commandOf,
  commands,
  type ConnectLine,
  type Line,
  oneRequest,
  speaksTls,
} from "./lib/cli/client/flags.ts";
import { isErrReply, reasonOf } from "./lib/cli/client/shown.ts";
import { parseTarget, targetOf, waitFor } from "./lib/cli/client/target.ts";
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
import { connect } from "./lib/client/connect.ts";
import type { Place } from "./lib/core/address.ts";
import { OptionError } from "./lib/core/errors.ts";
import {
  decodeText,
  encodeText,
  printableLine,
  quote,
  systemReason,
} from "./lib/core/text.ts";
import { VERSION } from "./lib/core/version.ts";

/** What each command does; it gives the exit code. */
const programs: Readonly<
  Record<CommandName, (args: readonly string[]) => Promise<number>>
> = { "": converse, bench: measure, wait, latency, completion: complete };

if (import.meta.main) {
  surviveFileSizeLimit();
  const [name, args] = commandOf(Deno.args);
  Deno.exit(await programs[name](args).catch(fail));
}

/** Sends requests and prints their replies, or asks for them at a prompt. */
async function converse(args: readonly string[]): Promise<number> {
  const line = await readLine("", args);
  const { flags, rest } = line;
  if (!flags.unix && Object.hasOwn(commands, rest[0] || " ")) {
    refuse(
      `${quote(rest[0])} is a command, expected as the first word ` +
        `(tcp://${rest[0]} is a host of that name)`,
    );
  }
  const { requests: texts, servers } = serverOf(line);
  checkRequests(line, texts);
  const atTerminal = texts.length === 0 && !flags.x && !flags.listen &&
    !flags["no-newline"] && Deno.stdin.isTerminal() &&
    Deno.stdout.isTerminal();
  const history = atTerminal && !flags["no-history"]
    ? await ownHistory()
    : undefined;
  const plain = isPlain();
  // If readline sees TERM=dumb, it ignores the keys that edit a line.
  Deno.env.delete("TERM");
  const { retry, balance, expect, "max-frame": max } = flags;
  const options = await linkOptions(line, servers);
  let [replies, errors, unexpected] = [0, 0, ""];
  const onReply = (reply: Uint8Array) => {
    replies++;
    if (isErrReply(reply)) errors++;
    if (unexpected || expect?.test(decodeText(reply)) !== false) return;
    unexpected = `reply ${replies} is ${quote(decodeText(reply))}, expected ` +
      `what matches ${quote(expect.source)}`;
  };
  if (atTerminal) {
    const { runPrompt } = await import("./lib/cli/client/prompt.ts");
    const interrupted = await runPrompt({
      target: targetOf(servers, balance, options),
      readTarget(text) {
        const isPath = text.startsWith("unix:");
        const found = parseTarget(isPath ? [text] : text.split(/\s+/));
        const { scheme } = found;
        if (found.requests.length > 0) {
          refuse(`server is ${quote(text)}, expected HOST[:PORT]`);
        }
        if (usesFiles(found.servers) && !usesFiles(servers)) {
          const reason = "a Unix socket must be given when the client starts";
          refuse(`server is ${quote(text)}, expected HOST[:PORT]: ${reason}`);
        }
        const tls = scheme === "" ? options.tls : scheme === "tls://";
        const others = { ...options, tls: tls && (options.tls || true) };
        return targetOf(found.servers, balance, others);
      },
      ...{ flags, history, plain, onReply },
    });
    if (interrupted) return 130;
  } else {
    const batch = await import("./lib/cli/client/batch.ts");
    const form = {
      ...{ json: flags.json, hex: flags.hex, newline: !flags["no-newline"] },
      ...{ terminal: Deno.stdout.isTerminal(), idempotent: retry > 0, onReply },
    };
    const requests = flags.x
      ? [await batch.readWhole(standardInput(), max, texts[0])]
      : texts.map(encodeText);
    let result: BatchResult;
    if (flags.listen) {
      // Frames wait here while the reader of the output is slow.
      const more = { isPush: () => true, maxBuffered: 64 * 1024 * 1024 };
      const client = await targetOf(servers, balance, options)
        .connect(undefined, more);
      result = await batch.listen(client, texts, Deno.stdout, form);
    } else {
      const client = await connect({
        ...{ servers, balance, size: 1, maxPending: batch.WINDOW, ...options },
        // While there is no connection, a full window waits, and what the
        // streams in front of it hold.
        ...{ maxQueued: 2 * batch.WINDOW, retries: retry || undefined },
        onStateChange(_server: string, error?: Error) {
          // With one server and no retry, the failed request says the same.
          if (error === undefined || servers.length + retry === 1) return;
          warn(`left out for now: ${reasonOf(error)}`);
        },
      });
      const given = ReadableStream.from(repeated(requests, flags.r, flags.i));
      const { lines, failure } = requests.length > 0
        ? { lines: given, failure: () => undefined }
        : batch.splitLines(standardInput(), max);
      result = await batch.runBatch(client, lines, Deno.stdout, form);
      result.failure ??= failure();
    }
    if (isReaderGone(result.outputFailure)) return 0;
    if (result.outputFailure !== undefined) {
      const reason = systemReason(result.outputFailure);
      return fail(`cannot write the replies: ${reason}`);
    }
    if (result.failure !== undefined) {
      return fail(result.failure, unanswered(result, requests.length));
    }
  }
  if (unexpected !== "") return fail(unexpected);
  return flags.e && errors > 0 ? 1 : 0;
}

/** Repeats the requests, with a pause before each repetition. */
async function* repeated(
  requests: readonly Uint8Array[],
  times: number,
  pause = 0,
) {
  for (let time = 0; time < times; time++) {
    if (time > 0 && pause > 0) await delay(pause);
    yield* requests;
  }
}

/** Runs a measurement, until it is done or Ctrl-C ends it. */
async function measure(args: readonly string[]): Promise<number> {
  const line = await readLine("bench", args);
  const { requests, servers } = serverOf(line);
  const { requests: file, balance, "max-frame": max } = line.flags;
  if (file && requests.length > 0) onlyOneOf("--requests", "a request");
  const payloads = file
    ? await linesOf(file, max)
    : [benchRequest(line, requests)];
  const plain = isPlain();
  const { place, connect } = targetOf(servers, balance, {
    ...await linkOptions(line, servers),
    // Nobody looks at which reply belongs to which request.
    keepAfterTimeout: true,
  });
  const { benchMode } = await import("./lib/cli/bench/mode.ts");
  const interrupted = new AbortController();
  const { signal } = interrupted;
  const onInterrupt = () => {
    // The second Ctrl-C ends the process at once.
    Deno.removeSignalListener("SIGINT", onInterrupt);
    interrupted.abort();
  };
  Deno.addSignalListener("SIGINT", onInterrupt);
  try {
    return await benchMode(
      line,
      place,
      { payloads, connect, signal },
      plain,
    );
  } catch (error) {
    // Any other error of an interrupted run, as of its output, is reported.
    if (signal.aborted && error === signal.reason) return 130;
    throw error;
  }
}

/** The requests that a file holds, one in each line. */
async function linesOf(file: string, max: number): Promise<Uint8Array[]> {
  const { splitLines } = await import("./lib/cli/client/batch.ts");
  const { readFile } = await import("./lib/cli/flags/tls_files.ts");
  const bytes = await readFile("--requests", file, Deno.readFile);
  const { lines, failure } = splitLines(ReadableStream.from([bytes]), max);
  const requests = await Array.fromAsync(lines);
  if (failure() === undefined && requests.length > 0) return requests;
  const why = failure() ?? "it is empty, expected a request a line";
  throw new Error(`cannot use --requests ${quote(file)}: ${why}`);
}

/** Waits until a server answers. */
async function wait(args: readonly string[]): Promise<number> {
  const line = await readLine("wait", args);
  const { requests, servers } = serverOf(line);
  const { tcp, tls, timeout } = line.flags;
  const given = requests.length > 0 ? "a request" : tls && "--tls";
  if (tcp && given) onlyOneOf("--tcp", given);
  const request = tcp ? undefined : oneRequest(requests);
  const options = { ...await linkOptions(line, servers), timeout: 0 };
  // One that does not answer must not keep it from the others.
  const target = targetOf(servers, "round-robin", options);
  await waitFor({ ...target, request, timeout });
  return 0;
}

/** Shows how long single requests take. */
async function latency(args: readonly string[]): Promise<number> {
  const line = await readLine("latency", args);
  const { i: interval, n: count = Infinity, json, balance } = line.flags;
  const { requests, servers } = serverOf(line);
  const payload = oneRequest(requests);
  const live = !json && Deno.stdout.isTerminal() && !isPlain();
  const options = await linkOptions(line, servers);
  const { sampleLatency } = await import("./lib/cli/client/latency.ts");
  const client = await targetOf(servers, balance, options).connect();
  const asked = { payload, interval, count, json };
  let up = "";
  for await (const text of sampleLatency(client, asked)) {
    if (!await print(live ? up + text.slice(0, columns()) : text)) break;
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

/** Reads a command's flags. For --help and --version it prints, and exits. */
async function readLine<Name extends CommandName>(
  name: Name,
  args: readonly string[],
): Promise<Line<Name>> {
  const { flags: table, help }: typeof commands[Name] = commands[name];
  const line: Line<Name> = parseFlags(table, args);
  const { flags } = line as ConnectLine;
  const asked = flags.help
    ? helpOf(table, help)
    : flags.version && `parley ${VERSION}`;
  if (asked) Deno.exit(await print(asked).then(() => 0, fail));
  checkPairs(name, line);
  return line;
}

/** The servers that a command line names, and the requests behind them. */
function serverOf(line: ConnectLine) {
  const { flags: { unix }, rest } = line;
  const target = unix
    ? { servers: [{ path: unix }], scheme: "", requests: rest }
    : parseTarget(rest);
  Object.assign(line.flags, { tls: speaksTls(line, target.scheme) });
  return target;
}

/** Gives the options of connections, and gives up permissions. */
async function linkOptions(
  { flags }: ConnectLine,
  servers: readonly Place[],
) {
  if (flags.insecure) {
    warn(
      "--insecure: the server's certificate is not checked, so whoever is on " +
        "the way can read and change everything",
    );
  }
  const { "tls-ca": ca, "tls-cert": cert, "tls-key": key } = flags;
  const options = {
    framing: flags.framing,
    maxFrame: flags["max-frame"],
    timeout: flags.timeout,
    tls: flags.tls && {
      ...await readTls({ ca, cert, key }),
      serverName: flags["tls-server-name"] || undefined,
      alpnProtocols: flags["tls-alpn"],
      insecure: flags.insecure,
    },
  };
  // From here on only the network is needed.
  for (const name of ["env", "read", "write"] as const) {
    if (name !== "env" && usesFiles(servers)) continue;
    Deno.permissions.revokeSync({ name });
  }
  return options;
}

/** Whether connecting takes the permissions for files: to a Unix socket. */
function usesFiles(servers: readonly Place[]): boolean {
  return servers.some((place) => "path" in place);
}

async function readTls(paths: Record<"ca" | "cert" | "key", string>) {
  const { readTlsFiles } = await import("./lib/cli/flags/tls_files.ts");
  const { ca, ...pair } = await readTlsFiles(paths, Deno.readTextFile);
  return { ...pair, caCerts: ca === undefined ? [] : [ca] };
}

/** Whether a terminal must get no sequence that moves its cursor. */
function isPlain(): boolean {
  return Deno.noColor || Deno.env.get("TERM") === "dumb";
}

async function ownHistory() {
  const home = Deno.env.get("HOME");
  const path = Deno.env.get("PARLEY_HISTORY") ??
    (home ? `${home}/.parley_history` : "");
  if (path === "") return undefined;
  const { openHistory } = await import("./lib/cli/client/history.ts");
  return await openHistory(path, warn);
}

/** Names the requests that a failed batch leaves without a reply. */
function unanswered(
  { replied, requested, inputEnded }: BatchResult,
  given: number,
): string {
  const first = replied + 1;
  // The last request may fail before the batch sees the end of its input.
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
  warn(prefix + reasonOf(error));
  return error instanceof OptionError || error instanceof UsageError ? 2 : 1;
}

function warn(message: string): void {
  // The message may quote a peer, such as the names in a certificate.
  show(`client: ${printableLine(message)}\n`);
}
