/** Errors on their way between threads: a clone loses its class and fields. */

import * as parley from "../core/errors.ts";
import { messageOf } from "../core/text.ts";

/** An error as it can be sent, or a value that is sent as it is. */
export type SentError =
  | {
    /** The name of its class, if both sides have that. */
    readonly known: string;
    readonly name: string;
    /** Its message, its stack, and its own fields. */
    readonly fields: Readonly<Record<string, unknown>>;
    readonly cause: SentError | undefined;
  }
  | { readonly value: unknown };

const classes = {
  ...{ Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError },
  ...{ URIError, ...Deno.errors, ...parley },
} as unknown as Readonly<Record<string, ErrorConstructor>>;

/**
 * Makes something that can be sent of what was thrown. Of an error's own fields
 * those with text, a number or a boolean are kept, and of its causes the first
 * eight, for an error may be its own cause. A value that cannot be sent becomes
 * an error with its text.
 */
export function serializeError(error: unknown, causes = 8): SentError {
  try {
    // A clone keeps all of a DOMException, and of what is no error.
    if (!(error instanceof Error) || error instanceof DOMException) {
      return { value: structuredClone(error) };
    }
    const { name, message, stack, cause, constructor } = error;
    const plain = Object.entries(error).filter(([, value]) =>
      ["string", "number", "boolean"].includes(typeof value)
    );
    return {
      known: classes[constructor.name] === constructor
        ? constructor.name
        : "Error",
      name: String(name),
      fields: {
        ...Object.fromEntries(plain),
        message: String(message),
        stack: stack && String(stack),
      },
      cause: cause === undefined || causes === 0
        ? undefined
        : serializeError(cause, causes - 1),
    };
  } catch {
    return serializeError(new Error(messageOf(error)));
  }
}

/** Makes what was thrown again, of the same class if this side has that. */
export function deserializeError(sent: SentError): unknown {
  if ("value" in sent) return sent.value;
  const { known, name, fields, cause } = sent;
  // Each class takes other arguments, so the constructor is that of `Error`.
  const made = Reflect.construct(Error, [fields.message], classes[known]);
  const error: Error = Object.assign(made, fields);
  if (error.name !== name) error.name = name;
  if (cause !== undefined) error.cause = deserializeError(cause);
  return error;
}
