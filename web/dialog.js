// @ts-check
/** What all dialogs of the page do: open, close, say what went wrong, and do one thing at a time. */

import { byId } from "./element.js";

export class Dialog {
  /** @param {string} name the part before the hyphen in the ids of index.html */
  constructor(name) {
    this.root = byId(`${name}-dialog`, HTMLDialogElement);
    this.problem = byId(`${name}-error`, HTMLElement);
    this.cleanUp = new AbortController();
    const { signal } = this.cleanUp;
    this.root.addEventListener("click", (event) => this.#onClick(event), { signal });
  }

  open() {
    this.say("");
    this.root.showModal();
  }

  /** Close it for good, with its listeners. */
  close() {
    this.root.close();
    this.cleanUp.abort();
  }

  /** @param {string} problem */
  say(problem) {
    this.problem.textContent = problem;
    this.problem.hidden = !problem;
  }

  /**
   * Do something; when it fails, say why.
   * @param {() => Promise<void>} work
   */
  async run(work) {
    this.say("");
    this.root.inert = true;
    try {
      await work();
    } catch (error) {
      this.say(error instanceof Error ? error.message : String(error));
    } finally {
      this.root.inert = false;
    }
  }

  /** @param {MouseEvent} event a click on the close button, or beside the dialog */
  #onClick(event) {
    const { target } = event;
    if (target === this.root || (target instanceof Element && target.closest("[data-close]"))) this.root.close();
  }
}
