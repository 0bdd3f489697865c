/**
 * What an error of the system says, as a part of a sentence.
 *
 * @module
 */

import { messageOf } from "./text.ts";

/**
 * Takes the number and the capital off the text of a system error: `No space
 * left on device (os error 28)` becomes `no space left on device`.
 *
 * @param error What was thrown.
 */
export function systemReason(error: unknown): string {
  const message = messageOf(error);
  const [, text] = /^(.*) \(os error \d+\)$/s.exec(message) ?? [];
  return text === undefined
    ? message
    : text.slice(0, 1).toLowerCase() + text.slice(1);
}
