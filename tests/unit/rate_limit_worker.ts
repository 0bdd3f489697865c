/** What the threads of `rate_limit_test.ts` run: takes all it can get. */

import { TokenBuckets } from "../../lib/core/rate_limit.ts";

const scope = globalThis as unknown as {
  onmessage(message: MessageEvent): void;
  postMessage(count: number): void;
};

scope.onmessage = ({ data: { rate, cells, tries, ready } }) => {
  const all = new TokenBuckets(rate, cells);
  let count = 0;
  // All begin at once.
  Atomics.sub(ready, 0, 1);
  while (Atomics.load(ready, 0) > 0);
  for (let i = 0; i < tries; i++) if (all.take("a", 1)) count++;
  scope.postMessage(count);
};
