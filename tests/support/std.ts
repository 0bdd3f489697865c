/**
 * What the tests use of `@std`, whose npm build comes without types.
 *
 * @module
 */

// @ts-types="./streams.d.ts"
export { TextLineStream, toBytes, toText } from "@std/streams";
// @ts-types="./assert.d.ts"
export {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertInstanceOf,
  AssertionError,
  assertLessOrEqual,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
  fail,
} from "@std/assert";
