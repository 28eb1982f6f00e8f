// @ts-check
/** One conversation as this page knows it: an unbroken run of its newest messages, and what waits to be sent. */

import { peerOf, splitChannel } from "./names.js";

/** @typedef {import("./places.js").Message} Message */
/** @typedef {import("./places.js").Cursor} Cursor */
/**
 * @typedef {object} Line one message; the same object from the moment it is written until it is forgotten
 * @property {string} key
 * @property {string} from
 * @property {number} at
 * @property {number} seq 0 until it has its place
 * @property {Record<string, unknown>} data
 * @property {string} kind
 * @property {"sent" | "pending" | "failed"} state
 * @property {string} reason why it failed
 */

const KEPT = 200; // lines kept of a conversation that nobody looks at

export class Conversation {
  /**
   * @param {string} channel
   * @param {string} me
   */
  constructor(channel, me) {
    const { namespace, rest } = splitChannel(channel);
    this.channel = channel;
    this.namespace = namespace;
    this.me = me;
    this.peer = peerOf(channel, me);
    this.title = this.peer ?? rest;
    /** @type {Line[]} in rising seq, without holes */
    this.lines = [];
    /** @type {Line[]} */
    this.unsent = [];
    this.isLoaded = false;
    this.isLoading = false;
    this.hasOlder = true;
    /** how often the messages were forgotten: a page that was asked for before is of no use */
    this.generation = 0;
    this.epoch = "";
    this.seq = 0;
    this.at = 0;
    /** @type {Cursor | null} up to where this person has read */
    this.read = null;
    /** @type {number | null} the seq after which "new" was drawn when it was opened */
    this.divider = null;
    /** @type {number | null} how many are there now */
    this.count = null;
    /** @type {Set<string> | null} who is there now, where that is told */
    this.people = null;
    /** @type {Record<string, string> | null} roles by user */
    this.members = null;
    /** why it cannot be read */
    this.closed = "";
    this.draft = "";
  }

  get last() {
    return this.unsent.at(-1) ?? this.lines.at(-1) ?? null;
  }

  /** How many messages were not read; Infinity means "some". */
  get unread() {
    if (this.seq === 0) return 0;
    if (this.read?.[0] === this.epoch) return Math.max(0, this.seq - this.read[1]);
    if (this.read && this.read[1] >= this.seq) return 0;
    const newest = this.lines.at(-1);
    return newest && newest.from === this.me ? 0 : Infinity;
  }

  /**
   * Learn where the channel stands.
   * @param {{epoch: string, seq: number, at?: number}} place
   */
  moveTo({ epoch, seq, at = 0 }) {
    if (seq < this.seq) return;
    this.epoch = epoch;
    this.seq = seq;
    this.at = Math.max(this.at, at);
  }

  /**
   * Take a message that is the newest one, or is known already.
   * @param {Message} message
   */
  add(message) {
    this.moveTo(message);
    const mine = message.from === this.me ? this.#takeUnsent(message.key) : undefined;
    const first = this.lines[0];
    if (first && message.seq < first.seq) return;
    const at = this.lines.findLastIndex((line) => line.seq <= message.seq);
    if (this.lines[at]?.seq === message.seq) return;
    this.lines.splice(at + 1, 0, lineFrom(message, mine));
  }

  /**
   * Take a page that ends where the known messages begin.
   * @param {Message[]} messages
   * @param {boolean} more
   */
  addOlder(messages, more) {
    const first = this.lines[0]?.seq ?? Infinity;
    const older = messages.filter((message) => message.seq < first);
    for (const message of older) this.moveTo(message);
    this.lines.unshift(
      ...older.map((message) => lineFrom(message, message.from === this.me ? this.#takeUnsent(message.key) : undefined)),
    );
    this.hasOlder = more;
  }

  /** Forget the messages: some between them and the next one are missing. */
  reset() {
    this.lines = [];
    this.isLoaded = false;
    this.hasOlder = true;
    this.generation++;
  }

  /** Keep little of a conversation that is left. */
  leave() {
    this.divider = null;
    if (this.lines.length <= KEPT) return;
    this.lines = this.lines.slice(-KEPT);
    this.hasOlder = true;
  }

  /**
   * @param {string} key
   * @returns {Line | undefined}
   */
  #takeUnsent(key) {
    const at = this.unsent.findIndex((line) => line.key === key);
    return at === -1 ? undefined : this.unsent.splice(at, 1)[0];
  }
}

/**
 * @param {Message} message
 * @param {Line} [line] the line that waited for this
 * @returns {Line}
 */
function lineFrom({ key, from, at, seq, data, kind = "" }, line) {
  return Object.assign(line ?? {}, { key, from, at, seq, data, kind, state: /** @type {const} */ ("sent"), reason: "" });
}
