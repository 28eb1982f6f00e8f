// @ts-check
/**
 * Who is logged in at this browser: kept in localStorage, shared by all its tabs, its tokens renewed when needed.
 *
 * A refresh token can be used once; a second use looks like theft to the server. So only one tab at a time renews, and
 * the others take what it got.
 */

import * as api from "./api.js";
import { ErrorCode } from "./codes.js";
import { SignedOut } from "./protocol.js";

/** @typedef {{user: string, device: string, access: string, refresh: string | null, ends: number}} Kept */

const STORED = "chatd.session";
/** @type {number[]} */
const FINAL = [ErrorCode.BAD_TOKEN, ErrorCode.TOKEN_EXPIRED, ErrorCode.REVOKED];
const EARLY_MS = 20_000; // a token that ends so soon is renewed now

export class Session extends EventTarget {
  constructor() {
    super();
    /** @type {Kept | null} */
    this.kept = read();
    /** why nobody is logged in any more */
    this.reason = "";
    addEventListener("storage", (event) => {
      if (event.key === STORED || event.key === null) this.#adopt(read());
    });
    // A page that comes back from being frozen was told nothing.
    addEventListener("pageshow", (event) => event.persisted && this.#adopt(read()));
  }

  get user() {
    return this.kept?.user ?? "";
  }

  get device() {
    return this.kept?.device ?? "";
  }

  /** Guests have no account: no refresh token, no direct messages, no presence. */
  get isGuest() {
    return this.user.startsWith("guest-");
  }

  /**
   * Begin with what the server answered to a login.
   * @param {api.Login} login
   */
  begin(login) {
    const kept = {
      user: login.user,
      device: login.device,
      access: login.access_token,
      refresh: login.refresh_token || null,
      ends: Date.now() + login.expires_in * 1000,
    };
    localStorage.setItem(STORED, JSON.stringify(kept));
    this.#adopt(kept);
    return kept;
  }

  /**
   * Forget it here, in every tab.
   * @param {string} [reason] what to tell the person
   */
  end(reason = "") {
    localStorage.removeItem(STORED);
    this.#adopt(null, reason);
  }

  /** Tell the server too; it forgets the device even if this fails, when its tokens end. */
  async logOut() {
    const { kept } = this;
    if (!kept) return;
    const access = await this.access().catch(() => kept.access);
    await api.logOut(access).catch(() => {});
    this.end();
  }

  /** Give an access token for a request. */
  async access() {
    return (await this.token(false)).token;
  }

  /**
   * Give an access token; a newer one than the last, if `fresh`.
   * @param {boolean} fresh
   * @returns {Promise<import("./protocol.js").Token>}
   */
  async token(fresh) {
    const { kept } = this;
    if (!kept) throw new SignedOut("You are logged out.");
    const isGood = !fresh && kept.ends - Date.now() > EARLY_MS;
    const { access } = isGood ? kept : await this.#alone(() => this.#renew(kept.access));
    return { token: access };
  }

  /**
   * @param {string} old the access token that is not good enough
   * @returns {Promise<Kept>}
   */
  async #renew(old) {
    const kept = read();
    if (!kept) throw new SignedOut("You are logged out.");
    if (kept.access !== old) {
      this.#adopt(kept); // another tab was faster
      return kept;
    }
    if (!kept.refresh) {
      throw this.#over("Your time as a guest is over. Come in again!");
    }
    try {
      return this.begin(await api.refresh(kept.refresh));
    } catch (error) {
      // Anything else may be a proxy's answer, or pass.
      if (!(error instanceof api.Problem) || !FINAL.includes(error.code)) throw error;
      throw this.#over("You were logged out on this device.");
    }
  }

  /**
   * Run something in one tab at a time. Browsers have locks on https and localhost only; elsewhere it just runs.
   * @param {() => Promise<Kept>} work
   * @returns {Promise<Kept>}
   */
  async #alone(work) {
    return navigator.locks ? await navigator.locks.request(STORED, work) : await work();
  }

  /** @param {string} reason */
  #over(reason) {
    this.end(reason);
    return new SignedOut(reason);
  }

  /**
   * @param {Kept | null} kept
   * @param {string} [reason]
   */
  #adopt(kept, reason = "") {
    const before = this.user;
    this.kept = kept;
    this.reason = reason;
    if (this.user !== before) this.dispatchEvent(new Event("change"));
  }
}

/** @returns {Kept | null} */
function read() {
  try {
    return JSON.parse(localStorage.getItem(STORED) ?? "null");
  } catch {
    return null;
  }
}
