/**
 * Folders for the files of Unix sockets, and what can be told of such a file.
 *
 * @module
 */

/** A folder of the test's own; `path` is where a socket may be. */
export class Folder implements AsyncDisposable {
  readonly name: string;
  readonly path: string;

  private constructor(name: string) {
    this.name = name;
    this.path = `${name}/s.sock`;
  }

  static async make(): Promise<Folder> {
    return new Folder(await Deno.makeTempDir());
  }

  /** What is in it. */
  get files(): string[] {
    return [...Deno.readDirSync(this.name)].map(({ name }) => name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.name, { recursive: true });
  }
}

/** Leaves a socket's file behind, as a server that is killed does. */
export function leaveStale(path: string): void {
  const listener = Deno.listen({ transport: "unix", path: `${path}.bound` });
  // Deno removes the path that it has bound.
  Deno.renameSync(`${path}.bound`, path);
  listener.close();
}

/** The permissions of a file, in octal. */
export function permissions(path: string): string {
  return ((Deno.lstatSync(path).mode ?? 0) & 0o7777).toString(8);
}
