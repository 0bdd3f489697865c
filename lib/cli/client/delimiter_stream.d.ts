// Types of what Parley uses of @std/streams, whose npm build comes without any.

export class DelimiterStream
  extends TransformStream<Uint8Array, Uint8Array<ArrayBuffer>> {
  constructor(
    delimiter: Uint8Array,
    options?: { disposition?: "suffix" | "prefix" | "discard" },
  );
}
