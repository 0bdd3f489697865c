/**
 * Many clients in a process of their own, for a process has only so many
 * descriptors. They speak to a server with line framing and the handler
 * `commands`, and are told what to do on standard input, a command a line:
 *
 * | command | what |
 * | --- | --- |
 * | `connect n` | all connect, `n` at once, and each asks one request |
 * | `ask n` | all together ask `n` requests each, one after the other |
 * | `stats` | the first asks for the server's numbers |
 *
 * Standard output begins with the line `ready`; then each command is answered
 * with one line of JSON: {@linkcode Outcome}, or the reply as a string. At the
 * end of input all close.
 *
 * Arguments: the port, the address to connect from, the number of the first
 * client, how many there are, and how long a command may take in milliseconds.
 * An address has 28,000 ports, which stay taken for a minute after their
 * connection, and of which the kernel searches long for a free one once half are
 * taken. So each crowd has an address of the loopback of its own, which Deno's
 * own sockets could not choose.
 *
 * @module
 */

import { createConnection, type Socket } from "node:net";

import { TextLineStream } from "../support/std.ts";

/** What became of a command. */
export interface Outcome {
  /** Right replies. */
  replies: number;
  /** Connections that could not be made. */
  refused: number;
  /** Connections that ended by a reset. */
  reset: number;
  /** Requests whose connection ended, or whose time was up, without a reply. */
  lost: number;
  /** Replies that are not the request's. */
  wrong: number;
  /** How long it took, in milliseconds. */
  ms: number;
}

/** The outcome of nothing. */
export function nothingYet(): Outcome {
  return { replies: 0, refused: 0, reset: 0, lost: 0, wrong: 0, ms: 0 };
}

class WrongReply extends Error {}
class NoReply extends Error {}

/** One client: its requests name it, so that nobody else's reply will do. */
class One {
  readonly #number: number;
  #asked = 0;
  #socket: Socket | undefined;
  #received = "";
  /** Why it has ended. */
  #end: Error | undefined;
  #waiting: PromiseWithResolvers<void> | undefined;

  constructor(number: number) {
    this.#number = number;
  }

  async connect(port: number, localAddress: string): Promise<void> {
    const connected = this.#waiting = Promise.withResolvers<void>();
    this.#socket = createConnection({ port, host: HOST, localAddress })
      .setNoDelay(true)
      .setEncoding("latin1")
      .once("connect", () => connected.resolve())
      .on("data", (data) => {
        this.#received += data;
        if (this.#received.endsWith("\n")) this.#waiting?.resolve();
      })
      .on("error", (error) => this.close(error))
      .on("close", () => this.close(new NoReply("It was closed")));
    await connected.promise;
  }

  /** Asks once; throws unless the reply is the request's own. */
  async ask(): Promise<void> {
    const text = `${this.#number} ${++this.#asked}\n`;
    const reply = await this.request(`ECHO ${text}`);
    if (reply === text) return;
    throw new WrongReply(
      `Sent ${JSON.stringify(text)}, got ${JSON.stringify(reply)}`,
    );
  }

  /** Sends a line; gives all that has come up to the end of the next one. */
  async request(line: string): Promise<string> {
    if (this.#end !== undefined) throw this.#end;
    this.#waiting = Promise.withResolvers();
    this.#socket?.write(line);
    await this.#waiting.promise;
    const reply = this.#received;
    this.#received = "";
    return reply;
  }

  /** Ends it; whoever waits, or asks from now on, is told why. */
  close(why: Error): void {
    this.#end ??= why;
    this.#waiting?.reject(this.#end);
    this.#socket?.destroy();
  }
}

const HOST = "127.0.0.1";

if (import.meta.main) await main();

async function main(): Promise<void> {
  const source = Deno.args[1];
  const [port, , first, count, limit] = Deno.args.map(Number);
  const crowd = Array.from({ length: count }, (_, i) => new One(first + i));
  const lines = Deno.stdin.readable
    .pipeThrough(new TextDecoderStream())
    .pipeThrough(new TextLineStream());
  console.log("ready");
  for await (const line of lines) {
    const [command, number] = line.split(" ");
    console.log(JSON.stringify(await run(command, Number(number))));
  }
  for (const one of crowd) one.close(new NoReply("The scene is over"));

  function run(command: string, number: number): Promise<Outcome | string> {
    switch (command) {
      case "connect":
        return each(number, async (one) => {
          await one.connect(port, source);
          await one.ask();
          return 1;
        });
      case "ask":
        return each(count, async (one) => {
          for (let i = 0; i < number; i++) await one.ask();
          return number;
        });
      case "stats":
        // Where all is lost, so is this.
        return crowd[0].request("STATS\n").catch(String);
      default:
        throw new Error(`Unknown command ${JSON.stringify(command)}`);
    }
  }

  /** Has each do something, `atOnce` at a time. */
  async function each(
    atOnce: number,
    work: (one: One) => Promise<number>,
  ): Promise<Outcome> {
    const outcome = nothingYet();
    const from = performance.now();
    let late: NoReply | undefined;
    const timer = setTimeout(() => {
      late = new NoReply(`No reply within ${limit} ms`);
      for (const one of crowd) one.close(late);
    }, limit);
    const waiting = crowd.values();
    const worker = async () => {
      for (const one of waiting) {
        try {
          if (late !== undefined) throw late;
          const replies = await work(one);
          outcome.replies += replies;
        } catch (error) {
          const kind = kindOf(error);
          // The first of each kind says enough.
          if (outcome[kind]++ === 0) console.error(`${kind}: ${error}`);
          one.close(error as Error);
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(atOnce, count) }, worker));
    clearTimeout(timer);
    outcome.ms = performance.now() - from;
    return outcome;
  }
}

function kindOf(error: unknown): "refused" | "reset" | "lost" | "wrong" {
  if (error instanceof WrongReply) return "wrong";
  if (error instanceof NoReply) return "lost";
  const { code } = error as { code?: string };
  if (code === "ECONNRESET" || code === "EPIPE") return "reset";
  // Whatever else there is comes of connecting.
  return "refused";
}
