/**
 * Many requests from the input, pipelined over one connection, and their replies
 * printed in order. Memory stays bounded: a full window of requests in flight
 * stops the reading of input, and a slow reader of our output the sending.
 */

import { Buffer } from "node:buffer";

// @ts-types="../std.d.ts"
import { LimitedBytesTransformStream, toBytes } from "@std/streams";

import type { Client } from "../../client/api.ts";
import { encodeText } from "../../core/text.ts";
import { type Output, writeAll } from "../streams/standard_streams.ts";
import { type Asked, type Form, shown } from "./shown.ts";

/** How many requests, and bytes of several, may be in flight. */
export const WINDOW = 1024;
const WINDOW_BYTES = 1024 * 1024;

/** If more output than this waits, no more replies are taken. */
const OUTPUT_BYTES = 256 * 1024;

export class BatchResult {
  replied = 0;
  requested = 0;
  /** Whether the connection got every request. */
  inputEnded = false;
  failure: unknown;
  outputFailure: unknown;
}

/** How replies are printed. */
export interface PrintForm extends Form {
  /** Whether the output is a terminal, which replies must not drive. */
  readonly terminal: boolean;
  /** Whether an LF comes behind each. */
  readonly newline: boolean;
  /** Whether requests may be sent again. */
  readonly idempotent?: boolean;
  readonly onReply?: (reply: Uint8Array) => void;
}

interface InFlight {
  readonly frame: Uint8Array | Promise<Uint8Array>;
  readonly asked?: Asked;
}

const LF = 10;
const CR = 13;

/**
 * Cuts bytes into lines. LF ends a line, and a CR before it is dropped; the last
 * line may lack its LF. At a line of more than `max` bytes they end, and
 * `failure` says so; no more of it is held in memory.
 */
export function splitLines(input: AsyncIterable<Uint8Array>, max: number) {
  let failure: string | undefined;
  async function* lines() {
    let number = 1;
    // Of the line whose LF has not come yet.
    let pieces: Uint8Array[] = [];
    let length = 0;
    for await (const chunk of input) {
      for (let from = 0; from < chunk.length;) {
        const lf = chunk.indexOf(LF, from);
        const end = lf === -1 ? chunk.length : lf;
        if (end > from) pieces.push(chunk.subarray(from, end));
        length += end - from;
        // A CR at the end does not count: an LF may come after it.
        const bare = length - Number(pieces.at(-1)?.at(-1) === CR);
        if (bare > max) {
          failure = `input line ${number} is longer than ${max} bytes, ` +
            "the maximum (--max-frame sets it)";
          return;
        }
        if (lf !== -1) {
          yield Buffer.concat(pieces, bare);
          [number, pieces, length] = [number + 1, [], 0];
        }
        from = end + 1;
      }
    }
    if (length > 0) yield Buffer.concat(pieces);
  }
  return { lines: ReadableStream.from(lines()), failure: () => failure };
}

/** Reads all of the input as one request, after a text and a space. */
export async function readWhole(
  input: AsyncIterable<Uint8Array>,
  max: number,
  before?: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const limited = ReadableStream.from(input)
    .pipeThrough(new LimitedBytesTransformStream(max, { error: true }));
  try {
    const bytes = await toBytes(limited);
    return before === undefined
      ? bytes
      : await new Blob([before, " ", bytes]).bytes();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const most = `${max} bytes, the maximum (--max-frame sets it)`;
    throw new Error(`standard input is longer than ${most}`);
  }
}

/**
 * Sends requests and prints their replies. They come in order, so a batch that
 * fails has the replies to requests 1 to `replied`, and none to `replied + 1` to
 * `requested`.
 */
export async function runBatch(
  client: Pick<Client, "request" | "close">,
  requests: ReadableStream<Uint8Array>,
  output: Output,
  form: PrintForm,
): Promise<BatchResult> {
  const result = new BatchResult();
  const inFlight = requests.pipeThrough(
    new TransformStream<Uint8Array, InFlight>(
      {
        transform(request, controller) {
          const { idempotent } = form;
          const frame = client.request(request, { idempotent });
          const started = performance.now();
          const asked: Asked = { request, ms: 0 };
          // A failure is looked at only when it is this reply's turn.
          frame.then(() => {
            asked.ms = performance.now() - started;
          }, () => {});
          result.requested++;
          controller.enqueue({ frame, asked });
        },
        flush() {
          result.inputEnded = true;
        },
      },
      undefined,
      {
        highWaterMark: WINDOW_BYTES,
        size: ({ asked }) =>
          Math.max(asked!.request.length, WINDOW_BYTES / WINDOW),
      },
    ),
  );
  return await printAll(client, result, inFlight, output, form);
}

/** Sends requests, and prints all frames that come until the connection ends. */
export async function listen(
  client: Client,
  requests: readonly string[],
  output: Output,
  form: PrintForm,
): Promise<BatchResult> {
  const result = new BatchResult();
  for (const request of requests) client.send(request);
  result.inputEnded = true;
  const frames = async function* () {
    for await (const frame of client.pushes) yield { frame };
    throw await client.closed;
  };
  return await printAll(client, result, frames(), output, form);
}

/** Prints frames, and writes into the result how far it came. */
async function printAll(
  client: Pick<Client, "close">,
  result: BatchResult,
  frames: AsyncIterable<InFlight>,
  output: Output,
  form: PrintForm,
): Promise<BatchResult> {
  const end = Uint8Array.from(form.newline ? [LF] : []);
  const raw = !form.json && !form.hex && !form.terminal;
  let waiting: Uint8Array[] = [];
  let bytes = 0;
  /** Defined while something waits; after a failed write, for good. */
  let writing: Promise<void> | undefined;

  async function write(): Promise<void> {
    try {
      // Replies that arrive together are printed in one write.
      await undefined;
      while (waiting.length > 0) {
        const chunk = Buffer.concat(waiting, bytes);
        [waiting, bytes] = [[], 0];
        await writeAll(output, chunk);
      }
      writing = undefined;
    } catch (error) {
      result.outputFailure = error;
      // Nothing that is awaited could be printed.
      client.close();
      throw error;
    }
  }

  try {
    for await (const { frame: coming, asked } of frames) {
      const frame = await coming;
      form.onReply?.(frame);
      const text = raw ? frame : encodeText(shown(frame, form, asked));
      waiting.push(text, end);
      bytes += text.length + end.length;
      if (writing === undefined) {
        writing = write();
        // A failure is thrown where it is awaited, which may be later.
        writing.catch(() => {});
      }
      const isFailed = result.outputFailure !== undefined;
      if (isFailed || bytes > OUTPUT_BYTES) await writing;
      result.replied++;
    }
    await writing;
  } catch (error) {
    result.failure = error;
    // Replies that came before the failure are still printed.
    await writing?.catch(() => {});
  }
  return result;
}
