// A client that combines the calls of many callers into few requests: each
// request is one frame with up to 100 questions.
//
//   deno run --allow-net examples/batch.ts

import { type Client, connect, serve } from "@parley/parley";

interface Question {
  readonly key: string;
  readonly resolve: (value: number) => void;
  readonly reject: (error: unknown) => void;
}

/** Asks for values by their keys, up to `most` of them in a request. */
class BatchingClient {
  readonly #client: Client;
  readonly #most: number;
  #waiting: Question[] = [];

  constructor(client: Client, most: number) {
    this.#client = client;
    this.#most = most;
  }

  get(key: string): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    // All calls before the end of this turn of the event loop go together.
    if (this.#waiting.length === 0) setTimeout(() => this.#send());
    this.#waiting.push({ key, resolve, reject });
    if (this.#waiting.length === this.#most) this.#send();
    return promise;
  }

  async #send(): Promise<void> {
    const batch = this.#waiting;
    if (batch.length === 0) return;
    this.#waiting = [];
    try {
      const keys = JSON.stringify(batch.map(({ key }) => key));
      const reply = await this.#client.request(keys);
      const values: number[] = JSON.parse(new TextDecoder().decode(reply));
      batch.forEach(({ resolve }, i) => resolve(values[i]));
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }
}

// The server: it replies with the lengths of the keys.
await using server = serve({ hostname: "127.0.0.1", port: 0 }, (request) => {
  const keys: string[] = JSON.parse(new TextDecoder().decode(request));
  return JSON.stringify(keys.map((key) => key.length));
});

await using client = await connect(server.addr);
const batching = new BatchingClient(client, 100);
const answers = await Promise.all(
  Array.from({ length: 1050 }, (_, i) => batching.get("x".repeat(i % 10))),
);
const right = answers.filter((answer, i) => answer === i % 10).length;
console.log(`${right} right answers by ${server.requests} requests`);
