/**
 * What `deno task fuzz:wire` plays against a server: a script of what a few
 * clients do, step by step, and the comparison with the model.
 *
 * @module
 */

import { bytes, text } from "../support/fixtures.ts";
import { Link } from "../support/wire_link.ts";
import {
  frameOf,
  joined,
  type Outcome,
  outcomeOf,
} from "../support/wire_model.ts";
import { headers, type Kind, requestOf, type Setting } from "./wire_sent.ts";

/** A server, as a script needs it. */
export interface Target {
  readonly setting: Setting;
  readonly port: number;
  /** The numbers of connections that `WHOAMI` has told. */
  readonly ids: Set<string>;
  /** Stops the process, or lets it go on: it sees what came meanwhile at once. */
  freeze(frozen: boolean): void;
  /**
   * Nothing is left of any connection.
   *
   * @throws {Difference} Something is.
   */
  atRest(patience: number): Promise<void>;
}

/** What one client sends, whenever it does. */
export interface Talk {
  /** The name of its PROXY header, where there is to be one. */
  readonly header: string;
  /** Whether it speaks no TLS where that is expected. */
  readonly plain: boolean;
  readonly requests: readonly (readonly [kind: Kind, size: number])[];
}

/** What happens next. */
export interface Step {
  /** To which client. */
  readonly at: number;
  /**
   * `sync` waits until all that has been sent is answered, `turn` for the next
   * turn of the event loop, `wait` for a millisecond; `freeze` stops the server
   * until something is awaited; `cut` is a `finish` of which TLS says nothing.
   */
  readonly act:
    | ("send" | "take" | "hold" | "flow" | "sync" | "turn" | "wait")
    | ("freeze" | "thaw" | "finish" | "cut" | "reset" | "close");
  /** How much, where there is a measure. */
  readonly count: number;
}

export interface Script {
  /** How many clients are alike: each step is done by all of them. */
  readonly copies: number;
  /** Encrypted bytes are sent in pieces of so many. */
  readonly piece: number;
  readonly talks: readonly Talk[];
  readonly steps: readonly Step[];
}

/** What came is not what should have. */
export class Difference extends Error {}

/**
 * Plays a script, and compares all that comes back.
 *
 * @param patience How long an answer may take, in milliseconds.
 * @throws {Difference} Something is not as it should be.
 */
export async function play(
  target: Target,
  { copies, piece, talks, steps }: Script,
  patience: number,
): Promise<void> {
  // Where places are few, one that is behind so many may be refused.
  const crowd = { size: 0 };
  const clients = talks.map((talk, at) =>
    Array.from(
      { length: copies },
      (_, copy) =>
        new Client(target, talk, `t${at}c${copy}`, piece, patience, crowd),
    )
  );
  try {
    for (const { at, act, count } of steps) {
      if (act === "freeze") target.freeze(true);
      if (["thaw", "sync", "cut"].includes(act)) target.freeze(false);
      if (act === "turn") await new Promise((go) => setImmediate(go));
      if (act === "wait") await new Promise((go) => setTimeout(go, 1));
      const all = clients[at % talks.length];
      await Promise.all(all.map((client) => client.act(act, count)));
    }
    target.freeze(false);
    await Promise.all(clients.flat().map((client) => client.end()));
  } finally {
    target.freeze(false);
    for (const client of clients.flat()) client.close();
  }
  await target.atRest(patience);
}

/** The first byte of TLS's only words for one that does not speak it. */
const ALERT = 0x15;

/** A bit less than what the server gives for a header, in milliseconds. */
const HEADER_TIME = 4000;

/** How long the server waits for an end that it has said, in milliseconds. */
const LINGER = 2000;

/** What can be done once. */
const ENDINGS: readonly Step["act"][] = ["finish", "cut"];

/** One client of a script, and what it may expect. */
class Client {
  readonly #target: Target;
  readonly #talk: Talk;
  readonly #name: string;
  readonly #piece: number;
  readonly #patience: number;
  readonly #crowd: { size: number };
  readonly #header: Uint8Array;
  /** All that it sends, the header in front. */
  readonly #stream: Uint8Array;
  #link: Link | undefined;
  #sent = 0;
  #finished = false;
  /** When it has connected and sent, in order, and up to where. */
  readonly #sends: (readonly [at: number, to: number])[] = [];
  /** It has broken off: what it got is but the start of its replies. */
  #gone = false;
  /** The server may have been full. */
  #mayBeRefused = false;
  /** How its number was told, as far as it has been. */
  #id: string | undefined;
  /** What has been foretold last, and for what. */
  #foretold: readonly [of: string, outcomes: Outcome[]] = ["", []];

  constructor(
    target: Target,
    talk: Talk,
    name: string,
    piece: number,
    patience: number,
    crowd: { size: number },
  ) {
    this.#target = target;
    this.#talk = talk;
    this.#name = name;
    this.#piece = piece;
    this.#patience = patience;
    this.#crowd = crowd;
    const { setting } = target;
    this.#header = setting.proxy === undefined
      ? new Uint8Array()
      : headers[talk.header].bytes;
    this.#stream = joined([
      this.#header,
      ...talk.requests.map(([kind, size], i) =>
        requestOf(setting, kind, size, `${name}r${i}.`, i % 3 === 1)
      ),
    ]);
  }

  async act(act: Step["act"], count: number): Promise<void> {
    if (this.#gone || this.#finished && ENDINGS.includes(act)) return;
    const link = this.#link ?? await this.#open();
    if (this.#isLate(link)) return;
    switch (act) {
      case "send":
        return this.#send(link, count);
      case "take":
        return link.take(count);
      case "hold":
        return link.take(0);
      case "flow":
        return link.take(Infinity);
      case "sync":
        return await this.#sync(link);
      case "finish":
        this.#finished = true;
        return link.finish();
      case "cut":
        return await this.#cut(link);
      case "reset":
      case "close":
        this.#gone = true;
        return link[act]();
    }
  }

  /** Ends without TLS saying so, where that cuts off nothing else. */
  async #cut(link: Link): Promise<void> {
    const { tls } = this.#target.setting;
    if (tls) await this.#sync(link);
    const before = this.#outcomes(link)[0].replies.length;
    this.#finished = true;
    const { replies: { length } } = this.#outcomes(link)[0];
    // Only a reply tells that there is TLS, and that all before is on its way.
    if (!tls || link.length > 0 && length === before) link.cut();
    else link.finish();
  }

  /** Sees the connection to its end, and compares all that came. */
  async end(): Promise<void> {
    const link = this.#link;
    if (link === undefined) return;
    if (!this.#gone && !this.#isLate(link)) {
      link.take(Infinity);
      // Where the server has to end by itself, it gets no help.
      if (!this.#outcomes(link)[0].over) await this.act("finish", 0);
      await this.#wait(link, () => link.ended !== undefined, "its end");
    }
    this.#compare(link, !this.#gone);
    const id = this.#idIn(link);
    if (!id?.endsWith(" ")) return;
    const { ids } = this.#target;
    if (ids.has(id)) this.#differs(`its number was another's: ${id}`);
    ids.add(id);
  }

  close(): void {
    this.#link?.close();
  }

  async #open(): Promise<Link> {
    const { port, setting: { places = Infinity, threads } } = this.#target;
    // Two threads that ask for the last place at once may both be refused.
    const most = threads === undefined ? places : places - 1;
    this.#mayBeRefused = ++this.#crowd.size > most;
    const link = this.#link = await Link.open(port)
      .catch((error) => this.#differs(`cannot connect: ${error.message}`));
    this.#sends.push([link.opened, 0]);
    if (this.#header.length === 0) this.#secure(link);
    return link;
  }

  /** Breaks off where a busy machine may have used up the header's time. */
  #isLate(link: Link): boolean {
    const { length } = this.#header;
    if (this.#sent >= length || performance.now() - link.opened < HEADER_TIME) {
      return false;
    }
    this.#gone = true;
    link.close();
    return true;
  }

  /** Puts TLS on the connection, where it is to be. */
  #secure(link: Link): void {
    if (this.#target.setting.tls && !this.#talk.plain) link.secure(this.#piece);
  }

  #send(link: Link, count: number): void {
    if (this.#finished) return;
    const { length } = this.#header;
    const from = this.#sent;
    const to = this.#sent = Math.min(from + count, this.#stream.length);
    this.#sends.push([performance.now(), to]);
    if (from < length) {
      link.send(this.#stream.subarray(from, Math.min(to, length)));
      if (to < length) return;
      this.#secure(link);
    }
    link.send(this.#stream.subarray(Math.max(from, length), to));
  }

  /** Waits until all that was sent is answered. */
  async #sync(link: Link): Promise<void> {
    const { setting: { tight, tls } } = this.#target;
    // Nothing is said to one that is closed, or speaks no TLS.
    if (tight || tls && this.#talk.plain) return;
    link.take(Infinity);
    const isAnswered = () => {
      const { replies, over } = this.#outcomes(link)[0];
      const length = replies.reduce((sum, { length }) => sum + length, 0);
      return !over && link.length >= length;
    };
    await this.#wait(
      link,
      () => link.ended !== undefined || isAnswered(),
      "all that is due",
    );
    this.#compare(link, true);
  }

  async #wait(link: Link, isSo: () => boolean, what: string): Promise<void> {
    if (await link.until(isSo, this.#patience)) return;
    // What has come may say more.
    this.#compare(link, false);
    this.#differs(`${what} did not come, only ${link.length} bytes`);
  }

  /** Compares what has come: all of it, or the start of it. */
  #compare(link: Link, all: boolean): void {
    const { received, ended } = link;
    const { setting } = this.#target;
    if (setting.tls && this.#talk.plain) {
      if (received.length === 0 || received[0] === ALERT) return;
      this.#differs(`without TLS came ${shown(received, 0)}`);
    }
    const whole = all && !setting.tight && !this.#hasOverstayed(link);
    const outcomes = this.#outcomes(link);
    const found = outcomes.find(({ replies }) => {
      const at = differenceAt(replies, received);
      return at === undefined || !whole && at === received.length;
    });
    if (found === undefined) {
      const expected = joined(outcomes[0].replies);
      const at = differenceAt([expected], received)!;
      this.#differs(
        `at byte ${at} of ${expected.length} expected ${shown(expected, at)}` +
          `, got ${shown(received, at)} of ${received.length}`,
      );
    }
    if (!whole || ended === undefined) return;
    // That a header is broken may show before all of it has come.
    if (this.#isBroken && this.#sent > 0) return;
    if (!found.over) this.#differs("the server has ended it");
    if (this.#isStranger()) return;
    if (ended instanceof Error) {
      this.#differs(`it has ended by an error: ${ended.message}`);
    }
    // Where a reply came, keys were agreed on.
    if (setting.tls && received.length > 0 && !link.isEndSaid) {
      this.#differs("TLS does not say its end");
    }
  }

  /**
   * Whether it was cut off because it sent for longer than the server waits for
   * its end. What it had not taken by then is lost.
   */
  #hasOverstayed(link: Link): boolean {
    if (!(link.ended instanceof Error)) return false;
    const ids = this.#idsFor(link);
    const over = this.#sends.find(([, to]) =>
      this.#foretell(link, ids, to, false).some(({ over }) => over)
    );
    return over !== undefined && link.endedAt - over[0] > LINGER;
  }

  /** Whether its header is not whole, or broken: the server just closes. */
  #isStranger(sent = this.#sent): boolean {
    return this.#header.length > sent || this.#isBroken;
  }

  get #isBroken(): boolean {
    return this.#header.length > 0 &&
      headers[this.#talk.header].broken === true;
  }

  /** All that may have been said by now; the first is the ordinary. */
  #outcomes(link: Link): Outcome[] {
    const ids = this.#idsFor(link);
    const key = [this.#sent, this.#finished, ...ids].join();
    if (this.#foretold[0] !== key) {
      this.#foretold = [key, this.#foretell(link, ids)];
    }
    return this.#foretold[1];
  }

  #foretell(
    link: Link,
    ids: string[],
    sent = this.#sent,
    finished = this.#finished,
  ): Outcome[] {
    const { setting } = this.#target;
    const { framing, places, tight } = setting;
    const { length } = this.#header;
    const peer = length > 0 && headers[this.#talk.header].peer ||
      `127.0.0.1:${link.port}`;
    const stream = this.#stream.subarray(length, sent);
    const closed = finished || sent >= length;
    const outcomes = this.#isStranger(sent)
      ? [{ replies: [], over: closed }]
      : ids.map((id) =>
        outcomeOf(setting, stream, finished, `${id}peer=${peer}`)
      );
    const refusals = [
      ...this.#mayBeRefused ? [`connection limit of ${places}`] : [],
      ...tight ? ["memory limit"] : [],
    ];
    return [
      ...outcomes,
      ...refusals.map((why) => ({
        replies: [frameOf(framing, bytes(`ERR busy: ${why} reached`), false)],
        over: true,
      })),
    ];
  }

  get #asksId(): boolean {
    return this.#talk.requests.some(([kind]) => kind === "whoami");
  }

  /** The number that it was told, with the space behind it if that has come. */
  #idIn({ received }: Link): string | undefined {
    if (!this.#asksId || this.#id?.endsWith(" ")) return this.#id;
    return this.#id = /id=\d* ?/.exec(text(received))?.[0];
  }

  /** What its number may be. */
  #idsFor(link: Link): string[] {
    if (!this.#asksId) return [""];
    const id = this.#idIn(link) ?? "id=";
    return id.endsWith(" ")
      ? [id]
      : Array.from({ length: 8 }, (_, i) => `${id}${"0".repeat(i)} `);
  }

  #differs(how: string): never {
    throw new Difference(`client ${this.#name}: ${how}`);
  }
}

/** The first place where received bytes are not the expected ones. */
function differenceAt(
  expected: readonly Uint8Array[],
  received: Uint8Array,
): number | undefined {
  let at = 0;
  for (const part of expected) {
    const end = Math.min(at + part.length, received.length);
    for (let i = at; i < end; i++) {
      if (received[i] !== part[i - at]) return i;
    }
    if (end < at + part.length) return end;
    at = end;
  }
  return at < received.length ? at : undefined;
}

/** Some bytes around a place. */
function shown(all: Uint8Array, at: number): string {
  const part = all.subarray(at, at + 40);
  return part.length === 0 ? "the end" : JSON.stringify(text(part));
}
