/**
 * Lends 200 MiB in each size, writes to it, gives it back, and prints how much
 * more is resident then, in MiB, with the garbage collected. Lasting objects are
 * made meanwhile, as connections make some, so that the C library could return
 * nothing of what lies between.
 *
 * @module
 */

import { CHUNK, giveBack, lend } from "../../lib/net/buffers.ts";

declare const gc: () => void;

const MiB = 1024 ** 2;
const resident = () => Math.round(Deno.memoryUsage().rss / MiB);

const lasting: Uint8Array[] = [];
const before = resident();
for (const length of [8192, CHUNK, 4 * CHUNK]) use(length);
await new Promise((done) => setTimeout(done));
gc();
// Another thread returns it.
const deadline = performance.now() + 5000;
while (resident() > before + 100 && performance.now() < deadline) {
  await new Promise((done) => setTimeout(done, 10));
}
console.log(resident() - before);

function use(length: number): void {
  const lent = Array.from({ length: 200 * MiB / length }, () => {
    lasting.push(new Uint8Array(512));
    return lend(length).fill(1);
  });
  for (const bytes of lent) giveBack(bytes);
}
