/**
 * Errors between threads.
 *
 * @module
 */

/** An error on its way between threads: a clone keeps no class. */
export interface SentError {
  /** The name of its class. */
  readonly name: string;
  /** What it says. */
  readonly message: string;
}

/**
 * Makes of an error what can be sent to another thread.
 *
 * @param error What was thrown.
 */
export function serializeError(error: unknown): SentError {
  if (error instanceof Error) {
    return { name: error.name, message: error.message };
  }
  try {
    return { name: "Error", message: String(error) };
  } catch {
    // An object without a prototype has no text.
    return { name: "Error", message: "an object that has no text" };
  }
}

/**
 * Makes the error again, one of the runtime's own (`Deno.errors`) with its
 * class.
 *
 * @param sent What came from the other thread.
 */
export function deserializeError({ name, message }: SentError): Error {
  const known = Deno.errors as unknown as Record<string, ErrorConstructor>;
  const Class = Object.hasOwn(known, name) ? known[name] : Error;
  return new Class(message);
}
