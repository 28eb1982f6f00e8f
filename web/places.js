// @ts-check
/**
 * Where a reader stands in its channels, and what a message's place says: next, seen already, or after a hole.
 *
 * @typedef {object} Message
 * @property {string} channel
 * @property {string} epoch
 * @property {number} seq
 * @property {string} from
 * @property {string} key
 * @property {number} at
 * @property {Record<string, unknown>} data
 * @property {string} [kind]
 *
 * @typedef {[epoch: string, seq: number]} Cursor
 */

export class Places {
  /** @type {Map<string, Cursor>} */
  #cursors = new Map();

  /**
   * Say what the place of a message means to this reader. A new epoch makes every older place worthless.
   * @param {{channel: string, epoch: string, seq: number}} place
   * @returns {"first" | "next" | "seen" | "hole" | "reborn"}
   */
  judge({ channel, epoch, seq }) {
    const cursor = this.#cursors.get(channel);
    if (cursor === undefined) return "first";
    if (cursor[0] !== epoch) return "reborn";
    if (seq <= cursor[1]) return "seen";
    return seq === cursor[1] + 1 ? "next" : "hole";
  }

  /**
   * Stand at a place, whatever was before. The channel moved last is the last one of `cursors`.
   * @param {{channel: string, epoch: string, seq: number}} place
   */
  stand({ channel, epoch, seq }) {
    this.#cursors.delete(channel);
    this.#cursors.set(channel, [epoch, seq]);
  }

  /**
   * Stand at a place, unless the reader is further on in the same epoch.
   * @param {{channel: string, epoch: string, seq: number}} place
   */
  advance(place) {
    if (this.judge(place) !== "seen") this.stand(place);
  }

  /** @param {string} channel */
  get(channel) {
    return this.#cursors.get(channel);
  }

  /** @param {string} channel */
  forget(channel) {
    this.#cursors.delete(channel);
  }

  /**
   * The cursors of the channels that moved last, at most `limit` of them.
   * @param {number} limit
   * @returns {Record<string, Cursor>}
   */
  latest(limit) {
    return Object.fromEntries([...this.#cursors].slice(-limit));
  }
}
