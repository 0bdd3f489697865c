/** Calls between a thread and its worker, in both directions. */

import * as errors from "./sent_error.ts";

/** A worker; within one, its own side of the channel. */
export interface Port {
  onmessage: ((message: MessageEvent) => void) | null;
  postMessage(message: unknown): void;
}

/** What one side lets the other call. Arguments and results are cloned. */
export type Procedures<Names extends PropertyKey = string> = Readonly<
  Record<Names, (...args: never[]) => unknown>
>;

type Message =
  /** A call; its number is 0 if nobody waits for its end. */
  | { call: number; name: string; args: never[] }
  /** How the call of that number has ended. */
  | { answer: number; value: unknown; error?: errors.SentError };

/** One side of the channel; `Remote` is what the other side lets it call. */
export class WorkerCalls<Remote extends Procedures<keyof Remote>> {
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #calls = 0;
  /** Why there is no other side any more. */
  #ended: { error: unknown } | undefined;

  constructor(
    private readonly port: Port,
    private readonly local: Procedures,
  ) {
    port.onmessage = ({ data }: MessageEvent<Message>) => this.#heard(data);
  }

  /** Calls a procedure of the other side; `end()` makes it throw. */
  async call<Name extends keyof Remote & string>(
    name: Name,
    ...args: Parameters<Remote[Name]>
  ): Promise<Awaited<ReturnType<Remote[Name]>>> {
    if (this.#ended !== undefined) throw this.#ended.error;
    const call = ++this.#calls;
    const waiting = Promise.withResolvers<unknown>();
    this.#waiting.set(call, waiting);
    this.port.postMessage({ call, name, args });
    return await waiting.promise as Awaited<ReturnType<Remote[Name]>>;
  }

  /** Calls a procedure of the other side whose end nobody waits for. */
  tell<Name extends keyof Remote & string>(
    name: Name,
    ...args: Parameters<Remote[Name]>
  ): void {
    this.port.postMessage({ call: 0, name, args });
  }

  /** Ends the channel: calls under way and later ones throw the error. */
  end(error: unknown): void {
    this.#ended ??= { error };
    this.port.onmessage = null;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  #heard(message: Message): void {
    if ("call" in message) {
      const { call, name, args } = message;
      // Any code of a thread can post messages. None may make this side fail.
      if (!Object.hasOwn(this.local, name)) return;
      if (call > 0) this.#answer(call, name, args);
      else this.local[name](...args);
      return;
    }
    const { answer, value, error } = message;
    const waiting = this.#waiting.get(answer);
    this.#waiting.delete(answer);
    if (error === undefined) waiting?.resolve(value);
    else waiting?.reject(errors.deserializeError(error));
  }

  async #answer(answer: number, name: string, args: never[]): Promise<void> {
    try {
      const value = await this.local[name](...args);
      this.port.postMessage({ answer, value });
    } catch (error) {
      this.port.postMessage({ answer, error: errors.serializeError(error) });
    }
  }
}
