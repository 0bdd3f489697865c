/**
 * Descriptors that a program keeps for the moment when it has no other left. It
 * opens them while it may still open files.
 */

/** A device that can always be opened. */
const PATH = Deno.build.os === "windows" ? "NUL" : "/dev/null";

/** Gives what closes one of them, and says whether there was one left. */
export function openSpares(count: number): () => boolean {
  const files: Deno.FsFile[] = [];
  try {
    while (files.length < count) files.push(Deno.openSync(PATH));
  } catch {
    // Nothing can be kept, and nothing else depends on it.
  }
  return () => {
    const file = files.pop();
    file?.close();
    return file !== undefined;
  };
}
