// The log: what of each event is said, how it looks, and that nothing of it
// can harm the server.

import {
  lineWriter,
  type LogSettings,
  openLog,
} from "../../lib/cli/server/logging.ts";
import {
  closeReasons,
  type EventListeners,
  rejectReasons,
  type ServerEvent,
} from "../../lib/events/events.ts";
import type { Handler } from "../../lib/mod.ts";
import { type LogLevel, logListeners } from "../../lib/observe/log.ts";
import {
  FakeClock,
  Peer,
  serveTest,
  settle,
  text,
} from "../support/fixtures.ts";
import { assert, assertEquals } from "../support/std.ts";

const addr: Deno.NetAddr = {
  transport: "tcp",
  hostname: "192.0.2.7",
  port: 4711,
};

const closed = {
  type: "connection_close",
  id: 7,
  remoteAddr: addr,
  reason: "peer_closed",
  duration: 12.3456789,
  requests: 2,
  received: 10,
  sent: 20,
  unanswered: false,
} as const;

const rejected = {
  type: "connection_rejected",
  reason: "busy",
  remoteAddr: addr,
} as const;

/** A log that is written into a string. */
class TestLog {
  readonly clock = new FakeClock();
  readonly listeners: EventListeners;
  connections = 0;
  written = "";
  readonly #flush: () => Promise<void>;

  constructor(settings: Partial<LogSettings> = {}, terminal = false) {
    const log = openLog(
      {
        isTerminal: () => terminal,
        write: (bytes) => {
          this.written += text(bytes);
          return Promise.resolve(bytes.length);
        },
      },
      { format: "auto", level: "debug", noColor: true, ...settings },
      this.clock,
    );
    this.#flush = () => log.flush();
    this.listeners = logListeners(log.logger, {
      connections: () => this.connections,
      drainTimeout: 2500,
      clock: this.clock,
    });
  }

  /** Has an event come, if it is listened to. */
  emit(event: ServerEvent): void {
    const listener = this.listeners[event.type];
    (listener as ((event: ServerEvent) => void) | undefined)?.(event);
  }

  /** The lines so far. */
  async lines(): Promise<string[]> {
    await this.#flush();
    const lines = this.written.split("\n");
    assertEquals(lines.pop(), "");
    return lines;
  }

  /** The lines so far as what they hold, without the time. */
  async records(): Promise<Record<string, unknown>[]> {
    return (await this.lines()).map((line) => {
      const { ts, ...record } = JSON.parse(line);
      assertEquals(new Date(ts).toISOString(), ts);
      return record;
    });
  }
}

const slow: ServerEvent = {
  ...{ type: "slow_request", id: 4, remoteAddr: addr, duration: 250.1234 },
  ...{ requests: 2, requestBytes: 7 },
};

const asked: ServerEvent & { type: "admin_action" } = {
  ...{ type: "admin_action", action: "/drain", status: 202, remoteAddr: addr },
};

const levels: [LogLevel, ServerEvent][] = [
  ["info", { type: "listening", addr }],
  ["debug", { type: "connection_open", id: 1, remoteAddr: addr }],
  [
    "debug",
    { type: "request", id: 1, status: "error", duration: 1, requestBytes: 1 },
  ],
  ["info", slow],
  ["info", asked],
  ["debug", closed],
  ["debug", { ...closed, reason: "handler_closed" }],
  ["debug", { ...closed, reason: "idle_timeout" }],
  ["debug", { ...closed, reason: "shutdown" }],
  ["debug", { ...closed, reason: "peer_reset" }],
  ["info", { ...closed, reason: "peer_reset", unanswered: true }],
  ["info", { ...closed, reason: "frame_error" }],
  ["info", { ...closed, reason: "http_request" }],
  ["info", { ...closed, reason: "write_timeout" }],
  ["info", { ...closed, reason: "slow_consumer" }],
  ["info", { ...closed, reason: "closed" }],
  ["warn", { ...closed, reason: "request_timeout" }],
  ["warn", { ...closed, reason: "overload" }],
  ["warn", { ...closed, reason: "forced" }],
  ["warn", { ...closed, reason: "error" }],
  ["info", { ...rejected, reason: "denied" }],
  ["warn", rejected],
  ["warn", { ...rejected, reason: "overload" }],
  ["warn", { ...rejected, reason: "busy_ip" }],
  ["warn", { ...rejected, reason: "busy_rate" }],
  ["warn", { ...rejected, reason: "proxy_error" }],
  ["info", { ...rejected, reason: "tls_error" }],
  ["debug", { type: "accept_error", error: "x", retryIn: 0, fatal: false }],
  ["warn", { type: "accept_error", error: "x", retryIn: 50, fatal: false }],
  ["error", { type: "accept_error", error: "x", retryIn: 0, fatal: true }],
  ["error", { type: "handler_error", id: 1, error: "x" }],
  ["info", { type: "pre_drain", connections: 3, delay: 5000, by: "SIGTERM" }],
  ["info", { type: "drain", connections: 3, by: "SIGTERM" }],
  [
    "warn",
    { type: "certificate_expiry", days: 7, subject: "CN=x", notAfter: 0 },
  ],
  ["info", { type: "finished", forced: 0 }],
  [
    "error",
    {
      type: "thread_lost",
      error: "x",
      connections: 1,
      requests: 1,
      retryIn: undefined,
    },
  ],
];

Deno.test("log has a level for every event and every reason", () => {
  const tried = levels.map(([, event]) => event);
  assertEquals(
    new Set(tried.map(({ type }) => type)),
    new Set(Object.keys(new TestLog().listeners)),
  );
  const reasons = (type: ServerEvent["type"]) =>
    new Set(
      tried.flatMap((e) => e.type === type && "reason" in e ? [e.reason] : []),
    );
  assertEquals(reasons("connection_close"), new Set(closeReasons));
  assertEquals(reasons("connection_rejected"), new Set(rejectReasons));
});

const order: LogLevel[] = ["debug", "info", "warn", "error"];

Deno.test("log has each event at its level, and only from that level on", async () => {
  for (const [expected, event] of levels) {
    for (const level of order) {
      const log = new TestLog({ level });
      log.emit(event);
      const shown = order.indexOf(expected) >= order.indexOf(level);
      assertEquals(
        (await log.records()).map((record) => record.level),
        shown ? [expected] : [],
        `${JSON.stringify(event)} at ${level}`,
      );
    }
  }
});

Deno.test("log does not listen to what its level leaves out", () => {
  const listened = (level: LogLevel) =>
    Object.entries(new TestLog({ level }).listeners)
      .filter(([, listener]) => listener !== undefined)
      .map(([type]) => type).sort();
  const always = ["accept_error", "finished", "handler_error", "thread_lost"];
  const warn = [
    ...always,
    ...["certificate_expiry", "connection_close", "connection_rejected"],
  ].sort();
  const info = [
    ...warn,
    ...["admin_action", "drain", "listening", "pre_drain", "slow_request"],
  ].sort();
  assertEquals(listened("error"), always);
  assertEquals(listened("warn"), warn);
  assertEquals(listened("info"), info);
  assertEquals(
    listened("debug"),
    [...info, "connection_open", "request"].sort(),
  );
});

Deno.test("log says who drains, what operators do, and what was slow", async () => {
  const log = new TestLog({ level: "info" });
  log.emit({ type: "drain", connections: 3, by: "SIGTERM" });
  for (const action of ["/connections/1/close", "/connections/2/close"]) {
    log.emit({ ...asked, action, status: 200 });
  }
  log.emit(slow);
  const admin = { level: "info", msg: "admin action", status: 200 };
  const remote = "192.0.2.7:4711";
  assertEquals(await log.records(), [
    { level: "info", msg: "draining", by: "SIGTERM", connections: 3 },
    { ...admin, remote, action: "/connections/1/close" },
    { ...admin, remote, action: "/connections/2/close" },
    {
      ...{ level: "info", msg: "slow request", conn_id: 4, remote },
      ...{ duration_ms: 250.123, requests: 2, request_bytes: 7 },
    },
  ]);
  log.emit({ type: "finished", forced: 0 });
});

Deno.test("log tells of a flood of wrong tokens once a second", async () => {
  const log = new TestLog({ level: "info" });
  for (let i = 0; i < 100; i++) log.emit({ ...asked, status: 401 });
  log.emit({ ...asked, status: 202 });
  log.clock.advance(1000);
  assertEquals(
    (await log.records()).map(({ status, count }) => [status, count]),
    [[401, undefined], [202, undefined], [401, 99]],
  );
  log.emit({ type: "finished", forced: 0 });
});

Deno.test("log says whose certificate ends, and when", async () => {
  const log = new TestLog();
  const certificate = { subject: "CN=x", notAfter: Date.UTC(2027, 0, 2) };
  for (const days of [30, 7, 0] as const) {
    log.emit({ type: "certificate_expiry", days, ...certificate });
  }
  assertEquals(
    await log.records(),
    ["expires within 30 days", "expires within 7 days", "has expired"].map(
      (what) => ({
        level: "warn",
        msg: `certificate ${what}`,
        subject: "CN=x",
        not_after: "2027-01-02T00:00:00.000Z",
      }),
    ),
  );
  const notBefore = Date.UTC(2027, 0, 1);
  const type = "certificate_expiry";
  log.emit({ type, days: 0, ...certificate, notBefore });
  const { msg, not_before } = (await log.records()).at(-1)!;
  assertEquals([msg, not_before], [
    "certificate is not valid yet",
    "2027-01-01T00:00:00.000Z",
  ]);
});

Deno.test("log of a connection says what TLS knows of the peer", async () => {
  const log = new TestLog();
  const open = { type: "connection_open", id: 1, remoteAddr: addr } as const;
  const peer = { subject: "CN=x", names: ["DNS:x"], fingerprint: "AB" };
  log.emit({ ...open, tls: { version: "TLSv1.3", alpn: "h2", peer } });
  log.emit(open);
  const record = {
    level: "debug",
    msg: "connection opened",
    conn_id: 1,
    remote: "192.0.2.7:4711",
  };
  assertEquals(await log.records(), [
    { ...record, tls: "TLSv1.3", alpn: "h2", ...peer },
    record,
  ]);
});

Deno.test("log of a close says who, how long, how much and why", async () => {
  const log = new TestLog();
  log.emit({
    ...closed,
    reason: "error",
    unanswered: true,
    error: new TypeError("no"),
  });
  const [{ stack, ...record }] = await log.records();
  assertEquals(record, {
    level: "warn",
    msg: "connection closed",
    conn_id: 7,
    remote: "192.0.2.7:4711",
    reason: "error",
    duration_ms: 12.346,
    requests: 2,
    received_bytes: 10,
    sent_bytes: 20,
    unanswered: true,
    error: "TypeError: no",
  });
  assert(String(stack).includes("log_test.ts"), String(stack));
});

Deno.test("log has an error's stack at debug only", async () => {
  const log = new TestLog({ level: "info" });
  log.emit({ type: "handler_error", id: 3, error: new Error("no") });
  assertEquals(await log.records(), [
    { level: "error", msg: "handler failed", conn_id: 3, error: "Error: no" },
  ]);
});

/** What a handler may throw, or a thread pass on, and what the log says. */
const errors: [unknown, string][] = [
  [new RangeError("far"), "RangeError: far"],
  [structuredClone(new RangeError("far")), "RangeError: far"],
  [new DOMException("late", "TimeoutError"), "TimeoutError: late"],
  [{ name: "Own", message: "of mine" }, "Own: of mine"],
  [{ message: "of mine" }, "Error: of mine"],
  [new Error(""), "Error"],
  ["just text", "just text"],
  ["", ""],
  [undefined, "undefined"],
  [null, "null"],
  [Symbol("s"), "Symbol(s)"],
  [42n, "42"],
  [Object.create(null), "an error that cannot be shown"],
  [
    new Proxy({}, {
      has() {
        throw new Error("trap");
      },
    }),
    "an error that cannot be shown",
  ],
  [
    { message: Symbol("not text") },
    "an error that cannot be shown",
  ],
  [new Error("x".repeat(10_000)), `Error: ${"x".repeat(249)}…`],
];

Deno.test("log takes whatever is thrown for an error", async () => {
  for (const [error, shown] of errors) {
    const log = new TestLog({ level: "error" });
    log.emit({ type: "handler_error", id: 1, error });
    assertEquals((await log.records()).map((record) => record.error), [shown]);
  }
});

/** What could move a cursor, end a line, turn it around, or not be seen. */
const hostile = [
  ...Array.from({ length: 0x20 }, (_, code) => code),
  ...Array.from({ length: 0x21 }, (_, i) => 0x7f + i),
  ...[0x61c, 0x200b, 0x200e, 0x200f, 0x2028, 0x2029, 0x202e, 0x2066, 0x2069],
  ...[0xfeff, 0xe0001, 0xe0041],
].map((code) => String.fromCodePoint(code)).join("");

Deno.test("log lets no control character through", async () => {
  const error = new Error(`${hostile}"}\r\n{"level":"error"}`);
  error.name = hostile;
  for (const format of ["json", "pretty"] as const) {
    const log = new TestLog({ format });
    log.emit({ type: "handler_error", id: 1, error });
    log.emit({ ...closed, remoteAddr: { transport: "unix", path: hostile } });
    const lines = await log.lines();
    assertEquals(lines.length, 2);
    for (const char of lines.join("")) {
      assert(!hostile.includes(char), `${format}: ${char.charCodeAt(0)}`);
    }
    if (format === "json") {
      // Nothing is lost of it either.
      const [failed, gone] = lines.map((line) => JSON.parse(line));
      assertEquals(failed.error, `${hostile}: ${error.message}`);
      assertEquals(gone.remote, hostile);
    }
  }
});

Deno.test("log has nothing of a payload, not even at debug", async () => {
  const log = new TestLog();
  const handler: Handler = (request) => {
    if (text(request) === "secret fail") throw new Error("no");
    return request;
  };
  {
    await using server = serveTest(handler, { events: log.listeners });
    using peer = await Peer.to(server);
    assertEquals(await peer.ask("secret\n", "secret\n"), "secret\n");
    await peer.send("secret fail\n");
    await peer.finish();
    assertEquals(await peer.rest(), "ERR internal error\n");
  }
  const records = await log.records();
  assertEquals(records.map(({ msg }) => msg), [
    "listening",
    "connection opened",
    "request",
    "handler failed",
    "request",
    "connection closed",
    "draining",
    "finished",
  ]);
  assert(!log.written.includes("secret"));
});

Deno.test("log is pretty at a terminal and JSON elsewhere, unless told", async () => {
  const look = async (format: LogSettings["format"], terminal: boolean) => {
    const log = new TestLog({ format }, terminal);
    log.emit({ type: "finished", forced: 2 });
    const [line] = await log.lines();
    if (line.startsWith("{")) return "json";
    assertEquals(
      line.replace(/^\d{4}(-\d\d){2} \d\d(:\d\d){2}\.\d{3} /, ""),
      "info  finished forced=2",
    );
    return "pretty";
  };
  assertEquals(await look("auto", true), "pretty");
  assertEquals(await look("auto", false), "json");
  assertEquals(await look("pretty", false), "pretty");
  assertEquals(await look("json", true), "json");
});

Deno.test("log has colours at a terminal, unless nobody wants them", async () => {
  for (const noColor of [true, false]) {
    const log = new TestLog({ noColor }, true);
    log.emit({ type: "finished", forced: 2 });
    const [line] = await log.lines();
    assertEquals(line.includes("\x1b["), !noColor, line);
    const piped = new TestLog({ noColor, format: "pretty" }, false);
    piped.emit({ type: "finished", forced: 2 });
    assertEquals(piped.written.includes("\x1b["), false, piped.written);
  }
});

// ---------------------------------------------------------------- floods

Deno.test("log says a flood's first, then how many, once a second", async () => {
  const log = new TestLog({ level: "info" });
  const flood = (count: number, from: number) => {
    for (let i = 0; i < count; i++) {
      log.emit({ ...rejected, remoteAddr: { ...addr, port: from + i } });
    }
  };
  const said = async () =>
    (await log.records()).map(({ remote, count }) => [remote, count]);

  flood(1000, 1);
  assertEquals(await said(), [["192.0.2.7:1", undefined]]);
  log.clock.advance(999);
  assertEquals((await said()).length, 1);
  log.clock.advance(1);
  // It stands for 999 more, of which it shows the last.
  assertEquals((await said()).slice(1), [["192.0.2.7:1000", 999]]);
  flood(5, 2000);
  log.clock.advance(1000);
  assertEquals((await said()).slice(2), [["192.0.2.7:2004", 5]]);
  // After a quiet second there is nothing to say and nothing to wait for.
  log.clock.advance(1000);
  assertEquals(log.clock.timers, 0);
  flood(1, 3000);
  assertEquals((await said()).slice(3), [["192.0.2.7:3000", undefined]]);
  log.emit({ type: "finished", forced: 0 });
});

Deno.test("log tells floods apart by reason, not by what peers make up", async () => {
  const log = new TestLog({ level: "info" });
  for (let i = 0; i < 100; i++) {
    log.emit(rejected);
    log.emit({ ...rejected, reason: "denied" });
    log.emit({ ...closed, reason: "frame_error", error: new Error(`${i}`) });
    log.emit({ type: "handler_error", id: i, error: new Error(`${i}`) });
    log.emit({
      type: "accept_error",
      error: `${i}`,
      retryIn: 50,
      fatal: false,
    });
  }
  assertEquals((await log.records()).length, 5);
  // The end of the server tells the rest at once, and leaves no timer.
  log.emit({ type: "finished", forced: 0 });
  const rest = (await log.records()).slice(5);
  assertEquals(rest.map(({ msg, count }) => [msg, count]), [
    ["connection rejected", 99],
    ["connection rejected", 99],
    ["connection closed", 99],
    ["handler failed", 99],
    ["cannot accept", 99],
    ["finished", undefined],
  ]);
  assertEquals(log.clock.timers, 0);
});

Deno.test("log at debug has each of a flood as well", async () => {
  const log = new TestLog({ level: "debug" });
  for (let id = 1; id <= 3; id++) {
    log.emit({ ...closed, id, reason: "forced" });
  }
  log.emit({ type: "finished", forced: 3 });
  assertEquals(
    (await log.records()).map(({ level, conn_id, count }) => [
      level,
      conn_id,
      count,
    ]),
    [
      ["warn", 1, undefined],
      ["debug", 2, undefined],
      ["debug", 3, undefined],
      ["warn", 3, 2],
      ["info", undefined, undefined],
    ],
  );
});

// ----------------------------------------------------------------- drain

Deno.test("log tells a drain's progress once a second until it has ended", async () => {
  const log = new TestLog({ level: "info" });
  log.emit({ type: "drain", connections: 3, by: "SIGTERM" });
  log.connections = 2;
  log.clock.advance(1000);
  log.connections = 1;
  log.clock.advance(2000);
  log.emit({ type: "finished", forced: 1 });
  assertEquals(log.clock.timers, 0);
  assertEquals(await log.records(), [
    { level: "info", msg: "draining", connections: 3, by: "SIGTERM" },
    {
      level: "info",
      msg: "drain progress",
      connections: 2,
      forced_in_ms: 1500,
    },
    { level: "info", msg: "drain progress", connections: 1, forced_in_ms: 500 },
    { level: "info", msg: "drain progress", connections: 1, forced_in_ms: 0 },
    { level: "info", msg: "finished", forced: 1 },
  ]);
});

// ------------------------------------------------------- where it is written

/** An output that takes, fails or hangs as a test says. */
class FakeOutput {
  written = "";
  writes = 0;
  /** What the next writes do; without a word they take everything. */
  steps: (number | Error | Promise<void>)[] = [];

  async write(bytes: Uint8Array): Promise<number> {
    this.writes++;
    const step = this.steps.shift() ?? bytes.length;
    if (step instanceof Error) throw step;
    if (step instanceof Promise) await step;
    const n = typeof step === "number" ? step : bytes.length;
    this.written += text(bytes.subarray(0, n));
    return n;
  }
}

const notice = (lost: number) => `lost ${lost}\n`;
const full = new Error("No space left on device");

Deno.test("LineWriter writes once what comes during a write", async () => {
  const output = new FakeOutput();
  const lines = lineWriter(output, notice);
  for (let i = 0; i < 100; i++) lines.add(`${i}\n`);
  await lines.flush();
  assertEquals(output.writes, 2);
  assertEquals(
    output.written,
    Array.from({ length: 100 }, (_, i) => `${i}\n`).join(""),
  );
});

Deno.test("LineWriter bounds what waits, and says how much was lost", async () => {
  const output = new FakeOutput();
  const blocked = Promise.withResolvers<void>();
  output.steps.push(blocked.promise);
  const lines = lineWriter(output, notice);
  const line = "x".repeat(1023) + "\n";
  lines.add("first\n");
  for (let i = 0; i < 5000; i++) lines.add(line);
  assertEquals(output.writes, 1);
  blocked.resolve();
  await lines.flush();
  // A mebibyte waits, the rest is gone.
  assertEquals(
    output.written,
    "first\n" + line.repeat(1024) + `lost ${5000 - 1024}\n`,
  );
  lines.add("last\n");
  await lines.flush();
  assert(output.written.endsWith("3976\nlast\n"));
});

Deno.test("LineWriter lives through failed writes, and counts its lines", async () => {
  const output = new FakeOutput();
  const lines = lineWriter(output, notice);
  const add = async (...texts: string[]) => {
    for (const text of texts) lines.add(`${text}\n`);
    await lines.flush();
  };
  output.steps = [full, full];
  await add("a", "b", "c");
  assertEquals(output.written, "");
  // Half a line gets through; what follows begins a line of its own.
  output.steps = [4, full];
  await add("delta");
  assertEquals(output.written, "delt");
  // So does only the end of that half.
  output.steps = [1, full];
  await add("e");
  assertEquals(output.written, "delt\n");
  await add("f");
  assertEquals(output.written, "delt\nf\nlost 5\n");
  await add("g");
  assertEquals(output.written, "delt\nf\nlost 5\ng\n");
});

Deno.test("log holds up the program's end for a second at the most", async () => {
  const clock = new FakeClock();
  const log = openLog(
    { isTerminal: () => false, write: () => new Promise(() => {}) },
    { format: "json", level: "info", noColor: true },
    clock,
  );
  log.logger.info("never written");
  let flushed = false;
  const flush = log.flush().then(() => flushed = true);
  clock.advance(999);
  await settle();
  assertEquals(flushed, false);
  clock.advance(1);
  await flush;
  assertEquals(clock.timers, 0);
});
