/** The log as the programs write it: a line a record, as JSON or for people. */

import {
  configureSync,
  getAnsiColorFormatter,
  getLogger,
  getTextFormatter,
  type LogLevel as TapeLevel,
  type LogRecord,
  type TextFormatter,
} from "@logtape/logtape";

import { type Clock, systemClock, within } from "../../core/clock.ts";
import { toLine } from "../../core/text.ts";
import type { LogLevel } from "../../observe/log.ts";
import { lineWriter, type Output } from "../streams/line_writer.ts";

/** How the log may look; `auto` goes by whether it is a terminal. */
export const logFormats = ["auto", "json", "pretty"] as const;

export interface LogSettings {
  format: typeof logFormats[number];
  level: LogLevel;
  noColor: boolean;
}

export type Log = ReturnType<typeof openLog>;

const CATEGORY = "parley";

const FLUSH_LIMIT = 1000;

/**
 * Sets up the log of the process; a second call replaces the first.
 *
 * LogTape's own stream sink is not used: one failed write ends it for good, and
 * its buffered mode keeps a timer running and drops the oldest lines.
 */
export function openLog(
  output: Output & { isTerminal(): boolean },
  { format, level, noColor }: LogSettings,
  clock: Clock = systemClock,
) {
  const pretty = format === "pretty" ||
    (format === "auto" && output.isTerminal());
  const toText = pretty
    ? prettyFormatter(output.isTerminal() && !noColor)
    : jsonFormatter;
  const lines = lineWriter(output, (count) =>
    toText({
      category: [CATEGORY],
      level: "warning",
      message: ["log lines lost"],
      rawMessage: "log lines lost",
      timestamp: Date.now(),
      properties: { count },
    }));
  configureSync({
    reset: true,
    sinks: { lines: (record) => lines.add(toText(record)) },
    loggers: [
      {
        category: CATEGORY,
        lowestLevel: level === "warn" ? "warning" : level,
        sinks: ["lines"],
      },
      // It tells of sinks that throw, which the one above does not.
      { category: ["logtape", "meta"], sinks: [], lowestLevel: "fatal" },
    ],
  });
  return {
    logger: getLogger(CATEGORY),
    linesLost: lines.lost,
    /** Who does not take the log must not hold up the program's end. */
    flush: (): Promise<void> => within(clock, FLUSH_LIMIT, lines.flush()),
  };
}

function nameOf(level: TapeLevel): string {
  return level === "warning" ? "warn" : level;
}

export function jsonFormatter(record: LogRecord): string {
  return toLine({
    ts: new Date(record.timestamp).toISOString(),
    level: nameOf(record.level),
    msg: record.message.join(""),
    ...record.properties,
  }) + "\n";
}

/** For people: local date and time, level, message, and the fields as `name=value`. */
export function prettyFormatter(color: boolean): TextFormatter {
  const make = color ? getAnsiColorFormatter : getTextFormatter;
  return make({
    timestamp: "date-time",
    timeZone: null,
    level: (level) => nameOf(level).padEnd(5),
    sanitize: { sgr: "escape", newlines: "escape" },
    format: ({ timestamp, level, message, record: { properties } }) =>
      `${timestamp} ${level} ${message}${prettyFields(properties)}`,
  });
}

function prettyFields(fields: Record<string, unknown>): string {
  let text = "";
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    // What needs no quotes is easier to read, and to copy, without.
    const bare = typeof value === "string" && /^[\w.:[\]/-]+$/.test(value);
    text += ` ${name}=${bare ? value : toLine(value)}`;
  }
  return text;
}
