// @ts-check
/** The list of conversations, the newest first, with what was said last, who is there, and what is unread. */

import { arrange, avatar, byId, element, icon } from "./element.js";
import { describeKind, shortTime } from "./wording.js";

/** @typedef {import("./conversation.js").Conversation} Conversation */

export class ConversationsView {
  /**
   * @param {import("./store.js").Store} store
   * @param {(channel: string) => void} onOpen
   */
  constructor(store, onOpen) {
    this.store = store;
    this.onOpen = onOpen;
    this.list = byId("conversations", HTMLElement);
    /** @type {Map<string, Row>} */
    this.rows = new Map();
    store.addEventListener("list", () => this.render());
    this.render();
  }

  render() {
    const { list } = this.store;
    const known = new Set(list.map(({ channel }) => channel));
    for (const channel of this.rows.keys()) if (!known.has(channel)) this.rows.delete(channel);
    arrange(
      this.list,
      list.map((conversation) => this.#row(conversation).root),
    );
  }

  /** @param {Conversation} conversation */
  #row(conversation) {
    let row = this.rows.get(conversation.channel);
    if (!row) {
      row = new Row(conversation, this.onOpen);
      this.rows.set(conversation.channel, row);
    }
    row.render(conversation, this.store);
    return row;
  }
}

class Row {
  /**
   * @param {Conversation} conversation
   * @param {(channel: string) => void} onOpen
   */
  constructor(conversation, onOpen) {
    this.presence = element("span", { class: "presence", role: "img" });
    this.preview = element("span", { class: "preview" });
    this.time = element("time", { class: "time" });
    this.unread = element("span", { class: "unread" });
    this.button = element(
      "button",
      { type: "button", class: "conversation", onclick: () => onOpen(conversation.channel) },
      element("span", { class: "picture" }, picture(conversation), this.presence),
      element("span", { class: "title" }, conversation.title),
      this.time,
      this.preview,
      this.unread,
    );
    this.button.dataset.channel = conversation.channel;
    this.root = element("li", null, this.button);
  }

  /**
   * @param {Conversation} conversation
   * @param {import("./store.js").Store} store
   */
  render(conversation, store) {
    const { last, unread, peer } = conversation;
    const at = last?.at ?? conversation.at;
    const state = peer ? (store.people.stateOf(peer)?.state ?? "") : "";
    if (conversation === store.current) this.button.setAttribute("aria-current", "true");
    else this.button.removeAttribute("aria-current");
    this.button.classList.toggle("has-unread", unread > 0);
    this.presence.dataset.state = state;
    this.presence.title = state;
    this.presence.ariaLabel = state;
    this.preview.textContent = conversation.closed || previewOf(conversation, store.me);
    this.time.textContent = at ? shortTime(at) : "";
    const number = Number.isFinite(unread) ? String(Math.min(unread, 99)) : "new";
    this.unread.replaceChildren(...(unread > 0 ? [number, element("span", { class: "hidden" }, " unread")] : []));
  }
}

/**
 * The picture of a conversation: a person's own, or what kind it is.
 * @param {Conversation} conversation
 */
export function picture({ peer, namespace, title }) {
  if (peer) return avatar(peer);
  const made = avatar(title);
  made.replaceChildren(icon(namespace === "group" ? "people" : "hash"));
  made.classList.add(namespace);
  return made;
}

/**
 * @param {Conversation} conversation
 * @param {string} me
 */
function previewOf({ last, peer }, me) {
  if (!last) return "";
  const text = last.kind ? describeKind(last) : String(last.data.text ?? "");
  if (last.kind) return text;
  if (last.from === me) return `You: ${text}`;
  return peer ? text : `${last.from}: ${text}`;
}
