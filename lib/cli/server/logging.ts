/**
 * The log as the programs write it: a line a record, as JSON or for people.
 *
 * @module
 */

import {
  configureSync,
  getAnsiColorFormatter,
  getLogger,
  getTextFormatter,
  type Logger,
  type LogLevel as TapeLevel,
  type LogRecord,
  type TextFormatter,
} from "@logtape/logtape";

import { type Clock, systemClock } from "../../core/clock.ts";
import { toLine } from "../../core/text.ts";
import { type LogLevel, logLevels } from "../../observe/log.ts";
import { LineWriter, type Output } from "../streams/line_writer.ts";

export { type LogLevel, logLevels };

/** How the log may look; `auto` goes by whether it is a terminal. */
export const logFormats = ["auto", "json", "pretty"] as const;

/** One of {@linkcode logFormats}. */
export type LogFormat = typeof logFormats[number];

/** Where the log goes. */
export interface LogOutput extends Output {
  /** Whether people look at it. */
  isTerminal(): boolean;
}

/** Options of {@linkcode openLog}. */
export interface LogSettings {
  /** How it looks. */
  format: LogFormat;
  /** The least level that is written. */
  level: LogLevel;
  /** Whether people want no colour. */
  noColor: boolean;
}

/** A log that is written. */
export interface Log {
  /** Takes the records. */
  readonly logger: Logger;
  /**
   * Resolves when everything is written, or after a second: whoever does not
   * take the log must not hold up the program's end.
   */
  flush(): Promise<void>;
}

const CATEGORY = "parley";

/** How long the end of the program waits for the log, in milliseconds. */
const FLUSH_LIMIT = 1000;

const levelNames: Readonly<Record<TapeLevel, LogLevel>> = {
  trace: "debug",
  debug: "debug",
  info: "info",
  warning: "warn",
  error: "error",
  fatal: "error",
};

/**
 * Sets up the log of the process; a second call replaces the first.
 *
 * LogTape's own stream sink is not used: one failed write ends it for good, and
 * its buffered mode keeps a timer running and drops the oldest lines.
 *
 * @param output Where it goes.
 * @param settings How it looks, and what is in it.
 * @param clock The source of time.
 */
export function openLog(
  output: LogOutput,
  { format, level, noColor }: LogSettings,
  clock: Clock = systemClock,
): Log {
  const pretty = format === "pretty" ||
    (format === "auto" && output.isTerminal());
  const toText = pretty ? prettyFormatter(!noColor) : jsonFormatter;
  const lines = new LineWriter(output, (count) =>
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
    async flush() {
      const late = Promise.withResolvers<void>();
      const cancel = clock.after(FLUSH_LIMIT, late.resolve);
      await Promise.race([lines.flush(), late.promise]);
      cancel();
    },
  };
}

/** A record as an object on a line of its own. */
export function jsonFormatter(record: LogRecord): string {
  return toLine({
    ts: new Date(record.timestamp).toISOString(),
    level: levelNames[record.level],
    msg: record.message.join(""),
    ...record.properties,
  }) + "\n";
}

/**
 * Makes what turns a record into a line for people: the local time, the level,
 * the message, and the fields as `name=value`.
 *
 * @param color Whether it is coloured.
 */
export function prettyFormatter(color: boolean): TextFormatter {
  const make = color ? getAnsiColorFormatter : getTextFormatter;
  return make({
    timestamp: "time",
    timeZone: null,
    level: (level) => levelNames[level].padEnd(5),
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
