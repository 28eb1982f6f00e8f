// @ts-check
/** The commands that wait for their answers. */

import { Refused } from "./errors.js";

export class Calls {
  /** @type {Map<number, {resolve: (answer: any) => void, reject: (error: Error) => void, timer: number}>} */
  #waiting = new Map();
  #nextId = 1;

  /**
   * Begin a call; the answer is what `settle` brings for its id.
   * @param {number} seconds
   * @param {() => void} onSilence called when no answer came in that time; it must `abandon` what waits
   * @returns {{id: number, answer: Promise<any>}}
   */
  begin(seconds, onSilence) {
    const id = this.#nextId++;
    const answer = new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, timer: setTimeout(onSilence, seconds * 1000) });
    });
    return { id, answer };
  }

  /**
   * Give an answer to whoever waits for it; tell whether anybody did.
   * @param {any} event
   */
  settle(event) {
    const waiting = this.#waiting.get(event.id);
    if (!waiting) return false;
    this.#waiting.delete(event.id);
    clearTimeout(waiting.timer);
    if (event.type === "error") waiting.reject(new Refused(event));
    else waiting.resolve(event);
    return true;
  }

  /**
   * No answer will come any more.
   * @param {Error} error
   */
  abandon(error) {
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject, timer } of waiting) {
      clearTimeout(timer);
      reject(error);
    }
  }
}
