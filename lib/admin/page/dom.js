// @ts-check
/// <reference lib="dom" />
/** What the modules of the page do with its elements. */

/** @param {string} selector @returns {HTMLElement} Which the page has. */
export function find(selector) {
  return /** @type {HTMLElement} */ (document.querySelector(selector));
}

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Readonly<Record<string, string>>} attributes
 * @param {...(Node | string)} content
 */
export function make(tag, attributes, ...content) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    element.setAttribute(name, value);
  }
  element.append(...content);
  return element;
}

/**
 * Writes a text only if it is new: some texts are read aloud at each change.
 *
 * @param {Element} element
 * @param {string} text
 */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
