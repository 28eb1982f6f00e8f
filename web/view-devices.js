// @ts-check
/** The dialog with the devices of the user: where one is logged in, and revoking. */

import * as api from "./api.js";
import { Dialog } from "./dialog.js";
import { byId, element, icon } from "./element.js";
import { ago } from "./wording.js";

export class DevicesView {
  /** @param {import("./session.js").Session} session */
  constructor(session) {
    this.session = session;
    this.dialog = new Dialog("devices");
    this.list = byId("devices-list", HTMLElement);
    const { signal } = this.dialog.cleanUp;
    byId("devices-button", HTMLButtonElement).addEventListener("click", () => this.#open(), { signal });
  }

  #open() {
    this.list.replaceChildren();
    this.dialog.open();
    void this.dialog.run(() => this.#load());
  }

  async #load() {
    const devices = await api.devices(await this.session.access());
    this.list.replaceChildren(...devices.map((device) => this.#row(device)));
  }

  /** @param {api.Device} device */
  #row({ device, title, seen_at, current }) {
    const name = title || "Unnamed device";
    const row = element(
      "li",
      null,
      element("span", { class: "picture" }, icon("devices")),
      element(
        "span",
        { class: "grow" },
        name,
        current && element("span", { class: "tag" }, "this one"),
        element("span", { class: "dim block" }, `Last renewed ${ago(seen_at)}`),
      ),
      !current &&
        element("button", { type: "button", class: "link", "aria-label": `Revoke ${name}`, onclick: () => this.#revoke(device) }, "Revoke"),
    );
    row.dataset.device = device;
    return row;
  }

  /** @param {string} device */
  #revoke(device) {
    void this.dialog.run(async () => {
      await api.revoke(await this.session.access(), device);
      await this.#load();
    });
  }
}
