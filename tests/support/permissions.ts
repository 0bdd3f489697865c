/**
 * Tests that need more than the network. Where that is not allowed, all tests
 * of a file that want the same are one line, which says what they want.
 *
 * @module
 */

/** How many tests are left out, by the flags that they want. */
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
  if (isAllowed(needed)) return Deno.test({ name, ignore, fn });
  // By what the tests need, not by what is lacking: so one line is one kind.
  const flags = needed.map((name) => `--allow-${name}`).join(" ");
  // They are counted until the module is through.
  if (missing.size === 0) queueMicrotask(registerMissing);
  missing.set(flags, (missing.get(flags) ?? 0) + 1);
}

export function isAllowed(
  needed: readonly Deno.PermissionDescriptor["name"][],
): boolean {
  return needed.every((name) =>
    Deno.permissions.querySync({ name }).state === "granted"
  );
}

function registerMissing(): void {
  for (const [flags, count] of missing) {
    const tests = count === 1 ? "1 test needs" : `${count} tests need`;
    Deno.test({ name: `${tests} ${flags}`, ignore: true, fn() {} });
  }
}
