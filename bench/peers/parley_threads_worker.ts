/**
 * The work of `parley_threads.ts`: an echo that computes first.
 *
 * @module
 */

import { serveThread } from "../../lib/threads/thread.ts";

/** About half a millisecond on the machines of 2026. */
const ROUNDS = 400_000;

let result = 1;

serveThread((request) => {
  let x = result;
  for (let i = 0; i < ROUNDS; i++) {
    x = Math.imul(x, 1_664_525) + 1_013_904_223 | 0;
  }
  result = x;
  return request;
});
