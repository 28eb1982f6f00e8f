// @ts-check
/**
 * What the page knows: who I am, my conversations, who is there. Views read it and are told by events what changed:
 * `list` (the conversations), `talk` (the open one), `connection`.
 */

import { mayRetry } from "./codes.js";
import { Conversation } from "./conversation.js";
import { Marks } from "./marks.js";
import { People } from "./people.js";
import { Disconnected, newKey, Refused } from "./protocol.js";

/** @typedef {import("./conversation.js").Line} Line */
/** @typedef {import("./places.js").Message} Message */
/** @typedef {import("./people.js").UserState} UserState */
/** @typedef {{channel: string, role: string, epoch: string, seq: number, at: number}} Membership */
/** @typedef {"list" | "talk" | "connection"} Topic */

const PAGE = 50; // messages of one page of history
const LISTED = 200; // member channels of one page of their list
const SHOWN = 1000; // member channels shown, the newest; a message in another one brings it in
const PREVIEWS = 30; // conversations whose last message is read for the list
const RETRY_MS = 3000; // a history that cannot be read now is asked for again

export class Store extends EventTarget {
  /** @type {Set<Topic>} */
  #changes = new Set();

  /**
   * @param {import("./protocol.js").Client} client
   * @param {{user: string, isGuest: boolean}} me
   */
  constructor(client, { user, isGuest }) {
    super();
    this.client = client;
    this.me = user;
    this.isGuest = isGuest;
    this.marks = new Marks(user);
    /** @type {Map<string, Conversation>} */
    this.conversations = new Map();
    this.people = new People(client, { user, isGuest }, () => this.#changed("list", "talk"));
    /** @type {Conversation | null} */
    this.current = null;
    this.isLooking = !document.hidden;
    this.#listen();
    for (const room of this.marks.rooms) this.#join(room);
    for (const unsent of this.marks.loadUnsent()) this.#send({ ...unsent, tried: true });
  }

  /** Let go of everything outside. */
  close() {
    this.marks.close();
    this.client.stop();
  }

  /** The newest first. */
  get list() {
    return [...this.conversations.values()].sort((one, other) => activity(other) - activity(one));
  }

  get unread() {
    return [...this.conversations.values()].filter((conversation) => conversation.unread > 0).length;
  }

  // What the person does.

  /**
   * Look at a conversation; one that is not in the list yet is put there.
   * @param {string} channel
   */
  open(channel) {
    if (this.current?.channel === channel) return;
    this.current?.leave();
    if (channel.startsWith("room:") && !this.conversations.has(channel)) this.#join(channel);
    const conversation = this.#conversation(channel);
    this.current = conversation;
    const unread = conversation.unread;
    conversation.divider = unread > 0 && Number.isFinite(unread) ? conversation.seq - unread : null;
    this.#markRead(conversation);
    if (conversation.peer) this.people.watch([conversation.peer]);
    void this.#look(conversation);
    this.#changed("list", "talk");
  }

  /** Look at the list only. */
  closeCurrent() {
    this.current?.leave();
    this.current = null;
    this.#changed("list", "talk");
  }

  /** @param {string} text */
  say(text) {
    if (!this.current) return;
    this.#send({ channel: this.current.channel, key: newKey(), at: Date.now(), data: { text }, tried: false });
    this.#saveUnsent();
  }

  /**
   * Send a refused message again.
   * @param {Line} line
   */
  sayAgain(line) {
    this.discard(line);
    const text = line.data.text;
    if (typeof text === "string") this.say(text);
  }

  /** @param {Line} line */
  discard(line) {
    if (!this.current) return;
    this.current.unsent = this.current.unsent.filter((other) => other !== line);
    this.#saveUnsent();
    this.#changed("list", "talk");
  }

  async loadOlder() {
    const conversation = this.current;
    if (conversation?.isLoaded && conversation.hasOlder) await this.#load(conversation);
  }

  /**
   * @param {string} channel
   * @param {string[]} members
   */
  async createGroup(channel, members) {
    await this.client.command("create", { channel, members });
  }

  /**
   * @param {Conversation} conversation
   * @param {string[]} users
   */
  async invite(conversation, users) {
    await this.client.command("invite", { channel: conversation.channel, users });
    await this.#loadMembers(conversation);
  }

  /**
   * @param {Conversation} conversation
   * @param {string} user
   */
  async remove(conversation, user) {
    await this.client.command("remove", { channel: conversation.channel, users: [user] });
    if (user === this.me) this.#forget(conversation.channel);
    else await this.#loadMembers(conversation);
  }

  /** @param {Conversation} conversation */
  async leaveRoom({ channel }) {
    this.marks.setRoom(channel, false);
    this.#forget(channel);
    await this.client.unsubscribe(channel);
  }

  /**
   * The person looks at the page, or not: others see them as online or away.
   * @param {boolean} isLooking
   */
  look(isLooking) {
    this.isLooking = isLooking;
    if (isLooking && this.current) this.#markRead(this.current);
    void this.people.tell(this.isLooking);
    this.#changed("list");
  }

  // What the server says.

  #listen() {
    const { client } = this;
    const on = (/** @type {string} */ type, /** @type {(detail: any) => void} */ handle) =>
      client.addEventListener(type, (event) => handle(/** @type {CustomEvent} */ (event).detail));
    on("state", () => this.#changed("connection", "talk"));
    on("connected", () => void this.#catchUp());
    on("message", (message) => this.#onMessage(message));
    on("gap", ({ channel }) => this.#onGap(channel));
    on("count", ({ channel, count }) => this.#onPeople(channel, (conversation) => (conversation.count = count)));
    on("joined", ({ channel, user }) => this.#onPeople(channel, (conversation) => conversation.people?.add(user)));
    on("left", ({ channel, user }) => this.#onPeople(channel, (conversation) => conversation.people?.delete(user)));
    on("unsubscribed", ({ channel, reason }) => this.#onPeople(channel, (it) => (it.closed = reason)));
    this.marks.addEventListener("change", () => this.#onMarks());
  }

  /** After every connect: learn what is new since the last one. */
  async #catchUp() {
    void this.people.tell(this.isLooking);
    try {
      if (!this.isGuest) await this.#loadList();
      if (this.current) void this.#look(this.current);
      await this.#preview();
      this.people.watch(this.list.map((conversation) => conversation.peer).filter((peer) => peer !== null));
      await this.people.ask();
    } catch (error) {
      ignoreDisconnect(error);
    }
  }

  async #loadList() {
    /** @type {Membership | undefined} */
    let last;
    for (let shown = 0; shown < SHOWN; ) {
      /** @type {{channels: Membership[], more: boolean}} */
      const after = last && { after: [last.at, last.channel] };
      const page = await this.client.command("channels", { limit: LISTED, ...after });
      for (const { channel, epoch, seq, at } of page.channels) {
        const conversation = this.#conversation(channel);
        if (this.client.places.get(channel) === undefined && epoch) this.client.places.stand({ channel, epoch, seq });
        conversation.moveTo({ epoch, seq, at });
      }
      this.#changed("list");
      last = page.channels.at(-1);
      if (!page.more || !last) return;
      shown += page.channels.length;
    }
  }

  /** Read the last message of conversations that were never looked at, for the list. */
  async #preview() {
    const unknown = this.list.filter((conversation) => conversation.lines.length === 0 && !conversation.closed);
    await Promise.all(unknown.slice(0, PREVIEWS).map((conversation) => this.#load(conversation, 1)));
  }

  /** @param {Message} message */
  #onMessage(message) {
    const isUnknown = !this.conversations.has(message.channel);
    const conversation = this.#conversation(message.channel);
    if (isUnknown && !conversation.read) conversation.read = [message.epoch, message.seq - 1];
    conversation.add(message);
    if (message.kind === "members") this.#onMembers(conversation, message);
    if (message.from === this.me || (conversation === this.current && this.isLooking)) this.#markRead(conversation);
    if (conversation.peer) this.people.watch([conversation.peer]);
    this.#saveUnsent();
    this.#changed("list", "talk");
  }

  /**
   * @param {Conversation} conversation
   * @param {Message} message
   */
  #onMembers(conversation, { from, data }) {
    const isOut = Array.isArray(data.remove) && data.remove.includes(this.me);
    if (isOut && from === this.me) this.#forget(conversation.channel);
    else if (isOut) conversation.closed = `${from} took you out of this group.`;
    else conversation.closed = "";
    if (!isOut && conversation === this.current) void this.#loadMembers(conversation);
  }

  /** @param {string} channel */
  #onGap(channel) {
    const conversation = this.conversations.get(channel);
    if (!conversation) return;
    conversation.reset();
    if (conversation === this.current) void this.#load(conversation);
  }

  /**
   * @param {string} channel
   * @param {(conversation: Conversation) => void} change
   */
  #onPeople(channel, change) {
    const conversation = this.conversations.get(channel);
    if (!conversation) return;
    change(conversation);
    if (conversation.people) conversation.count = conversation.people.size;
    this.#changed("talk");
  }

  /** Another tab joined or left rooms, or read. */
  #onMarks() {
    const { rooms, read } = this.marks;
    for (const room of rooms) if (!this.conversations.has(room)) this.#join(room);
    for (const { channel, namespace } of this.list) {
      if (namespace === "room" && !rooms.includes(channel)) this.#forget(channel);
    }
    for (const conversation of this.conversations.values()) conversation.read = read[conversation.channel] ?? null;
    this.#changed("list", "talk");
  }

  // Conversations.

  /** @param {string} channel */
  #conversation(channel) {
    let conversation = this.conversations.get(channel);
    if (!conversation) {
      conversation = new Conversation(channel, this.me);
      conversation.read = this.marks.read[channel] ?? null;
      this.conversations.set(channel, conversation);
    }
    return conversation;
  }

  /** @param {string} room */
  #join(room) {
    const conversation = this.#conversation(room);
    if (!this.marks.rooms.includes(room)) this.marks.setRoom(room, true);
    this.client.subscribe(room).then(
      (answer) => conversation.moveTo(answer),
      (error) => {
        if (!(error instanceof Refused)) return; // not connected: the client does it when it is
        conversation.closed = error.message;
        this.#changed("talk");
      },
    );
  }

  /** @param {string} channel */
  #forget(channel) {
    this.conversations.delete(channel);
    if (this.current?.channel === channel) this.current = null;
    this.#changed("list", "talk");
  }

  /**
   * Load what an open conversation shows.
   * @param {Conversation} conversation
   */
  async #look(conversation) {
    const { namespace, channel } = conversation;
    if (!conversation.isLoaded) void this.#load(conversation);
    try {
      if (namespace === "room") {
        const { count, users } = await this.client.command("presence", { channel });
        conversation.people = users ? new Set(users.map((/** @type {UserState} */ { user }) => user)) : null;
        conversation.count = count ?? conversation.people?.size ?? null;
      } else if (namespace === "group") {
        await this.#loadMembers(conversation);
      }
    } catch (error) {
      ignoreDisconnect(error);
    }
    this.#changed("talk");
  }

  /** @param {Conversation} conversation */
  async #loadMembers(conversation) {
    if (conversation.namespace !== "group") return;
    try {
      conversation.members = (await this.client.command("members", { channel: conversation.channel })).members;
    } catch (error) {
      if (error instanceof Refused) conversation.closed = error.message;
    }
    this.#changed("talk");
  }

  /**
   * Read the page before what is known.
   * @param {Conversation} conversation
   * @param {number} [limit]
   */
  async #load(conversation, limit = PAGE) {
    if (conversation.isLoading || this.client.state !== "online") return;
    conversation.isLoading = true;
    this.#changed("talk");
    let again = false;
    try {
      const { generation } = conversation;
      const before = conversation.lines[0]?.seq;
      const page = await this.client.history(conversation.channel, before ? { before, limit } : { limit });
      if (generation === conversation.generation) this.#take(conversation, page, limit === PAGE);
      // It was opened while only its last message was being read, or its messages were forgotten meanwhile.
      again = !conversation.isLoaded;
    } catch (error) {
      if (error instanceof Refused) this.#onUnreadable(conversation, error);
    } finally {
      conversation.isLoading = false;
      this.#changed("list", "talk");
    }
    if (again && conversation === this.current) void this.#load(conversation);
  }

  /**
   * @param {Conversation} conversation
   * @param {{messages: Message[], more: boolean}} page
   * @param {boolean} isWhole
   */
  #take(conversation, { messages, more }, isWhole) {
    conversation.addOlder(messages, more);
    conversation.isLoaded ||= isWhole;
    conversation.closed = "";
    const isNewRoom = conversation.namespace === "room" && conversation.read === null;
    if (isNewRoom || (conversation === this.current && this.isLooking)) this.#markRead(conversation);
  }

  /**
   * @param {Conversation} conversation
   * @param {Refused} error
   */
  #onUnreadable(conversation, error) {
    if (mayRetry(error.code)) {
      setTimeout(() => conversation === this.current && void this.#load(conversation), RETRY_MS);
      return;
    }
    conversation.isLoaded = true;
    conversation.hasOlder = false;
    conversation.closed = error.message;
  }

  /** @param {Conversation} conversation */
  #markRead(conversation) {
    const { channel, epoch, seq, read } = conversation;
    if (seq === 0 || (read?.[0] === epoch && read[1] >= seq)) return;
    conversation.read = [epoch, seq];
    this.marks.setRead(channel, conversation.read);
  }

  // Sending.

  /** @param {import("./marks.js").Unsent & {tried: boolean}} unsent */
  #send({ channel, key, at, data, tried }) {
    const conversation = this.#conversation(channel);
    /** @type {Line} */
    const line = { key, from: this.me, at, seq: 0, data, kind: "", state: "pending", reason: "" };
    conversation.unsent.push(line);
    this.client.send(channel, data, { key, tried }).then(
      (sent) => {
        conversation.add({ ...sent, key, from: this.me, data }); // a repeated one was given out long ago
        this.#saveUnsent();
        this.#changed("list", "talk");
      },
      (error) => {
        line.state = "failed";
        line.reason = error.message;
        this.#saveUnsent();
        this.#changed("list", "talk");
      },
    );
    this.#changed("list", "talk");
  }

  #saveUnsent() {
    const unsent = [...this.conversations.values()].flatMap(({ channel, unsent }) =>
      unsent.filter(({ state }) => state === "pending").map(({ key, at, data }) => ({ channel, key, at, data })),
    );
    this.marks.saveUnsent(unsent);
  }

  /** @param {...Topic} topics */
  #changed(...topics) {
    if (this.#changes.size === 0) queueMicrotask(() => this.#tell());
    for (const topic of topics) this.#changes.add(topic);
  }

  #tell() {
    const topics = [...this.#changes];
    this.#changes.clear();
    for (const topic of topics) this.dispatchEvent(new Event(topic));
  }
}

/** @param {Conversation} conversation */
function activity(conversation) {
  return Math.max(conversation.at, conversation.unsent.at(-1)?.at ?? 0);
}

/** @param {unknown} error */
function ignoreDisconnect(error) {
  if (!(error instanceof Disconnected || error instanceof Refused)) throw error;
}
