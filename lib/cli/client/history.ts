/** The prompt's history: a line a request, in a file of its owner's alone. */

import { writeAllSync } from "../streams/standard_streams.ts";

const KEPT = 1000;

export class History implements Disposable {
  /** The lines, the newest first, as a line editor wants them. */
  readonly lines: string[];
  /** Undefined once it is closed, or a line could not be written. */
  #file: Deno.FsFile | undefined;
  readonly #onFailure: (error: unknown) => void;

  private constructor(
    file: Deno.FsFile,
    lines: string[],
    onFailure: (error: unknown) => void,
  ) {
    this.#file = file;
    this.lines = lines;
    this.#onFailure = onFailure;
  }

  /**
   * Opens a history, made if it is not there, and needs no permission from then
   * on. `onFailure` is called when a line cannot be written, which is the last.
   */
  static async open(
    path: string,
    onFailure: (error: unknown) => void,
  ): Promise<History> {
    const access = { read: true, write: true, create: true, mode: 0o600 };
    const file = await Deno.open(path, access);
    try {
      // It may have been made by somebody less careful. What is no file, such
      // as /dev/null, is not ours to change.
      const { isFile } = await file.stat();
      if (isFile && Deno.build.os !== "windows") await Deno.chmod(path, 0o600);
      // Nor has it an end that reading comes to, such as /dev/full or a FIFO.
      const text = isFile ? await Deno.readTextFile(path) : "";
      const all = text.split("\n").filter((line) => line !== "");
      const lines = all.slice(-KEPT);
      if (all.length > 2 * KEPT) {
        // Over what is there, which takes no room that a full disk lacks.
        await file.seek(0, Deno.SeekMode.Start);
        writeAllSync(file, lines.map((line) => `${line}\n`).join(""));
        await file.truncate(await file.seek(0, Deno.SeekMode.Current));
      }
      return new History(file, lines.reverse(), onFailure);
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /** Adds a line, unless it repeats the one before. */
  add(line: string): void {
    if (line === this.lines[0]) return;
    this.lines.unshift(line);
    this.lines.length = Math.min(this.lines.length, KEPT);
    if (this.#file === undefined) return;
    try {
      // Another client may have added to the file since.
      this.#file.seekSync(0, Deno.SeekMode.End);
      writeAllSync(this.#file, `${line}\n`);
    } catch (error) {
      this[Symbol.dispose]();
      this.#onFailure(error);
    }
  }

  [Symbol.dispose](): void {
    this.#file?.close();
    this.#file = undefined;
  }
}
