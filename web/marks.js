// @ts-check
/** What this browser remembers of a user: the rooms joined, how far each conversation was read, and unsent messages. */

/** @typedef {import("./places.js").Cursor} Cursor */
/** @typedef {{channel: string, key: string, at: number, data: Record<string, unknown>}} Unsent */

const FIRST_ROOM = "room:lobby";

export class Marks extends EventTarget {
  /** @param {string} user */
  constructor(user) {
    super();
    this.roomsKey = `chatd.rooms.${user}`;
    this.readKey = `chatd.read.${user}`;
    this.unsentKey = `chatd.unsent.${user}`;
    /** @type {string[]} */
    this.rooms = load(localStorage, this.roomsKey, [FIRST_ROOM]);
    /** @type {Record<string, Cursor>} */
    this.read = load(localStorage, this.readKey, {});
    this.listener = (/** @type {StorageEvent} */ event) => this.#otherTab(event.key);
    addEventListener("storage", this.listener);
  }

  /** Stop listening to other tabs. */
  close() {
    removeEventListener("storage", this.listener);
  }

  /**
   * @param {string} channel
   * @param {boolean} joined
   */
  setRoom(channel, joined) {
    this.rooms = this.rooms.filter((room) => room !== channel);
    if (joined) this.rooms.push(channel);
    save(localStorage, this.roomsKey, this.rooms);
  }

  /**
   * @param {string} channel
   * @param {Cursor} cursor
   */
  setRead(channel, cursor) {
    this.read = { ...load(localStorage, this.readKey, this.read), [channel]: cursor };
    save(localStorage, this.readKey, this.read);
  }

  /** Messages that an earlier page in this tab could not send; each tab has its own. @returns {Unsent[]} */
  loadUnsent() {
    return load(sessionStorage, this.unsentKey, []);
  }

  /** @param {Unsent[]} unsent */
  saveUnsent(unsent) {
    save(sessionStorage, this.unsentKey, unsent);
  }

  /** @param {string | null} key */
  #otherTab(key) {
    if (key !== this.roomsKey && key !== this.readKey) return;
    this.rooms = load(localStorage, this.roomsKey, this.rooms);
    this.read = load(localStorage, this.readKey, this.read);
    this.dispatchEvent(new Event("change"));
  }
}

/**
 * @template T
 * @param {Storage} storage
 * @param {string} key
 * @param {T} otherwise
 * @returns {T}
 */
function load(storage, key, otherwise) {
  try {
    return JSON.parse(storage.getItem(key) ?? "null") ?? otherwise;
  } catch {
    return otherwise;
  }
}

/**
 * @param {Storage} storage
 * @param {string} key
 * @param {unknown} value
 */
function save(storage, key, value) {
  try {
    storage.setItem(key, JSON.stringify(value));
  } catch {
    // The storage is full or forbidden: only the memory of marks is lost.
  }
}
