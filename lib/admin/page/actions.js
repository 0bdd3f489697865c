// @ts-check
/** What an operator may do with a token, which stays in its field. */

import { find, write } from "./dom.js";

const token = /** @type {HTMLInputElement} */ (find("#token"));
const answer = find("#answer");

find("#drain").onclick = () =>
  act(
    "Drain the server? It accepts no more connections, answers what has " +
      "arrived, and ends.",
    "drain",
    { 202: "The server drains." },
  );

// Enter in the field is no answer to a question that nobody has asked.
token.form?.addEventListener("submit", (event) => event.preventDefault());

/** @param {number} id @param {string} peer */
export async function closeConnection(id, peer) {
  await act(
    `Close connection ${id} of ${peer}? It gets no reply that it still waits for.`,
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
  if (token.value === "") {
    write(answer, "Enter the token first.");
    return token.focus();
  }
  if (confirm(question)) write(answer, await post(path, answers));
}

/** @param {string} path @param {Record<number, string>} answers */
async function post(path, answers) {
  try {
    const { status } = await fetch(path, {
      method: "POST",
      headers: { authorization: `Bearer ${token.value}` },
    });
    if (status === 401) return "The server refused the token.";
    return answers[status] ?? `The server answered ${status}.`;
  } catch {
    // Whatever failed, from a token that is no header to a lost server.
    return "The server could not be asked.";
  }
}
