/** The client at a terminal: requests as they are typed, and their replies. */

import { Buffer } from "node:buffer";

import type { Client } from "../../client/api.ts";
import type { ConnectOptions } from "../../client/client.ts";
import { RefusedError, TimeoutError } from "../../core/errors.ts";
import { decodeText, printableLine, quote } from "../../core/text.ts";
import {
  FRAMING_FORM,
  type FramingName,
  parseFraming,
} from "../../framing/mod.ts";
import { isErrReply } from "../../server/replies.ts";
import type { History } from "./history.ts";
import { LineEditor } from "./line_editor.ts";
import { type Form, reasonOf, shown } from "./shown.ts";

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

/** A line that begins with a number and a letter; "5 + 3" is none. */
const REPEATED = /^\s*(\d{1,9})\s+(\p{L}.*)$/su;

const STOPPED = new Error("no longer waiting; a reply that comes is shown");

/** How long a reply may take that is shown without its time, and that to `HELP`. */
const SLOW = 100;
const HELP_TIMEOUT = 2000;

const encoder = new TextEncoder();

/** A place to connect to, and how it is called. */
export interface Target {
  readonly place: string;
  readonly connect: (
    signal: AbortSignal | undefined,
    more: ConnectOptions,
  ) => Promise<Client>;
}

interface Settings {
  readonly target: Target;
  /** Reads a place that is typed; throws what is wrong with it. */
  readonly targetOf: (text: string) => Target;
  readonly framing: FramingName;
  readonly onReply: (reply: Uint8Array) => void;
  readonly history?: History;
  readonly form: Form;
  /** Whether the terminal gets no control sequence. */
  readonly plain: boolean;
}

/**
 * Reads requests, each once the one before it has its reply, until `exit`,
 * `quit`, Ctrl-C or the end of input.
 *
 * @returns Whether it was Ctrl-C.
 */
export async function runPrompt(settings: Settings) {
  const prompt = new Prompt(settings);
  await prompt.connect();
  return await prompt.run();
}

class Prompt {
  #interrupted = false;
  #target: Target;
  #framing: FramingName;
  #form: Form;
  #timing = false;
  #client: Client | undefined;
  #editor: LineEditor | undefined;
  /** Stops the wait for a reply or a connection. */
  #stop: AbortController | undefined;
  /** What the server's `HELP` names. */
  #names: Promise<string[]> | undefined;

  constructor(private readonly settings: Settings) {
    this.#target = settings.target;
    this.#framing = settings.framing;
    this.#form = settings.form;
  }

  /** Connects in place of the connection that there is. */
  async connect(signal?: AbortSignal): Promise<Client> {
    const last = this.#client;
    this.#client = undefined;
    last?.close();
    let client = undefined as Client | undefined;
    // A reply that nobody waits for any more is still a reply.
    const isPush = () => !client?.pending;
    client = await this.#target.connect(signal, {
      framing: this.#framing,
      isPush,
    });
    this.#client = client;
    this.#watch(client);
    return client;
  }

  async run(): Promise<boolean> {
    const { history } = this.settings;
    using editor = this.#editor = new LineEditor({
      prompt: () => `${this.#client ? this.#target.place : "not connected"}> `,
      history: history?.lines ?? [],
      plain: this.settings.plain,
      complete: (start) => this.#complete(start),
      onInterrupt: () => {
        if (this.#stop !== undefined) return this.#stop.abort(STOPPED);
        this.#interrupted = true;
        editor[Symbol.dispose]();
      },
    });
    for (let line; (line = await editor.next()) !== undefined;) {
      if (/^\s*(exit|quit)\s*$/i.test(line)) break;
      if (line.trim() === "") continue;
      history?.add(line);
      try {
        await this.#perform(line);
      } catch (error) {
        editor.say(`(${printableLine(reasonOf(error))})`);
      }
    }
    this.#client?.close();
    return this.#interrupted;
  }

  async #perform(line: string): Promise<void> {
    const [, name, text] = /^\s*:(\S*) ?(.*)$/s.exec(line) ?? [];
    if (name !== undefined) {
      if (!Object.hasOwn(this.#commands, name)) {
        throw new Error(`unknown command ${quote(`:${name}`)}, try :help`);
      }
      const said = await this.#commands[name](text);
      if (said !== undefined) this.#editor!.say(said);
      return;
    }
    const [, times, request] = REPEATED.exec(line) ?? [line, 1, line];
    for (let i = 0; i < Number(times); i++) await this.#ask(request);
  }

  readonly #commands: Readonly<
    Record<string, (text: string) => string | Promise<string | void>>
  > = {
    help: () => HELP,
    connect: (text) => {
      if (text.trim() !== "") {
        this.#target = this.settings.targetOf(text.trim());
      }
      this.#names = undefined;
      return this.#reconnect();
    },
    framing: (text) => {
      if (text.trim() === "") return `(framing ${this.#framing})`;
      const name = parseFraming(text.trim())?.name;
      if (name === undefined) {
        throw new Error(`framing is ${quote(text)}, expected ${FRAMING_FORM}`);
      }
      this.#framing = name as FramingName;
      return this.#reconnect();
    },
    timing: () => {
      this.#timing = !this.#timing;
      return `(the time of ${this.#timing ? "every reply" : "slow replies"})`;
    },
    hex: async (text) => {
      if (text.trim() === "") {
        this.#form = { ...this.#form, hex: !this.#form.hex };
        return `(replies ${this.#form.hex ? "in hex" : "as text"})`;
      }
      const digits = text.replaceAll(/\s/g, "");
      if (!/^([\da-f]{2})+$/i.test(digits)) {
        throw new Error(
          `bytes are ${quote(text)}, expected pairs of hex digits`,
        );
      }
      await this.#ask(Buffer.from(digits, "hex"));
    },
    send: (text) => this.#ask(text),
  };

  async #reconnect(): Promise<string> {
    await this.#stoppable((signal) => this.connect(signal));
    return `(connected to ${this.#target.place}, framing ${this.#framing})`;
  }

  /** Sends a request; its reply is shown whenever it comes. */
  #ask(text: string | Uint8Array): Promise<void> {
    return this.#stoppable(async (signal) => {
      // What comes first is the reply to HELP.
      await this.#names;
      const client = this.#client ?? await this.connect(signal);
      const request = typeof text === "string" ? encoder.encode(text) : text;
      // Ctrl-C may have come meanwhile.
      signal.throwIfAborted();
      const started = performance.now();
      const reply = await client.request(request);
      const ms = performance.now() - started;
      this.settings.onReply(reply);
      this.#show(reply, { request, ms });
    });
  }

  async #stoppable<T>(task: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { signal } = this.#stop = new AbortController();
    const stopped = new Promise<never>((_, reject) => {
      signal.onabort = () => reject(signal.reason);
    });
    try {
      return await Promise.race([task(signal), stopped]);
    } finally {
      this.#stop = undefined;
    }
  }

  #show(frame: Uint8Array, asked?: { request: Uint8Array; ms: number }): void {
    const { ms = 0 } = asked ?? {};
    const timed = asked && !this.#form.json && (this.#timing || ms > SLOW);
    const time = `\n(${(ms / 1000).toFixed(ms > SLOW ? 2 : 4)}s)`;
    const text = shown(frame, this.#form, asked);
    this.#editor!.say(text + (timed ? time : ""));
  }

  /** Says when a connection is lost, and shows the frames that nobody asked for. */
  async #watch(client: Client): Promise<void> {
    client.closed.then((error) => {
      if (error === undefined || this.#client !== client) return;
      this.#client = undefined;
      // What is waited for says so itself.
      if (this.#stop !== undefined) return;
      const what =
        error instanceof RefusedError || error instanceof TimeoutError
          ? printableLine(error.message)
          : "connection lost";
      this.#editor!.say(`(${what}; the next request connects again)`);
    });
    for await (const frame of client.pushes) this.#show(frame);
  }

  async #complete(start: string): Promise<string[]> {
    const isFree = this.#client && !this.#stop;
    const names = start.startsWith(":")
      ? Object.keys(this.#commands).map((name) => `:${name}`)
      : await (isFree ? this.#names ??= askNames(this.#client!) : this.#names);
    const low = start.toLowerCase();
    return names?.filter((name) => name.toLowerCase().startsWith(low)) ?? [];
  }
}

/** The first words of what `HELP` lists, a command a line or between bars. */
async function askNames(client: Client): Promise<string[]> {
  const reply = await client.request("HELP", { timeout: HELP_TIMEOUT })
    .catch((error) => encoder.encode(`ERR ${error}`));
  if (isErrReply(reply)) return [];
  const names = decodeText(reply).split(/[\n|,;]/).flatMap((part) =>
    /^\s*(\p{L}[\w.-]*)(?=\s|$)/u.exec(part)?.[1] ?? []
  );
  return [...new Set(names)];
}
