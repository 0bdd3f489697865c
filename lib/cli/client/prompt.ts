/** The client at a terminal: requests as they are typed, and their replies. */

import { Buffer } from "node:buffer";

import type { Client } from "../../client/api.ts";
import {
  ConnectionLostError,
  RefusedError,
  TimeoutError,
} from "../../core/errors.ts";
import { decodeText, printableLine, quote } from "../../core/text.ts";
import {
  FRAMING_FORM,
  type FramingName,
  parseFraming,
} from "../../framing/mod.ts";
import type { History } from "./history.ts";
import { openLineEditor } from "./line_editor.ts";
import { type Asked, type Form, isErrReply, reasonOf, shown } from "./shown.ts";
import type { Target } from "./target.ts";

const HELP = `\
:connect [HOST[:PORT]]  connects again, or to another server
:framing [NAME]         shows the framing, or connects again with another one
:timing                 shows the time of each reply, or of slow ones again
:hex                    shows replies in hex, or as text again
:hex BYTES              sends a request in hex, such as :hex 50 49 4e 47
:send LINE              sends a line as it is, such as one that begins with :
5 LINE                  sends a line that begins with a letter five times
exit, quit, Ctrl-D      leaves
Ctrl-C                  clears the line, stops waiting for a reply, or leaves
Ctrl-R, Tab             searches the history, completes a name from HELP`;

/** A number, and a line that begins with a letter; "5 + 3" is a request. */
const REPEATED = /^\s*([1-9]\d{0,8})\s+(\p{L}.*)$/su;

const SENT_AGAIN = "(connection lost; the request is sent again)";

const STOPPED = new Error("no longer waiting; a reply that comes is shown");

/** A reply that took longer, in milliseconds, is shown with its time. */
const SLOW = 100;

const HELP_TIMEOUT = 2000;

const encoder = new TextEncoder();

/**
 * Reads requests, each once the one before it has its reply, until `exit`,
 * `quit`, Ctrl-C or the end of input.
 *
 * @returns Whether it was Ctrl-C.
 */
export async function runPrompt(
  { flags, history, plain, target, readTarget, onReply }: {
    flags: Form & { framing: FramingName; retry: number };
    history: History | undefined;
    /** Whether the terminal gets no control sequence. */
    plain: boolean;
    target: Target;
    /** Reads a place that the user has typed, or throws what is wrong with it. */
    readTarget: (text: string) => Target;
    onReply: (reply: Uint8Array) => void;
  },
): Promise<boolean> {
  let { framing, hex } = flags;
  let timing = false;
  let interrupted = false;
  let client: Client | undefined;
  /** Stops the wait for a reply or a connection. */
  let stop: AbortController | undefined;
  /** The names in the server's reply to `HELP`. */
  let names: Promise<string[]> | undefined;

  const commands: Readonly<
    Record<string, (text: string) => string | Promise<string | void>>
  > = {
    help: () => HELP,
    connect(text) {
      if (text.trim() !== "") target = readTarget(text.trim());
      names = undefined;
      return reconnect();
    },
    framing(text) {
      if (text.trim() === "") return `(framing ${framing})`;
      const found = parseFraming(text.trim());
      if (found === undefined) {
        throw new Error(`framing is ${quote(text)}, expected ${FRAMING_FORM}`);
      }
      framing = found.name as FramingName;
      return reconnect();
    },
    timing() {
      timing = !timing;
      return `(the time of ${timing ? "every reply" : "slow replies"})`;
    },
    hex(text) {
      if (text.trim() === "") {
        hex = !hex;
        return `(replies ${hex ? "in hex" : "as text"})`;
      }
      const digits = text.replaceAll(/\s/g, "");
      if (/^([\da-f]{2})+$/i.test(digits)) {
        return ask(Buffer.from(digits, "hex"));
      }
      throw new Error(`bytes are ${quote(text)}, expected pairs of hex digits`);
    },
    send: (text) => ask(text),
  };

  /** Replaces the connection. */
  async function connect(signal?: AbortSignal): Promise<Client> {
    client?.close();
    client = undefined;
    let made = undefined as Client | undefined;
    // After Ctrl-C a late reply still belongs to its request: it is no push.
    const isPush = () => !made?.pending;
    made = client = await target.connect(signal, { framing, isPush });
    return client;
  }

  async function connectAgain(signal: AbortSignal): Promise<Client> {
    const made = await connect(signal);
    watch(made);
    return made;
  }

  async function reconnect(): Promise<string> {
    await stoppable(connectAgain);
    return `(connected to ${target.place}, framing ${framing})`;
  }

  /** Says when a connection is lost, and shows the frames that answer nothing. */
  async function watch(watched: Client): Promise<void> {
    const notice = watched.closed.then((error) => {
      if (error === undefined || client !== watched) return;
      client = undefined;
      // A request that is awaited fails with this error, and says it.
      if (stop !== undefined) return;
      const what =
        error instanceof RefusedError || error instanceof TimeoutError
          ? printableLine(error.message)
          : "connection lost";
      return `(${what}; the next request connects again)`;
    });
    for await (const frame of watched.pushes) show(frame);
    const said = await notice;
    if (said !== undefined) editor.say(said);
  }

  async function perform(line: string): Promise<void> {
    const [, name, text] = /^\s*:(\S*) ?(.*)$/s.exec(line) ?? [];
    if (name !== undefined) {
      if (!Object.hasOwn(commands, name)) {
        throw new Error(`unknown command ${quote(`:${name}`)}, try :help`);
      }
      const command = commands[name];
      // One without a parameter takes no words.
      if (command.length === 0 && text.trim() !== "") {
        throw new Error(`:${name} is given ${quote(text)}, expected no words`);
      }
      const said = await command(text);
      if (said !== undefined) editor.say(said);
      return;
    }
    const [, times, request] = REPEATED.exec(line) ?? [line, 1, line];
    for (let i = 0; i < Number(times); i++) await ask(request);
  }

  /** Sends a request. Its reply is shown when it comes, also after Ctrl-C. */
  function ask(text: string | Uint8Array): Promise<void> {
    return stoppable(async (signal) => {
      // The reply to HELP comes first.
      await names;
      const request = typeof text === "string" ? encoder.encode(text) : text;
      for (let left = flags.retry;; left--) {
        const link = client ?? await connectAgain(signal);
        // Ctrl-C may have come meanwhile.
        signal.throwIfAborted();
        const started = performance.now();
        try {
          const reply = await link.request(request);
          onReply(reply);
          return show(reply, { request, ms: performance.now() - started });
        } catch (error) {
          const isLost = error instanceof ConnectionLostError;
          if (!isLost || left === 0 || signal.aborted) throw error;
          client = undefined;
          // One notice is enough, however often it is lost.
          if (left === flags.retry) editor.say(SENT_AGAIN);
        }
      }
    });
  }

  async function stoppable<T>(
    task: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const { signal } = stop = new AbortController();
    const stopped = new Promise<never>((_, reject) => {
      signal.onabort = () => reject(signal.reason);
    });
    try {
      return await Promise.race([task(signal), stopped]);
    } finally {
      stop = undefined;
    }
  }

  function show(frame: Uint8Array, asked?: Asked): void {
    const { json } = flags;
    const { ms = 0 } = asked ?? {};
    const timed = asked && !json && (timing || ms > SLOW);
    const time = `\n(${(ms / 1000).toFixed(ms > SLOW ? 2 : 4)}s)`;
    editor.say(shown(frame, { json, hex }, asked) + (timed ? time : ""));
  }

  async function complete(start: string): Promise<string[]> {
    const known = start.startsWith(":")
      ? Object.keys(commands).map((name) => `:${name}`)
      : await (client && !stop ? names ??= askNames(client) : names);
    const low = start.toLowerCase();
    return known?.filter((name) => name.toLowerCase().startsWith(low)) ?? [];
  }

  client = await connect();
  using editor = openLineEditor({
    prompt: () => `${client ? target.place : "not connected"}> `,
    history: history?.lines ?? [],
    plain,
    complete,
    onInterrupt() {
      if (stop !== undefined) return stop.abort(STOPPED);
      interrupted = true;
      editor[Symbol.dispose]();
    },
  });
  watch(client);
  for (let line; (line = await editor.next()) !== undefined;) {
    if (/^\s*(exit|quit)\s*$/i.test(line)) break;
    if (line.trim() === "") continue;
    history?.add(line);
    try {
      await perform(line);
    } catch (error) {
      editor.say(`(${printableLine(reasonOf(error))})`);
    }
  }
  client?.close();
  return interrupted;
}

/** Asks `HELP`: the first words of its lines, or of the parts between bars. */
async function askNames(client: Client): Promise<string[]> {
  const reply = await client.request("HELP", { timeout: HELP_TIMEOUT })
    .catch((error) => encoder.encode(`ERR ${error}`));
  if (isErrReply(reply)) return [];
  const names = decodeText(reply).split(/[\n|,;]/).flatMap((part) =>
    /^\s*(\p{L}[\w.-]*)(?=\s|$)/u.exec(part)?.[1] ?? []
  );
  return [...new Set(names)];
}
