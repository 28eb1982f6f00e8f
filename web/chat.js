// @ts-check
/** Everything of the page that exists only while somebody is logged in: made together, let go together. */

import { avatar, byId, element } from "./element.js";
import { Client } from "./protocol.js";
import { Store } from "./store.js";
import { ComposerView } from "./view-composer.js";
import { ConnectionView } from "./view-connection.js";
import { ConversationsView } from "./view-conversations.js";
import { DevicesView } from "./view-devices.js";
import { PeopleView } from "./view-people.js";
import { StartView } from "./view-start.js";
import { TalkView } from "./view-talk.js";

const PATH = "/v1/ws";
const CHANNEL = /^(room|dm|group|user|event):./;

export class Chat {
  /**
   * @param {import("./session.js").Session} session
   * @param {{onSignedOut: (reason: string) => void, onAccount: () => void}} actions
   */
  constructor(session, { onSignedOut, onAccount }) {
    const url = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${PATH}`;
    this.client = new Client({ url, token: (fresh) => session.token(fresh) });
    this.store = new Store(this.client, session);
    this.root = byId("chat", HTMLElement);
    this.talk = new TalkView(this.store);
    this.composer = new ComposerView(this.store);
    this.connection = new ConnectionView(this.client);
    new ConversationsView(this.store, go);
    this.dialogs = [
      new StartView(this.store, session, { onOpen: go, onAccount }).dialog,
      new PeopleView(this.store).dialog,
      new DevicesView(session).dialog,
    ];
    this.cleanUp = new AbortController();
    this.#listen(onSignedOut);
    byId("me", HTMLElement).replaceChildren(avatar(session.user), element("span", { class: "grow" }, session.user));
    this.root.hidden = false;
    this.#follow();
    this.client.start();
  }

  /** Leave the page as it was before. */
  close() {
    this.cleanUp.abort();
    this.store.close();
    for (const part of [this.talk, this.composer, this.connection, ...this.dialogs]) part.close();
    this.root.hidden = true;
    document.title = "chatd";
  }

  /** @param {(reason: string) => void} onSignedOut */
  #listen(onSignedOut) {
    const { client, store, connection } = this;
    const { signal } = this.cleanUp;
    client.addEventListener("refused", (event) => {
      const { reason, signedOut } = /** @type {CustomEvent} */ (event).detail;
      if (signedOut) onSignedOut("You were logged out on this device.");
      else connection.stop(`The server ended the connection: ${reason || "no reason given"}.`);
    });
    client.addEventListener("replaced", () => connection.stop("You are connected in another window."));
    store.addEventListener("list", () => this.#renderTitle());
    store.addEventListener("talk", () => this.#leaveIfGone());
    addEventListener("hashchange", () => this.#follow(), { signal });
    addEventListener("offline", () => client.networkLost(), { signal });
    addEventListener("online", () => client.retryNow(), { signal });
    // A page left by a link may be kept, frozen, with its connection open; others would see its user as there.
    addEventListener("pagehide", () => client.stop(), { signal });
    addEventListener("pageshow", (event) => event.persisted && client.start(), { signal });
    document.addEventListener("visibilitychange", () => this.#onVisible(), { signal });
    byId("back-button", HTMLButtonElement).addEventListener("click", () => go(""), { signal });
  }

  /** The address says what is open, so that links and the back button work. */
  #follow() {
    const channel = channelInAddress();
    if (CHANNEL.test(channel)) {
      this.store.open(channel);
      this.composer.focus();
    } else {
      this.store.closeCurrent();
    }
    this.root.classList.toggle("is-talking", this.store.current !== null);
  }

  /** The open conversation was left. */
  #leaveIfGone() {
    if (!this.store.current && location.hash.length > 1) go("");
  }

  #onVisible() {
    this.store.look(!document.hidden);
    if (!document.hidden) this.client.probe();
  }

  #renderTitle() {
    const { unread, current } = this.store;
    const name = current ? `${current.title} · chatd` : "chatd";
    document.title = unread > 0 ? `(${unread}) ${name}` : name;
  }
}

function channelInAddress() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return ""; // somebody typed a % of their own
  }
}

/** @param {string} channel */
export function go(channel) {
  location.hash = channel;
}
