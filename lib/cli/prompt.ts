/**
 * The client at a terminal: a prompt, line editing, history, and a word as soon
 * as the connection is lost.
 *
 * @module
 */

import process from "node:process";
import { createInterface } from "node:readline";

import type { Client } from "../client.ts";
import { RefusedError } from "../errors.ts";
import type { History } from "./history.ts";

/** Options of {@linkcode runPrompt}. */
export interface PromptOptions {
  /** The server, as the prompt shows it. */
  place: string;
  /** Connects anew. */
  reconnect: () => Promise<Client>;
  /** Where lines are kept, if they are. */
  history?: History;
  /** Called for Ctrl-C. */
  onInterrupt: () => void;
}

/**
 * Reads requests from the terminal and shows their replies, until `exit`,
 * `quit` or the end of input.
 *
 * @param client The connection to begin with.
 * @param options The surroundings.
 */
export async function runPrompt(
  client: Client,
  { place, reconnect, history, onInterrupt }: PromptOptions,
): Promise<void> {
  const editor = createInterface({
    input: process.stdin,
    output: process.stdout,
    terminal: true,
    prompt: `${place}> `,
    history: history === undefined ? [] : [...history.lines],
    historySize: 1000,
    removeHistoryDuplicates: true,
  });
  let current: Client | undefined;
  let waiting = false;
  const watch = (client: Client) => {
    current = client;
    client.closed.then((error) => {
      if (current !== client) return;
      current = undefined;
      // A request that waits says so itself.
      if (error === undefined || waiting) return;
      const what = error instanceof RefusedError
        ? error.message
        : "connection lost";
      say(`(${what}; the next request connects again)`);
      editor.prompt(true);
    });
  };
  /** Prints a line of its own, also while a request is being typed. */
  const say = (text: string) => process.stdout.write(`\r\x1b[K${text}\n`);

  watch(client);
  editor.on("SIGINT", onInterrupt);
  editor.prompt();
  for await (const line of editor) {
    if (/^\s*(exit|quit)\s*$/i.test(line)) break;
    if (line.trim() !== "") {
      history?.add(line);
      waiting = true;
      try {
        if (current === undefined) watch(await reconnect());
        say(printable(await current!.request(line)));
      } catch (error) {
        say(`(${error instanceof Error ? error.message : error})`);
      }
      waiting = false;
    }
    editor.prompt();
  }
  editor.close();
  current?.close();
}

/** A reply as a terminal may be shown it: nothing in it moves the cursor. */
function printable(reply: Uint8Array): string {
  return new TextDecoder().decode(reply).replace(
    // deno-lint-ignore no-control-regex
    /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g,
    (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}
