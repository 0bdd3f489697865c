// Publish and subscribe. A subscriber that does not read is closed, so it
// delays nobody and takes at most 256 KiB.
//
//   deno run --allow-net examples/pubsub.ts
//   nc 127.0.0.1 7000            (SUBSCRIBE news, and in another terminal:)
//   echo 'PUBLISH news it rains' | nc -N 127.0.0.1 7000

import {
  broadcast,
  commandTable,
  formatAddr,
  type RequestInfo,
  serve,
  UsageError,
} from "@parley/parley";

type Info = RequestInfo<{ topics: Set<string> }>;

const subscribers = new Map<string, Set<Info>>();
const decoder = new TextDecoder();

function topicOf(text: string): string {
  if (/^[\w.]{1,100}$/.test(text)) return text;
  throw new UsageError("topic is 1 to 100 letters, digits and dots");
}

function unsubscribe(info: Info, topic: string): void {
  info.state.topics.delete(topic);
  const infos = subscribers.get(topic);
  infos?.delete(info);
  if (infos?.size === 0) subscribers.delete(topic);
}

serve(
  {
    hostname: "127.0.0.1",
    port: Number(Deno.args[0] ?? 7000),
    maxBuffered: 256 * 1024,
    state: () => ({ topics: new Set<string>() }),
    onClose: (info) => info.state.topics.forEach((t) => unsubscribe(info, t)),
    onListen: (addr) => console.log(`listening on ${formatAddr(addr)}`),
    events: {
      connection_close: ({ id, reason }) => console.log(`${id}: ${reason}`),
    },
  },
  commandTable<Info["state"]>({
    SUBSCRIBE: {
      args: "topic",
      help: "sends what is published to it, from now on",
      run(text, info) {
        const topic = topicOf(decoder.decode(text));
        if (info.state.topics.size >= 100) throw new UsageError("100 at most");
        info.state.topics.add(topic);
        if (!subscribers.has(topic)) subscribers.set(topic, new Set());
        subscribers.get(topic)!.add(info);
        return "OK";
      },
    },
    UNSUBSCRIBE: {
      args: "topic",
      help: "sends no more of it",
      run(text, info) {
        unsubscribe(info, topicOf(decoder.decode(text)));
        return "OK";
      },
    },
    PUBLISH: {
      args: "topic text",
      help: "sends the text, and replies how many it is sent to",
      run(text) {
        // A line cannot end in a CR when it is sent on.
        const said = decoder.decode(text).trimEnd();
        const infos = subscribers.get(topicOf(said.split(" ")[0])) ?? [];
        const to = [...infos];
        broadcast(to, `MESSAGE ${said}`);
        return `${to.length}`;
      },
    },
  }),
);
