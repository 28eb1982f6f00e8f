// @ts-check
/** The dialog that begins a conversation: join a room, write to somebody, make a group. */

import * as api from "./api.js";
import { Dialog } from "./dialog.js";
import { byId } from "./element.js";
import { channelFrom, directChannel, isUser, splitNames } from "./names.js";

/** @typedef {"room" | "dm" | "group"} Kind */

/** @type {Record<Kind, {label: string, hint: string, submit: string}>} */
const WORDS = {
  room: { label: "Name of the room", hint: "Rooms are open to everybody, guests too.", submit: "Join" },
  dm: { label: "Name of the person", hint: "Only the two of you can read it.", submit: "Write" },
  group: { label: "Name of the group", hint: "Only its members can read it. You can invite people later.", submit: "Make group" },
};
const GUEST_HINT = "Direct messages and groups need an account, so that people find you again. Making one takes a moment.";

export class StartView {
  /**
   * @param {import("./store.js").Store} store
   * @param {import("./session.js").Session} session
   * @param {{onOpen: (channel: string) => void, onAccount: () => void}} actions
   */
  constructor(store, session, { onOpen, onAccount }) {
    this.store = store;
    this.session = session;
    this.onOpen = onOpen;
    this.dialog = new Dialog("start");
    this.form = byId("start-form", HTMLFormElement);
    this.hint = byId("start-hint", HTMLElement);
    this.fields = byId("start-fields", HTMLElement);
    this.label = byId("start-label", HTMLElement);
    this.name = byId("start-name", HTMLInputElement);
    this.membersField = byId("start-members-field", HTMLElement);
    this.members = byId("start-members", HTMLInputElement);
    this.submit = byId("start-submit", HTMLButtonElement);
    this.account = byId("start-account", HTMLButtonElement);
    const { signal } = this.dialog.cleanUp;
    byId("start-button", HTMLButtonElement).addEventListener("click", () => this.#open(), { signal });
    this.form.addEventListener("change", () => this.#render(), { signal });
    this.form.addEventListener("submit", (event) => this.#onSubmit(event), { signal });
    this.account.addEventListener("click", onAccount, { signal });
  }

  /** @returns {Kind} */
  get #kind() {
    const kind = new FormData(this.form).get("kind");
    return kind === "dm" || kind === "group" ? kind : "room";
  }

  #open() {
    this.name.value = this.members.value = "";
    this.#render();
    this.dialog.open();
    if (!this.fields.hidden) this.name.focus();
  }

  #render() {
    const kind = this.#kind;
    const needsAccount = this.store.isGuest && kind !== "room";
    this.hint.textContent = needsAccount ? GUEST_HINT : WORDS[kind].hint;
    this.label.textContent = WORDS[kind].label;
    this.submit.textContent = WORDS[kind].submit;
    this.fields.hidden = this.submit.hidden = needsAccount;
    this.account.hidden = !needsAccount;
    this.membersField.hidden = kind !== "group";
    this.dialog.say("");
  }

  /** @param {Event} event */
  #onSubmit(event) {
    event.preventDefault();
    void this.dialog.run(async () => {
      const channel = await this.#begin(this.#kind, this.name.value.trim());
      this.dialog.root.close();
      this.onOpen(channel);
    });
  }

  /**
   * @param {Kind} kind
   * @param {string} name
   * @returns {Promise<string>} the channel
   */
  async #begin(kind, name) {
    if (kind === "dm") return this.#beginDirect(name.toLowerCase());
    const channel = channelFrom(kind, name);
    if (!channel) throw new Error("A name has letters, digits and . _ - only.");
    if (kind === "group") await this.store.createGroup(channel, splitNames(this.members.value));
    return channel;
  }

  /** @param {string} user */
  async #beginDirect(user) {
    if (!isUser(user)) throw new Error("That is not the name of a person.");
    if (user === this.store.me) throw new Error("That is you. Who else is there?");
    const found = await api.findUser(await this.session.access(), user);
    if (found.is_guest) throw new Error("Guests cannot get direct messages. Meet in a room!");
    return directChannel(this.store.me, found.user);
  }
}
