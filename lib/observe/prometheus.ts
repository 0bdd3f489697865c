/**
 * A server's numbers in Prometheus' text format, version 0.0.4
 * (https://prometheus.io/docs/instrumenting/exposition_formats/).
 */

import { type AdminSource, meanings, readNumbers } from "./numbers.ts";

/** The `content-type` of {@linkcode prometheusText}. */
export const PROMETHEUS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/**
 * Writes a server's numbers as Prometheus reads them. Label values are names
 * from Parley itself, never an address or a text of a peer.
 *
 * @param server The server.
 * @returns The text, to be served as
 * `text/plain; version=0.0.4; charset=utf-8`.
 *
 * @example
 * ```ts
 * import { prometheusText } from "@parley/parley/admin";
 * import { serve } from "../mod.ts";
 *
 * await using server = serve({ hostname: "127.0.0.1", port: 0 }, (text) => text);
 * console.log(prometheusText(server)); // … parley_connections_active 0 …
 * ```
 */
export function prometheusText(server: AdminSource): string {
  let text = "";
  for (const [name, samples] of Object.entries(readNumbers(server))) {
    const family = name.replace(/_bucket$/, "");
    if (family in meanings) {
      const type = name !== family
        ? "histogram"
        : name.endsWith("_total")
        ? "counter"
        : "gauge";
      text += `# HELP ${family} ${meanings[family]}.\n`;
      text += `# TYPE ${family} ${type}\n`;
    }
    for (const [value, labels = {}] of samples) {
      // No label needs escaping: all are names from Parley itself, or numbers.
      const pairs = Object.entries(labels).map(([key, of]) => `${key}="${of}"`);
      text += `${name}${pairs.length > 0 ? `{${pairs}}` : ""} ${value}\n`;
    }
  }
  return text;
}
