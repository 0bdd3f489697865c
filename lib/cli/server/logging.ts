/** The log as `server` writes it: a line a record, as JSON or for people. */

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
import { encodeText, toLine } from "../../core/text.ts";
import type { LogLevel } from "../../observe/log.ts";
import type { Output } from "../streams/standard_streams.ts";

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

function jsonFormatter(record: LogRecord): string {
  return toLine({
    ts: new Date(record.timestamp).toISOString(),
    level: nameOf(record.level),
    msg: record.message.join(""),
    ...record.properties,
  }) + "\n";
}

/** For people: local date and time, level, message, and the fields as `name=value`. */
function prettyFormatter(color: boolean): TextFormatter {
  const make = color ? getAnsiColorFormatter : getTextFormatter;
  return make({
    timestamp: "date-time",
    timeZone: null,
    level: (level) => nameOf(level).padEnd(5),
    sanitize: { sgr: "escape", newlines: "escape" },
    format({ timestamp, level, message, record }) {
      let line = `${timestamp} ${level} ${message}`;
      for (const [name, value] of Object.entries(record.properties)) {
        if (value === undefined) continue;
        // What needs no quotes is easier to read, and to copy, without.
        const bare = typeof value === "string" && /^[\w.:[\]/-]+$/.test(value);
        line += ` ${name}=${bare ? value : toLine(value)}`;
      }
      return line;
    },
  });
}

/** How much may wait, in characters: some thousand lines. */
const MAX_WAITING = 1024 * 1024;

const LF = 10;

/**
 * Writes lines to somewhere slow, full or gone, which never waits and never
 * fails: what has come in the meantime goes into the next write. What finds no
 * room, or cannot be written, is lost, and the next write says how much.
 */
export function lineWriter(output: Output, notice: (lost: number) => string) {
  let waiting: string[] = [];
  /** Characters of all that waits. */
  let size = 0;
  /** Lines that are lost since the start, and those that were told of. */
  let lost = 0;
  let told = 0;
  /** Whether the output ends in the middle of a line. */
  let torn = false;
  let writing: Promise<void> | undefined;

  async function write(): Promise<void> {
    while (waiting.length > 0) {
      // The lines that found no room came after those that wait.
      const untold = lost - told;
      if (untold > 0) waiting.push(notice(untold));
      const mend = torn ? "\n" : "";
      const bytes = encodeText(mend + waiting.join(""));
      waiting = [];
      size = 0;
      told = lost;
      let written = 0;
      try {
        while (written < bytes.length) {
          written += await output.write(bytes.subarray(written));
        }
      } catch {
        // Closed, or a full disk. There is nobody left to tell, and a disk may
        // have room again: the next line tries again.
      }
      if (written > 0) torn = bytes[written - 1] !== LF;
      if (written < bytes.length) {
        const rest = bytes.subarray(Math.max(written, mend.length));
        // The notice was the last line; what it was to say is still to be said.
        lost += rest.filter((byte) => byte === LF).length -
          (untold > 0 ? 1 : 0);
        told -= untold;
      }
    }
    writing = undefined;
  }

  return {
    /** Takes a line: with its LF, and no other. */
    add(line: string): void {
      if (size + line.length > MAX_WAITING) return void lost++;
      waiting.push(line);
      size += line.length;
      writing ??= write();
    },
    /** How many were lost since the start. */
    lost: (): number => lost,
    async flush(): Promise<void> {
      await writing;
    },
  };
}
