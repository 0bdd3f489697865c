/**
 * What the numbers of a full run come to on paper: one core, a machine with 16
 * of them, ten such machines.
 *
 * @module
 */

import { formatNumber } from "./numbers.ts";
import { tableOf } from "./readme.ts";
import type { Row, Table } from "./report.ts";

const CORES = 16;
const MACHINES = 10;

/** What is left where the network's interrupts share the cores. */
const SHARED = 0.8;

/** The memory of the example. */
const GIB = 10;
const KIB_IN_GIB = 1024 ** 2;

/**
 * Writes the table, without the rows whose numbers were not measured; empty
 * where it is not known what more cores do.
 *
 * @param tables All tables of the run.
 */
export function paperOf(tables: readonly Table[]): string {
  const row = (table: string, peer = "parley"): Row | undefined =>
    tables.find(({ name }) => name === table)
      ?.rows.find((row) => row.peer === peer);
  const threads = row("threads", "cpu2")?.ratios.cpu1;
  if (threads === undefined) return "";
  const accepted = row("accept")?.median;
  const each = threads / 2;
  const cores = CORES * each;
  const spread = `× ${CORES} × ${formatNumber(each)} = `;
  const shared = `× ${CORES} × ${formatNumber(each)} × ${SHARED} = `;
  const rate = (what: string, us: number | undefined) =>
    us !== undefined && [
      what,
      `1 s / ${formatNumber(us)} µs = ${inWords(1e6 / us)}`,
      shared + inWords(1e6 / us * cores * SHARED),
      inWords(1e6 / us * cores * SHARED * MACHINES),
    ];
  const held = (what: string, kib: number | undefined) =>
    kib !== undefined && [
      what,
      `${formatNumber(kib)} KiB each: ${
        inWords(GIB * KIB_IN_GIB / kib)
      } in ${GIB} GiB`,
      "the same: it is one machine's memory",
      inWords(GIB * KIB_IN_GIB / kib * MACHINES),
    ];
  return tableOf(
    [
      "what",
      "one core",
      `${CORES} cores, \`--threads ${CORES}\``,
      "ten such machines",
    ],
    [
      rate("requests/s, depth 1", row("depth-1")?.cpu),
      rate("requests/s, depth 16", row("depth-16")?.cpu),
      accepted !== undefined && [
        "new connections/s",
        inWords(accepted),
        spread + inWords(accepted * cores),
        inWords(accepted * cores * MACHINES),
      ],
      rate("TLS handshakes/s, with a request", row("tls-connect")?.cpu),
      held("connections, idle after 1 MiB", row("idle-moved")?.median),
      held("connections, idle, TLS", row("idle-tls")?.median),
    ].filter((cells) => cells !== false),
  );
}

/** Two digits that count: on paper there are no more. */
function inWords(value: number): string {
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(value)) - 1);
  const rounded = Math.round(value / unit) * unit;
  return rounded >= 1e6
    ? `${(rounded / 1e6).toLocaleString("en")} million`
    : rounded.toLocaleString("en");
}
