/**
 * Many requests, pipelined over one connection, their replies printed in order.
 * Memory stays bounded: a full window of requests in flight stops the reading
 * of input, and a slow reader of our output stops the sending.
 */

import { Buffer } from "node:buffer";

import type { Client } from "../../client/api.ts";
import { type Output, writeAll } from "../streams/standard_streams.ts";
import { type Form, shown } from "./shown.ts";

/** How many requests, and bytes of several, may be in flight. */
export const WINDOW = 1024;
const WINDOW_BYTES = 1024 * 1024;

/** From here on, output waits for its reader. */
const OUTPUT_BYTES = 256 * 1024;

export class BatchResult {
  replied = 0;
  requested = 0;
  /** Whether all requests there are were handed to the connection. */
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
  frame: Uint8Array | Promise<Uint8Array>;
  /** Which request it answers, and how long that took, once it is there. */
  asked?: { request: Uint8Array; ms: number };
}

const encoder = new TextEncoder();
const LF = encoder.encode("\n");

/**
 * Sends requests and prints their replies. They come in order, so a batch that
 * fails has the replies to requests 1 to `replied`, and none to `replied + 1` to
 * `requested`.
 */
export async function runBatch(
  client: Pick<Client, "request">,
  requests: ReadableStream<Uint8Array>,
  output: Output,
  form: PrintForm,
): Promise<BatchResult> {
  const result = new BatchResult();
  const inFlight = requests.pipeThrough(
    new TransformStream<Uint8Array, InFlight>(
      {
        transform(request, controller) {
          const frame = client.request(request, {
            idempotent: form.idempotent,
          });
          const started = performance.now();
          const asked = { request, ms: 0 };
          // It may be printed much later, and until then nobody looks at a
          // failure.
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
  return await printAll(result, inFlight, output, form);
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
  return await printAll(result, frames(), output, form);
}

/** Prints what comes, and says in the result how far that went. */
async function printAll(
  result: BatchResult,
  frames: AsyncIterable<InFlight>,
  output: Output,
  form: PrintForm,
): Promise<BatchResult> {
  const print = new Printer(output, form.newline ? LF : new Uint8Array());
  const raw = !form.json && !form.hex && !form.terminal;
  try {
    for await (const { frame: coming, asked } of frames) {
      const frame = await coming;
      form.onReply?.(frame);
      const printed = print.add(
        raw ? frame : encoder.encode(shown(frame, form, asked)),
      );
      if (printed !== undefined) await printed;
      result.replied++;
    }
    await print.writing;
  } catch (error) {
    result.failure = error;
    // What came before the failure is whole, and still to be printed.
    if (print.failure === undefined) await print.writing?.catch(() => {});
  }
  result.outputFailure = print.failure;
  return result;
}

/** Writes as soon as it can, and what comes meanwhile in one write after it. */
class Printer {
  failure: unknown;
  #waiting: Uint8Array[] = [];
  #bytes = 0;
  /** Resolves when nothing waits any more. */
  writing: Promise<void> | undefined;

  constructor(
    private readonly output: Output,
    private readonly end: Uint8Array,
  ) {}

  /** Prints bytes; it waits where the reader is behind or a write has failed. */
  add(bytes: Uint8Array): Promise<void> | undefined {
    this.#waiting.push(bytes, this.end);
    this.#bytes += bytes.length + this.end.length;
    if (this.writing === undefined) {
      this.writing = this.#write();
      // Whoever waits for it gets the failure; it may be that nobody does yet.
      this.writing.catch(() => {});
    }
    return this.#bytes > OUTPUT_BYTES || this.failure !== undefined
      ? this.writing
      : undefined;
  }

  async #write(): Promise<void> {
    try {
      // What is replied in the same turn is printed in the same write.
      await undefined;
      while (this.#waiting.length > 0) {
        const chunk = Buffer.concat(this.#waiting, this.#bytes);
        this.#waiting = [];
        this.#bytes = 0;
        await writeAll(this.output, chunk);
      }
      this.writing = undefined;
    } catch (error) {
      this.failure = error;
      throw error;
    }
  }
}
