// @ts-check
/** Messages on their way out: one after the other in each channel, so that they keep the order they were written in. */

/** @typedef {{channel: string, epoch: string, seq: number, at: number, duplicate?: boolean}} Sent */
/**
 * @typedef {object} Outgoing
 * @property {string} channel
 * @property {string} key
 * @property {Record<string, unknown>} data
 * @property {boolean} tried whether it may have reached the server before
 * @property {(sent: Sent) => void} resolve
 * @property {(error: Error) => void} reject
 */
/** @typedef {"settled" | "later" | "lost"} Outcome `later`: try again now; `lost`: the next connection will */

export class Outbox {
  /** @type {Map<string, Outgoing[]>} */
  #queues = new Map();
  /** @type {Set<string>} */
  #busy = new Set();

  /** @param {(outgoing: Outgoing) => Promise<Outcome>} deliver says one message to the server, waiting where it must */
  constructor(deliver) {
    this.deliver = deliver;
  }

  /** @param {Outgoing} outgoing */
  add(outgoing) {
    const queue = this.#queues.get(outgoing.channel) ?? [];
    this.#queues.set(outgoing.channel, queue);
    queue.push(outgoing);
    void this.#run(outgoing.channel);
  }

  /** There is a connection again: go on. */
  resume() {
    for (const channel of this.#queues.keys()) void this.#run(channel);
  }

  /** @param {string} channel */
  async #run(channel) {
    if (this.#busy.has(channel)) return;
    this.#busy.add(channel);
    const queue = this.#queues.get(channel) ?? [];
    /** @type {Outcome} */
    let outcome = "later";
    while (queue.length > 0 && outcome !== "lost") {
      outcome = await this.deliver(queue[0]);
      if (outcome === "settled") queue.shift();
    }
    if (queue.length === 0) this.#queues.delete(channel);
    this.#busy.delete(channel);
  }
}
