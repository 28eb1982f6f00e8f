// @ts-check
/** Writing a message. Enter sends, Shift and Enter make a new line; on a touch screen the button sends. */

import { byId } from "./element.js";

export class ComposerView {
  /** @param {import("./store.js").Store} store */
  constructor(store) {
    this.store = store;
    this.form = byId("composer", HTMLFormElement);
    this.text = byId("text", HTMLTextAreaElement);
    this.button = byId("send-button", HTMLButtonElement);
    /** @type {import("./conversation.js").Conversation | null} */
    this.shown = null;
    this.cleanUp = new AbortController();
    const { signal } = this.cleanUp;
    this.form.addEventListener("submit", (event) => this.#send(event), { signal });
    this.text.addEventListener("input", () => this.#resize(), { signal });
    this.text.addEventListener("keydown", (event) => this.#key(event), { signal });
    store.addEventListener("talk", () => this.render());
    this.render();
  }

  /** Let go of the page's elements. */
  close() {
    this.cleanUp.abort();
    this.text.value = "";
  }

  /** Each conversation has a draft of its own. */
  render() {
    const { current } = this.store;
    if (current !== this.shown) {
      if (this.shown) this.shown.draft = this.text.value;
      this.shown = current;
      this.text.value = current?.draft ?? "";
      this.text.placeholder = current ? `Write to ${current.title}` : "";
      this.#resize();
    }
    this.text.disabled = this.button.disabled = !current || current.closed !== "";
  }

  /** Put the cursor there, unless that would open a touch keyboard. */
  focus() {
    if (!matchMedia("(pointer: coarse)").matches) this.text.focus();
  }

  /** @param {Event} event */
  #send(event) {
    event.preventDefault();
    const text = this.text.value.trim();
    if (!text) return;
    this.store.say(text);
    this.text.value = "";
    this.#resize();
    this.text.focus();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    // While a word is being composed (Japanese and others), Enter chooses the word.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || matchMedia("(pointer: coarse)").matches) return;
    event.preventDefault();
    this.form.requestSubmit();
  }

  #resize() {
    this.text.style.height = "auto";
    this.text.style.height = `${this.text.scrollHeight}px`;
    this.form.classList.toggle("has-text", this.text.value.trim() !== "");
  }
}
