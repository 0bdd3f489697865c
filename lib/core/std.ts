/**
 * What Parley uses of `@std/streams`. Its npm build comes without types, so
 * they are put beside it here, once for all that import it. `parseArgs` is not
 * here: its one user has it, and `server` would load the streams with it, a
 * tenth of its start.
 *
 * @module
 */

// @ts-types="./streams.d.ts"
export { DelimiterStream, TextLineStream, toBytes, toText } from "@std/streams";
