/** What becomes of the replies and the errors of a handler. */

import { assertEquals, assertMatch } from "../support/std.ts";

import type { RequestInfo } from "../../lib/mod.ts";
import type { Handler } from "../../lib/server/handler.ts";
import { InMemory, turns } from "../support/in_memory.ts";

Deno.test("an onError that fails is told of as well", async () => {
  for (const later of [false, true]) {
    await using running = new InMemory(() => {
      throw new Error("first");
    }, {
      onError: () => {
        const error = new Error("second");
        if (later) return Promise.reject(error);
        throw error;
      },
    });
    const transport = await running.connect();
    transport.push("a\n");
    await turns(3);
    transport.end();
    assertEquals(transport.text, "ERR internal error\n");
    assertEquals(
      running.events.of("handler_error").map(({ error }) => String(error)),
      ["Error: first", "Error: second"],
    );
  }
});

/** An iterable whose steps are no promises, as `for await` takes them too. */
const plainSteps = () => {
  const left = ["1", "2"];
  return {
    [Symbol.asyncIterator]: () => ({
      next: () => ({ done: left.length === 0, value: left.shift() }),
    }),
  };
};

/** A promise of some code's own, which is a function at the same time. */
const callable = Object.assign(() => {}, {
  then: (resolve: (reply: string) => void) => resolve("called"),
});

/** Replies of each kind, and what the peer gets of them. */
const REPLIES: Record<string, [reply: () => unknown, sent: string]> = {
  "steps that are no promises": [plainSteps, "1\n2\n"],
  "a promise of those": [() => Promise.resolve(plainSteps()), "1\n2\n"],
  "a thenable that is a function": [() => callable, "called\n"],
  "shared memory": [
    () => new Uint8Array(new SharedArrayBuffer(3)).fill(120),
    "xxx\n",
  ],
  ...Object.fromEntries([
    ...[42, true, Symbol("s"), 1n, {}, [], new String("a"), () => {}],
    ...[
      new ArrayBuffer(1),
      new Uint16Array(1),
      new DataView(new ArrayBuffer(1)),
    ],
    ...[Object.create(null), new Error("e"), Promise.resolve(42), new Map()],
  ].map((value, i) => [
    `no reply (${i})`,
    [() => value, "ERR internal error\n"] as [() => unknown, string],
  ])),
};

for (const [what, [reply, sent]] of Object.entries(REPLIES)) {
  Deno.test(`a handler may give ${what}, and the connection goes on`, async () => {
    await using running = new InMemory(
      ((request) => request.length === 1 ? reply() : request) as Handler,
    );
    const transport = await running.connect();
    transport.push("a\nnext\n");
    await turns(3);
    assertEquals(transport.text, `${sent}next\n`);
    for (const { error } of running.events.of("handler_error")) {
      assertMatch(
        String(error),
        /^TypeError: Cannot send .*: expected a Uint8/,
      );
    }
    transport.end();
  });
}

Deno.test("onOpen and onError may reply with several frames, too", async () => {
  await using running = new InMemory(() => {
    throw new Error("wrong");
  }, {
    onOpen: () => ReadableStream.from(["1", "2"]),
    async *onError() {
      yield "3";
      yield "4";
    },
  });
  const transport = await running.connect();
  transport.push("a\n");
  await turns(3);
  transport.end();
  assertEquals(transport.text, "1\n2\n3\n4\n");
});

Deno.test("a stream that comes too late is cancelled", async () => {
  const ended: string[] = [];
  const stream = (name: string) =>
    new ReadableStream<string>({ cancel: () => void ended.push(name) });
  const replies: ((stream: ReadableStream<string>) => void)[] = [];
  await using running = new InMemory((request, info) => {
    const name = new TextDecoder().decode(request);
    if (name === "closed") {
      void running.server.disconnect(info.id);
      return stream(name);
    }
    return new Promise((resolve) => replies.push(() => resolve(stream(name))));
  }, { requestTimeout: 1000 });
  const [late, reset, closed] = await running.connectAll(3);
  late.push("late\n");
  reset.push("reset\n");
  closed.push("closed\n");
  await turns(2);
  reset.reset();
  await running.pass(1500);
  assertEquals(ended, ["closed"]);
  for (const reply of replies) reply(stream(""));
  await turns(2);
  assertEquals(ended, ["closed", "late", "reset"]);
  assertEquals(late.text, "ERR request timeout: no reply within 1000 ms\n");
  late.end();
});

Deno.test("a thenable is asked once, though its reply comes too late", async () => {
  let asked = 0;
  await using running = new InMemory(
    () => ({
      then() {
        asked++;
      },
    } as unknown as Promise<string>),
    { requestTimeout: 1000 },
  );
  const transport = await running.connect();
  transport.push("a\n");
  await running.pass(1500);
  transport.end();
  assertEquals(asked, 1);
});

Deno.test("an onError that hangs is given up, though the handler ends then", async () => {
  const hangs = Promise.withResolvers<string>();
  await using running = new InMemory(
    (_, { signal }) =>
      new Promise((_, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason));
      }),
    { requestTimeout: 1000, onError: () => hangs.promise },
  );
  const transport = await running.connect();
  transport.push("a\n");
  await running.pass(3000);
  transport.end();
  assertEquals(
    transport.text,
    "ERR request timeout: no reply within 1000 ms\n",
  );
  await turns(2);
  assertEquals(running.events.reasons, ["request_timeout"]);
});

Deno.test("close() in a greeting of several frames lets it end", async () => {
  await using running = new InMemory((request) => request, {
    async *onOpen(info) {
      info.close();
      for (let i = 0; i < 50; i++) {
        // As if others had worked for long: the next one is for another turn.
        running.clock.jump(3);
        yield `${i}`;
      }
    },
  });
  const transport = await running.connect();
  await running.pass(100, 1);
  transport.end();
  assertEquals(transport.text.split("\n").length, 51);
});

Deno.test("close() between requests ends the connection after what was sent", async () => {
  const infos: RequestInfo[] = [];
  await using running = new InMemory((request) => request, {
    onOpen: (info) => void infos.push(info),
    idleTimeout: 0,
    maxBuffered: 1e6,
  });
  const [quiet, busy, slow] = await running.connectAll(3);
  busy.push("a\n");
  slow.take(0);
  await turns(2);
  for (const info of infos) {
    info.send("bye");
    if (info.id === 3) info.send("x".repeat(200_000));
    info.close();
    info.close();
  }
  await turns(3);
  assertEquals([quiet.text, busy.text], ["bye\n", "a\nbye\n"]);
  assertEquals([quiet, busy, slow].map(({ finished }) => finished), [
    ...[true, true, false],
  ]);
  slow.push("more\n");
  await turns(2);
  slow.take(Infinity);
  await turns(5);
  assertEquals(slow.taken.length, 4 + 200_001);
  for (const transport of [quiet, busy, slow]) transport.end();
  await turns(2);
  assertEquals(running.events.reasons, Array(3).fill("handler_closed"));
  assertEquals(running.server.requests, 1);
});

Deno.test("what was sent goes out before an end, also a large frame", async () => {
  const large = "x".repeat(200_000);
  for (const end of ["close", "peer"]) {
    await using running = new InMemory((_, info) => {
      info.send(large);
      if (end === "close") info.close();
    });
    const transport = await running.connect();
    transport.take(1000);
    transport.push("a\n");
    if (end === "peer") transport.end();
    await turns(3);
    transport.take(Infinity);
    await turns(5);
    assertEquals(transport.taken.length, large.length + 1, end);
    transport.end();
  }
});

Deno.test("an onRefuse that fails is told of, and the client gets the text", async () => {
  for (const later of [false, true]) {
    await using running = new InMemory((request) => request, {
      deny: "192.0.2.0/24",
      onRefuse: (): string => {
        const error = new Error("wrong");
        if (later) return Promise.reject(error) as unknown as string;
        throw error;
      },
    });
    const transport = await running.connect("192.0.2.1");
    await turns(3);
    transport.end();
    assertEquals(transport.text, "ERR denied: this address may not connect\n");
    const errors = running.events.of("handler_error");
    assertEquals(errors.map(({ error }) => String(error)), ["Error: wrong"]);
  }
});

Deno.test("an onRefuse that hangs holds a client for two seconds", async () => {
  await using running = new InMemory((request) => request, {
    deny: "192.0.2.0/24",
    onRefuse: () => new Promise(() => {}) as unknown as string,
  });
  const transport = await running.connect("192.0.2.1");
  await running.pass(5000);
  assertEquals([transport.closed, transport.text], [true, ""]);
});

Deno.test("what is pushed after a reply comes behind it, also a large one", async () => {
  for (const before of ["short", "B".repeat(100_000)]) {
    for (const pieces of [0, 50_000]) {
      await using running = new InMemory((request, info) => {
        if (pieces > 0) info.replyInPieces(pieces);
        info.send(before);
        info.send(before);
        queueMicrotask(() => {
          info.send("behind");
          info.send("C".repeat(100_000));
        });
        return request.length === 1 ? "L".repeat(200_000) : "small";
      });
      const transport = await running.connect();
      transport.push("a\nbb\n");
      await turns(20);
      transport.end();
      const all = transport.text.split("\n").map((line) => line.slice(0, 6));
      const [first, last] = [before.slice(0, 6), "behind"];
      assertEquals(all, [
        ...[first, first, "LLLLLL", last, "CCCCCC"],
        ...[first, first, "small", last, "CCCCCC", ""],
      ], `${pieces}`);
    }
  }
});
