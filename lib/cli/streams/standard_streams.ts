/**
 * Standard input, output and error, as both programs use them. Output that was
 * closed before the start (`>&-`) or is open for reading only cannot be told
 * from `/dev/null`: the runtime opens that, or reports no error (EBADF).
 */

import { encodeText, systemReason } from "../../core/text.ts";

export interface Output {
  /** Writes some of the bytes, at least one, and says how many. */
  write(bytes: Uint8Array): Promise<number>;
}

/**
 * Writes all bytes. `@std/streams` goes through a `WritableStream`, and on Deno
 * 2.7.14 the first write to `Deno.stdout.writable` resolves even if it fails.
 */
export async function writeAll(
  output: Output,
  bytes: Uint8Array,
): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    done += await output.write(bytes.subarray(done));
  }
}

/** Whether nobody reads the output any more: nothing is lost then. */
export function isReaderGone(error: unknown): boolean {
  return error instanceof Deno.errors.BrokenPipe ||
    error instanceof Deno.errors.ConnectionReset;
}

/** Prints a text and an LF; gives false if nobody reads that any more. */
export async function print(text: string): Promise<boolean> {
  try {
    await writeAll(Deno.stdout, encodeText(`${text}\n`));
    return true;
  } catch (error) {
    if (isReaderGone(error)) return false;
    const reason = systemReason(error);
    throw new Error(`cannot write to standard output: ${reason}`);
  }
}

type SyncOutput = Pick<Deno.FsFile, "writeSync">;

export function writeAllSync(output: SyncOutput, text: string): void {
  const bytes = encodeText(text);
  for (let done = 0; done < bytes.length;) {
    done += output.writeSync(bytes.subarray(done));
  }
}

/** Shows a text. Where nobody reads it any more, it is lost without an error. */
export function show(text: string, output: SyncOutput = Deno.stderr): void {
  try {
    writeAllSync(output, text);
  } catch {
    // There is no other place to say so; the exit code tells anyway.
  }
}

/** How many columns a line may have on the terminal. */
export function columns(): number {
  try {
    // Some terminals say 0; a full line would have the cursor on the next.
    return (Deno.consoleSize().columns || 80) - 1;
  } catch {
    return Infinity;
  }
}

export async function* standardInput() {
  try {
    yield* Deno.stdin.readable;
  } catch (error) {
    throw new Error(`cannot read standard input: ${systemReason(error)}`);
  }
}

/** Has a write past `ulimit -f` fail: its signal would end the process. */
export function surviveFileSizeLimit(): void {
  if (Deno.build.os === "windows") return;
  Deno.addSignalListener("SIGXFSZ", () => {});
}
