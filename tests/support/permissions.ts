/**
 * Tests that need more than the network, or another system. Where they have not
 * got it, all tests of a file that want the same are one line, which says what.
 *
 * @module
 */

/**
 * How long such a test may take, in milliseconds. It waits for programs, which
 * may never say what it waits for; the longest takes a tenth of this.
 */
const LIMIT = 300_000;

/** How many tests are left out, by what they need. */
const missing = new Map<string, number>();

/**
 * Registers a test.
 *
 * @param needed What it needs beside the network.
 */
export function testAllowed(
  name: string,
  needed: readonly Deno.PermissionDescriptor["name"][],
  fn: Deno.TestDefinition["fn"],
  ignore = false,
): void {
  if (isAllowed(needed)) Deno.test({ name, ignore, fn, timeout: LIMIT });
  else leaveOut(needed.map((name) => `--allow-${name}`).join(" "));
}

export function isAllowed(
  needed: readonly Deno.PermissionDescriptor["name"][],
): boolean {
  return needed.every((name) =>
    Deno.permissions.querySync({ name }).state === "granted"
  );
}

/** Counts a test of this file that is left out, and what it would need. */
export function leaveOut(needed: string): void {
  // Once the module is through, all are counted.
  if (missing.size === 0) queueMicrotask(registerMissing);
  missing.set(needed, (missing.get(needed) ?? 0) + 1);
}

function registerMissing(): void {
  for (const [needed, count] of missing) {
    const tests = count === 1 ? "1 test needs" : `${count} tests need`;
    Deno.test({ name: `${tests} ${needed}`, ignore: true, fn() {} });
  }
}
