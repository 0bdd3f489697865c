// examples/chat_cluster.ts: three processes behind HAProxy, joined by Redis.

import { freePorts } from "../support/cluster.ts";
import { Example } from "../support/examples.ts";
import { ownAddress, Peer } from "../support/fixtures.ts";
import { Lines, ROOT, testWithTools } from "../support/programs.ts";
import { assert, assertEquals, assertMatch } from "../support/std.ts";

interface Place {
  readonly hostname: string;
  readonly port: number;
}

/** A client that comes again when its connection has ended. */
class Client {
  readonly name: string;
  /** The messages, and what else it is told, in the order of their coming. */
  readonly messages: string[] = [];
  readonly told: string[] = [];
  /** Which processes it was connected to, the last one at the end. */
  readonly places: string[] = [];
  #peer: Peer | undefined;
  #news = Promise.withResolvers<void>();
  #closing = false;
  readonly #ended: Promise<void>;

  constructor(name: string, addr: Place) {
    this.name = name;
    this.#ended = this.#live(addr);
  }

  async #live(addr: Place): Promise<void> {
    while (!this.#closing) {
      const peer = this.#peer = new Peer(await Deno.connect(addr));
      const lines = new Lines(peer.conn.readable);
      try {
        const place = (await lines.next()).split(" ").at(-1)!;
        const last = this.messages.at(-1)?.split(" ")[0] ?? "0";
        await peer.send(`${this.name} ${last}\n`);
        this.places.push(place);
        for (;;) {
          this.#tell();
          const line = await lines.next();
          (line.startsWith("*") ? this.told : this.messages).push(line);
        }
      } catch {
        // It has ended, and begins anew.
      }
      await lines.cancel();
    }
  }

  #tell(): void {
    this.#news.resolve();
    this.#news = Promise.withResolvers();
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await this.#news.promise;
  }

  /** Says something, and waits until it has come back. */
  async say(text: string): Promise<void> {
    const { messages } = this;
    const before = messages.length;
    await this.#peer!.send(`${text}\n`);
    const end = ` ${this.name}: ${text}`;
    await this.until(() =>
      messages.slice(before).some((line) => line.endsWith(end))
    );
  }

  async close(): Promise<void> {
    this.#closing = true;
    await this.#peer!.finish();
    await this.#ended;
  }
}

const where = ({ hostname, port }: Place) => `${hostname}:${port}`;

/** Tries until somebody listens there. */
async function listening(addr: Place): Promise<void> {
  while (true) {
    try {
      return (await Deno.connect(addr)).close();
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
    }
  }
}

/** A place that stays free until somebody is told to listen there. */
const freePlace = (): Place => {
  const hostname = ownAddress();
  const [port] = freePorts(hostname, 1);
  return { hostname, port };
};

function spawn(command: string, ...args: string[]): AsyncDisposable {
  const child = new Deno.Command(command, {
    args,
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  return {
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.status;
    },
  };
}

for (const signal of ["SIGTERM", "SIGKILL"] as const) {
  testWithTools(
    `examples/chat_cluster.ts loses no message when a process ends by ${signal}`,
    ["haproxy", "redis-server"],
    async () => {
      const folder = await Deno.makeTempDir();
      await using stack = new AsyncDisposableStack();
      stack.defer(() => Deno.remove(folder, { recursive: true }));
      const redis = freePlace();
      stack.use(spawn("redis-server", ...[
        ...[
          "--bind",
          redis.hostname,
          "--port",
          `${redis.port}`,
          "--dir",
          folder,
        ],
        ...["--save", "", "--appendonly", "no", "--protected-mode", "no"],
      ]));
      await listening(redis);
      const places = Array.from({ length: 3 }, freePlace);
      const start = async ({ hostname, port }: Place) => {
        const example = await Example.run(
          "chat_cluster",
          `${hostname}:${port}`,
          `${redis.hostname}:${redis.port}`,
        );
        stack.use(example);
        await example.stdout.until(/^listening on /);
        return example;
      };
      const [, , third] = await Promise.all(places.map(start));
      const proxy = freePlace();
      let config = await Deno.readTextFile(`${ROOT}examples/chat_cluster.cfg`);
      config = config.replace("127.0.0.1:7000", where(proxy));
      for (const [i, addr] of places.entries()) {
        config = config.replace(`127.0.0.${i + 2}:7000`, where(addr));
      }
      await Deno.writeTextFile(`${folder}/haproxy.cfg`, config);
      stack.use(spawn("haproxy", "-db", "-f", `${folder}/haproxy.cfg`));
      await listening(proxy);

      const clients: Client[] = [];
      stack.defer(async () => {
        for (const client of clients) await client.close();
      });
      const come = async () => {
        const client = new Client(`c${clients.length}`, proxy);
        clients.push(client);
        await client.until(() => client.places.length > 0);
        return client;
      };
      const at = (addr: Place) =>
        clients.filter(({ places }) => places.at(-1) === where(addr));
      // Two at each of them.
      while (places.some((addr) => at(addr).length < 2)) await come();
      const leavers = at(places[2]);
      const stayers = clients.filter((client) => !leavers.includes(client));

      const speak = async (count: number) => {
        for (let i = 0; i < count; i++) {
          await stayers[i % stayers.length].say(`message ${i}`);
        }
      };
      await speak(20);
      await leavers[0].say("here I am");
      third.child.kill(signal);
      await speak(20);
      await third.child.status;
      await speak(20);
      for (const client of leavers) {
        await client.until(() => client.places.length > 1);
        await client.say(`${client.name} is back`);
      }
      await start(places[2]);
      while (at(places[2]).length === 0) await come();
      await speak(20);

      const total = 20 * 4 + 1 + leavers.length;
      for (const client of clients) {
        await client.until(() => client.messages.length >= total);
        // Each of them, once, in their order, and the same for all.
        assertEquals(client.messages, clients[0].messages, client.name);
      }
      const numbers = clients[0].messages.map((line) => parseInt(line));
      assertEquals(numbers, Array.from({ length: total }, (_, i) => i + 1));
      for (const { places } of stayers) assertEquals(places.length, 1);
      for (const { told } of leavers) {
        const goodbye = signal === "SIGTERM" ? ["* come again"] : [];
        assertEquals(told, goodbye);
      }
      const back = at(places[2])[0];
      assert(!leavers.includes(back) || back.places.length > 2);
    },
  );
}

testWithTools(
  "examples/chat_cluster.ts tells of messages that nobody has any more",
  ["redis-server"],
  async () => {
    await using stack = new AsyncDisposableStack();
    const redis = freePlace();
    stack.use(spawn("redis-server", ...[
      ...["--bind", redis.hostname, "--port", `${redis.port}`, "--save", ""],
      ...["--protected-mode", "no"],
    ]));
    await listening(redis);
    const own = freePlace();
    const example = stack.use(
      await Example.run(
        "chat_cluster",
        `${own.hostname}:${own.port}`,
        `${redis.hostname}:${redis.port}`,
      ),
    );
    await example.stdout.until(/^listening on /);
    const peer = stack.use(new Peer(await Deno.connect(own)));
    const lines = new Lines(peer.conn.readable);
    await lines.next();
    await peer.send("- -\nann 7\n");
    assertEquals(await lines.next(), "* such as: ann 17");
    // Nothing was ever said, so the number was that of another Redis.
    for (let i = 1; i <= 1003; i++) {
      await peer.send(`${i}\r\r\n`);
      assertEquals(await lines.next(), `${i} ann: ${i}`);
    }
    const other = stack.use(new Peer(await Deno.connect(own)));
    const others = new Lines(other.conn.readable);
    assertMatch(await others.next(), RegExp(`You are on ${where(own)}$`));
    await other.send("bob 1\n");
    assertEquals(await others.next(), "* 2 older messages are gone");
    for (let i = 4; i <= 1003; i++) {
      assertEquals(await others.next(), `${i} ann: ${i}`);
    }
    await lines.cancel();
    await others.cancel();
  },
);
