/** The main thread of a server with several, over workers that a test plays. */

import { leaveOut } from "../support/permissions.ts";
import { assert, assertEquals } from "../support/std.ts";

import type { ThreadStart } from "../../lib/threads/messages.ts";
import {
  type ServeThreadsOptions,
  startThreads,
  type ThreadedServer,
} from "../../lib/threads/serve_threads.ts";
import { ONE, TWO } from "../support/certificates.ts";
import { Events, FakeClock, settle } from "../support/fixtures.ts";

/** A worker that does what the test says. */
class FakeWorker {
  onmessage: ((message: { data: unknown }) => void) | null = null;
  onerror:
    | ((event: { message: string; preventDefault(): void }) => void)
    | null = null;
  /** Whether the server has it. */
  made = false;
  terminated = false;
  /** What it was told or asked, but for the start. */
  readonly heard: [string, ...unknown[]][] = [];
  /** What it was started with. */
  order!: ThreadStart;
  #start = 0;
  readonly #ordered = Promise.withResolvers<void>();

  /** Resolves when it is told to start. */
  get ordered(): Promise<void> {
    return this.#ordered.promise;
  }

  postMessage(
    { call, name, args }: { call: number; name: string; args: unknown[] },
  ): void {
    if (name === "start") {
      [this.order, this.#start] = [args[0] as ThreadStart, call];
      this.#ordered.resolve();
      return;
    }
    this.heard.push([name, ...args]);
    const answered = () =>
      this.onmessage?.({ data: { answer: call, value: true } });
    if (call > 0) queueMicrotask(answered);
  }

  terminate(): void {
    this.terminated = true;
  }

  /** It is bound. */
  async starts(): Promise<void> {
    await this.ordered;
    const value = { transport: "tcp", hostname: "127.0.0.1", port: 7000 };
    this.onmessage!({ data: { answer: this.#start, value } });
    await settle();
  }

  /** It cannot bind. */
  async fails(): Promise<void> {
    await this.ordered;
    const error = { value: "no port for it" };
    this.onmessage!({ data: { answer: this.#start, error } });
    await settle();
  }

  tells(name: string, ...args: unknown[]): void {
    this.onmessage!({ data: { call: 0, name, args } });
  }

  async dies(): Promise<void> {
    this.onerror!({ message: "it died", preventDefault() {} });
    await settle();
  }
}

/** Runs a test whose workers are played. */
function testSupervisor(
  name: string,
  fn: (workers: FakeWorker[]) => Promise<void>,
): void {
  if (Deno.build.os !== "linux") return leaveOut("Linux");
  Deno.test(name, async () => {
    const workers = Array.from({ length: 8 }, () => new FakeWorker());
    const { Worker } = globalThis;
    const make = function () {
      const next = workers.find(({ made }) => !made)!;
      next.made = true;
      return next;
    };
    globalThis.Worker = make as unknown as typeof Worker;
    try {
      await fn(workers);
    } finally {
      globalThis.Worker = Worker;
    }
  });
}

/** How many the server has made. */
function made(workers: FakeWorker[]): number {
  return workers.filter(({ made }) => made).length;
}

interface Begun {
  readonly clock: FakeClock;
  readonly events: Events;
  readonly started: Promise<ThreadedServer>;
}

function begin(options: Partial<ServeThreadsOptions> = {}): Begun {
  const [clock, events] = [new FakeClock(), new Events()];
  const started = startThreads({
    port: 0,
    threads: 2,
    worker: new URL("file:///played.ts"),
    events: events.listeners,
    ...options,
  }, clock);
  return { clock, events, started };
}

/** Both threads are bound. */
async function both(
  workers: FakeWorker[],
  { started }: Begun,
): Promise<ThreadedServer> {
  await workers[0].starts();
  await workers[1].starts();
  return await started;
}

/** All that are left end in good order. */
async function finish(
  workers: FakeWorker[],
  server: ThreadedServer,
): Promise<void> {
  const finished = server.shutdown();
  for (const worker of workers) {
    if (worker.made && !worker.terminated) worker.tells("finished", 0);
  }
  await finished;
}

testSupervisor(
  "the first thread finds the port, and the others join it",
  async (workers) => {
    const begun = begin({ preDrainDelay: 300 });
    const [first, second] = workers;
    await first.ordered;
    assertEquals([second.made, first.order.options.port], [false, 0]);
    const server = await both(workers, begun);
    assertEquals([first.order.index, second.order.index], [0, 1]);
    const { port, reusePort, preDrainDelay } = second.order.options;
    // The supervisor waits before the drain, for all of them.
    assertEquals([port, reusePort, preDrainDelay], [7000, true, 0]);
    assertEquals(server.drain, undefined);
    const finished = server.shutdown();
    assertEquals(first.heard, []);
    begun.clock.advance(100);
    assertEquals(server.drain, { accepting: true, left: 200 });
    begun.clock.advance(200);
    assertEquals(server.drain, { accepting: false, left: 10_000 });
    for (const worker of [first, second]) {
      assertEquals(worker.heard, [["shutdown"]]);
      worker.tells("finished", 0);
    }
    await finished;
    assertEquals(begun.clock.timers, 0);
  },
);

testSupervisor(
  "threads pass on all events but those of the whole server",
  async (workers) => {
    const begun = begin();
    const server = await both(workers, begun);
    const own = [
      "listening",
      "pre_drain",
      "drain",
      "finished",
      "thread_lost",
      "certificate_expiry",
    ];
    const passed = Object.keys(begun.events.listeners)
      .filter((type) => !own.includes(type));
    assertEquals([...workers[0].order.events].sort(), passed.sort());
    workers[0].tells("event", { type: "handler_error", id: 3 }, {
      value: "what was thrown",
    });
    assertEquals(begun.events.of("handler_error").map(({ error }) => error), [
      "what was thrown",
    ]);
    await finish(workers, server);
  },
);

testSupervisor("threads drain when their signal aborts", async (workers) => {
  const controller = new AbortController();
  const server = await both(workers, begin({ signal: controller.signal }));
  assertEquals(server.draining, false);
  controller.abort();
  assertEquals(server.draining, true);
  for (const worker of workers.slice(0, 2)) {
    assertEquals(worker.heard, [["shutdown"]]);
    worker.tells("finished", 0);
  }
  await server.finished;
});

testSupervisor(
  "a thread that cannot start ends the others",
  async (workers) => {
    const begun = begin({ threads: 3 });
    await workers[0].starts();
    await workers[1].starts();
    await workers[2].fails();
    const thrown = await begun.started.catch((error) => error);
    assertEquals(thrown, "no port for it");
    assertEquals(workers.slice(0, 3).map(({ terminated }) => terminated), [
      true,
      true,
      true,
    ]);
    assertEquals(begun.clock.timers, 0);
  },
);

testSupervisor(
  "a thread that dies as the others start leaves nothing behind",
  async (workers) => {
    const begun = begin();
    await workers[0].starts();
    // It was bound, so it is to be replaced; the other one cannot start.
    await workers[0].dies();
    await workers[1].fails();
    assertEquals(await begun.started.catch((error) => error), "no port for it");
    begun.clock.advance(10_000);
    assertEquals([made(workers), begun.clock.timers], [2, 0]);
  },
);

testSupervisor(
  "a thread that dies gives back all that it held",
  async (workers) => {
    const begun = begin({ maxConnectionsPerIp: 1 });
    const server = await both(workers, begun);
    const { shared } = workers[0].order;
    shared.taken[0] = shared.descriptors.open[0] = 5;
    shared.taken[1] = shared.descriptors.open[1] = 7;
    await workers[0].dies();
    assert(workers[0].terminated);
    assertEquals([...shared.taken], [0, 7]);
    assertEquals([...shared.descriptors.open], [0, 7]);
    await finish(workers, server);
    assertEquals(begun.clock.timers, 0);
  },
);

testSupervisor(
  "a thread that has lived for long is replaced as soon as the first",
  async (workers) => {
    const begun = begin({ threads: 1 });
    const { clock, events } = begun;
    await workers[0].starts();
    const server = await begun.started;
    for (const [i, lived] of [0, 0, 9999, 10_000, 9999].entries()) {
      clock.advance(lived);
      await workers[i].dies();
      assertEquals(server.ready, false);
      clock.advance(events.of("thread_lost")[i].retryIn!);
      // It is there, and serves nobody yet.
      assertEquals([made(workers), server.ready], [i + 2, false]);
      await workers[i + 1].starts();
      assertEquals(server.ready, true);
    }
    assertEquals(
      events.of("thread_lost").map(({ retryIn }) => retryIn),
      [100, 200, 400, 100, 200],
    );
    await finish(workers, server);
  },
);

testSupervisor(
  "a thread waits for descriptors before it is replaced",
  async (workers) => {
    const begun = begin();
    const server = await both(workers, begun);
    const { clock } = begun;
    const { open, known } = workers[1].order.shared.descriptors;
    // A limit of 10 was met, and this many are open.
    [open[1], known[1], known[2]] = [11, 10, 1];
    await workers[0].dies();
    clock.advance(1000);
    assertEquals(made(workers), 2);
    open[1] = 10;
    clock.advance(100);
    assertEquals(made(workers), 3);
    await workers[2].starts();
    await finish(workers, server);
  },
);

testSupervisor(
  "a thread that replaces another shows the certificate of now",
  async (workers) => {
    const begun = begin(ONE);
    const server = await both(workers, begun);
    await workers[0].dies();
    await server.reloadTls(TWO);
    assertEquals(workers[1].heard, [["reloadTls", {
      ...TWO,
      clientCa: undefined,
    }]]);
    begun.clock.advance(100);
    const { cert, key } = workers[2].order.options;
    assertEquals({ cert, key }, TWO);
    await workers[2].starts();
    await finish(workers, server);
  },
);

testSupervisor(
  "nobody is replaced in a drain, and who is just starting ends with it",
  async (workers) => {
    const begun = begin({ threads: 3 });
    const { clock, events } = begun;
    await workers[0].starts();
    await workers[1].starts();
    await workers[2].starts();
    const server = await begun.started;
    await workers[0].dies();
    clock.advance(100);
    await workers[1].dies();
    const finished = server.shutdown();
    clock.advance(1000);
    // The first has been replaced, the second will not be.
    assertEquals(made(workers), 4);
    await workers[3].starts();
    assertEquals(workers[3].heard, [["shutdown"]]);
    await workers[2].dies();
    workers[3].tells("finished", 2);
    await finished;
    assertEquals(events.of("finished"), [{ type: "finished", forced: 2 }]);
    assertEquals(clock.timers, 0);
  },
);
