/** The end of a certificate, told as it comes near: once for each step. */

import type { Clock } from "../core/clock.ts";

/** How many days may be left when it is told; 0 is when it has expired. */
export type ExpiryStep = 30 | 7 | 0;

const STEPS: readonly ExpiryStep[] = [0, 7, 30];

const DAY = 24 * 60 * 60_000;

/** How often it is looked at: the date may be set, and a timer holds 24 days. */
const INTERVAL = 60 * 60_000;

/**
 * @param notAfter The certificate's end, in milliseconds since 1970.
 * @returns What ends the watch.
 */
export function watchExpiry(
  notAfter: number,
  clock: Clock,
  tell: (step: ExpiryStep) => void,
): () => void {
  let told: number | undefined;
  let cancel: () => void;
  const look = () => {
    const left = notAfter - Date.now();
    const step = STEPS.find((days) => left <= days * DAY);
    if (step !== undefined && step < (told ?? Infinity)) tell(told = step);
    cancel = clock.after(INTERVAL, look, { background: true });
  };
  look();
  return () => cancel();
}
