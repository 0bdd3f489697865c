/**
 * The prompt's history: a line a request, kept between runs in a file that
 * only its owner can read.
 *
 * @module
 */

// @ts-types="../std_types/streams.d.ts"
import { toText } from "@std/streams";

/** How many lines are kept. */
const KEPT = 1000;

/** An open history. */
export class History implements Disposable {
  /** The lines, the newest first, as a line editor wants them. */
  readonly lines: string[];
  readonly #file: Deno.FsFile;

  private constructor(file: Deno.FsFile, lines: string[]) {
    this.#file = file;
    this.lines = lines;
  }

  /**
   * Opens a history, made if it is not there. It stays open, so that no
   * permission is needed from then on.
   *
   * @param path The file.
   * @throws {Deno.errors.NotCapable} It may not be read or written.
   */
  static async open(path: string): Promise<History> {
    const file = await Deno.open(path, {
      read: true,
      write: true,
      create: true,
      mode: 0o600,
    });
    try {
      // It may have been made by somebody less careful. What is no file, such
      // as /dev/null, is not ours to change.
      const { isFile } = await file.stat();
      if (isFile && Deno.build.os !== "windows") await Deno.chmod(path, 0o600);
      const text = await toText(keptOpen(file));
      const all = text.split("\n").filter((line) => line !== "");
      const lines = all.slice(-KEPT);
      if (all.length > 2 * KEPT) {
        await file.truncate();
        await file.seek(0, Deno.SeekMode.Start);
        writeAll(file, lines.map((line) => `${line}\n`).join(""));
      }
      return new History(file, lines.reverse());
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /**
   * Adds a line, unless it repeats the one before.
   *
   * @param line The line.
   */
  add(line: string): void {
    if (line.trim() === "" || line === this.lines[0]) return;
    this.lines.unshift(line);
    this.lines.length = Math.min(this.lines.length, KEPT);
    // Another client may have added to the file since.
    this.#file.seekSync(0, Deno.SeekMode.End);
    writeAll(this.#file, `${line}\n`);
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    this.#file.close();
  }
}

/** A file's bytes from here on; the file stays open behind them. */
function keptOpen(file: Deno.FsFile): ReadableStream<Uint8Array> {
  return new ReadableStream({
    async pull(controller) {
      const chunk = new Uint8Array(16 * 1024);
      const n = await file.read(chunk);
      if (n === null) controller.close();
      else controller.enqueue(chunk.subarray(0, n));
    },
  });
}

function writeAll(file: Deno.FsFile, text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let done = 0; done < bytes.length;) {
    done += file.writeSync(bytes.subarray(done));
  }
}
