// @ts-check
/** The open conversation: its name and people, its messages, and scrolling through them. */

import { arrange, byId, element } from "./element.js";
import { picture } from "./view-conversations.js";
import { LineView } from "./view-line.js";
import { dayName, describePresence } from "./wording.js";

/** @typedef {import("./conversation.js").Conversation} Conversation */
/** @typedef {import("./conversation.js").Line} Line */

const NEAR_PX = 80; // so close to the end counts as being there
const OLDER_PX = 300; // so close to the beginning older messages are fetched
const TOGETHER_MS = 5 * 60_000; // messages of one person within this are drawn as one

export class TalkView {
  /** @type {WeakMap<Line, LineView>} */
  #lines = new WeakMap();
  /** @type {Map<string, HTMLElement>} */
  #days = new Map();
  /** @type {Conversation | null} */
  #shown = null;
  /** @type {Line | null} */
  #newest = null;
  #isAtEnd = true;

  /** @param {import("./store.js").Store} store */
  constructor(store) {
    this.store = store;
    this.root = byId("talk", HTMLElement);
    this.title = byId("talk-title", HTMLElement);
    this.people = byId("talk-people", HTMLElement);
    this.picture = byId("talk-picture", HTMLElement);
    this.peopleButton = byId("people-button", HTMLButtonElement);
    this.scroller = byId("scroller", HTMLElement);
    this.older = byId("older", HTMLElement);
    this.log = byId("log", HTMLElement);
    this.newestButton = byId("newest-button", HTMLButtonElement);
    this.divider = element("li", { class: "divider" }, "New messages");
    this.cleanUp = new AbortController();
    const { signal } = this.cleanUp;
    this.scroller.addEventListener("scroll", () => this.#onScroll(), { passive: true, signal });
    this.newestButton.addEventListener("click", () => this.#toEnd(), { signal });
    this.resizes = new ResizeObserver(() => this.#isAtEnd && this.#toEnd());
    this.resizes.observe(this.scroller);
    store.addEventListener("talk", () => this.render());
    this.render();
  }

  /** Let go of the page's elements. */
  close() {
    this.cleanUp.abort();
    this.resizes.disconnect();
    this.log.replaceChildren();
  }

  render() {
    const conversation = this.store.current;
    const isOther = conversation !== this.#shown;
    this.#shown = conversation;
    this.root.classList.toggle("is-empty", !conversation);
    if (!conversation) return;
    if (isOther) this.#renderName(conversation);
    this.people.textContent = conversation.closed || this.#peopleText(conversation);
    this.older.textContent = olderText(conversation);
    this.#renderLines(conversation, isOther);
  }

  /** @param {Conversation} conversation */
  #renderName(conversation) {
    this.title.textContent = conversation.title;
    this.picture.replaceChildren(picture(conversation));
    this.peopleButton.hidden = conversation.peer !== null;
  }

  /** @param {Conversation} conversation */
  #peopleText({ peer, count, people, members }) {
    if (peer) return describePresence(this.store.people.stateOf(peer));
    if (members) return Object.keys(members).sort().join(", ");
    if (people && people.size > 0 && people.size <= 6) return `Here now: ${[...people].sort().join(", ")}`;
    if (count === null) return "";
    return count === 1 ? "1 person here" : `${count} people here`;
  }

  /**
   * @param {Conversation} conversation
   * @param {boolean} isOther
   */
  #renderLines(conversation, isOther) {
    if (isOther) this.#isAtEnd = true;
    const anchor = this.#isAtEnd ? null : this.#firstVisible();
    const offset = anchor ? anchor.getBoundingClientRect().top : 0;
    // What is put there at once, on opening or from the history, is not read out; what comes live is.
    this.scroller.ariaLive = isOther || conversation.isLoading ? "off" : "polite";
    arrange(this.log, this.#elements(conversation));
    const newest = conversation.last;
    const isNew = newest !== this.#newest;
    this.#newest = newest;
    if (this.#isAtEnd || (isNew && newest?.state === "pending")) this.#toEnd();
    else if (anchor?.isConnected) this.scroller.scrollTop += anchor.getBoundingClientRect().top - offset;
    if (isNew && !this.#isAtEnd) this.newestButton.classList.add("has-new");
    this.#onScroll();
  }

  /** @param {Conversation} conversation */
  #elements(conversation) {
    /** @type {Element[]} */
    const elements = [];
    /** @type {Line | null} */
    let before = null;
    for (const line of [...conversation.lines, ...conversation.unsent]) {
      const day = dayName(line.at);
      const isNewDay = !before || day !== dayName(before.at);
      if (isNewDay) elements.push(this.#day(day));
      const isFirstNew = before && conversation.divider === before.seq && line.seq > before.seq;
      if (isFirstNew) elements.push(this.divider);
      const view = this.#line(line);
      view.render(!isNewDay && !isFirstNew && before !== null && belongTogether(before, line));
      elements.push(view.root);
      before = line;
    }
    return elements;
  }

  /** @param {Line} line */
  #line(line) {
    let view = this.#lines.get(line);
    if (!view) {
      view = new LineView(line, {
        isMine: line.from === this.store.me,
        onAgain: (again) => this.store.sayAgain(again),
        onDiscard: (discarded) => this.store.discard(discarded),
      });
      this.#lines.set(line, view);
    }
    return view;
  }

  /** @param {string} name */
  #day(name) {
    const known = this.#days.get(name) ?? element("li", { class: "day" }, element("span", null, name));
    this.#days.set(name, known);
    return known;
  }

  #firstVisible() {
    const { top } = this.scroller.getBoundingClientRect();
    return [...this.log.children].find((child) => child.getBoundingClientRect().bottom > top) ?? null;
  }

  #toEnd() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.#onScroll();
  }

  #onScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.#isAtEnd = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    this.newestButton.hidden = this.#isAtEnd;
    if (this.#isAtEnd) this.newestButton.classList.remove("has-new");
    if (scrollTop < OLDER_PX) void this.store.loadOlder();
  }
}

/**
 * @param {Line} one
 * @param {Line} next
 */
function belongTogether(one, next) {
  return one.from === next.from && !one.kind && !next.kind && next.at - one.at < TOGETHER_MS;
}

/** @param {Conversation} conversation */
function olderText({ isLoading, isLoaded, hasOlder, lines, unsent, closed }) {
  if (closed) return closed;
  if (isLoading && !lines.length) return "Loading…";
  if (!isLoaded) return "";
  if (hasOlder) return isLoading ? "Loading older messages…" : "";
  return lines.length + unsent.length === 0 ? "No messages yet. Say hello!" : "This is where it begins.";
}
