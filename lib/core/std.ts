/**
 * What Parley uses of `@std/streams`. Its npm build comes without types, so
 * they are put beside it here, once for all that import it.
 */

// @ts-types="./streams.d.ts"
export { DelimiterStream, TextLineStream, toBytes, toText } from "@std/streams";
