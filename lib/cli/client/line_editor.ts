/** The line that is typed at a terminal: its keys, and how it is shown. */

import process from "node:process";
import * as readline from "node:readline";
import { Writable } from "node:stream";

import { printable, printableLine } from "../../core/text.ts";
import { writeAllSync } from "../streams/standard_streams.ts";
import { BottomLine } from "./bottom_line.ts";
import { KEPT } from "./history.ts";

const TAB = 9;
const CTRL_Z_HINT = "(Ctrl-Z is ignored: the client cannot suspend itself)";

/**
 * Asks for lines, one at a time. What is typed while none is asked for is shown
 * without a prompt, and kept. Readline only edits the line, by the keys that
 * come: it knows neither of a resize nor of what is printed meanwhile, so
 * {@linkcode BottomLine} draws.
 */
export class LineEditor implements Disposable {
  readonly #readline: readline.Interface;
  readonly #bottom: BottomLine;
  /** Lines of before, the newest first. */
  #history: readonly string[];
  /** Ctrl-R, and where in the history it is. */
  #search: { query: string; at: number; typed: string } | undefined;
  #pastes = false;
  #redraws = false;
  /** Lines that were typed before they were asked for. */
  #ahead: string[] = [];
  #answer: ((line: string | undefined) => void) | undefined;
  #closed = false;

  /** Takes the terminal, until it is disposed of or the input ends. */
  constructor(
    private readonly settings: {
      /** What stands before the line. */
      prompt: () => string;
      history: readonly string[];
      /** Whether the terminal gets no control sequence. */
      plain: boolean;
      /** Ctrl-C at an empty line. */
      onInterrupt: () => void;
      /** Gives the words that begin so. */
      complete: (start: string) => Promise<string[]>;
    },
  ) {
    this.#bottom = new BottomLine(settings.plain);
    this.#history = settings.history;
    process.stdin.prependListener("keypress", this.#onKey);
    process.stdin.prependListener("data", this.#onKeys);
    this.#readline = readline.createInterface({
      input: process.stdin,
      output: new Writable({ write: (_bytes, _encoding, done) => done() }),
      terminal: true,
      prompt: "",
      history: [...settings.history],
      historySize: KEPT,
      removeHistoryDuplicates: true,
    });
    this.#readline.on("history", (lines) => this.#history = lines);
    this.#readline.on("line", (line) => this.#take(line));
    this.#readline.on("close", () => this.#end());
    this.#readline.on("SIGINT", () => {
      const { line } = this.#readline;
      if (line === "") return this.settings.onInterrupt();
      this.#leave(`${line}^C`);
      this.#set("");
    });
    // Without a listener, readline stops the process. Before Deno 2.8 that takes
    // run permission; and the shell waits on where `deno task` is not stopped.
    this.#readline.on("SIGTSTP", () => this.say(CTRL_Z_HINT));
    if (Deno.build.os !== "windows") {
      Deno.addSignalListener("SIGCONT", this.#resume);
    }
  }

  /** Asks for a line; nothing comes at the end of the input (Ctrl-D). */
  next(): Promise<string | undefined> {
    const line = this.#ahead.shift();
    if (line !== undefined) {
      // It was shown when it was typed, but not next to its reply.
      this.say(`${this.settings.prompt()}${printable(line)}`);
      return Promise.resolve(line);
    }
    if (this.#closed) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      this.#answer = resolve;
      this.redraw();
    });
  }

  /** Prints a text above the line. */
  say(text: string): void {
    this.redraw(`${text}\n`);
  }

  redraw(above = ""): void {
    const { line, cursor } = this.#readline;
    const [before, behind] = [line.slice(0, cursor), line.slice(cursor)];
    write(this.#bottom.erase() + above + this.#draw(before, behind));
  }

  /** Forgets the lines that were typed before they were asked for. */
  dropAhead(): void {
    this.#ahead = [];
  }

  [Symbol.dispose](): void {
    this.#readline.close();
  }

  #draw(before: string, behind = ""): string {
    if (this.#closed) return "";
    let prompt = this.#answer === undefined ? "" : this.settings.prompt();
    if (this.#search !== undefined) {
      const { query, at } = this.#search;
      const failed = at === -1 && query !== "" ? "failed " : "";
      prompt = `(${failed}reverse-i-search)\`${query}': `;
    }
    return this.#bottom.draw(shown(prompt + before), shown(behind));
  }

  /** Leaves a line where it is, and goes on below. */
  #leave(line: string): void {
    const drawn = this.#bottom.erase() + this.#draw(line);
    this.#bottom.leave();
    write(`${drawn}\n`);
  }

  #take(line: string): void {
    this.#search = undefined;
    this.#leave(line);
    const answer = this.#answer;
    this.#answer = undefined;
    if (answer === undefined) this.#ahead.push(line);
    else answer(line);
  }

  #end(): void {
    // What the shell prints next begins a line.
    write(this.#bottom.leave());
    this.#closed = true;
    process.stdin.removeListener("keypress", this.#onKey);
    process.stdin.removeListener("data", this.#onKeys);
    if (Deno.build.os !== "windows") {
      Deno.removeSignalListener("SIGCONT", this.#resume);
    }
    this.#answer?.(undefined);
  }

  /** Takes the terminal back from the shell that has used it meanwhile. */
  readonly #resume = () => {
    // Raw to raw is no change for the runtime, but the shell has made one.
    process.stdin.setRawMode(false);
    process.stdin.setRawMode(true);
    this.#bottom.leave();
    this.redraw();
  };

  readonly #onKeys = (keys: Uint8Array) => {
    // A tab with something behind it was pasted, and is part of the line.
    this.#pastes = keys.at(-1) !== TAB;
  };

  readonly #onKey = (text: string | undefined, key: readline.Key) => {
    // Readline does nothing with a key that it does not know, with Ctrl.
    if (this.#takes(text, key)) {
      Object.assign(key, { ctrl: true, shift: false, meta: false, name: "" });
      key.sequence = "";
    }
    if (this.#redraws) return;
    this.#redraws = true;
    // Keys that come together are shown together.
    queueMicrotask(() => {
      this.#redraws = false;
      if (!this.#closed) this.redraw();
    });
  };

  /** Takes the keys that are not readline's; gives whether it did. */
  #takes(text: string | undefined, { name, ctrl }: readline.Key): boolean {
    const search = this.#search;
    const isText = text !== undefined &&
      (!/\p{Cc}/u.test(text) || (this.#pastes && name === "tab"));
    if (ctrl && name === "r") {
      if (search === undefined) {
        this.#search = { query: "", at: -1, typed: this.#readline.line };
      } else this.#find(search.query, search.at + 1);
    } else if (search !== undefined && (isText || name === "backspace")) {
      const back = name === "backspace";
      const query = back ? search.query.slice(0, -1) : search.query + text;
      this.#find(query, back ? 0 : Math.max(search.at, 0));
    } else if (search !== undefined) {
      this.#search = undefined;
      if (!ctrl || (name !== "g" && name !== "c")) return false;
      this.#set(search.typed);
    } else if (isText) {
      // Readline takes 10 s for 2,000 letters: it measures the line for each.
      const { line, cursor } = this.#readline;
      const before = line.slice(0, cursor) + text;
      this.#set(before + line.slice(cursor), before.length);
    } else if (name === "tab") {
      this.#complete();
    } else if (ctrl && name === "l" && !this.settings.plain) {
      write(`${this.#bottom.erase()}\x1b[H\x1b[J`);
    } else {
      // Readline would put Ctrl-\ and Ctrl-] into the line.
      return text === "\x1c" || text === "\x1d";
    }
    return true;
  }

  /** Goes to the first line from there on that has the text in it. */
  #find(query: string, from: number): void {
    const at = query === ""
      ? -1
      : this.#history.findIndex((line, i) => i >= from && line.includes(query));
    this.#search = { ...this.#search!, query, at };
    if (at !== -1) this.#set(this.#history[at]);
  }

  async #complete(): Promise<void> {
    const { line, cursor } = this.#readline;
    if (cursor < line.length || /\s/.test(line)) return;
    const words = await this.settings.complete(line);
    // Keys may have come meanwhile.
    if (words.length === 0 || this.#readline.line !== line) return;
    let common = words.length === 1 ? `${words[0]} ` : words[0];
    for (const word of words.slice(1)) {
      while (!word.startsWith(common)) common = common.slice(0, -1);
    }
    if (common.length <= cursor) return this.say(words.join("  "));
    this.#set(common);
    this.redraw();
  }

  /** Sets the line, and where the cursor is in it. */
  #set(line: string, cursor = line.length): void {
    Object.assign(this.#readline, { line, cursor });
  }
}

function shown(text: string): string {
  return printableLine(text).replaceAll("\t", " ");
}

/** Whoever reads it may be gone: then the input ends, and that is enough. */
function write(text: string): void {
  try {
    writeAllSync(Deno.stdout, text);
  } catch {
    // The input ends, too.
  }
}
