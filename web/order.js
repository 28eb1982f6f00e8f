// @ts-check
/** Gives messages out once, in the order of their places; what is missing between them is read from the history first. */

import { Disconnected, Refused } from "./errors.js";
import { Places } from "./places.js";

/** @typedef {import("./places.js").Message} Message */

const PAGE = 200; // messages asked for at once to fill a hole
const FILL_PAGES = 10; // a larger hole is a gap

export class Order {
  /** @type {Map<string, Message[]>} */
  #held = new Map();

  /**
   * @param {object} options
   * @param {(channel: string, page: {after: number, limit: number}) => Promise<{messages: Message[], more: boolean}>} options.history
   * @param {(message: Message) => void} options.onMessage
   * @param {(channel: string) => void} options.onGap messages are missing for good
   */
  constructor({ history, onMessage, onGap }) {
    this.history = history;
    this.onMessage = onMessage;
    this.onGap = onGap;
    this.places = new Places();
  }

  /**
   * Give a message out in its place; hold it back while what comes before it is missing.
   * @param {Message} message
   */
  take(message) {
    const held = this.#held.get(message.channel);
    if (held) {
      held.push(message);
      return;
    }
    const verdict = this.places.judge(message);
    if (verdict === "seen") return;
    if (verdict === "hole") {
      this.#held.set(message.channel, [message]);
      void this.#fill(message.channel);
      return;
    }
    if (verdict === "reborn") this.onGap(message.channel);
    this.#give(message);
  }

  /** The connection went: what is held back comes again, by the cursor. */
  letGo() {
    this.#held.clear();
  }

  /** @param {string} channel */
  async #fill(channel) {
    const held = this.#held.get(channel);
    const isComplete = await this.#giveMissing(channel, held).catch(leaveGap);
    if (!held || this.#held.get(channel) !== held) return; // the connection went, and the cursor brings it all again
    this.#held.delete(channel);
    if (!isComplete) this.onGap(channel);
    held.sort((one, other) => one.seq - other.seq);
    for (const message of held) if (this.places.judge(message) !== "seen") this.#give(message);
  }

  /**
   * @param {string} channel
   * @param {Message[] | undefined} held
   * @returns {Promise<boolean>} whether that was all
   */
  async #giveMissing(channel, held) {
    for (let page = 0; page < FILL_PAGES; page++) {
      const after = this.places.get(channel)?.[1] ?? 0;
      const { messages, more } = await this.history(channel, { after, limit: PAGE });
      if (this.#held.get(channel) !== held) return false;
      for (const message of messages) if (this.places.judge(message) !== "seen") this.#give(message);
      if (!more) return true;
    }
    return false;
  }

  /** @param {Message} message */
  #give(message) {
    this.places.stand(message);
    this.onMessage(message);
  }
}

/**
 * What cannot be read stays a gap.
 * @param {unknown} error
 */
function leaveGap(error) {
  if (error instanceof Refused || error instanceof Disconnected) return false;
  throw error;
}
