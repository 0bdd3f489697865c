// @ts-check
/** What an operator may do with a token, which stays in its field. */

import { find, write } from "./dom.js";

const token = /** @type {HTMLInputElement} */ (find("#token"));
const answer = find("#answer");
const dialog = /** @type {HTMLDialogElement} */ (find("#confirm"));

find("#drain").onclick = () =>
  act(
    "Drain the server? It accepts no more connections, answers what has " +
      "arrived, and ends.",
    "Drain",
    "drain",
    { 202: "The server drains." },
  );

// Enter in the field is no answer to a question that nobody has asked.
token.form?.addEventListener("submit", (event) => event.preventDefault());

/** @param {number} id @param {string} peer */
export async function closeConnection(id, peer) {
  await act(
    `Close connection ${id} of ${peer}? It gets no reply that it still waits for.`,
    "Close",
    `connections/${id}/close`,
    {
      200: `Connection ${id} is closed.`,
      404: `Connection ${id} had ended before.`,
    },
  );
}

/**
 * @param {string} question
 * @param {string} verb
 * @param {string} path
 * @param {Record<number, string>} answers By status.
 */
async function act(question, verb, path, answers) {
  if (token.value === "") {
    write(answer, "Enter the token first.");
    return token.focus();
  }
  write(find("#question"), question);
  write(find("#confirm [value=yes]"), verb);
  // Escape closes a dialog and leaves its last value.
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((closed) => dialog.onclose = closed);
  if (dialog.returnValue === "yes") write(answer, await post(path, answers));
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
