/**
 * The client at a terminal: requests as they are typed, their replies, and a
 * word as soon as the connection is lost.
 */

import type { Client } from "../../client/api.ts";
import {
  ConnectionLostError,
  RefusedError,
  TimeoutError,
} from "../../core/errors.ts";
import {
  decodeText,
  messageOf,
  printable,
  printableLine,
} from "../../core/text.ts";
import type { History } from "./history.ts";
import { LineEditor } from "./line_editor.ts";

/**
 * Reads requests from the terminal and shows their replies, until `exit`,
 * `quit` or the end of input. Each request is sent once the one before it has
 * its reply; the last reply is waited for.
 */
export async function runPrompt(
  client: Client,
  { place, reconnect, history, onInterrupt }: {
    /** The server, as the prompt shows it. */
    place: string;
    reconnect: () => Promise<Client>;
    history?: History;
    /** Called for Ctrl-C. */
    onInterrupt: () => void;
  },
): Promise<void> {
  using editor = new LineEditor({
    prompt: `${place}> `,
    history: history?.lines ?? [],
    onInterrupt,
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
        ? printableLine(error.message)
        : "connection lost";
      editor.say(`(${what}; the next request connects again)`);
    });
  };

  watch(client);
  for (let line; (line = await editor.next()) !== undefined;) {
    if (/^\s*(exit|quit)\s*$/i.test(line)) break;
    if (line.trim() === "") continue;
    history?.add(line);
    waiting = true;
    try {
      if (current === undefined) watch(await reconnect());
      editor.say(printable(decodeText(await current!.request(line))));
    } catch (error) {
      editor.say(`(${printableLine(messageOf(error))})`);
      // Its end is said already.
      if (
        error instanceof ConnectionLostError ||
        error instanceof RefusedError || error instanceof TimeoutError
      ) current = undefined;
    }
    waiting = false;
  }
  current?.close();
}
