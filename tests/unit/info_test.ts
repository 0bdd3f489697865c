/** What a handler cannot do to the server by what it is given. */

import { assert, assertEquals, assertInstanceOf } from "../support/std.ts";

import { broadcast } from "../../lib/mod.ts";
import type { Handler, RequestInfo } from "../../lib/server/handler.ts";
import { InMemory, turns } from "../support/in_memory.ts";

/** All properties of an object, its own and those of its classes. */
function keysOf(object: object): PropertyKey[] {
  const keys = new Set<PropertyKey>();
  for (
    let at: object | null = object;
    at !== null && at !== Object.prototype;
    at = Object.getPrototypeOf(at)
  ) {
    for (const key of Reflect.ownKeys(at)) keys.add(key);
  }
  return [...keys];
}

/** What a core like this one keeps somewhere, and what it may be called. */
const GUESSES = [
  "abort",
  "aborted",
  "call",
  "caller",
  "clear",
  "close",
  "closing",
  "connection",
  "context",
  "controller",
  "counters",
  "ending",
  "expire",
  "interrupt",
  "meter",
  "over",
  "pending",
  "phase",
  "pieces",
  "renew",
  "requests",
  "session",
  "signal",
  "stage",
  "timedOut",
  "wishes",
  "writer",
].flatMap((name) => [name, `_${name}`, `#${name}`]);

type Info = RequestInfo & Record<PropertyKey, unknown>;

/** Tries something that may be forbidden. */
function attempt(task: () => unknown): void {
  try {
    const result = task();
    if (result instanceof Promise) result.catch(() => {});
  } catch {
    // It is.
  }
}

/** The values that a field may be set to, one of which may be believed. */
const VALUES = ["x", true, 7, null, undefined, () => {}, {}];

const meddling: Record<string, (info: Info) => void> = {
  "closing = x": (info) => void (info.closing = "x"),
  "each property set": (info) => {
    for (const key of [...keysOf(info), ...GUESSES]) {
      for (const value of VALUES) attempt(() => info[key] = value);
    }
  },
  "each property defined anew": (info) => {
    for (const key of [...keysOf(info), ...GUESSES]) {
      const value = () => "x";
      attempt(() => Object.defineProperty(info, key, { value }));
    }
  },
  "each property deleted": (info) => {
    for (const key of keysOf(info)) attempt(() => delete info[key]);
  },
  "each function called": (info) => {
    for (const key of [...keysOf(info), ...GUESSES]) {
      // These are for the handler.
      if (key === "close" || key === "send") continue;
      for (const value of ["x", 7]) {
        attempt(() => (info[key] as (value: unknown) => unknown)(value));
        attempt(() =>
          Reflect.construct(info[key] as () => void, [1, "", {}, {}, value])
        );
      }
    }
    // What is left of that is for the handler as well.
    attempt(() => info.replyInPieces(70_000));
  },
  "its prototype taken": (info) => void Object.setPrototypeOf(info, null),
  "all frozen": (info) => void Object.freeze(info),
  "each value sealed and emptied": (info) => {
    for (const key of keysOf(info)) {
      attempt(() => {
        const value = info[key];
        if (key === "constructor" || typeof value !== "object") return;
        for (const inner of Reflect.ownKeys(value!)) {
          attempt(() => Reflect.set(value!, inner, "x"));
          attempt(() => Reflect.deleteProperty(value!, inner));
        }
        Object.freeze(value);
      });
    }
  },
};

const answers: Record<string, Handler> = {
  "replies": (request) => request,
  "replies later": async (request) => (await turns(1), request),
  "throws": () => {
    throw new Error("wrong");
  },
};

for (const [how, meddle] of Object.entries(meddling)) {
  for (const [end, answer] of Object.entries(answers)) {
    Deno.test(`a handler changes nothing by ${how}, and ${end}`, async () => {
      await using running = new InMemory((request, info) => {
        meddle(info as Info);
        return answer(request, info);
      }, { maxConnectionsPerIp: 1 });
      const { server, events } = running;
      const reply = end === "throws" ? "ERR internal error\n" : "a\n";
      // The first may have spoilt what holds for the second.
      for (let id = 1; id <= 2; id++) {
        const transport = await running.connect("192.0.2.1");
        for (let count = 1; count <= 3; count++) {
          transport.push("a\n");
          await turns(3);
          assertEquals(transport.text, reply.repeat(count));
          assertEquals(await running.states(), ["idle"]);
          assertEquals(server.metrics().inFlight, 0);
        }
        transport.end();
        await turns(2);
        const { error: _, ...event } = events.of("connection_close")[id - 1];
        assertEquals(event, {
          type: "connection_close",
          id,
          remoteAddr: { transport: "tcp", hostname: "192.0.2.1", port: 2 },
          reason: "peer_closed",
          duration: 0,
          requests: 3,
          received: 6,
          sent: 3 * reply.length,
          unanswered: false,
        });
      }
      const { requests, closed, active } = server.metrics();
      assertEquals(
        // What a reply says of itself is the handler's to say.
        [requests.ok + requests.error_reply, requests.error],
        end === "throws" ? [0, 6] : [6, 0],
      );
      assertEquals([closed.peer_closed, active, server.requests], [2, 0, 6]);
      assertEquals(
        events.of("handler_error").map(({ id }) => id),
        end === "throws" ? [1, 1, 1, 2, 2, 2] : [],
      );
      assertEquals(
        [server.ready, await server.disconnect(1)],
        [true, false],
      );
    });
  }
}

Deno.test("info.server gives a handler the server's numbers, and no more", async () => {
  let keys: PropertyKey[] = [];
  await using running = new InMemory((request, info) => {
    keys = keysOf(info.server);
    for (const key of keys) {
      const { server } = info as unknown as {
        server: Record<PropertyKey, unknown>;
      };
      attempt(() => (server[key] as () => unknown)());
      attempt(() => server[key] = 7);
    }
    return request;
  });
  const transport = await running.connect();
  transport.push("a\n");
  await turns(3);
  assertEquals(transport.text, "a\n");
  for (
    const key of [
      "addr",
      "connectionList",
      "disconnect",
      "finished",
      "reloadTls",
      "shutdown",
      "unref",
      Symbol.asyncDispose,
    ]
  ) assert(!keys.includes(key), `a handler has ${String(key)}`);
  const { ready, connections, requests } = running.server;
  assertEquals({ ready, connections, requests }, {
    ready: true,
    connections: 1,
    requests: 1,
  });
  transport.end();
});

Deno.test("info.replyInPieces() takes whole numbers from 1 alone", async () => {
  const refused: number[] = [];
  await using running = new InMemory((_request, info) => {
    for (const bytes of [-1, 0, 0.5, 1.5, NaN, Infinity, 1]) {
      try {
        info.replyInPieces(bytes);
      } catch (error) {
        assertInstanceOf(error, RangeError);
        refused.push(bytes);
      }
    }
    return "abc";
  });
  const transport = await running.connect();
  transport.push("a\n");
  await turns(4);
  assertEquals(transport.text, "abc\n");
  assertEquals(refused, [-1, 0, 0.5, 1.5, NaN, Infinity]);
  transport.end();
});

Deno.test("no class of info gives a handler what serves the connection", async () => {
  const found: unknown[] = [];
  await using running = new InMemory((request, info) => {
    for (
      let at: object | null = info;
      at !== null;
      at = Object.getPrototypeOf(at)
    ) {
      const { constructor } = at as Record<string, object>;
      for (const key of Reflect.ownKeys(constructor)) {
        attempt(() => {
          const get = Reflect.get(constructor, key) as (
            info: unknown,
          ) => unknown;
          found.push(Object(get(info)).context);
        });
      }
    }
    return request;
  });
  const transport = await running.connect();
  transport.push("a\n");
  await turns(3);
  transport.end();
  assertEquals(found.filter((context) => context !== undefined), []);
});

Deno.test("a handler cannot lift the limit of what it sends", async () => {
  for (const value of [Infinity, undefined, "x", NaN]) {
    const thrown: string[] = [];
    await using running = new InMemory((request, info) => {
      (info as { maxReply: unknown }).maxReply = value;
      for (
        const send of [
          () => void info.send("x".repeat(11)),
          () => broadcast([info], "x".repeat(11)),
        ]
      ) {
        try {
          send();
        } catch (error) {
          thrown.push((error as Error).name);
        }
      }
      return request;
    }, { maxReply: 10 });
    const transport = await running.connect();
    transport.push("a\n");
    await turns(3);
    transport.end();
    assertEquals(transport.text, "a\n");
    assertEquals(thrown, ["ReplyTooLargeError", "ReplyTooLargeError"]);
  }
});

Deno.test("what one handler does to info.server, no other sees", async () => {
  const startedAt = 1000;
  const seen: unknown[] = [];
  await using running = new InMemory(
    (request, info) => {
      const { server } = info as { server: { startedAt: unknown } };
      seen.push(server.startedAt);
      attempt(() => server.startedAt = "x");
      attempt(() => Object.defineProperty(server, "startedAt", { value: "y" }));
      return request;
    },
    {},
    { startedAt },
  );
  const transports = await running.connectAll(2);
  for (const transport of transports) transport.push("a\nb\n");
  await turns(3);
  for (const transport of transports) transport.end();
  assertEquals(seen, Array(4).fill(startedAt));
});

Deno.test("state is what the option makes, also where that is nothing", async () => {
  for (const made of [undefined, null, 0, "", false]) {
    let count = 0;
    await using running = new InMemory((_, info) => {
      const { state } = info as { state: unknown };
      const [first, again] = [state, (info as { state: unknown }).state];
      info.state = undefined as unknown as Record<string, unknown>;
      return `${first} ${again} ${info.state} ${count}`;
    }, { state: () => (count++, made) });
    const transport = await running.connect();
    transport.push("a\n");
    await turns(3);
    transport.end();
    assertEquals(transport.text, `${made} ${made} undefined 1\n`);
  }
});
