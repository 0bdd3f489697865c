import { assertEquals, assertRejects } from "../support/std.ts";

import { OptionError } from "../../lib/core/errors.ts";
import { type Port, WorkerCalls } from "../../lib/threads/worker_calls.ts";

const procedures = {
  sum: (a: number, b: number) => a + b,
  slow: async (text: string) => {
    await undefined;
    return text;
  },
  refuse(option: string) {
    throw new OptionError(option, 7, "another");
  },
  never: () => new Promise<void>(() => {}),
};

/** Two ports: what one posts, the other hears as a clone, later. */
function portPair(): [Port, Port] {
  const ports: [Port, Port] = [
    { onmessage: null, postMessage: (message) => post(1, message) },
    { onmessage: null, postMessage: (message) => post(0, message) },
  ];
  const post = (to: number, message: unknown) => {
    const data = structuredClone(message);
    queueMicrotask(() =>
      ports[to].onmessage?.(new MessageEvent("message", { data }))
    );
  };
  return ports;
}

Deno.test("WorkerCalls gives each call its own result", async () => {
  const [here, there] = portPair();
  new WorkerCalls(there, procedures);
  const calls = new WorkerCalls<typeof procedures>(here, {});
  const results = await Promise.all([
    calls.call("slow", "first"),
    calls.call("sum", 2, 3),
    calls.call("slow", "third"),
  ]);
  assertEquals(results, ["first", 5, "third"]);
});

Deno.test("WorkerCalls throws what the other side threw", async () => {
  const [here, there] = portPair();
  new WorkerCalls(there, procedures);
  const calls = new WorkerCalls<typeof procedures>(here, {});
  const error = await assertRejects(
    () => calls.call("refuse", "port"),
    OptionError,
  );
  assertEquals([error.option, error.value], ["port", 7]);
});

Deno.test("WorkerCalls has both sides call", async () => {
  const [here, there] = portPair();
  const heard = Promise.withResolvers<number>();
  const back = new WorkerCalls<{ hear(n: number): void }>(there, {
    ask: (n: number) => n,
  });
  back.tell("hear", 2);
  const calls = new WorkerCalls<{ ask(n: number): number }>(here, {
    hear: heard.resolve,
  });
  assertEquals(await calls.call("ask", 1), 1);
  assertEquals(await heard.promise, 2);
});

Deno.test("WorkerCalls ends what waits once the other side is gone", async () => {
  const [here, there] = portPair();
  new WorkerCalls(there, procedures);
  const calls = new WorkerCalls<typeof procedures>(here, {});
  const waiting = calls.call("never");
  calls.end(new Error("it died"));
  calls.end(new Error("and is dead"));
  await assertRejects(() => waiting, Error, "it died");
  await assertRejects(() => calls.call("sum", 1, 2), Error, "it died");
});

Deno.test("WorkerCalls hears nothing after its end", async () => {
  const [here, there] = portPair();
  const heard: number[] = [];
  const back = new WorkerCalls<{ hear(n: number): void }>(there, {});
  const calls = new WorkerCalls(here, { hear: (n: number) => heard.push(n) });
  back.tell("hear", 1);
  await undefined;
  back.tell("hear", 2);
  calls.end(new Error("it died"));
  await undefined;
  back.tell("hear", 3);
  await undefined;
  assertEquals(heard, [1]);
});

Deno.test("WorkerCalls ignores a call of what is no procedure", async () => {
  const [here, there] = portPair();
  const failed = Promise.withResolvers<unknown>();
  const onError = (event: ErrorEvent) => {
    event.preventDefault();
    failed.resolve(event.error);
  };
  addEventListener("error", onError);
  try {
    new WorkerCalls(there, procedures);
    const calls = new WorkerCalls<typeof procedures>(here, {});
    for (const name of ["toString", "none"]) {
      here.postMessage({ call: 0, name, args: [] });
    }
    const sum = calls.call("sum", 1, 2);
    assertEquals(await Promise.race([sum, failed.promise]), 3);
  } finally {
    removeEventListener("error", onError);
  }
});
