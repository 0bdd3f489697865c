// @ts-check
/// <reference lib="dom" />
/**
 * What an operator may do with a token: drain the server, close a connection.
 * The token stays in its field, and goes nowhere but into the header.
 */

/** The drain button, the token, and the question before each action. */
export class Actions {
  #token = /** @type {HTMLInputElement} */ (document.querySelector("#token"));
  #answer = /** @type {HTMLElement} */ (document.querySelector("#answer"));
  #dialog = /** @type {HTMLDialogElement} */
    (document.querySelector("#confirm"));
  #question = /** @type {HTMLElement} */ (document.querySelector("#question"));
  #yes = /** @type {HTMLButtonElement} */
    (this.#dialog.querySelector("[value=yes]"));

  constructor() {
    document.querySelector("#drain")?.addEventListener(
      "click",
      () => void this.drain(),
    );
    // Enter in the field is no answer to a question that nobody has asked.
    this.#token.form?.addEventListener(
      "submit",
      (event) => event.preventDefault(),
    );
    for (const button of this.#dialog.querySelectorAll("button")) {
      button.addEventListener("click", () => this.#dialog.close(button.value));
    }
  }

  /** Asks, and then drains the server. */
  async drain() {
    await this.#act(
      "Drain the server? It accepts no more connections, answers what has " +
        "arrived, and ends.",
      "Drain",
      "drain",
      { 202: "The server drains.", 200: "The server drains." },
    );
  }

  /**
   * Asks, and then closes one connection.
   *
   * @param {number} id
   * @param {string} peer
   */
  async close(id, peer) {
    const closed = `Connection ${id} is closed.`;
    await this.#act(
      `Close connection ${id} of ${peer}? It gets no reply that it still waits for.`,
      "Close",
      `connections/${id}/close`,
      { 200: closed, 202: closed, 404: `Connection ${id} had ended before.` },
    );
  }

  /**
   * @param {string} question
   * @param {string} verb
   * @param {string} path
   * @param {Record<number, string>} answers By status.
   */
  async #act(question, verb, path, answers) {
    if (this.#token.value === "") {
      this.#answer.textContent = "Enter the token first.";
      return this.#token.focus();
    }
    if (!await this.#ask(question, verb)) return;
    this.#answer.textContent = await this.#post(path, answers);
  }

  /** @param {string} path @param {Record<number, string>} answers */
  async #post(path, answers) {
    try {
      const { status } = await fetch(path, {
        method: "POST",
        headers: { authorization: `Bearer ${this.#token.value}` },
      });
      if (status === 401) return "The server refused the token.";
      return answers[status] ?? `The server answered ${status}.`;
    } catch {
      // Whatever failed, from a token that is no header to a lost server.
      return "The server could not be asked.";
    }
  }

  /** @param {string} question @param {string} verb */
  async #ask(question, verb) {
    this.#question.textContent = question;
    this.#yes.textContent = verb;
    // Escape closes a dialog and leaves its last value.
    this.#dialog.returnValue = "no";
    this.#dialog.showModal();
    await new Promise((closed) =>
      this.#dialog.addEventListener("close", closed, { once: true })
    );
    return this.#dialog.returnValue === "yes";
  }
}
