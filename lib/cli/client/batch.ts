/**
 * Many requests, pipelined over one connection, their replies printed in order.
 * Memory stays bounded: a full window of requests in flight stops the reading
 * of input, and a slow reader of our output stops the sending.
 */

import { Buffer } from "node:buffer";

import type { Client } from "../../client/api.ts";
import { decodeText, printable, toLine } from "../../core/text.ts";
import { isErrReply } from "../../server/replies.ts";
import type { Output } from "../streams/line_writer.ts";
import { writeAll } from "../streams/standard_streams.ts";

/** How many requests, and bytes of several, may be in flight. */
export const WINDOW = 1024;
const WINDOW_BYTES = 1024 * 1024;

/** From here on, output waits for its reader. */
const OUTPUT_BYTES = 256 * 1024;

export class BatchResult {
  replied = 0;
  requested = 0;
  errors = 0;
  /** Whether all requests there are were handed to the connection. */
  inputEnded = false;
  failure: unknown;
  outputFailure: unknown;
}

interface InFlight {
  request: Uint8Array;
  reply: Promise<Uint8Array>;
  started: number;
}

const encoder = new TextEncoder();
const LF = encoder.encode("\n");

/**
 * Sends requests and prints their replies, each with an LF behind it. Replies
 * come in order, so a batch that fails has the replies to requests 1 to
 * `replied`, and none to `replied + 1` to `requested`.
 */
export async function runBatch(
  client: Pick<Client, "request">,
  requests: ReadableStream<Uint8Array>,
  output: Output,
  { json, terminal, idempotent, onReply }: {
    json: boolean;
    idempotent: boolean;
    /** Whether the output is a terminal, which replies must not drive. */
    terminal: boolean;
    onReply?: (reply: Uint8Array, number: number) => void;
  },
): Promise<BatchResult> {
  const result = new BatchResult();
  const print = new Printer(output);
  const inFlight = requests.pipeThrough(
    new TransformStream<Uint8Array, InFlight>(
      {
        transform(request, controller) {
          const reply = client.request(request, { idempotent });
          // It is awaited in its turn; until then nobody looks at a failure.
          reply.catch(() => {});
          result.requested++;
          controller.enqueue({ request, reply, started: performance.now() });
        },
        flush() {
          result.inputEnded = true;
        },
      },
      undefined,
      {
        highWaterMark: WINDOW_BYTES,
        size: ({ request }) => Math.max(request.length, WINDOW_BYTES / WINDOW),
      },
    ),
  );
  try {
    for await (const { request, reply, started } of inFlight) {
      const bytes = await reply;
      if (isErrReply(bytes)) result.errors++;
      onReply?.(bytes, result.replied + 1);
      const printed = print.add(
        json
          ? toJson(request, bytes, performance.now() - started)
          : terminal
          ? encoder.encode(printable(decodeText(bytes)))
          : bytes,
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

  constructor(private readonly output: Output) {}

  /** Prints a line; it waits where the reader is behind or a write has failed. */
  add(bytes: Uint8Array): Promise<void> | undefined {
    this.#waiting.push(bytes, LF);
    this.#bytes += bytes.length + 1;
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

function toJson(request: Uint8Array, reply: Uint8Array, ms: number) {
  return encoder.encode(toLine({
    request: decodeText(request),
    reply: decodeText(reply),
    ms: Math.round(ms * 1000) / 1000,
  }));
}
