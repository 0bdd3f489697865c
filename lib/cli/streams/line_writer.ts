/** Lines to somewhere slow, full or gone: writing them never waits or fails. */

/** Such as `Deno.stderr`. */
export interface Output {
  /** Writes some of the bytes, at least one, and says how many. */
  write(bytes: Uint8Array): Promise<number>;
}

/** How much may wait, in characters: some thousand lines. */
const MAX_WAITING = 1024 * 1024;

const LF = 10;
const encoder = new TextEncoder();

/**
 * Writes what has come in the meantime, one write at a time. What finds no room,
 * or cannot be written, is lost; how much that was is said with the next.
 */
export class LineWriter {
  readonly #output: Output;
  readonly #notice: (lost: number) => string;
  #waiting: string[] = [];
  /** Characters of all that waits. */
  #size = 0;
  #lost = 0;
  /** Whether the output ends in the middle of a line. */
  #torn = false;
  #writing: Promise<void> | undefined;

  constructor(output: Output, notice: (lost: number) => string) {
    this.#output = output;
    this.#notice = notice;
  }

  /** Takes a line: with its LF, and no other. */
  add(line: string): void {
    if (this.#size + line.length > MAX_WAITING) {
      this.#lost++;
      return;
    }
    this.#waiting.push(line);
    this.#size += line.length;
    this.#writing ??= this.#write();
  }

  /** Resolves when nothing waits any more. It may take for ever. */
  async flush(): Promise<void> {
    await this.#writing;
  }

  async #write(): Promise<void> {
    while (this.#waiting.length > 0) {
      // The lines that found no room came after those that wait.
      const lost = this.#lost;
      if (lost > 0) this.#waiting.push(this.#notice(lost));
      const mend = this.#torn ? "\n" : "";
      const bytes = encoder.encode(mend + this.#waiting.join(""));
      this.#waiting = [];
      this.#size = 0;
      this.#lost = 0;
      let written = 0;
      try {
        while (written < bytes.length) {
          written += await this.#output.write(bytes.subarray(written));
        }
      } catch {
        // Closed, or a full disk. There is nobody left to tell, and a disk may
        // have room again: the next line tries again.
      }
      if (written > 0) this.#torn = bytes[written - 1] !== LF;
      if (written < bytes.length) {
        const rest = bytes.subarray(Math.max(written, mend.length));
        // The notice was the last line; what it was to say is still to be said.
        this.#lost += rest.filter((byte) => byte === LF).length +
          (lost > 0 ? lost - 1 : 0);
      }
    }
    this.#writing = undefined;
  }
}
