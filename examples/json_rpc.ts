// JSON-RPC 2.0 with one message on each line: concurrent, with batches, and in
// both directions. https://www.jsonrpc.org/specification
//
//   deno run --allow-net examples/json_rpc.ts
//   echo '{"jsonrpc":"2.0","method":"subtract","params":[42,23],"id":1}' |
//     nc -N 127.0.0.1 7000
//
// With a method and its parameters after the port it is the client:
//
//   deno run --allow-net examples/json_rpc.ts 7000 greet

import { connect, formatAddr, serveConnections } from "@parley/parley";

/** A method, which may call its caller. */
type Method = (params: unknown, caller: Rpc) => unknown;

/** The failure of a call, with its code. */
class RpcError extends Error {
  constructor(readonly code: number, message: string) {
    super(message);
  }
}

const is = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** One side of a connection. */
class Rpc {
  /** The most calls of the other side that run at the same time. */
  static readonly most = 100;
  #running = 0;
  #calls = new Map<unknown, PromiseWithResolvers<unknown>>();
  #id = 0;
  #send: (text: string) => unknown;
  #methods: Record<string, Method>;

  constructor(
    send: (text: string) => unknown,
    methods: Record<string, Method>,
  ) {
    this.#send = send;
    this.#methods = methods;
  }

  /** Calls a method of the other side. */
  call(method: string, params?: unknown): Promise<unknown> {
    const call = Promise.withResolvers<unknown>();
    const id = ++this.#id;
    this.#calls.set(id, call);
    this.#send(JSON.stringify({ jsonrpc: "2.0", method, params, id }));
    return call.promise;
  }

  /** Handles a line, and replies when all its calls are done. Never throws. */
  async take(line: string): Promise<void> {
    let reply: unknown;
    try {
      const said: unknown = JSON.parse(line);
      if (Array.isArray(said) && said.length > 0) {
        const all = await Promise.all(said.map((one) => this.#one(one)));
        const replies = all.filter((one) => one !== undefined);
        reply = replies.length > 0 ? replies : undefined;
      } else reply = await this.#one(said);
    } catch {
      reply = failure(null, new RpcError(-32700, "Parse error"));
    }
    if (reply !== undefined) this.#send(JSON.stringify(reply));
  }

  /** Rejects all calls without an answer, because the connection has ended. */
  end(): void {
    for (const { reject } of this.#calls.values()) {
      reject(new RpcError(-32000, "Connection lost"));
    }
  }

  async #one(said: unknown): Promise<unknown> {
    if (is(said) && said.method === undefined && this.#calls.has(said.id)) {
      const { resolve, reject } = this.#calls.get(said.id)!;
      this.#calls.delete(said.id);
      if (!is(said.error)) return resolve(said.result);
      const { code, message } = said.error;
      return reject(new RpcError(Number(code), String(message)));
    }
    if (
      !is(said) || said.jsonrpc !== "2.0" || typeof said.method !== "string" ||
      !/string|number|undefined/.test(typeof (said.id ?? undefined)) ||
      said.params !== undefined && !Array.isArray(said.params) &&
        !is(said.params)
    ) {
      return failure(null, new RpcError(-32600, "Invalid Request"));
    }
    const reply = await this.#answer(said.method, said.params, said.id);
    // Without an id it is a notification.
    return said.id === undefined ? undefined : reply;
  }

  async #answer(method: string, params: unknown, id: unknown) {
    if (this.#running >= Rpc.most) {
      return failure(id, new RpcError(-32000, "Too many calls at once"));
    }
    this.#running++;
    try {
      if (!Object.hasOwn(this.#methods, method)) {
        throw new RpcError(-32601, "Method not found");
      }
      const result = await this.#methods[method](params, this) ?? null;
      return { jsonrpc: "2.0", result, id };
    } catch (error) {
      const own = error instanceof RpcError;
      return failure(id, own ? error : new RpcError(-32603, "Internal error"));
    } finally {
      this.#running--;
    }
  }
}

function failure(id: unknown, { code, message }: RpcError) {
  return { jsonrpc: "2.0", error: { code, message }, id };
}

/** The numbers among the parameters, by their places or names. */
function numbers(params: unknown, ...names: string[]): number[] {
  const all = is(params) ? names.map((name) => params[name]) : params;
  if (Array.isArray(all) && all.every((n) => typeof n === "number")) return all;
  throw new RpcError(-32602, "Invalid params");
}

const methods: Record<string, Method> = {
  subtract(params) {
    const [a, b] = numbers(params, "minuend", "subtrahend");
    return a - b;
  },
  sum: (params) => numbers(params).reduce((a, b) => a + b, 0),
  get_data: () => ["hello", 5],
  // It asks its caller back before it replies.
  greet: async (_, caller) => `hello, ${await caller.call("name")}`,
};

/** Handles all messages of the other side. */
async function listen(frames: AsyncIterable<Uint8Array>, rpc: Rpc) {
  const running = new Set<Promise<void>>();
  const decoder = new TextDecoder();
  try {
    for await (const frame of frames) {
      const task = rpc.take(decoder.decode(frame));
      running.add(task);
      task.finally(() => running.delete(task));
    }
  } finally {
    // Our calls get no answers any more; the calls of the other side still do.
    rpc.end();
    await Promise.all(running);
  }
}

const [port = "7000", method, ...params] = Deno.args;
const at = { hostname: "127.0.0.1", port: Number(port) };
if (method === undefined) {
  const onListen = (addr: Deno.NetAddr) =>
    console.log(`listening on ${formatAddr(addr)}`);
  serveConnections({ ...at, onListen }, async (connection) => {
    await listen(connection, new Rpc((text) => connection.send(text), methods));
  });
} else {
  // Replies come in any order, mixed with calls, so all frames are pushes.
  await using client = await connect({ ...at, isPush: () => true });
  const rpc = new Rpc((text) => client.send(text), {
    name: () => "whoever calls",
  });
  const listening = listen(client.pushes, rpc);
  const values = params.map((text) => JSON.parse(text));
  console.log(await rpc.call(method, values).catch(({ message }) => message));
  client.close();
  await listening;
}
