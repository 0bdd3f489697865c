/** The line at the bottom of a terminal: what it takes to draw and erase it. */

import { columns } from "../streams/standard_streams.ts";

/** Characters that take two columns, as terminals count (wcwidth). */
const WIDE = new RegExp(
  "[\\p{Emoji_Presentation}\\u1100-\\u115f\\u2329\\u232a\\u2e80-\\u303e" +
    "\\u3041-\\ua4cf\\ua960-\\ua97c\\uac00-\\ud7a3\\uf900-\\ufaff" +
    "\\ufe10-\\ufe19\\ufe30-\\ufe6b\\uff01-\\uff60\\uffe0-\\uffe6" +
    "\\u{16fe0}-\\u{18aff}\\u{1b000}-\\u{1b2ff}\\u{20000}-\\u{3fffd}]",
  "u",
);

/** Marks that stand over or under the character before them take none. */
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

/** Cuts a text to as many columns: it keeps its begin, or its end. */
function cut(text: string, columns: number, end = false): string {
  let kept = "";
  const chars = end ? [...text].reverse() : text;
  for (const char of chars) {
    if ((columns -= widthOf(char)) < 0) break;
    kept = end ? char + kept : kept + char;
  }
  return kept;
}

export class BottomLine {
  /** What stands before the cursor, and in all. */
  #before = "";
  #drawn = "";
  #width = 0;

  /**
   * A `plain` one takes one row, of which it shows the part around the cursor:
   * it needs no control sequence, but `\r`.
   */
  constructor(private readonly plain: boolean) {}

  /** Draws it; nothing of it is there before. */
  draw(before: string, after: string): string {
    const all = this.#width = width();
    if (this.plain) {
      before = cut(before, all - 1, true);
      this.#drawn = cut(before + after, all - 1);
      return this.#drawn === before ? before : `${this.#drawn}\r${before}`;
    }
    this.#before = before;
    this.#drawn = before + after;
    const [at, end] = [endOf(before, all), endOf(this.#drawn, all)];
    // Behind a full row, the terminal goes on only with the next character.
    const wrap = end.row > 0 && end.column === 0 ? " \r" : "";
    const up = end.row > at.row ? `\x1b[${end.row - at.row}A` : "";
    if (up === "" && at.column === end.column) return this.#drawn + wrap;
    const right = at.column > 0 ? `\x1b[${at.column}C` : "";
    return `${this.#drawn}${wrap}${up}\r${right}`;
  }

  /** Erases it, so that something else can stand there. */
  erase(): string {
    if (this.#drawn === "") return "";
    const drawn = this.#drawn;
    this.#drawn = "";
    if (this.plain) {
      const { length } = cut([...drawn].map(blank).join(""), columns());
      return `\r${" ".repeat(length)}\r`;
    }
    // When they are resized, some terminals wrap anew what is there, and some do
    // not. To leave a part of this line is better than to erase what is above.
    const now = width();
    const rows = [this.#width, now].map((width) =>
      endOf(this.#before, width).row
    );
    const up = Math.min(...rows);
    // Nor is what comes next to be wrapped together with such a part.
    const apart = now < this.#width && rows[0] !== rows[1] ? "\n" : "";
    return `${up > 0 ? `\x1b[${up}A` : ""}\r\x1b[J${apart}`;
  }

  /** It stays where it is: what is drawn next is another one. */
  leave(): string {
    const end = this.#drawn === "" ? "" : "\n";
    this.#drawn = "";
    return end;
  }
}

const blank = (char: string) => " ".repeat(widthOf(char));

const width = () => columns() + 1;
