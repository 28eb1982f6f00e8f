// @ts-check
/** The dialog about a room or group: who is in it, inviting, leaving. */

import { Dialog } from "./dialog.js";
import { avatar, byId, element } from "./element.js";
import { splitNames } from "./names.js";

/** @typedef {import("./conversation.js").Conversation} Conversation */

export class PeopleView {
  /** @param {import("./store.js").Store} store */
  constructor(store) {
    this.store = store;
    this.dialog = new Dialog("people");
    this.title = byId("people-title", HTMLElement);
    this.hint = byId("people-hint", HTMLElement);
    this.list = byId("people-list", HTMLElement);
    this.invite = byId("people-invite", HTMLElement);
    this.names = byId("people-names", HTMLInputElement);
    this.leave = byId("people-leave", HTMLButtonElement);
    const { signal } = this.dialog.cleanUp;
    byId("people-button", HTMLButtonElement).addEventListener("click", () => this.#open(), { signal });
    byId("people-form", HTMLFormElement).addEventListener("submit", (event) => this.#onInvite(event), { signal });
    this.leave.addEventListener("click", () => this.#onLeave(), { signal });
    store.addEventListener("talk", () => this.dialog.root.open && this.#render());
  }

  #open() {
    this.names.value = "";
    this.#render();
    this.dialog.open();
  }

  #render() {
    const conversation = this.store.current;
    if (!conversation) {
      this.dialog.root.close();
      return;
    }
    const { members, people, namespace, title } = conversation;
    const mayManage = ["owner", "admin"].includes(members?.[this.store.me] ?? "");
    this.title.textContent = title;
    this.hint.textContent = namespace === "room" ? roomHint(conversation) : "";
    this.hint.hidden = namespace !== "room";
    this.invite.hidden = !mayManage;
    this.leave.textContent = namespace === "room" ? "Leave this room" : "Leave this group";
    const rows = members
      ? Object.entries(members).map(([user, role]) => this.#row(user, role, mayManage))
      : [...(people ?? [])].map((user) => this.#row(user, "", false));
    this.list.replaceChildren(...rows);
  }

  /**
   * @param {string} user
   * @param {string} role
   * @param {boolean} mayManage
   */
  #row(user, role, mayManage) {
    const isMe = user === this.store.me;
    return element(
      "li",
      null,
      avatar(user),
      element("span", { class: "grow" }, user, isMe && element("span", { class: "tag" }, "you")),
      role !== "member" && element("span", { class: "dim" }, role),
      mayManage &&
        !isMe &&
        role !== "owner" &&
        element("button", { type: "button", class: "link", "aria-label": `Remove ${user}`, onclick: () => this.#onRemove(user) }, "Remove"),
    );
  }

  /** @param {Event} event */
  #onInvite(event) {
    event.preventDefault();
    const users = splitNames(this.names.value);
    const { current } = this.store;
    if (!current || users.length === 0) return;
    void this.dialog.run(async () => {
      await this.store.invite(current, users);
      this.names.value = "";
    });
  }

  /** @param {string} user */
  #onRemove(user) {
    const { current } = this.store;
    if (current) void this.dialog.run(() => this.store.remove(current, user));
  }

  #onLeave() {
    const { current } = this.store;
    if (!current) return;
    void this.dialog.run(async () => {
      if (current.namespace === "room") await this.store.leaveRoom(current);
      else await this.store.remove(current, this.store.me);
      this.dialog.root.close();
    });
  }
}

/** @param {Conversation} conversation */
function roomHint({ count, people }) {
  const here = count === 1 ? "You are the only one here now." : `${count ?? "Some"} people are here now.`;
  return people ? here : `${here} Large rooms are counted, not listed.`;
}
