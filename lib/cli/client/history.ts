/** The prompt's history: one line for each request, in a private file. */

import { systemReason } from "../../core/text.ts";
import { writeAllSync } from "../streams/standard_streams.ts";

export const KEPT = 1000;

export type History = NonNullable<Awaited<ReturnType<typeof openHistory>>>;

/**
 * Opens a history, made if it is not there, and needs no permission from then
 * on. `warn` is told why there is none, or why no more lines are kept.
 */
export async function openHistory(
  path: string,
  warn: (message: string) => void,
) {
  let file: Deno.FsFile | undefined;
  const giveUp = (what: string, error: unknown) => {
    file?.close();
    file = undefined;
    warn(`${what}: ${systemReason(error)}`);
  };
  try {
    const access = { read: true, write: true, create: true, mode: 0o600 };
    file = await Deno.open(path, access);
    const { lines, isWhole } = await readLines(file, path);
    let before = isWhole ? "" : "\n";
    return {
      /** The newest first. */
      lines,
      /** Adds a line, unless it repeats the one before. */
      add(line: string): void {
        if (line === lines[0]) return;
        lines.unshift(line);
        lines.length = Math.min(lines.length, KEPT);
        try {
          // Another client may have added to the file since.
          file?.seekSync(0, Deno.SeekMode.End);
          if (file !== undefined) writeAllSync(file, `${before}${line}\n`);
          before = "";
        } catch (error) {
          giveUp("the history is not kept", error);
        }
      },
      [Symbol.dispose]: () => file?.close(),
    };
  } catch (error) {
    giveUp("no history", error);
  }
}

async function readLines(file: Deno.FsFile, path: string) {
  // A file from elsewhere may be open to others. What is no regular file, such
  // as /dev/null, keeps its mode, and is not read: it may have no end.
  const { isFile } = await file.stat();
  if (isFile && Deno.build.os !== "windows") await Deno.chmod(path, 0o600);
  const text = isFile ? await Deno.readTextFile(path) : "";
  const all = text.split(/\r?\n/).filter((line) => line !== "");
  const lines = all.slice(-KEPT);
  if (all.length > 2 * KEPT) {
    // Overwriting first, and cutting then, works on a full disk too.
    await file.seek(0, Deno.SeekMode.Start);
    writeAllSync(file, lines.map((line) => `${line}\n`).join(""));
    await file.truncate(await file.seek(0, Deno.SeekMode.Current));
  }
  // A full disk may have cut the last line.
  const isWhole = text === "" || all.length > 2 * KEPT || text.endsWith("\n");
  return { lines: lines.reverse(), isWhole };
}
