// Forwards each request to the one of several servers that has least to do. One
// that is down is left out, and is tried again by the next requests.
//
//   deno run --allow-net examples/proxy.ts 7000 127.0.0.1:7001 127.0.0.1:7002

import {
  type Client,
  connect,
  ConnectError,
  formatAddr,
  RefusedError,
  serve,
} from "@parley/parley";

const [port, ...targets] = Deno.args;

/** A server behind this one, with one connection for all requests. */
class Target {
  #client: Promise<Client> | undefined;
  readonly #options: { hostname: string; port: number };
  pending = 0;

  constructor(target: string) {
    const [hostname, port] = target.split(":");
    this.#options = { hostname, port: Number(port) };
  }

  /** Its reply, or nothing where it was surely not asked. */
  async request(request: Uint8Array): Promise<Uint8Array | undefined> {
    this.pending++;
    try {
      const client = await (this.#client ??= this.#connect());
      return await client.request(request);
    } catch (error) {
      if (error instanceof ConnectError) return;
      // It has said that it has no place for us.
      if (error instanceof RefusedError) return;
      throw error;
    } finally {
      this.pending--;
    }
  }

  async #connect(): Promise<Client> {
    const forget = () => this.#client = undefined;
    try {
      const client = await connect({ ...this.#options, timeout: 5000 });
      client.closed.then(forget);
      return client;
    } catch (error) {
      forget();
      throw error;
    }
  }
}

const all = targets.map((target) => new Target(target));

serve({
  hostname: "127.0.0.1",
  port: Number(port),
  onListen: (addr) => console.log(`listening on ${formatAddr(addr)}`),
  // What was asked may have been done: to ask another would do it twice.
  onError: () => "ERR lost: the server behind has not replied",
}, async (request) => {
  for (const target of all.toSorted((a, b) => a.pending - b.pending)) {
    const reply = await target.request(request);
    if (reply !== undefined) return reply;
  }
  return "ERR busy: no server is there";
});
