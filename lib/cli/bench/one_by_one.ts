/** `client bench --reconnect`: a connection for each request. */

import type { Client as AnyClient } from "../../client/api.ts";
import { ClientClosedError } from "../../core/errors.ts";

/** What a load needs of its clients. */
export type Client =
  & Pick<AnyClient, "sent" | "close" | "closed">
  & { request(payload: Uint8Array): Promise<Uint8Array> };

/** A client that connects anew for each request, and closes behind its reply. */
export class OneByOne implements Client {
  sent = 0;
  readonly #over = new AbortController();
  readonly #ended = Promise.withResolvers<undefined>();

  constructor(
    private readonly connect: (signal: AbortSignal) => Promise<Client>,
  ) {}

  get closed(): Promise<undefined> {
    return this.#ended.promise;
  }

  async request(payload: Uint8Array): Promise<Uint8Array> {
    const { signal } = this.#over;
    signal.throwIfAborted();
    const client = await this.connect(signal);
    const close = () => client.close();
    signal.addEventListener("abort", close);
    try {
      return await client.request(payload);
    } finally {
      signal.removeEventListener("abort", close);
      close();
      this.sent += client.sent;
    }
  }

  close(): void {
    this.#over.abort(new ClientClosedError("Client is closed"));
    this.#ended.resolve(undefined);
  }
}
