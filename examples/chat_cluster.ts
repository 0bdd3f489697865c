// One chat on several machines, joined by Redis. Each message has a number. A
// client that reconnects sends the last number it has seen, and gets the
// messages that it has missed.
//
//   redis-server &
//   deno run --allow-net examples/chat_cluster.ts 127.0.0.2:7000 127.0.0.1:6379
//   deno run --allow-net examples/chat_cluster.ts 127.0.0.3:7000 127.0.0.1:6379
//   deno run --allow-net examples/chat_cluster.ts 127.0.0.4:7000 127.0.0.1:6379
//   haproxy -f examples/chat_cluster.cfg
//   nc 127.0.0.1 7000            (a name, and the last number, such as: ann 17)

import {
  broadcast,
  connect,
  formatAddr,
  type ParleyConnection,
  serveConnections,
} from "@parley/parley";
import { array, parse, resp } from "./resp.ts";

type Member = ParleyConnection<{ last: number; missed?: string[] }>;

const [own, redis] = Deno.args.map((arg) => {
  const [hostname, port] = arg.split(":");
  return { hostname, port: Number(port) };
});
const decoder = new TextDecoder();
const members = new Set<Member>();

/** Numbers a message, keeps the last thousand, and tells all processes. */
const SAY = `
  local line = redis.call('INCR', 'chat:number') .. ' ' .. ARGV[1]
  redis.call('RPUSH', 'chat:last', line)
  redis.call('LTRIM', 'chat:last', -1000, -1)
  redis.call('PUBLISH', 'chat', line)`;

const client = await connect({ ...redis, framing: resp });

async function ask(...command: string[]) {
  const value = parse(await client.request(array(...command)));
  if (value instanceof Error) throw value;
  return value;
}

/** Sends a line to the members who have not got it yet. */
function give(to: Iterable<Member>, line: string): void {
  const number = parseInt(line);
  const lacking = [...to].filter(({ state }) => state.last < number);
  for (const { state } of lacking) state.last = number;
  broadcast(lacking, line);
}

/** Sends a member what it has missed; from then on it gets new messages. */
async function join(member: Member, last: number): Promise<void> {
  const { state } = member;
  // New messages wait until the kept ones are sent, so that the order is right.
  const missed: string[] = state.missed = [];
  members.add(member);
  const kept = await ask("LRANGE", "chat:last", "0", "-1") as Uint8Array[];
  const lines = [...kept.map((line) => decoder.decode(line)), ...missed];
  state.missed = undefined;
  // A Redis that has lost its data counts from 1 again.
  state.last = last > parseInt(lines.at(-1) ?? "0") ? 0 : last;
  const lost = parseInt(lines[0] ?? "1") - 1 - state.last;
  if (lost > 0) member.send(`* ${lost} older messages are gone`);
  for (const line of lines) give([member], line);
}

// Redis allows a subscribed connection no other commands, so there are two.
const subscription = await connect({
  ...redis,
  framing: resp,
  isPush: (frame) => /^\*3\r\n\$7\r\nmessage/.test(decoder.decode(frame)),
});
await subscription.request(array("SUBSCRIBE", "chat"));

const server = serveConnections({
  ...own,
  state: () => ({ last: 0 }),
  onListen: (addr) => console.log(`listening on ${formatAddr(addr)}`),
}, async (member: Member) => {
  const place = formatAddr(member.localAddr);
  await member.send(`* Your name, and the last number? You are on ${place}`);
  let name = "";
  try {
    for await (const frame of member) {
      // A line cannot end in a CR when it is sent on.
      const line = decoder.decode(frame).trimEnd();
      const [, given, last = "0"] = /^(\w{1,20})(?: (\d+))?$/.exec(line) ?? [];
      if (name !== "") await ask("EVAL", SAY, "0", `${name}: ${line}`);
      else if (given === undefined) await member.send("* such as: ann 17");
      else {
        name = given;
        await join(member, Number(last));
      }
    }
    // The iteration ended by a drain, and the client is still connected.
    await member.send("* come again");
  } finally {
    members.delete(member);
  }
});

Deno.addSignalListener("SIGTERM", async () => {
  await server.shutdown();
  Deno.exit();
});
for await (const push of subscription.pushes) {
  const line = decoder.decode((parse(push) as Uint8Array[])[2]);
  const ready = [...members].filter(({ state }) => {
    state.missed?.push(line);
    return state.missed === undefined;
  });
  give(ready, line);
}
// Without Redis there is no chat: a service manager should start this again.
Deno.exit(1);
