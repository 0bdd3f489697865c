// deno-lint-ignore-file no-import-prefix -- programs that import the library
// have no map for short names.

/** The live page's files. As imports they are part of an executable. */

import uplotStyle from "npm:uplot@1.6.32/dist/uPlot.min.css" with {
  type: "text",
};
import uplot from "npm:uplot@1.6.32/dist/uPlot.iife.min.js" with {
  type: "text",
};

import actions from "./page/actions.js" with { type: "text" };
import charts from "./page/charts.js" with { type: "text" };
import dom from "./page/dom.js" with { type: "text" };
import icon from "./page/icon.svg" with { type: "text" };
import page from "./page/index.html" with { type: "text" };
import numbers from "./page/numbers.js" with { type: "text" };
import script from "./page/page.js" with { type: "text" };
import style from "./page/page.css" with { type: "text" };
import table from "./page/table.js" with { type: "text" };

const html = "text/html; charset=utf-8";
const css = "text/css; charset=utf-8";
const js = "text/javascript; charset=utf-8";
const svg = "image/svg+xml";

/** The page's files by the path of their URL; the page itself is `/`. */
export const assets: ReadonlyMap<string, { type: string; body: string }> =
  new Map([
    ["/", { type: html, body: page }],
    ["/assets/actions.js", { type: js, body: actions }],
    ["/assets/charts.js", { type: js, body: charts }],
    ["/assets/dom.js", { type: js, body: dom }],
    ["/assets/icon.svg", { type: svg, body: icon }],
    ["/assets/numbers.js", { type: js, body: numbers }],
    ["/assets/page.css", { type: css, body: style }],
    ["/assets/page.js", { type: js, body: script }],
    ["/assets/table.js", { type: js, body: table }],
    ["/assets/uplot.css", { type: css, body: uplotStyle }],
    ["/assets/uplot.js", { type: js, body: uplot }],
  ]);
