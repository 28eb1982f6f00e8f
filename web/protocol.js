// @ts-check
/**
 * The chatd client for browsers: one WebSocket with commands, events, reconnecting and resuming. Knows nothing of the page.
 *
 *     const client = new Client({ url: "wss://chat.example/v1/ws", token: async () => ({ token: mine }) });
 *     client.addEventListener("message", (event) => console.log(event.detail));
 *     client.start();
 *     await client.subscribe("room:lobby");
 *     await client.send("room:lobby", { text: "hello" });
 *
 * Promises: messages of a channel are given out once and in the order of their seqs; a hole is filled from the history
 * before what comes after it. `send` survives any number of lost connections: it is repeated with the same key until it
 * is answered. Subscriptions come back by themselves. Where something was lost for good, `gap` says so.
 *
 * Events (their `detail` is the protocol's object, if nothing else is said):
 *     state         { state, retryAt } whenever `client.state` changes
 *     connected     after every connect, once everything missed was given out
 *     message       one message
 *     gap           { channel }: messages are missing; read the history
 *     presence_changed, joined, left, count, unsubscribed
 *     refused       { reason, signedOut }: coming back would end the same way; the client stopped. `signedOut`: log in first
 *     replaced      another session took this one's place; the client stopped
 */

import { Calls } from "./calls.js";
import { CloseCode, ErrorCode, mayRetry } from "./codes.js";
import { Disconnected, Refused, SignedOut } from "./errors.js";
import { Order } from "./order.js";
import { Outbox } from "./outbox.js";

export { Disconnected, Refused, SignedOut };

/** @typedef {import("./places.js").Message} Message */
/** @typedef {import("./outbox.js").Sent} Sent */
/** @typedef {{epoch: string, seq: number, recovered: boolean, messages: Message[]}} Resumed */
/** @typedef {{token: string}} Token */
/** @typedef {"idle" | "connecting" | "online" | "waiting"} State */
export const SUBPROTOCOL = "chatd.v1.json";

/** @type {Record<State, State[]>} */
const TRANSITIONS = {
  idle: ["connecting"],
  connecting: ["online", "waiting", "idle"],
  online: ["waiting", "connecting", "idle"],
  waiting: ["connecting", "idle"],
};

const HELLO_SECONDS = 15; // from opening the socket to `connected`
const ANSWER_SECONDS = 20; // a command without an answer for so long means a dead connection
const PROBE_SECONDS = 5; // the same, when the page was just woken and somebody is looking
const BACKOFF_FIRST_SECONDS = 0.5;
const BACKOFF_MAX_SECONDS = 30;
const STEADY_SECONDS = 30; // a connection that held so long makes the backoff begin anew
const CURSORS = 200; // fewer than limits.cursors
const FIRST_TERMINAL = 4500;
/** @type {Set<number>} */
const TERMINAL = new Set([
  CloseCode.PROTOCOL_ERROR,
  CloseCode.UNSUPPORTED_DATA,
  CloseCode.INVALID_DATA,
  CloseCode.TOO_BIG,
]);

/** A key for a message: 120 random bits. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(15));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class Client extends EventTarget {
  /** @type {State} */
  #state = "idle";
  /** @type {WebSocket | null} */
  #socket = null;
  #attempts = 0;
  #onlineSince = Infinity;
  #pingSeconds = 25;
  #serverAhead = 0; // milliseconds, of this machine's clock
  #lastHeard = 0;
  #freshToken = false;
  #refusals = 0;
  #calls = new Calls();
  /** @type {Map<string, {conflated: boolean}>} */
  #subscriptions = new Map();
  #outbox = new Outbox((outgoing) => this.#deliver(outgoing));
  #order = new Order({
    history: (channel, page) => this.history(channel, page),
    onMessage: (message) => this.#emit("message", message),
    onGap: (channel) => this.#emit("gap", { channel }),
  });
  /** @type {Record<string, number>} */
  #timers = {};

  /**
   * @param {object} options
   * @param {string} options.url the WebSocket address
   * @param {(fresh: boolean) => Promise<Token>} options.token gives a token; if `fresh`, a newer one than the last
   */
  constructor({ url, token }) {
    super();
    this.url = url;
    this.token = token;
    this.places = this.#order.places;
    this.user = "";
    this.device = "";
    /** @type {number | null} when the next try is due, in milliseconds of Date.now() */
    this.retryAt = null;
  }

  get state() {
    return this.#state;
  }

  /** Connect, and stay connected until `stop`. */
  start() {
    if (this.#state === "idle") void this.#open();
  }

  /** Disconnect and stay so. What is not sent yet is kept, and sent after the next `start`. */
  stop() {
    this.#drop(CloseCode.NORMAL);
    this.#enter("idle");
  }

  /** Try now instead of when the waiting is over. */
  retryNow() {
    if (this.#state === "waiting") void this.#open();
  }

  /** The network is known to be gone: do not wait for the socket to notice. */
  networkLost() {
    if (this.#socket) this.#lost();
  }

  /** Find out whether the connection still lives, for example after the machine slept. */
  probe() {
    if (this.#state === "online") this.#request("ping", {}, PROBE_SECONDS).catch(() => {});
    else this.retryNow();
  }

  // Commands.

  /**
   * Say one command and return its answer. Too fast? It waits as long as the server asks, then says it again.
   * @param {string} type
   * @param {Record<string, unknown>} [fields]
   * @returns {Promise<any>}
   */
  async command(type, fields = {}) {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#request(type, fields, ANSWER_SECONDS);
      } catch (error) {
        if (!(error instanceof Refused) || error.code !== ErrorCode.RATE_LIMITED || tries === 4) throw error;
        await pause(error.retryAfter ?? 1);
      }
    }
  }

  /**
   * Get the channel's events, now and after every reconnect.
   * @param {string} channel
   * @param {{conflated?: boolean}} [options] in a conflated channel holes are normal
   * @returns {Promise<Resumed>}
   */
  async subscribe(channel, { conflated = false } = {}) {
    this.#subscriptions.set(channel, { conflated });
    try {
      return await this.#subscribe(channel);
    } catch (error) {
      if (error instanceof Refused && !mayRetry(error.code)) this.#subscriptions.delete(channel);
      throw error;
    }
  }

  /** @param {string} channel */
  async unsubscribe(channel) {
    this.#subscriptions.delete(channel);
    this.places.forget(channel);
    if (this.#state === "online") await this.command("unsubscribe", { channel }).catch(ignoreRefused);
  }

  /**
   * Append one message to a channel; messages of one channel go one after the other, so they keep their order.
   * Resolves with its place. Rejects only when the server will never take it.
   * @param {string} channel
   * @param {Record<string, unknown>} data
   * @param {{key?: string, tried?: boolean}} [options] `tried`: this key may have been sent before, by an earlier page
   * @returns {Promise<Sent>}
   */
  send(channel, data, { key = newKey(), tried = false } = {}) {
    return new Promise((resolve, reject) => {
      this.#outbox.add({ channel, key, data, tried, resolve, reject });
    });
  }

  /**
   * Read a page of a channel, in rising seq.
   * @param {string} channel
   * @param {{before?: number, after?: number, limit?: number}} [page]
   * @returns {Promise<{messages: Message[], more: boolean}>}
   */
  history(channel, page = {}) {
    return this.command("history", { channel, ...page });
  }

  // Connecting.

  async #open() {
    clearTimeout(this.#timers.retry);
    this.#enter("connecting");
    let token;
    try {
      ({ token } = await this.token(this.#freshToken));
    } catch (error) {
      if (this.#state !== "connecting") return;
      if (error instanceof SignedOut) this.#refuse(error.message, true);
      else this.#retryLater();
      return;
    }
    if (this.#state !== "connecting" || this.#socket) return;
    this.#freshToken = false;
    const socket = new WebSocket(this.url, [SUBPROTOCOL]);
    this.#socket = socket;
    this.#timers.hello = setTimeout(() => this.#lost(), HELLO_SECONDS * 1000);
    socket.onopen = () => void this.#hello(token);
    socket.onmessage = (event) => this.#receive(socket, event.data);
    socket.onclose = (event) => this.#closed(socket, event.code, event.reason);
  }

  /** @param {string} token */
  async #hello(token) {
    const cursors = this.places.latest(CURSORS);
    let answer;
    try {
      answer = await this.#request("connect", { token, cursors }, HELLO_SECONDS);
    } catch (error) {
      if (error instanceof Refused) this.#refusedHello(error);
      return;
    }
    clearTimeout(this.#timers.hello);
    this.#refusals = 0;
    this.#onlineSince = Date.now();
    this.user = answer.user;
    this.device = answer.device;
    this.#pingSeconds = answer.ping_seconds;
    this.#enter("online");
    this.#keepAlive();
    this.#serverAhead = answer.time - Date.now();
    this.#refreshBefore(answer.expires);
    for (const channel of Object.keys(cursors)) this.#resume(channel, answer.resumed[channel]);
    const missing = [...this.#subscriptions.keys()].filter((channel) => !(channel in answer.resumed));
    await Promise.allSettled(missing.map((channel) => this.#subscribe(channel)));
    if (this.#state !== "online") return;
    this.#outbox.resume();
    this.#emit("connected", answer);
  }

  /**
   * @param {string} channel
   * @param {Resumed | undefined} resumed nothing, when the channel is closed to this user now
   */
  #resume(channel, resumed) {
    if (resumed?.recovered) {
      for (const message of resumed.messages) this.#take(message);
      this.places.advance({ channel, epoch: resumed.epoch, seq: resumed.seq });
      return;
    }
    this.places.forget(channel);
    if (resumed) this.places.stand({ channel, epoch: resumed.epoch, seq: resumed.seq });
    this.#emit("gap", { channel });
  }

  /**
   * @param {string} channel
   * @returns {Promise<Resumed>}
   */
  async #subscribe(channel) {
    const since = this.places.get(channel);
    /** @type {Resumed} */
    const answer = await this.command("subscribe", since ? { channel, since } : { channel });
    if (this.#subscriptions.get(channel)?.conflated) return answer;
    if (since && !answer.recovered) this.#emit("gap", { channel });
    for (const message of answer.messages) this.#take(message);
    this.places.advance({ channel, epoch: answer.epoch, seq: answer.seq });
    return answer;
  }

  /** @param {Refused} error */
  #refusedHello(error) {
    const tokenIsBad = error.code === ErrorCode.BAD_TOKEN || error.code === ErrorCode.TOKEN_EXPIRED;
    if (error.code === ErrorCode.REVOKED || (tokenIsBad && ++this.#refusals > 1)) this.#refuse(error.message, true);
    else if (tokenIsBad) this.#lost({ freshToken: true });
    else this.#lost({ seconds: error.retryAfter });
  }

  /**
   * @param {WebSocket} socket
   * @param {number} code
   * @param {string} reason
   */
  #closed(socket, code, reason) {
    if (socket !== this.#socket) return;
    if (code === CloseCode.REPLACED) {
      this.stop();
      this.#emit("replaced", {});
    } else if (code === CloseCode.UNAUTHORIZED && ++this.#refusals === 1) {
      this.#lost({ freshToken: true });
    } else if (TERMINAL.has(code) || code >= FIRST_TERMINAL) {
      this.#refuse(reason, code === CloseCode.REVOKED || code === CloseCode.UNAUTHORIZED);
    } else {
      this.#lost({ freshToken: code === CloseCode.TOKEN_EXPIRED });
    }
  }

  /**
   * The connection is gone: come back, at once with a new token if that was the cause, else after a while.
   * @param {{freshToken?: boolean, seconds?: number}} [how] `seconds`: what the server asked to wait at least
   */
  #lost({ freshToken = false, seconds = 0 } = {}) {
    this.#drop(CloseCode.NORMAL);
    this.#freshToken = freshToken;
    if (freshToken) void this.#open();
    else this.#retryLater(seconds);
  }

  /** @param {number} [seconds] */
  #retryLater(seconds = 0) {
    if (Date.now() - this.#onlineSince > STEADY_SECONDS * 1000) this.#attempts = 0;
    this.#onlineSince = Infinity;
    const ceiling = seconds + Math.min(BACKOFF_MAX_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** this.#attempts++);
    const delay = (seconds + ceiling * Math.random()) * 1000; // full jitter: not everybody at once
    this.retryAt = Date.now() + delay;
    this.#timers.retry = setTimeout(() => void this.#open(), delay);
    this.#enter("waiting");
  }

  /**
   * @param {string} reason
   * @param {boolean} signedOut
   */
  #refuse(reason, signedOut) {
    this.stop();
    this.#emit("refused", { reason, signedOut });
  }

  /**
   * Let go of the socket; what waits for answers learns that none will come.
   * @param {number} code
   */
  #drop(code) {
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(code);
    this.#order.letGo();
    this.#calls.abandon(new Disconnected("the connection was lost"));
  }

  /** @param {State} state */
  #enter(state) {
    if (state === this.#state) return;
    if (!TRANSITIONS[this.#state].includes(state)) throw new Error(`${this.#state} → ${state}`);
    this.#state = state;
    if (state !== "waiting") this.retryAt = null;
    this.#emit("state", { state, retryAt: this.retryAt });
  }

  // Keeping it alive. The server's pings are not shown to pages, so silence is answered by a `ping` of our own.

  #keepAlive() {
    const silent = (Date.now() - this.#lastHeard) / 1000;
    if (silent >= this.#pingSeconds) this.#request("ping", {}, ANSWER_SECONDS).catch(() => {});
    const next = silent >= this.#pingSeconds ? this.#pingSeconds : this.#pingSeconds - silent;
    this.#timers.ping = setTimeout(() => this.#keepAlive(), next * 1000);
  }

  /**
   * Show a new token before the present one ends; how long before is partly chance.
   * @param {number | null} expires by the server's clock
   */
  #refreshBefore(expires) {
    if (expires === null) return;
    const left = expires - Date.now() - this.#serverAhead;
    const early = Math.min(60_000, left / 5) * (1 + Math.random());
    const delay = Math.min(Math.max(left - early, 1000), 2 ** 31 - 1);
    this.#timers.refresh = setTimeout(() => void this.#refresh(), delay);
  }

  async #refresh() {
    try {
      const { token } = await this.token(true);
      this.#refreshBefore((await this.command("refresh", { token })).expires);
    } catch (error) {
      if (error instanceof SignedOut) this.#refuse(error.message, true);
      else if (this.#state === "online") this.#timers.refresh = setTimeout(() => void this.#refresh(), 10_000);
    }
  }

  // Saying commands and hearing answers.

  /**
   * @param {string} type
   * @param {Record<string, unknown>} fields
   * @param {number} seconds
   * @returns {Promise<any>}
   */
  #request(type, fields, seconds) {
    const isReady = type === "connect" || this.#isReady;
    if (!this.#socket || !isReady) return Promise.reject(new Disconnected("not connected"));
    const { id, answer } = this.#calls.begin(seconds, () => this.#lost());
    this.#socket.send(JSON.stringify({ type, id, ...fields }));
    return answer;
  }

  /** Whether commands can be said. A socket that is closing is open no more, before anybody is told. */
  get #isReady() {
    return this.#state === "online" && this.#socket?.readyState === WebSocket.OPEN;
  }

  /**
   * @param {WebSocket} socket
   * @param {string} text
   */
  #receive(socket, text) {
    if (socket !== this.#socket) return;
    this.#lastHeard = Date.now();
    const event = JSON.parse(text);
    if (event.id !== undefined) {
      this.#calls.settle(event);
    } else if (event.type === "message") {
      this.#take(event);
    } else if (event.type === "reconnect") {
      this.#timers.move = setTimeout(() => this.#move(), event.after_seconds * 1000);
    } else if (event.type === "unsubscribed") {
      this.#subscriptions.delete(event.channel);
      this.places.forget(event.channel);
      this.#emit("unsubscribed", event);
    } else if (event.type !== "error") {
      this.#emit(event.type, event);
    }
  }

  /** @param {Message} message */
  #take(message) {
    // The seqs of a conflated channel have holes: nothing is missing there.
    if (this.#subscriptions.get(message.channel)?.conflated) this.#emit("message", message);
    else this.#order.take(message);
  }

  /** The node leaves: go to the next one, which is there already. */
  #move() {
    this.#drop(CloseCode.NORMAL);
    void this.#open();
  }

  /**
   * @param {import("./outbox.js").Outgoing} outgoing
   * @returns {Promise<import("./outbox.js").Outcome>}
   */
  async #deliver(outgoing) {
    if (!this.#isReady) return "lost";
    const { channel, key, data, tried } = outgoing;
    outgoing.tried = true;
    try {
      const sent = await this.#request("send", { channel, key, data, ...(tried && { retry: true }) }, ANSWER_SECONDS);
      // Our own message is no event on this session in most channels: it takes its place in the order from its answer.
      this.#take({ channel, epoch: sent.epoch, seq: sent.seq, from: this.user, key, at: sent.at, data });
      outgoing.resolve(sent);
      return "settled";
    } catch (error) {
      if (!(error instanceof Refused)) return "lost";
      if (mayRetry(error.code)) {
        await pause(error.retryAfter ?? 1);
        return "later";
      }
      outgoing.reject(error);
      return "settled";
    }
  }

  /**
   * @param {string} type
   * @param {unknown} detail
   */
  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** @param {number} seconds */
function pause(seconds) {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}

/** @param {unknown} error */
function ignoreRefused(error) {
  if (!(error instanceof Refused || error instanceof Disconnected)) throw error;
}
