/** What was thrown, on its way between threads: a clone loses class and fields. */

import * as parley from "../core/errors.ts";
import { messageOf } from "../core/text.ts";

/** An error as it can be sent, or a value that is sent as it is. */
export type SentError =
  | {
    /** The name of its class, if both sides have that. */
    readonly known: string;
    readonly name: string;
    readonly message: string;
    readonly stack: string | undefined;
    readonly fields: Readonly<Record<string, unknown>>;
    readonly cause: SentError | undefined;
  }
  | { readonly value: unknown };

const classes: Readonly<Record<string, ErrorConstructor>> = Object.fromEntries(
  [
    ...[Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError],
    ...[URIError, ...Object.values(Deno.errors), ...Object.values(parley)],
  ].map((one) => [one.name, one as unknown as ErrorConstructor]),
);

/** How many causes are sent: an error may be its own. */
const MOST_CAUSES = 8;

/**
 * Makes of what was thrown what can be sent. Of an error's own fields those are
 * kept that hold text, a number or a boolean. A value that cannot be sent
 * becomes an error that has its text.
 */
export function serializeError(
  error: unknown,
  causes: number = MOST_CAUSES,
): SentError {
  try {
    // A clone keeps all of a DOMException, and of what is no error.
    if (!(error instanceof Error) || error instanceof DOMException) {
      return { value: structuredClone(error) };
    }
    return describe(error, causes);
  } catch {
    return describe(new Error(textOf(error)), 0);
  }
}

/** Makes again what was thrown, of the same class where this side has it. */
export function deserializeError(sent: SentError): unknown {
  if ("value" in sent) return sent.value;
  const { known, name, message, stack, fields, cause } = sent;
  // Not by the class itself: what those take differs.
  const error: Error = Reflect.construct(Error, [message], classes[known]);
  Object.assign(error, fields);
  if (error.name !== name) error.name = name;
  error.stack = stack;
  if (cause !== undefined) error.cause = deserializeError(cause);
  return error;
}

function describe(error: Error, causes: number): SentError {
  const { name, message, stack, cause, constructor } = error;
  const known = classes[constructor.name] === constructor;
  const fields = Object.entries(error).filter(([, value]) =>
    ["string", "number", "boolean"].includes(typeof value)
  );
  return {
    known: known ? constructor.name : "Error",
    name: String(name),
    message: String(message),
    stack: stack === undefined ? undefined : String(stack),
    fields: Object.fromEntries(fields),
    cause: cause === undefined || causes === 0
      ? undefined
      : serializeError(cause, causes - 1),
  };
}

function textOf(value: unknown): string {
  try {
    return messageOf(value);
  } catch {
    // An object without a prototype has no text.
    return "an object that has no text";
  }
}
