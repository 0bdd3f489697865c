/** Lines to somewhere slow, full or gone: writing them never waits or fails. */

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
export function lineWriter(output: Output, notice: (lost: number) => string) {
  let waiting: string[] = [];
  /** Characters of all that waits. */
  let size = 0;
  let lost = 0;
  /** Those that were told of already. */
  let told = 0;
  /** Whether the output ends in the middle of a line. */
  let torn = false;
  let writing: Promise<void> | undefined;

  async function write(): Promise<void> {
    while (waiting.length > 0) {
      // The lines that found no room came after those that wait.
      const noticed = lost;
      if (noticed > 0) waiting.push(notice(noticed));
      const mend = torn ? "\n" : "";
      const bytes = encoder.encode(mend + waiting.join(""));
      waiting = [];
      size = 0;
      told += noticed;
      lost = 0;
      let written = 0;
      try {
        while (written < bytes.length) {
          written += await output.write(bytes.subarray(written));
        }
      } catch {
        // Closed, or a full disk. There is nobody left to tell, and a disk may
        // have room again: the next line tries again.
      }
      if (written > 0) torn = bytes[written - 1] !== LF;
      if (written < bytes.length) {
        const rest = bytes.subarray(Math.max(written, mend.length));
        // The notice was the last line; what it was to say is still to be said.
        lost += rest.filter((byte) => byte === LF).length +
          (noticed > 0 ? noticed - 1 : 0);
        told -= noticed;
      }
    }
    writing = undefined;
  }

  return {
    /** Takes a line: with its LF, and no other. */
    add(line: string): void {
      if (size + line.length > MAX_WAITING) return void lost++;
      waiting.push(line);
      size += line.length;
      writing ??= write();
    },
    /** How many were lost since the start. */
    lost: (): number => told + lost,
    async flush(): Promise<void> {
      await writing;
    },
  };
}
