// @ts-check
/** Where the page begins: the welcome for strangers, the chat for who is logged in. */

import { Chat, go } from "./chat.js";
import { byId } from "./element.js";
import { Session } from "./session.js";
import { WelcomeView } from "./view-welcome.js";

const FIRST_CHANNEL = "room:lobby";
const WIDE = matchMedia("(min-width: 720px)");

const session = new Session();
const welcome = new WelcomeView((login) => session.begin(login));
/** @type {Chat | null} */
let chat = null;

/** Show what fits the session as it is now. */
function render() {
  chat?.close();
  chat = null;
  if (!session.user) {
    welcome.show(session.reason);
    return;
  }
  welcome.hide();
  if (location.hash.length < 2 && WIDE.matches) history.replaceState(null, "", `#${FIRST_CHANNEL}`);
  chat = new Chat(session, { onSignedOut: (reason) => session.end(reason), onAccount: () => void makeAccount() });
}

async function logOut() {
  await session.logOut();
  go("");
}

/** A guest wants an account: guests cannot take their name with them. */
async function makeAccount() {
  await session.logOut();
  welcome.show("", "register");
}

session.addEventListener("change", render);
byId("logout-button", HTMLButtonElement).addEventListener("click", () => void logOut());
render();
