// @ts-check
/** Whether the page is connected, and when it tries again. */

import { byId } from "./element.js";

const QUIET_MS = 400; // a connection that is back so soon is not worth a word

export class ConnectionView {
  /** @param {import("./protocol.js").Client} client */
  constructor(client) {
    this.client = client;
    this.root = byId("connection", HTMLElement);
    this.text = byId("connection-text", HTMLElement);
    this.when = byId("connection-when", HTMLElement);
    this.retry = byId("connection-retry", HTMLButtonElement);
    this.stopped = "";
    this.badSince = 0;
    this.timer = 0;
    this.cleanUp = new AbortController();
    const { signal } = this.cleanUp;
    this.retry.addEventListener("click", () => this.#again(), { signal });
    client.addEventListener("state", () => this.render(), { signal });
    this.render();
  }

  /** Let go of the page's elements. */
  close() {
    clearTimeout(this.timer);
    this.cleanUp.abort();
    this.root.hidden = true;
  }

  /**
   * Say why the client does not come back by itself.
   * @param {string} reason
   */
  stop(reason) {
    this.stopped = reason;
    this.render();
  }

  render() {
    clearTimeout(this.timer);
    const { state } = this.client;
    document.documentElement.dataset.connection = state;
    if (state === "online") {
      this.badSince = 0;
      this.root.hidden = true;
      return;
    }
    this.badSince ||= Date.now();
    this.root.hidden = state !== "idle" && Date.now() - this.badSince < QUIET_MS;
    // The countdown is for the eye only: a screen reader would say every second of it.
    const words = this.#words(state);
    if (this.text.textContent !== words) this.text.textContent = words;
    this.when.textContent = state === "waiting" ? this.#countdown() : "";
    this.retry.hidden = state === "connecting";
    this.retry.textContent = state === "idle" ? "Connect here" : "Try now";
    if (state !== "idle") this.timer = setTimeout(() => this.render(), this.root.hidden ? QUIET_MS : 1000);
  }

  /** @param {import("./protocol.js").State} state */
  #words(state) {
    if (state === "connecting") return "Connecting…";
    if (state === "idle") return this.stopped || "Disconnected.";
    return "You are offline; what you write is sent later.";
  }

  #countdown() {
    const seconds = Math.ceil(((this.client.retryAt ?? 0) - Date.now()) / 1000);
    return seconds > 1 ? `Trying again in ${seconds} s.` : "Trying again now.";
  }

  #again() {
    this.stopped = "";
    if (this.client.state === "idle") this.client.start();
    else this.client.retryNow();
  }
}
