// A key-value store with expiry that speaks RESP, so redis-cli and every client
// of Redis can use it.
//
//   deno run --allow-net examples/kv_resp.ts
//   redis-cli -p 7000 SET greeting hello EX 60
//   redis-benchmark -p 7000 -t set,get -P 16 -q

import { formatAddr, type Reply, serve } from "@parley/parley";
import { bulk, parse, resp } from "./resp.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** The client's mistake. */
class Mistake extends Error {}

const store = new Map<string, { value: Bytes; until: number }>();
// In latin1 each byte is one character, so keys may be any bytes.
const latin1 = new TextDecoder("latin1");

function find(key: string) {
  const entry = store.get(key);
  if (entry === undefined || entry.until > Date.now()) return entry;
  store.delete(key);
}

// Expired entries that nobody reads again must be deleted too.
setInterval(() => {
  for (const key of store.keys()) find(key);
}, 1000);

function milliseconds(text: string, unit = 1): number {
  const number = /^[1-9]\d{0,11}$/.test(text) ? Number(text) * unit : NaN;
  if (number > 0) return Date.now() + number;
  throw new Mistake(`expiry is a whole number from 1, got ${text}`);
}

const commands: Record<string, (args: Bytes[], text: string[]) => Reply> = {
  PING: ([text]) => text ? bulk(text) : "+PONG\r\n",
  GET: (_, [key]) => bulk(find(key)?.value),
  SET([, value], [key, , option, time]) {
    const units: Record<string, number> = { EX: 1000, PX: 1 };
    const unit = units[option?.toUpperCase()];
    if (option && !unit) throw new Mistake(`option is EX or PX, got ${option}`);
    const until = option ? milliseconds(time ?? "", unit) : Infinity;
    // The request is a view of the receive buffer, so what is kept is copied.
    store.set(key, { value: value.slice(), until });
    return "+OK\r\n";
  },
  DEL: (_, keys) =>
    `:${keys.filter((key) => find(key) && store.delete(key)).length}\r\n`,
  EXPIRE(_, [key, time]) {
    const until = milliseconds(time, 1000);
    const entry = find(key);
    if (entry !== undefined) entry.until = until;
    return entry === undefined ? ":0\r\n" : ":1\r\n";
  },
  TTL(_, [key]) {
    const { until } = find(key) ?? { until: 0 };
    if (until === Infinity) return ":-1\r\n";
    return `:${until === 0 ? -2 : Math.ceil((until - Date.now()) / 1000)}\r\n`;
  },
};
/** The least and the most arguments of each command. */
const arity: Record<string, [number, number]> = {
  ...{ PING: [0, 1], GET: [1, 1], SET: [2, 4], DEL: [1, 1000] },
  ...{ EXPIRE: [2, 2], TTL: [1, 1] },
};

serve({
  hostname: "127.0.0.1",
  port: Number(Deno.args[0] ?? 7000),
  framing: resp,
  maxFrame: 1024 * 1024,
  onListen: (addr) => console.log(`listening on ${formatAddr(addr)}`),
  onError: (error) =>
    `-ERR ${error instanceof Mistake ? error.message : "internal error"}\r\n`,
}, (request) => {
  const items = parse(request);
  if (!Array.isArray(items) || !items.every((i) => i instanceof Uint8Array)) {
    throw new Mistake("Protocol error: expected an array of bulk strings");
  }
  const [command = "", ...text] = items.map((item) => latin1.decode(item));
  const name = command.toUpperCase();
  if (!Object.hasOwn(commands, name)) {
    throw new Mistake(`unknown command '${JSON.stringify(command)}'`);
  }
  const [least, most] = arity[name];
  if (text.length < least || text.length > most) {
    throw new Mistake(`wrong number of arguments for '${name}'`);
  }
  return commands[name](items.slice(1) as Bytes[], text);
});
