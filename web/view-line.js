// @ts-check
/** One message as it is drawn: who, what, when, and how far it got. */

import { avatar, element, icon } from "./element.js";
import { clockTime, describeKind, fullTime } from "./wording.js";

/** @typedef {import("./conversation.js").Line} Line */

const LINK = /\bhttps?:\/\/[^\s<>"']+[^\s<>"'.,;:!?)\]]/g;

export class LineView {
  /**
   * @param {Line} line
   * @param {object} options
   * @param {boolean} options.isMine
   * @param {(line: Line) => void} options.onAgain
   * @param {(line: Line) => void} options.onDiscard
   */
  constructor(line, { isMine, onAgain, onDiscard }) {
    this.line = line;
    this.state = element("span", { class: "state" });
    this.problem = element("p", { class: "problem", hidden: true });
    this.again = button("Try again", () => onAgain(line));
    this.discard = button("Discard", () => onDiscard(line));
    this.root = line.kind ? this.#happening() : this.#message(isMine);
    this.drawn = "";
  }

  /**
   * @param {boolean} isContinued the one before is by the same person and just before
   */
  render(isContinued) {
    const { state, reason } = this.line;
    this.root.classList.toggle("continued", isContinued);
    if (this.drawn === state) return;
    this.drawn = state;
    this.root.dataset.state = state;
    this.state.replaceChildren(mark(state));
    this.problem.hidden = state !== "failed";
    this.problem.replaceChildren(...(state === "failed" ? [`Not sent: ${reason}. `, this.again, " ", this.discard] : []));
  }

  #happening() {
    return element("li", { class: "happening" }, describeKind(this.line));
  }

  /** @param {boolean} isMine */
  #message(isMine) {
    const { from, at, data } = this.line;
    const time = element("time", { class: "time", title: fullTime(at) }, clockTime(at));
    time.dateTime = new Date(at).toISOString();
    const text = typeof data.text === "string" ? data.text : JSON.stringify(data);
    const meta = element("span", { class: "meta" }, time, isMine && this.state);
    const body = element("div", { class: "bubble" }, element("span", { class: "text" }, ...linked(text)), " ", meta);
    return element(
      "li",
      { class: isMine ? "message mine" : "message" },
      !isMine && avatar(from),
      element("span", { class: isMine ? "from hidden" : "from" }, isMine ? "You" : from),
      body,
      this.problem,
    );
  }
}

/**
 * Split a text into plain text and links. Only http and https become links.
 * @param {string} text
 * @returns {(string | HTMLElement)[]}
 */
function linked(text) {
  const parts = [];
  let at = 0;
  for (const found of text.matchAll(LINK)) {
    parts.push(text.slice(at, found.index));
    parts.push(element("a", { href: found[0], target: "_blank", rel: "noopener noreferrer" }, found[0]));
    at = found.index + found[0].length;
  }
  parts.push(text.slice(at));
  return parts.filter((part) => part !== "");
}

/** @param {Line["state"]} state */
function mark(state) {
  const name = { sent: "check", pending: "clock", failed: "alert" }[state];
  const word = { sent: "Sent", pending: "Waiting to be sent", failed: "Not sent" }[state];
  return element("span", { title: word }, icon(name), element("span", { class: "hidden" }, word));
}

/**
 * @param {string} text
 * @param {() => void} onClick
 */
function button(text, onClick) {
  return element("button", { type: "button", class: "link", onclick: onClick }, text);
}
