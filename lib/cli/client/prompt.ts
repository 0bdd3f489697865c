/** The client at a terminal: requests as they are typed, and their replies. */

import type { Client } from "../../client/api.ts";
import * as errors from "../../core/errors.ts";
import * as text from "../../core/text.ts";
import type { History } from "./history.ts";
import { LineEditor } from "./line_editor.ts";

const ENDS = [
  ...[errors.ConnectionLostError, errors.RefusedError, errors.TimeoutError],
];

/**
 * Reads requests, each once the one before it has its reply, until `exit`,
 * `quit` or the end of input.
 */
export async function runPrompt(
  client: Client,
  { place, reconnect, history, onInterrupt }: {
    place: string;
    reconnect: () => Promise<Client>;
    history?: History;
    onInterrupt: () => void;
  },
): Promise<void> {
  const lines = history?.lines ?? [];
  using editor = new LineEditor(`${place}> `, lines, onInterrupt);
  let current: Client | undefined;
  let waiting = false;
  const watch = (client: Client) => {
    current = client;
    client.closed.then((error) => {
      if (current !== client) return;
      current = undefined;
      // A request that waits says so itself.
      if (error === undefined || waiting) return;
      const what = error instanceof errors.RefusedError
        ? text.printableLine(error.message)
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
      const reply = await current!.request(line);
      editor.say(text.printable(text.decodeText(reply)));
    } catch (error) {
      editor.say(`(${text.printableLine(text.messageOf(error))})`);
      // Its end is said already.
      if (ENDS.some((End) => error instanceof End)) current = undefined;
    }
    waiting = false;
  }
  current?.close();
}
