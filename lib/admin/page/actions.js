// @ts-check
/** What an operator may do with a token, which stays in its field. */

import { find, write } from "./dom.js";

const token = /** @type {HTMLInputElement} */ (find("#token"));

find("#drain").onclick = () =>
  act(
    "Drain the server? It accepts no more connections, answers the requests " +
      "that have arrived, and ends.",
    "drain",
    { 202: "The server drains." },
  );

/** @param {number} id @param {string} peer */
export async function closeConnection(id, peer) {
  await act(
    `Close connection ${id} of ${peer}? Replies that it waits for are lost.`,
    `connections/${id}/close`,
    {
      200: `Connection ${id} is closed.`,
      404: `Connection ${id} had ended before.`,
    },
  );
}

/**
 * @param {string} question
 * @param {string} path
 * @param {Record<number, string>} answers By status.
 */
async function act(question, path, answers) {
  const answer = find("#answer");
  if (token.value === "") {
    write(answer, "Enter the token first.");
    return token.focus();
  }
  if (!confirm(question)) return;
  try {
    const headers = { authorization: `Bearer ${token.value}` };
    const { status } = await fetch(path, { method: "POST", headers });
    const text = status === 401
      ? "The server refused the token."
      : answers[status];
    write(answer, text ?? `The server answered ${status}.`);
  } catch {
    // The server is gone, or the token has characters that no header may have.
    write(answer, "The server could not be asked.");
  }
}
