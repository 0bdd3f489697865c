// Types of what Parley uses of @std/crypto, whose npm build comes without any.

export function timingSafeEqual(
  a: ArrayBufferView | ArrayBufferLike,
  b: ArrayBufferView | ArrayBufferLike,
): boolean;
