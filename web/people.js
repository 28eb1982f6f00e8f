// @ts-check
/** Who of the people one talks with is there, and telling them whether oneself is. Guests are not told of people. */

import { Disconnected, Refused } from "./errors.js";

/** @typedef {{user: string, state: string, last_seen?: number}} UserState */

const WATCHED = 40; // people watched at the same time: each is a subscription of this session

export class People {
  /** @type {Map<string, UserState>} */
  #states = new Map();
  /** @type {Set<string>} */
  #watched = new Set();

  /**
   * @param {import("./protocol.js").Client} client
   * @param {{user: string, isGuest: boolean}} me
   * @param {() => void} onChange
   */
  constructor(client, me, onChange) {
    this.client = client;
    this.me = me;
    this.onChange = onChange;
    client.addEventListener("presence_changed", (event) => this.#learn([/** @type {CustomEvent} */ (event).detail]));
  }

  /**
   * What is known of somebody; null if nothing.
   * @param {string} user
   */
  stateOf(user) {
    return this.#states.get(user) ?? null;
  }

  /**
   * Be told of these people from now on.
   * @param {string[]} users
   */
  watch(users) {
    if (this.me.isGuest) return;
    const added = users.filter((user) => user !== this.me.user && !this.#watched.has(user));
    for (const user of added.slice(0, WATCHED - this.#watched.size)) {
      this.#watched.add(user);
      this.client.subscribe(`presence:${user}`, { conflated: true }).catch(ignoreRefusal);
    }
    if (added.length > 0) void this.ask();
  }

  /** Ask how it stands with all of them: after a reconnect nothing that was known counts. */
  async ask() {
    if (this.me.isGuest || this.#watched.size === 0) return;
    const answer = await this.client.command("presence", { users: [...this.#watched] }).catch(ignoreRefusal);
    this.#learn(answer?.users ?? []);
  }

  /**
   * Tell whether oneself looks at the page.
   * @param {boolean} isLooking
   */
  async tell(isLooking) {
    if (this.me.isGuest) return;
    await this.client.command("status", { state: isLooking ? "online" : "away" }).catch(ignoreRefusal);
  }

  /** @param {UserState[]} states */
  #learn(states) {
    for (const state of states) this.#states.set(state.user, state);
    this.onChange();
  }
}

/** @param {unknown} error */
function ignoreRefusal(error) {
  if (!(error instanceof Disconnected || error instanceof Refused)) throw error;
}
