/**
 * What somebody sees: a screen as wide as a terminal, of what is written to it.
 *
 * @module
 */

import type { Terminal } from "./terminal.ts";

interface Row {
  /** A character each, with its marks; behind a wide one comes an empty one. */
  cells: string[];
  /** Whether the next row goes on with it. */
  wrapped: boolean;
}

/** The screen of a terminal: a model of one, for what the client writes. */
export class Screen {
  #rows: Row[] = [{ cells: [], wrapped: false }];
  #row = 0;
  #column = 0;
  /** The last column is full, and the next character begins a row. */
  #full = false;
  #fed = 0;

  /**
   * @param reflows Whether rows are wrapped anew at a resize, as tmux does it,
   * or cut, as xterm does it.
   */
  constructor(
    private readonly terminal: Terminal,
    public columns: number,
    private readonly reflows: boolean,
  ) {}

  /** Waits until it is as it should be. */
  async has(isSo: () => boolean, what: string): Promise<void> {
    while (!isSo()) {
      await this.terminal.more(`${what}, but ${this.rows().join("\n")}`);
    }
  }

  /** All rows with something in them. */
  rows(): string[] {
    this.#feed();
    const rows = this.#rows.map(({ cells }) => cells.join("").trimEnd());
    while (rows.at(-1) === "") rows.pop();
    return rows;
  }

  /** The same as far as the cursor. */
  rowsToCursor(): string[] {
    const rows = this.rows().slice(0, this.#row);
    const { cells } = this.#rows[this.#row];
    return [...rows, cells.slice(0, this.#column).join("").trimEnd()];
  }

  /** Has the terminal, and then the screen, another width. */
  async resize(columns: number, tty: string): Promise<void> {
    this.#feed();
    this.#full = false;
    this.columns = columns;
    if (this.reflows) this.#reflow();
    else {
      for (const row of this.#rows) {
        row.cells.length = Math.min(row.cells.length, columns);
      }
      this.#column = Math.min(this.#column, columns - 1);
    }
    const args = ["-F", tty, "cols", `${columns}`];
    await new Deno.Command("stty", { args }).output();
  }

  #feed(): void {
    const text = this.terminal.raw.slice(this.#fed);
    this.#fed += text.length;
    // deno-lint-ignore no-control-regex
    const parts = text.matchAll(/\x1b\[(\d*)([A-Z])|[^]/gu);
    for (const [key, count, letter] of parts) {
      if (letter === undefined) this.#put(key);
      else this.#control(letter, Number(count || 1));
    }
  }

  #control(letter: string, count: number): void {
    this.#full = false;
    if (letter === "A") this.#row = Math.max(this.#row - count, 0);
    else if (letter === "C") {
      this.#column = Math.min(this.#column + count, this.columns - 1);
    } else if (letter === "J") {
      this.#rows.length = this.#row + 1;
      this.#rows[this.#row].cells.length = Math.min(
        this.#column,
        this.#rows[this.#row].cells.length,
      );
      this.#rows[this.#row].wrapped = false;
    } else throw new Error(`Unknown control sequence ${letter}`);
  }

  #put(char: string): void {
    const { cells } = this.#rows[this.#row];
    if (char === "\r") {
      this.#column = 0;
      this.#full = false;
    } else if (char === "\n") {
      this.#full = false;
      this.#next(false);
    } else if (/[\u0300-\u036f]/.test(char)) {
      let at = this.#full ? this.#column : this.#column - 1;
      while (cells[at] === "") at--;
      cells[at] += char;
    } else {
      const width = /[\u3041-\u9fff]/.test(char) ? 2 : 1;
      if (this.#full || this.#column + width > this.columns) {
        this.#next(true);
        this.#column = 0;
        this.#full = false;
      }
      const row = this.#rows[this.#row].cells;
      while (row.length < this.#column) row.push(" ");
      row.splice(this.#column, width, char, ...width === 2 ? [""] : []);
      this.#full = this.#column + width === this.columns;
      this.#column = Math.min(this.#column + width, this.columns - 1);
    }
  }

  #next(wrapped: boolean): void {
    this.#rows[this.#row].wrapped = wrapped;
    this.#row++;
    this.#rows[this.#row] ??= { cells: [], wrapped: false };
  }

  #reflow(): void {
    const old = this.#rows;
    const [row, column] = [this.#row, this.#column];
    this.#rows = [];
    for (let i = 0, cells: string[] = [], cursor = -1; i < old.length; i++) {
      if (i === row) cursor = cells.length + column;
      cells.push(...old[i].cells);
      if (old[i].wrapped) continue;
      for (let at = 0; at === 0 || at < cells.length;) {
        let end = Math.min(at + this.columns, cells.length);
        if (cells[end] === "") end--;
        const wrapped = end < cells.length;
        if (cursor >= at && (cursor < end || !wrapped)) {
          this.#row = this.#rows.length;
          this.#column = Math.min(cursor - at, this.columns - 1);
        }
        this.#rows.push({ cells: cells.slice(at, end), wrapped });
        at = Math.max(end, 1);
      }
      cells = [];
      cursor = -1;
    }
  }
}
