// deno-lint-ignore-file no-import-prefix -- what deno.json imports is fetched
// for every program, and only tests need this.

/**
 * Requests and replies of one connection, in memory: what always holds, as the
 * head of `lib/server/connection/exchange.ts` has it.
 */

import { assert, assertEquals } from "../support/std.ts";
import fc from "npm:fast-check@4.3.0";

import { CHUNK, giveBack, lend, SHORT } from "../../lib/net/buffers.ts";
import { replies } from "../../lib/server/replies.ts";
import type { ConnectionCloseEvent } from "../../lib/events/events.ts";
import {
  frameOf,
  type FramingName,
  framingNames,
  framingOf,
} from "../../lib/framing/mod.ts";
import type { Reply, RequestInfo } from "../../lib/server/handler.ts";
import type { ErrorHandler } from "../../lib/server/options.ts";
import { bytes, text } from "../support/fixtures.ts";
import { InMemory, turn, turns } from "../support/in_memory.ts";
import {
  isIdle,
  isSame,
  MemoryTransport,
} from "../support/memory_transport.ts";

// A request says by its first letter what the handler does with it. Small
// letters wait until the script of the test has them go on.
const kinds = {
  E: "echo",
  S: "echo by a promise that is settled",
  H: "echo after a few microtasks",
  V: "reply with a part of the view",
  B: "reply with bytes",
  T: "throw",
  X: "reject at once",
  N: "nothing",
  O: "nothing, by a promise that is settled",
  G: "reply with much",
  F: "reply with much, by a promise that is settled",
  P: "reply in pieces",
  C: "close, and echo",
  D: "disconnect its own connection, and echo",
  J: "compute for as long as all may work in a turn, and echo",
  e: "echo",
  r: "reject",
  g: "reply with much",
  p: "reply in pieces",
  c: "close, and echo",
  n: "nothing",
} as const;
type Kind = keyof typeof kinds;

/** Over one chunk, so that it goes out by itself. */
const MUCH = 70_000;
const LIMITS = {
  maxFrame: 100_000,
  idleTimeout: 4000,
  requestTimeout: 1000,
  writeTimeout: 1000,
  drainTimeout: 5000,
};
const FAILED = bytes("ERR internal error");
const OOPS = bytes("oops");

/** How errors of the handler become replies. */
const onErrors: Record<string, ErrorHandler | undefined> = {
  none: undefined,
  text: () => OOPS,
  later: async () => (await turn(), OOPS),
  throws: () => {
    throw new Error("again");
  },
};
type OnError = keyof typeof onErrors;

interface Step {
  /** Of which connection. */
  at: number;
  act:
    | "push"
    | "end"
    | "reset"
    | "take"
    | "most"
    | "hold"
    | "release"
    | "flow"
    | "answer"
    | "disconnect"
    | "connect"
    | "drain"
    | "turn"
    | "hop"
    | "advance";
  /** How much, where there is a measure. */
  count: number;
}

interface Script {
  framing: FramingName;
  maxMemory: number;
  onError: OnError;
  requests: [Kind, number][];
  steps: Step[];
}

function much(request: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(MUCH + request.length).fill(request[1]);
}

/** What the handler replies, whenever it does. */
function replyTo(
  request: Uint8Array,
  onError: OnError,
): Uint8Array | undefined {
  switch (String.fromCharCode(request[0])) {
    case "T":
    case "X":
    case "r":
      return onError === "text" || onError === "later" ? OOPS : FAILED;
    case "N":
    case "O":
    case "n":
      return undefined;
    case "G":
    case "F":
    case "g":
      return much(request);
    case "V":
      return request.subarray(1);
    default:
      return request;
  }
}

function joined(parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Lines end in LF and in CR LF by turns. */
function frame(
  framing: FramingName,
  payload: Uint8Array,
  index: number,
): Uint8Array {
  if (framing === "line") {
    return joined([payload, bytes(index % 2 === 0 ? "\n" : "\r\n")]);
  }
  return frameOf(framingOf(framing).codec(1), payload);
}

/** Memory that lies idle is anybody's: nobody may still go by what is in it. */
function scribble(): void {
  const lent = [2048, SHORT, 8192, CHUNK]
    .flatMap((length) => Array.from({ length: 4 }, () => lend(length)));
  for (const bytes of lent) giveBack(bytes.fill(33));
}

/** A request that a handler has and has not replied to. */
interface Work {
  readonly id: number;
  readonly peer: PeerModel;
  readonly view: Uint8Array;
  readonly copy: Uint8Array;
  readonly later: PromiseWithResolvers<void>;
}

/** The peer of one connection, and what it may expect. */
class PeerModel {
  readonly transport: MemoryTransport;
  readonly requests: Uint8Array[];
  readonly #stream: Uint8Array;
  readonly #script: Script;
  #pushed = 0;
  #ended = false;
  /** Its number, once it has had a request handled. */
  id = 0;
  /** Something happened that may end it early. */
  disturbed = false;
  /** Whether its reads have always brought what had been pushed. */
  flowing = true;
  /** Whole requests that had arrived when the drain began. */
  owed = 0;

  constructor(transport: MemoryTransport, script: Script, number: number) {
    this.transport = transport;
    this.#script = script;
    // No two are the same: bytes of another connection would show.
    this.requests = script.requests.map(([kind, length], i) =>
      bytes(kind + String.fromCharCode(97 + number) + i + ".".repeat(length))
    );
    this.#stream = joined(
      this.requests.map((request, i) => frame(script.framing, request, i)),
    );
  }

  push(count: number): void {
    if (this.#ended) return;
    const next = Math.min(this.#pushed + count, this.#stream.length);
    this.transport.push(this.#stream.subarray(this.#pushed, next));
    this.#pushed = next;
  }

  end(): void {
    this.#ended = true;
    this.transport.end();
  }

  reset(): void {
    this.#ended = this.disturbed = true;
    this.transport.reset();
  }

  /** How many whole requests have been pushed. */
  get whole(): number {
    let end = 0;
    return this.requests.filter((request, i) => {
      end += frame(this.#script.framing, request, i).length;
      return end <= this.#pushed;
    }).length;
  }

  /** Compares what a peer got that was refused with what it should have. */
  checkRefused(): void {
    const words = frame(this.#script.framing, bytes(replies.overload), 0);
    const { taken } = this.transport;
    assert(
      isSame(taken, words.subarray(0, taken.length)),
      "a refusal is not what it should be",
    );
  }

  /** Whether it will not be served any more. */
  get ended(): boolean {
    return this.#ended || this.transport.closed || this.transport.finished;
  }

  /** Nobody waits for anything: all whole requests have their replies. */
  checkQuiet(calls: number): void {
    assertEquals(calls, this.whole, "a request was forgotten");
    const expected = joined(this.#repliesTo(calls, false));
    assert(isSame(this.transport.taken, expected), "a reply was forgotten");
  }

  #repliesTo(count: number, timedOut: boolean): Uint8Array[] {
    const { framing, onError } = this.#script;
    return this.requests.slice(0, count).map((request, i) => {
      const own = onError === "text" || onError === "later"
        ? OOPS
        : bytes(replies.requestTimeout(LIMITS.requestTimeout));
      const reply = timedOut && i + 1 === count
        ? own
        : replyTo(request, onError);
      return reply === undefined ? new Uint8Array() : frame(framing, reply, i);
    });
  }

  /** Compares what the peer got with what it should have. */
  check(end: ConnectionCloseEvent, timedOut: boolean): void {
    const { framing } = this.#script;
    const expected = this.#repliesTo(end.requests, timedOut);
    if (end.reason === "frame_error") {
      const words = bytes(`ERR ${(end.error as Error).message}`);
      // In the form of the frame decoded last.
      expected.push(frame(framing, words, Math.max(end.requests - 1, 0)));
    }
    const all = joined(expected);
    const { taken, finished } = this.transport;
    assert(
      isSame(taken, all.subarray(0, taken.length)),
      `connection ${end.id}: the replies are not those of its requests`,
    );
    // What the kernel took as the connection was cut may not be known yet.
    assert(end.sent <= taken.length);
    const whole = finished || [
      "peer_closed",
      "handler_closed",
      "request_timeout",
      "shutdown",
    ].includes(end.reason);
    if (whole) {
      assertEquals(
        [taken.length, end.sent],
        [all.length, all.length],
        `replies are missing of one that ended as ${end.reason}`,
      );
      assertEquals(end.unanswered, false);
    }
    if (end.reason === "peer_closed") assertEquals(end.requests, this.whole);
    if (end.reason === "shutdown" && this.flowing) {
      assert(end.requests >= this.owed, "the drain forgot what had arrived");
    }
    if (this.disturbed) return;
    assert(
      ["peer_closed", "frame_error", "handler_closed"].includes(end.reason),
      `nothing disturbed a connection that ended as ${end.reason}`,
    );
    if (end.reason === "frame_error") {
      assertEquals([end.requests, taken.length], [this.whole, all.length]);
    }
  }
}

/** Plays a script, and checks all along and in the end. */
class Play {
  readonly #script: Script;
  readonly #running: InMemory;
  readonly #peers: PeerModel[] = [];
  readonly #atWork: Work[] = [];
  readonly #busy = new Set<number>();
  readonly #calls = new Map<number, number>();
  readonly #faults: string[] = [];
  /** Something happened that may end all early. */
  #disturbed: boolean;

  constructor(script: Script) {
    this.#script = script;
    this.#disturbed = script.maxMemory > 0;
    this.#running = new InMemory(
      (request, info) => this.#handle(request, info),
      {
        ...LIMITS,
        framing: script.framing,
        maxMemory: script.maxMemory,
        onError: onErrors[script.onError],
      },
    );
  }

  async run(): Promise<void> {
    this.#connect();
    this.#connect();
    for (const step of this.#script.steps) await this.#do(step);
    await this.#finish();
    const { events } = this.#running;
    const timeouts = events.of("request").filter(({ status }) =>
      status === "timeout"
    );
    const ends = events.of("connection_close");
    for (const end of ends) {
      this.#peerOf(end).check(end, timeouts.some(({ id }) => id === end.id));
      assertEquals(end.requests, this.#calls.get(end.id) ?? 0);
      assert(end.reason !== "error", `it ended by a fault: ${end.error}`);
    }
    for (const refused of events.of("connection_rejected")) {
      assertEquals(refused.reason, "overload");
      this.#peerOf(refused).checkRefused();
    }
    assertEquals(this.#faults, []);
  }

  async #do({ at, act, count }: Step): Promise<void> {
    const peer = this.#peers[at % this.#peers.length];
    const { transport } = peer;
    switch (act) {
      case "push":
        return peer.push(count);
      case "end":
        return peer.end();
      case "reset":
        return peer.reset();
      case "take":
        return transport.take(count);
      case "most":
        transport.mostPerWrite = 1 + count;
        return;
      case "hold":
        transport.held = true;
        peer.flowing = false;
        return;
      case "release":
        try {
          transport.release();
        } catch {
          // No read waits, or nothing has come for it.
        }
        return;
      case "flow":
        return flow(transport);
      case "answer":
        return this.#answer(
          this.#atWork.findIndex((work) => work.peer === peer),
        );
      case "disconnect":
        return this.#disconnect(peer);
      case "connect":
        return this.#connect();
      case "drain":
        return this.#drain();
      case "turn":
        scribble();
        return await turn();
      case "hop":
        for (let i = 0; i < count % 12; i++) await undefined;
        return;
      case "advance":
        // Timers fire between turns of the event loop, never within one.
        await turns(2);
        if (count > 1000) this.#disturbAll();
        this.#running.clock.advance(count);
        return await turn();
    }
  }

  #disconnect(peer: PeerModel): void {
    peer.disturbed = true;
    const { events, server } = this.#running;
    const open = events.of("connection_open")
      .find((event) => this.#peerOf(event) === peer);
    if (open !== undefined) server.disconnect(open.id);
  }

  #drain(): void {
    this.#disturbAll();
    if (this.#running.server.ready) {
      for (const peer of this.#peers) peer.owed = peer.whole;
    }
    this.#running.server.shutdown();
  }

  /** Less time passes than any timeout, so whoever hangs is found by what follows. */
  async #until(isDone: (peer: PeerModel) => boolean): Promise<void> {
    for (let left = 200; left > 0; left--) {
      if (this.#atWork.length === 0 && this.#peers.every(isDone)) return;
      scribble();
      while (this.#atWork.length > 0) this.#answer(0);
      await this.#running.pass(1, 1);
    }
  }

  #callsOf({ id }: PeerModel): number {
    return this.#calls.get(id) ?? 0;
  }

  #peerOf({ remoteAddr }: { remoteAddr: Deno.Addr }): PeerModel {
    const { hostname } = remoteAddr as Deno.NetAddr;
    return this.#peers[Number(hostname.split(".")[3])];
  }

  #disturbAll(): void {
    this.#disturbed = true;
    for (const peer of this.#peers) peer.disturbed = true;
  }

  #connect(): void {
    const { listener } = this.#running;
    const number = this.#peers.length;
    let transport;
    try {
      transport = listener.connect(`192.0.2.${number}`);
    } catch {
      return; // A drain has closed the listener.
    }
    const peer = new PeerModel(transport, this.#script, number);
    peer.disturbed = this.#disturbed;
    this.#peers.push(peer);
  }

  #handle(
    view: Uint8Array,
    info: RequestInfo,
  ): Reply | Promise<Reply> {
    const { id } = info;
    const peer = this.#peerOf(info);
    peer.id = id;
    const index = this.#calls.get(id) ?? 0;
    this.#calls.set(id, index + 1);
    if (this.#busy.has(id)) this.#faults.push(`two handlers at work of ${id}`);
    const copy = view.slice();
    if (!isSame(copy, peer.requests[index])) {
      this.#faults.push(`request ${index} of ${id} is not what was sent`);
    }
    const kind = String.fromCharCode(view[0]) as Kind;
    const reply = () => replyTo(view, this.#script.onError);
    switch (kind) {
      case "T":
        throw new Error("T");
      case "X":
        return Promise.reject(new Error("X"));
      case "S":
      case "O":
      case "F":
        return Promise.resolve(reply());
      case "H":
        return this.#hops({ id, peer, view, copy }, reply);
      case "P":
        info.replyInPieces(3 + (view.length >> 3));
        return reply();
      case "C":
        info.close();
        return reply();
      case "J":
        this.#running.clock.jump(8);
        return reply();
      case "D":
        peer.disturbed = true;
        this.#running.server.disconnect(id);
        return reply();
      case "e":
      case "r":
      case "g":
      case "p":
      case "c":
      case "n":
        return this.#wait(kind, { id, peer, view, copy }, info, reply);
      default:
        return reply();
    }
  }

  async #hops(
    { id, view, copy }: Omit<Work, "later">,
    reply: () => Reply,
  ): Promise<Reply> {
    this.#busy.add(id);
    for (let i = 0; i < copy.length % 10; i++) await undefined;
    this.#keeps({ view, copy });
    this.#busy.delete(id);
    return reply();
  }

  async #wait(
    kind: Kind,
    seen: Omit<Work, "later">,
    info: RequestInfo,
    reply: () => Reply,
  ): Promise<Reply> {
    const work = { ...seen, later: Promise.withResolvers<void>() };
    this.#busy.add(work.id);
    this.#atWork.push(work);
    await work.later.promise;
    this.#keeps(work);
    this.#busy.delete(work.id);
    if (kind === "r") throw new Error("r");
    if (kind === "c") info.close();
    if (kind === "p") info.replyInPieces(5 + (work.copy.length >> 3));
    return reply();
  }

  #keeps({ view, copy }: Pick<Work, "view" | "copy">): void {
    if (isSame(view, copy)) return;
    this.#faults.push(`a view has changed: ${text(copy.subarray(0, 8))}`);
  }

  #answer(at: number): void {
    if (at === -1) return;
    const [work] = this.#atWork.splice(at, 1);
    work.later.resolve();
  }

  /** Lets everything go on until all is quiet, and then until all have ended. */
  async #finish(): Promise<void> {
    for (const { transport } of this.#peers) {
      transport.mostPerWrite = Infinity;
      transport.take(Infinity);
      flow(transport);
    }
    await this.#until((peer) =>
      peer.ended || peer.disturbed || peer.whole === this.#callsOf(peer)
    );
    // The last reply may be under way.
    await this.#running.pass(4, 1);
    for (const peer of this.#peers) {
      if (!peer.ended && !peer.disturbed) peer.checkQuiet(this.#callsOf(peer));
      peer.end();
    }
    await this.#until(({ transport }) => transport.closed);
    await this.#running[Symbol.asyncDispose]();
  }
}

/** Reads wait for nothing but bytes. */
function flow(transport: MemoryTransport): void {
  transport.held = false;
  transport.push("");
}

// Scripts of what happens to a few connections at once.

const lengths = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 0, max: 40 }) },
  { weight: 2, arbitrary: fc.constantFrom(480, 600, 1600, 3000, 9000) },
  { weight: 1, arbitrary: fc.constantFrom(66_000, 80_000) },
);

const counts = fc.oneof(
  fc.integer({ min: 0, max: 30 }),
  fc.constantFrom(600, 3000, 10_000, 70_000, 1_000_000),
);

const acts = fc.oneof(
  { weight: 10, arbitrary: fc.constantFrom("push") },
  { weight: 6, arbitrary: fc.constantFrom("turn", "hop", "answer") },
  { weight: 2, arbitrary: fc.constantFrom("hold", "release", "flow") },
  { weight: 2, arbitrary: fc.constantFrom("take", "most") },
  { weight: 1, arbitrary: fc.constantFrom("end", "connect") },
) as fc.Arbitrary<Step["act"]>;

const calm = fc.record<Step>({
  at: fc.integer({ min: 0, max: 3 }),
  act: acts,
  count: counts,
});

const disturbing = fc.oneof(
  fc.record<Step>({
    at: fc.integer({ min: 0, max: 3 }),
    act: fc.constantFrom<Step["act"]>("reset", "disconnect", "drain"),
    count: fc.constant(0),
  }),
  fc.record<Step>({
    at: fc.constant(0),
    act: fc.constant<Step["act"]>("advance"),
    count: fc.constantFrom(10, 50, 1500, 6000),
  }),
);

function scripts(step: fc.Arbitrary<Step>): fc.Arbitrary<Script> {
  return fc.record({
    framing: fc.constantFrom(...framingNames),
    maxMemory: fc.constantFrom(0, 0, 0, 50_000, 300_000),
    onError: fc.constantFrom(...Object.keys(onErrors)),
    requests: fc.array(
      fc.tuple(fc.constantFrom(...Object.keys(kinds) as Kind[]), lengths),
      { maxLength: 12 },
    ),
    steps: fc.array(step, { maxLength: 50, size: "max" }),
  });
}

for (
  const [how, step] of Object.entries({
    "whatever happens": fc.oneof(
      { weight: 12, arbitrary: calm },
      { weight: 1, arbitrary: disturbing },
    ),
    "whole, where nothing disturbs": calm,
  })
) {
  Deno.test(`Exchange keeps its rules and replies in order, ${how}`, async () => {
    await fc.assert(
      fc.asyncProperty(scripts(step), (script) => new Play(script).run()),
      { seed: 20261125, numRuns: 400 },
    );
  });
}

/** What a handler was given, and what it was like then. */
interface Seen {
  view: Uint8Array;
  copy: Uint8Array;
}

/**
 * A connection whose handler is at work: its view is in lent memory, and a
 * reply in front of it is on its way.
 */
class AtWork implements AsyncDisposable {
  readonly running: InMemory;
  readonly transport: MemoryTransport;
  readonly seen: Seen[] = [];
  readonly #goOn = Promise.withResolvers<void>();

  constructor(transport = new MemoryTransport()) {
    this.running = new InMemory((view) => {
      if (view[0] === 81) return undefined; // Q
      if (view[0] !== 76) return view; // L
      this.seen.push({ view, copy: view.slice() });
      return this.#goOn.promise.then(() => view);
    }, { requestTimeout: 1000, writeTimeout: 1000 });
    this.transport = transport;
  }

  async begin(): Promise<this> {
    this.running.listener.connect(undefined, this.transport);
    // The first fills the small memory, so that the others are in lent one.
    this.transport.push("Q".repeat(3000) + "\nsmall\n");
    this.transport.push("L".repeat(2000) + "\n");
    await turns(3);
    assertEquals(this.seen.length, 1);
    return this;
  }

  goOn(): void {
    this.#goOn.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.transport.take(Infinity);
    this.transport.end();
    this.goOn();
    await this.running[Symbol.asyncDispose]();
  }
}

const causes: Record<string, (at: AtWork) => Promise<void> | void> = {
  "its connection is cut": ({ running }) => void running.server.disconnect(1),
  "its peer resets": ({ transport }) => transport.reset(),
  "a reply in front of it cannot be written": ({ transport }) =>
    transport.reset(),
  "its peer takes nothing": ({ running }) => running.pass(2000),
  "its time is over": ({ running }) => running.pass(2000),
  "the server is forced down": async ({ running }) => {
    const finished = running.server.shutdown();
    await running.pass(2100);
    await finished;
  },
};

for (const [cause, happen] of Object.entries(causes)) {
  Deno.test(`Exchange leaves a handler its view though ${cause}`, async () => {
    await using at = new AtWork();
    if (/reply|nothing/.test(cause)) at.transport.take(0);
    await at.begin();
    await happen(at);
    await turns(3);
    assert(at.transport.closed || at.transport.finished);
    const [{ view, copy }] = at.seen;
    assert(!isIdle(view), "others may be lent what a handler still reads");
    assert(isSame(view, copy));
  });
}

/**
 * One on which what is under way goes on for a while after `close()`, as the
 * runtime may have handed it to the kernel already.
 */
class LateTransport extends MemoryTransport {
  /** Whether all writes fail, while reads are as before. */
  broken = false;
  readonly #landed = Promise.withResolvers<void>();
  /** The memory of the read that was under way at the end. */
  space = new Uint8Array();
  /** That of the write. */
  written = new Uint8Array();

  override read(space: Uint8Array<ArrayBuffer>): Promise<number | null> {
    this.space = space;
    return this.#late(super.read(space));
  }

  override write(written: Uint8Array<ArrayBuffer>): Promise<number> {
    if (this.broken) return Promise.reject(new Deno.errors.BrokenPipe());
    this.written = written;
    return this.#late(super.write(written));
  }

  /** What was under way at the end is over. */
  async land(): Promise<void> {
    this.#landed.resolve();
    await turns(9);
  }

  async #late<T>(operation: Promise<T>): Promise<T> {
    try {
      return await operation;
    } catch (error) {
      if (this.closed) await this.#landed.promise;
      throw error;
    }
  }
}

const halves: Record<
  string,
  (at: AtWork, late: LateTransport) => Promise<void> | void
> = {
  "the reply to its handler cannot be written": (at, late) => {
    late.broken = true;
    at.goOn();
  },
  "its connection is cut": ({ running }) => void running.server.disconnect(1),
  "its handler is at work, and its connection is cut": ({ running }) =>
    void running.server.disconnect(1),
  "its handler has had its time": ({ running }) => running.pass(1500),
  "its peer takes nothing": async (at) => {
    at.transport.take(0);
    at.goOn();
    await at.running.pass(2000);
  },
};

for (const [cause, happen] of Object.entries(halves)) {
  Deno.test(`Exchange lends the memory of a read to nobody though ${cause}`, async () => {
    const late = new LateTransport();
    await using at = new AtWork(late);
    await at.begin();
    if (!/handler|nothing/.test(cause)) {
      at.goOn();
      await turns(3);
      // The rest of this frame is awaited, in lent memory.
      late.push("R".repeat(3000));
      await turns(3);
    }
    assert(late.reading && late.space.buffer.byteLength >= 2048);
    const { space } = late;
    await happen(at, late);
    await turns(3);
    assert(!isIdle(space), "others may be lent what a read still writes to");
    await late.land();
    const atWork = cause.startsWith("its handler");
    assertEquals(isIdle(space), !atWork, "it is not lent once that is over");
  });
}

Deno.test("a header lends the memory of its read to nobody", async () => {
  await using running = new InMemory((request) => request, {
    proxyProtocol: "v2",
    proxyTrust: "127.0.0.1",
  });
  const late = new LateTransport();
  running.listener.connect(undefined, late);
  // It announces 65,535 bytes, and 3000 of them come.
  late.push(Uint8Array.of(...bytes("\r\n\r\n\0\r\nQUIT\n"), 0x21, 0, 255, 255));
  late.push(new Uint8Array(3000));
  await turns(3);
  assert(late.reading && late.space.buffer.byteLength >= 2048);
  const { space } = late;
  await running.server.disconnect(1);
  await turns(3);
  assert(!isIdle(space), "others may be lent what a read still writes to");
  await late.land();
  assert(isIdle(space), "it is not lent once that is over");
});

const blocked = {
  "of a batch": (info: RequestInfo) => (void info, "x".repeat(2000)),
  "that is large": (info: RequestInfo) => (void info, "x".repeat(MUCH)),
  "in pieces": (info: RequestInfo) => {
    info.replyInPieces(1000);
    return "x".repeat(2000);
  },
};

for (const [which, handle] of Object.entries(blocked)) {
  Deno.test(`Exchange lends the memory of a write ${which} to nobody`, async () => {
    const late = new LateTransport();
    await using running = new InMemory((_request, info) => handle(info));
    late.take(0);
    running.listener.connect(undefined, late);
    late.push("a\n");
    await turns(3);
    assert(late.writing);
    await running.server.disconnect(1);
    await turns(3);
    assert(!isIdle(late.written), "others may be lent what is still written");
    await late.land();
    assertEquals(isIdle(late.written), which === "of a batch");
  });
}

Deno.test("a request's duration begins as it is read, whoever reads", async () => {
  await using at = new AtWork();
  await at.begin();
  const { running, transport } = at;
  await running.pass(300);
  at.goOn();
  await turns(3);
  // What comes now is for a read that began while the handler was at work.
  for (let i = 0; i < 3; i++) {
    await running.pass(500);
    transport.push("more\n");
    await turns(3);
  }
  const all = running.events.of("request").map(({ duration }) => duration);
  assertEquals(all.slice(-4), [300, 0, 0, 0]);
});

Deno.test("a drain answers what the kernel holds as a handler replies", async () => {
  await using at = new AtWork();
  await at.begin();
  const { running, transport } = at;
  const { length } = transport.taken;
  const finished = running.server.shutdown();
  await running.pass(30, 5);
  transport.held = true;
  transport.push("more\n");
  at.goOn();
  await turns(3);
  assertEquals(transport.taken.length, length + 2001);
  transport.release();
  await turns(3);
  assertEquals(transport.text.slice(-5), "more\n");
  transport.held = false;
  transport.push("");
  await running.pass(30, 1);
  assert(transport.finished);
  transport.end();
  await finished;
  assertEquals(running.events.reasons, ["shutdown"]);
});

Deno.test("a drain looks at its sockets once more when its wait is over", async () => {
  await using running = new InMemory((request) => request);
  const transport = await running.connect();
  transport.held = true;
  transport.push("x\n");
  const finished = running.server.shutdown();
  // It begins after 10 ms and waits for as long. An event loop that was held up
  // looks at its sockets only now.
  await running.pass(20, 1);
  transport.release();
  await turns(3);
  assertEquals(transport.text, "x\n");
  transport.held = false;
  transport.end();
  await running.pass(30, 1);
  await finished;
});

Deno.test("a drain waits for the rest of a request", async () => {
  await using running = new InMemory((request) => request);
  const transport = await running.connect();
  transport.push("one\nre");
  await turns(3);
  const finished = running.server.shutdown();
  await running.pass(500, 10);
  assertEquals(await running.states(), ["reading"]);
  transport.push("st\n");
  await turns(3);
  assertEquals(transport.text, "one\nrest\n");
  await running.pass(20, 1);
  assert(transport.finished);
  transport.end();
  await finished;
  assertEquals(running.events.reasons, ["shutdown"]);
});

/** One whose reads do not tell that the kernel has no more, as with TLS. */
class Layered extends MemoryTransport {
  readonly shortReadMeansEmpty = false;
}

Deno.test("a drain ends a peer that never stops asking, whatever reads tell", async () => {
  await using running = new InMemory((request) => request);
  const transport = new Layered();
  running.listener.connect(undefined, transport);
  let asked = 0;
  const ask = async () => {
    transport.push("x\n");
    asked++;
    await running.pass(5, 1);
  };
  await ask();
  const finished = running.server.shutdown();
  while (asked < 40) await ask();
  assertEquals(await running.states(), ["idle"]);
  while (asked < 60) await ask();
  // 10 ms until the drain begins, 250 ms in it, and the wait of 12 ms.
  assert(transport.finished, "it is served until the drain timeout");
  transport.end();
  // What is left may go on after a rest of the event loop.
  await running.pass(5, 1);
  await finished;
  assertEquals(running.events.reasons, ["shutdown"]);
});

Deno.test("a drain ends a peer that falls silent in it, whatever reads tell", async () => {
  await using running = new InMemory((request) => request);
  const transport = new Layered();
  running.listener.connect(undefined, transport);
  await turns(2);
  const finished = running.server.shutdown();
  // In the middle of the wait, which is over after 22 ms.
  await running.pass(15, 1);
  transport.push("x\n");
  await running.pass(10, 1);
  assertEquals([transport.text, transport.finished], ["x\n", false]);
  await running.pass(10, 1);
  assert(transport.finished, "it is waited for until the drain timeout");
  transport.end();
  await finished;
});
