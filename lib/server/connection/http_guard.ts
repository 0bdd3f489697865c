/**
 * What gives an HTTP request away, line by line. A web page can have a browser
 * send one to any address that it reaches, the loopback among them, with lines
 * of the page's own in its body. What it cannot change is how that begins: the
 * request line ends in the version (RFC 9112, section 3), and `Host` follows.
 */

/** How many lines of a connection are looked at. */
export const GUARDED_LINES = 2;

/** The names of the framings whose frames are lines. */
export const OF_LINES = /^(line|delimiter:(\\x0d)?\\x0a)$/;

const decoder = new TextDecoder("latin1");

/**
 * Whether a line, without its end, is of an HTTP request.
 *
 * @param left How many are to be looked at, this one among them.
 */
export function isHttp(line: Uint8Array, left: number): boolean {
  return /^host:/i.test(decoder.decode(line.subarray(0, 5))) ||
    (left === GUARDED_LINES &&
      / HTTP\/1\.\d\r?$/.test(decoder.decode(line.subarray(-10))));
}
