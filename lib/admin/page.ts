/**
 * The files of the live page.
 *
 * @module
 */

/** A file as it is served. */
export interface Asset {
  /** Its `content-type`. */
  readonly type: string;
  /** Its content. */
  readonly body: string;
}

/** The page's files by path. */
export const assets: ReadonlyMap<string, Asset> = new Map([
  ["/", {
    type: "text/html; charset=utf-8",
    body:
      '<!doctype html><title>Parley</title><a href="/stats.json">numbers</a>\n',
  }],
]);
