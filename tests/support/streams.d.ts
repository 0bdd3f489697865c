// Types of what the tests use of @std/streams, whose npm build comes without any.

export class TextLineStream extends TransformStream<string, string> {
  constructor(options?: { allowCR?: boolean });
}

export function toText(
  stream: ReadableStream<string> | ReadableStream<Uint8Array>,
): Promise<string>;

export function toBytes(
  stream: ReadableStream<Uint8Array>,
): Promise<Uint8Array<ArrayBuffer>>;
