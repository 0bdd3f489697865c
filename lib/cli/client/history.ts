/** The prompt's history: a line a request, in a file of its owner's alone. */

import { writeAllSync } from "../streams/standard_streams.ts";

/** How many lines are kept. */
export const KEPT = 1000;

export type History = Awaited<ReturnType<typeof openHistory>>;

/**
 * Opens a history, made if it is not there, and needs no permission from then
 * on. `onFailure` is called when a line cannot be written, which is the last.
 */
export async function openHistory(
  path: string,
  onFailure: (error: unknown) => void,
) {
  const access = { read: true, write: true, create: true, mode: 0o600 };
  let file: Deno.FsFile | undefined = await Deno.open(path, access);
  const close = () => {
    file?.close();
    file = undefined;
  };
  const lines = await readLines(file, path).catch((error) => {
    close();
    throw error;
  });
  return {
    /** The newest first, as a line editor wants them. */
    lines,
    /** Adds a line, unless it repeats the one before. */
    add(line: string): void {
      if (line === lines[0]) return;
      lines.unshift(line);
      lines.length = Math.min(lines.length, KEPT);
      try {
        // Another client may have added to the file since.
        file?.seekSync(0, Deno.SeekMode.End);
        if (file !== undefined) writeAllSync(file, `${line}\n`);
      } catch (error) {
        close();
        onFailure(error);
      }
    },
    [Symbol.dispose]: close,
  };
}

async function readLines(file: Deno.FsFile, path: string): Promise<string[]> {
  // It may have been made by somebody less careful. What is no file, such as
  // /dev/null, is not ours to change.
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
  return lines.reverse();
}
