// Types of what Parley uses of @std/cli, @std/streams and @std/text, whose npm builds come
// without any.

export function parseArgs(
  args: readonly string[],
  options: {
    string: readonly string[];
    "--": true;
    unknown: (arg: string, key?: string) => unknown;
  },
): { _: string[]; "--": string[]; [name: string]: unknown };

export class LimitedBytesTransformStream
  extends TransformStream<Uint8Array, Uint8Array<ArrayBuffer>> {
  constructor(size: number, options: { error: true });
}

export function toBytes(
  stream: ReadableStream<Uint8Array>,
): Promise<Uint8Array<ArrayBuffer>>;

export function closestString(
  word: string,
  others: readonly string[],
): string;
