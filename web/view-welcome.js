// @ts-check
/** The first thing a stranger sees: log in, make an account, or come as a guest. */

import * as api from "./api.js";
import { byId } from "./element.js";

export class WelcomeView {
  /** @param {(login: api.Login) => void} onLogin */
  constructor(onLogin) {
    this.onLogin = onLogin;
    this.root = byId("welcome", HTMLElement);
    this.notice = byId("welcome-notice", HTMLElement);
    this.form = byId("account-form", HTMLFormElement);
    this.name = byId("account-name", HTMLInputElement);
    this.password = byId("account-password", HTMLInputElement);
    this.problem = byId("account-error", HTMLElement);
    this.submit = byId("account-submit", HTMLButtonElement);
    this.guest = byId("guest-button", HTMLButtonElement);
    this.form.addEventListener("change", () => this.#renderMode());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#run(() => this.#account());
    });
    this.guest.addEventListener("click", () => void this.#run(api.comeAsGuest));
  }

  /**
   * @param {string} [notice] why the person is here again
   * @param {"login" | "register"} [mode]
   */
  show(notice = "", mode = "login") {
    this.root.hidden = false;
    this.notice.textContent = notice;
    this.notice.hidden = !notice;
    this.problem.hidden = true;
    this.password.value = "";
    for (const input of this.#modes()) input.checked = input.value === mode;
    this.#renderMode();
    this.name.focus();
  }

  hide() {
    this.root.hidden = true;
  }

  get #isNew() {
    return new FormData(this.form).get("mode") === "register";
  }

  /** @returns {NodeListOf<HTMLInputElement>} */
  #modes() {
    return this.form.querySelectorAll("input[name=mode]");
  }

  #renderMode() {
    this.submit.textContent = this.#isNew ? "Create account" : "Log in";
    this.password.autocomplete = this.#isNew ? "new-password" : "current-password";
    this.problem.hidden = true;
  }

  async #account() {
    const user = this.name.value.trim();
    const password = this.password.value;
    if (!user || !password) throw new Error("Both a name and a password are needed.");
    return this.#isNew ? api.register(user, password) : api.logIn(user, password);
  }

  /** @param {() => Promise<api.Login>} work */
  async #run(work) {
    this.problem.hidden = true;
    this.submit.disabled = this.guest.disabled = true;
    try {
      this.onLogin(await work());
    } catch (error) {
      this.problem.textContent = describe(error);
      this.problem.hidden = false;
    } finally {
      this.submit.disabled = this.guest.disabled = false;
    }
  }
}

/** @param {unknown} error */
function describe(error) {
  const text = error instanceof Error ? error.message : String(error);
  const wait = error instanceof api.Problem ? error.retryAfter : undefined;
  return wait ? `${text} Try again in ${Math.ceil(wait)} s.` : text;
}
