/** The line that is typed at a terminal: its keys, and how it is shown. */

import process from "node:process";
import * as readline from "node:readline";

import { printable } from "../../core/text.ts";

const CTRL_Z_HINT = "(Ctrl-Z is ignored: the client cannot suspend itself)";

/**
 * Asks for lines, one at a time. What is typed while none is asked for is shown
 * without a prompt, and kept.
 */
export class LineEditor implements Disposable {
  /**
   * `prevRows` is the row within the line from which readline redraws it. It is
   * not documented, but nothing else tells readline that the cursor was moved.
   */
  readonly #readline: readline.Interface & { prevRows?: number };
  /** Lines that were typed before they were asked for. */
  readonly #ahead: string[] = [];
  #answer: ((line: string | undefined) => void) | undefined;
  #closed = false;

  /** Takes the terminal, until it is disposed of or the input ends. */
  constructor(
    private readonly prompt: string,
    /** Lines of earlier runs, the newest first. */
    history: readonly string[],
    onInterrupt: () => void,
  ) {
    this.#readline = readline.createInterface({
      input: process.stdin,
      output: process.stdout,
      terminal: true,
      prompt: "",
      history: [...history],
      historySize: 1000,
      removeHistoryDuplicates: true,
    });
    this.#readline.on("line", (line) => this.#take(line));
    this.#readline.on("close", () => this.#end());
    this.#readline.on("SIGINT", onInterrupt);
    // Without a listener, readline stops the process. Before Deno 2.8 that takes
    // run permission; and the shell waits on where `deno task` is not stopped.
    this.#readline.on("SIGTSTP", () => this.say(CTRL_Z_HINT));
    process.stdin.prependListener("keypress", markControl);
    if (Deno.build.os !== "windows") {
      Deno.addSignalListener("SIGCONT", this.#resume);
    }
  }

  /** Asks for a line; nothing comes at the end of the input (Ctrl-D). */
  next(): Promise<string | undefined> {
    const line = this.#ahead.shift();
    if (line !== undefined) {
      // It was shown when it was typed, but not next to its reply.
      this.say(`${this.prompt}${printable(line)}`);
      return Promise.resolve(line);
    }
    if (this.#closed) return Promise.resolve(undefined);
    this.#erase();
    this.#readline.setPrompt(this.prompt);
    this.#draw();
    return new Promise((resolve) => this.#answer = resolve);
  }

  say(text: string): void {
    if (!this.#closed) this.#erase();
    process.stdout.write(`${text}\n`);
    this.#draw();
  }

  [Symbol.dispose](): void {
    this.#readline.close();
  }

  #take(line: string): void {
    const answer = this.#answer;
    if (answer === undefined) return void this.#ahead.push(line);
    this.#answer = undefined;
    this.#readline.setPrompt("");
    answer(line);
  }

  #end(): void {
    this.#closed = true;
    process.stdin.removeListener("keypress", markControl);
    if (Deno.build.os !== "windows") {
      Deno.removeSignalListener("SIGCONT", this.#resume);
    }
    if (this.#answer === undefined) return;
    // What the shell prints next begins a line.
    process.stdout.write("\n");
    this.#answer(undefined);
  }

  /** Takes the terminal back from the shell that has used it meanwhile. */
  readonly #resume = () => {
    // Raw to raw is no change for the runtime, but the shell has made one.
    process.stdin.setRawMode(false);
    process.stdin.setRawMode(true);
    this.#readline.prevRows = 0;
    this.#draw();
  };

  #erase(): void {
    const { rows } = this.#readline.getCursorPos();
    readline.moveCursor(process.stdout, 0, -rows);
    readline.cursorTo(process.stdout, 0);
    readline.clearScreenDown(process.stdout);
    this.#readline.prevRows = 0;
  }

  #draw(): void {
    if (this.#closed) return;
    const { line } = this.#readline;
    if (this.#readline.getPrompt() + line !== "") this.#readline.prompt(true);
  }
}

/** Ctrl-\ and Ctrl-] do nothing; readline would put them into the line. */
function markControl(_text: string | undefined, key: readline.Key): void {
  // deno-lint-ignore no-control-regex
  if (/^[\x1c\x1d]$/.test(key.sequence ?? "")) key.ctrl = true;
}
