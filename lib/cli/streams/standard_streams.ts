/**
 * Standard input, output and error, as both programs use them: what is printed
 * is printed whole or its failure is reported, and a message that cannot be
 * shown changes nothing else.
 *
 * Output that was closed before the start (`>&-`), or is open for reading only,
 * cannot be told from `/dev/null`: the runtime opens that in place of the first,
 * and reports no error (EBADF) of the second.
 */

import { systemReason } from "../../core/text.ts";
import type { Output } from "./line_writer.ts";

const encoder = new TextEncoder();

/**
 * Writes all bytes, however many are taken at a time.
 *
 * `@std/streams` has only what goes through a `WritableStream`, and on Deno
 * 2.7.14 the first write to `Deno.stdout.writable` resolves even if it fails.
 *
 * @throws {Error} The system's own, from the first write that fails.
 */
export async function writeAll(
  output: Output,
  bytes: Uint8Array,
): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    done += await output.write(bytes.subarray(done));
  }
}

/**
 * Whether a write failed because nobody reads the output any more. Then nothing
 * that anybody wants is lost.
 */
export function isReaderGone(error: unknown): boolean {
  return error instanceof Deno.errors.BrokenPipe ||
    error instanceof Deno.errors.ConnectionReset;
}

/**
 * Prints a text and an LF on standard output. It is done as well if nobody
 * reads that any more.
 *
 * @throws {Error} Some of it could not be written; the message says why.
 */
export async function print(text: string): Promise<void> {
  try {
    await writeAll(Deno.stdout, encoder.encode(`${text}\n`));
  } catch (error) {
    if (isReaderGone(error)) return;
    throw new Error(
      `cannot write to standard output: ${systemReason(error)}`,
      { cause: error },
    );
  }
}

/** Writes all of a text, however much is taken at a time. */
export function writeAllSync(
  output: { writeSync(bytes: Uint8Array): number },
  text: string,
): void {
  const bytes = encoder.encode(text);
  for (let done = 0; done < bytes.length;) {
    done += output.writeSync(bytes.subarray(done));
  }
}

/**
 * Shows a text on standard error, as far as that is possible: where it is not,
 * there is no other place to say so, and the exit code still tells.
 */
export function show(text: string): void {
  try {
    writeAllSync(Deno.stderr, text);
  } catch {
    // See above.
  }
}

/** Standard input. An error of it says that it is one. */
export async function* standardInput(): AsyncGenerator<
  Uint8Array<ArrayBuffer>
> {
  try {
    yield* Deno.stdin.readable;
  } catch (error) {
    throw new Error(
      `cannot read standard input: ${systemReason(error)}`,
      { cause: error },
    );
  }
}

/**
 * Has a write past the limit on a file's size (`ulimit -f`) fail like one to a
 * full disk. Without this the signal that comes with it, SIGXFSZ, ends the
 * process at once.
 */
export function surviveFileSizeLimit(): void {
  if (Deno.build.os === "windows") return;
  Deno.addSignalListener("SIGXFSZ", () => {});
}
