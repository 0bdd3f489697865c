/** The line that is typed at a terminal: its keys, and how it is shown. */

import process from "node:process";
import * as readline from "node:readline";
import { Writable } from "node:stream";

import { printable, printableLine } from "../../core/text.ts";
import { columns, show } from "../streams/standard_streams.ts";
import { KEPT } from "./history.ts";

const TAB = 9;
const CTRL_Z_HINT = "(Ctrl-Z is ignored: the client cannot suspend itself)";

/**
 * Takes the terminal and asks for lines, one at a time, until it is disposed of
 * or the input ends. What is typed meanwhile is shown without a prompt, and kept
 * for the next call. Readline edits the line, but {@linkcode bottomLine} draws
 * it: readline handles neither a resize nor text that is printed meanwhile.
 */
export function openLineEditor(
  { prompt, plain, onInterrupt, complete, ...settings }: {
    /** Gives what stands before the line. */
    prompt: () => string;
    /** Lines of before, the newest first. */
    history: readonly string[];
    /** Whether the terminal gets no control sequence. */
    plain: boolean;
    /** Called at Ctrl-C if the line is empty. */
    onInterrupt: () => void;
    /** Gives the words that begin with a text. */
    complete: (start: string) => Promise<string[]>;
  },
) {
  let { history } = settings;
  const bottom = bottomLine(plain);
  /** Ctrl-R, and where in the history it is. */
  let search: { query: string; at: number; typed: string } | undefined;
  let pastes = false;
  let redraws = false;
  /** Lines that were typed before they were asked for. */
  let ahead: string[] = [];
  let answer: ((line: string | undefined) => void) | undefined;
  let closed = false;

  function say(text: string): void {
    redraw(`${text}\n`);
  }

  function redraw(above = ""): void {
    const { line, cursor } = input;
    const [before, behind] = [line.slice(0, cursor), line.slice(cursor)];
    show(bottom.erase() + above + draw(before, behind), Deno.stdout);
  }

  function draw(before: string, behind = ""): string {
    if (closed) return "";
    let start = answer === undefined ? "" : prompt();
    if (search !== undefined) {
      const { query, at } = search;
      const failed = at === -1 && query !== "" ? "failed " : "";
      start = `(${failed}reverse-i-search)\`${query}': `;
    }
    return bottom.draw(shown(start + before), shown(behind));
  }

  /** Leaves a line where it is, and goes on below. */
  function leave(line: string): void {
    const drawn = bottom.erase() + draw(line);
    bottom.leave();
    show(`${drawn}\n`, Deno.stdout);
  }

  function set(line: string, cursor = line.length): void {
    Object.assign(input, { line, cursor });
  }

  /** Takes the terminal back from the shell that has used it meanwhile. */
  function resume(): void {
    // The runtime ignores "raw" if it is set already; the shell has unset it.
    process.stdin.setRawMode(false);
    process.stdin.setRawMode(true);
    bottom.leave();
    redraw();
  }

  function onData(keys: Uint8Array): void {
    // A tab followed by other bytes was pasted: it is part of the line.
    pastes = keys.at(-1) !== TAB;
  }

  function onKey(text: string | undefined, key: readline.Key): void {
    // Readline ignores an unknown key with Ctrl: so it ignores this one.
    if (takes(text, key)) {
      Object.assign(key, { ctrl: true, shift: false, meta: false, name: "" });
      key.sequence = "";
    }
    if (redraws) return;
    redraws = true;
    // Keys that come together are shown together.
    queueMicrotask(() => {
      redraws = false;
      if (!closed) redraw();
    });
  }

  /** Handles the keys that readline does not; says whether it did. */
  function takes(
    text: string | undefined,
    { name, ctrl }: readline.Key,
  ): boolean {
    const isText = text !== undefined &&
      (!/\p{Cc}/u.test(text) || (pastes && name === "tab"));
    const { line, cursor } = input;
    if (ctrl && name === "r") {
      if (search === undefined) search = { query: "", at: -1, typed: line };
      else find(search.query, search.at + 1);
    } else if (search !== undefined && name === "backspace") {
      find(search.query.slice(0, -1), 0);
    } else if (search !== undefined && isText) {
      find(search.query + text, Math.max(search.at, 0));
    } else if (search !== undefined) {
      const { typed } = search;
      search = undefined;
      if (!ctrl || (name !== "g" && name !== "c")) return false;
      set(typed);
    } else if (isText) {
      // Readline takes 10 s for 2,000 letters: it measures the line for each.
      const before = line.slice(0, cursor) + text;
      set(before + line.slice(cursor), before.length);
    } else if (name === "tab") {
      completeLine();
    } else if (ctrl && name === "l" && !plain) {
      show(`${bottom.erase()}\x1b[H\x1b[J`, Deno.stdout);
    } else {
      // Readline would put Ctrl-\ and Ctrl-] into the line.
      return text === "\x1c" || text === "\x1d";
    }
    return true;
  }

  function find(query: string, from: number): void {
    const at = query === ""
      ? -1
      : history.findIndex((line, i) => i >= from && line.includes(query));
    search = { ...search!, query, at };
    if (at !== -1) set(history[at]);
  }

  async function completeLine(): Promise<void> {
    const { line, cursor } = input;
    if (cursor < line.length || /\s/.test(line)) return;
    const words = await complete(line);
    // The user may have typed meanwhile.
    if (words.length === 0 || input.line !== line) return;
    let common = words.length === 1 ? `${words[0]} ` : words[0];
    for (const word of words.slice(1)) {
      while (!word.startsWith(common)) common = common.slice(0, -1);
    }
    if (common.length <= cursor) return say(words.join("  "));
    set(common);
    redraw();
  }

  process.stdin.prependListener("keypress", onKey);
  process.stdin.prependListener("data", onData);
  const input = readline.createInterface({
    input: process.stdin,
    output: new Writable({ write: (_bytes, _encoding, done) => done() }),
    terminal: true,
    prompt: "",
    history: [...history],
    historySize: KEPT,
    removeHistoryDuplicates: true,
  });
  input.on("history", (lines) => history = lines);
  input.on("line", (line) => {
    search = undefined;
    leave(line);
    if (answer === undefined) ahead.push(line);
    else answer(line);
    answer = undefined;
  });
  input.on("SIGINT", () => {
    if (input.line === "") {
      ahead = [];
      return onInterrupt();
    }
    leave(`${input.line}^C`);
    set("");
  });
  // Without a listener, readline stops the process. Before Deno 2.8 that needs
  // run permission, and with `deno task` the shell would not come back.
  input.on("SIGTSTP", () => say(CTRL_Z_HINT));
  const hasSignal = Deno.build.os !== "windows";
  if (hasSignal) Deno.addSignalListener("SIGCONT", resume);
  input.on("close", () => {
    // The shell's prompt must begin on a new line.
    show(bottom.leave(), Deno.stdout);
    closed = true;
    process.stdin.removeListener("keypress", onKey);
    process.stdin.removeListener("data", onData);
    if (hasSignal) Deno.removeSignalListener("SIGCONT", resume);
    answer?.(undefined);
  });

  return {
    /** Asks for a line; nothing comes at the end of the input (Ctrl-D). */
    next(): Promise<string | undefined> {
      const line = ahead.shift();
      // Shown again, because its reply is printed below it.
      if (line !== undefined) say(prompt() + printable(line));
      if (line !== undefined || closed) return Promise.resolve(line);
      return new Promise((resolve) => {
        answer = resolve;
        redraw();
      });
    },
    say,
    [Symbol.dispose]: () => input.close(),
  };
}

function shown(text: string): string {
  return printableLine(text).replaceAll("\t", " ");
}

/** Characters that take two columns, as terminals count (wcwidth). */
const WIDE = new RegExp(
  "[\\p{Emoji_Presentation}\\u1100-\\u115f\\u2329\\u232a\\u2e80-\\u303e" +
    "\\u3041-\\ua4cf\\ua960-\\ua97c\\uac00-\\ud7a3\\uf900-\\ufaff" +
    "\\ufe10-\\ufe19\\ufe30-\\ufe6b\\uff01-\\uff60\\uffe0-\\uffe6" +
    "\\u{16fe0}-\\u{18aff}\\u{1b000}-\\u{1b2ff}\\u{20000}-\\u{3fffd}]",
  "u",
);

/** Marks over or under the character before them take no column. */
const MARK = /[\p{Mn}\p{Me}\u1160-\u11ff]/u;

function widthOf(char: string): number {
  return char < "\u0300" ? 1 : MARK.test(char) ? 0 : WIDE.test(char) ? 2 : 1;
}

/** Where the cursor is behind a text that begins at the left. */
function endOf(text: string, columns: number) {
  let [row, column] = [0, 0];
  for (const char of text) {
    const width = widthOf(char);
    if (column + width > columns) [row, column] = [row + 1, 0];
    column += width;
  }
  return column === columns ? { row: row + 1, column: 0 } : { row, column };
}

/** Cuts a text to a width: it keeps the beginning, or the end. */
function cut(text: string, columns: number, end = false): string {
  let kept = "";
  const chars = end ? [...text].reverse() : text;
  for (const char of chars) {
    if ((columns -= widthOf(char)) < 0) break;
    kept = end ? char + kept : kept + char;
  }
  return kept;
}

/**
 * Gives the text that draws or erases the line at the bottom of a terminal. A
 * `plain` line has one row, which shows the part around the cursor, and needs no
 * control sequence but `\r`.
 */
function bottomLine(plain: boolean) {
  /** The part before the cursor, and the whole line. */
  let [before, drawn] = ["", ""];
  /** How wide the terminal was when it was drawn. */
  let width = 0;

  return {
    draw(toCursor: string, behind: string): string {
      if (plain) {
        const most = columns();
        before = cut(toCursor, most, true);
        drawn = cut(before + behind, most);
        return drawn === before ? drawn : `${drawn}\r${before}`;
      }
      width = columns() + 1;
      [before, drawn] = [toCursor, toCursor + behind];
      const [at, end] = [endOf(before, width), endOf(drawn, width)];
      // After a full row, the cursor moves on only with the next character.
      const wrap = end.row > 0 && end.column === 0 ? " \r" : "";
      const up = end.row > at.row ? `\x1b[${end.row - at.row}A` : "";
      if (up === "" && at.column === end.column) return drawn + wrap;
      const right = at.column > 0 ? `\x1b[${at.column}C` : "";
      return `${drawn}${wrap}${up}\r${right}`;
    },

    erase(): string {
      if (drawn === "") return "";
      if (plain) {
        const { column } = endOf(drawn, Infinity);
        drawn = "";
        return `\r${" ".repeat(Math.min(column, columns()))}\r`;
      }
      drawn = "";
      // At a resize, some terminals wrap the text anew and some do not. It is
      // better to leave a part of this line than to erase what is above it.
      const now = columns() + 1;
      const [then, anew] = [width, now].map((width) =>
        endOf(before, width).row
      );
      const up = Math.min(then, anew);
      // The text that comes next must not be wrapped together with that part.
      const apart = now < width && then !== anew ? "\n" : "";
      return `${up > 0 ? `\x1b[${up}A` : ""}\r\x1b[J${apart}`;
    },

    /** Leaves the line on the screen; the next one is drawn below. */
    leave(): string {
      const end = drawn === "" ? "" : "\n";
      drawn = "";
      return end;
    },
  };
}
