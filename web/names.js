// @ts-check
/** Names of users and channels: which are well formed, and how they are shown. See protocol/names.py. */

const USER = /^[A-Za-z0-9_.@|~+=-]{1,64}$/;
const REST = /^[A-Za-z0-9_.@|~+=:-]+$/;
const MAX_CHANNEL_LENGTH = 255;

/** @param {string} text */
export function isUser(text) {
  return USER.test(text);
}

/**
 * Make the name of a channel from what a person typed; null when it cannot be one. Spaces become hyphens.
 * @param {string} namespace
 * @param {string} typed
 */
export function channelFrom(namespace, typed) {
  const rest = typed.trim().replace(/^#/, "").replace(/\s+/g, "-");
  const channel = rest.startsWith(`${namespace}:`) ? rest : `${namespace}:${rest}`;
  return REST.test(rest) && channel.length <= MAX_CHANNEL_LENGTH ? channel : null;
}

/**
 * The direct chat of two users: their ids in order, so that both find the same one.
 * @param {string} one
 * @param {string} other
 */
export function directChannel(one, other) {
  return `dm:${[one, other].sort().join(":")}`;
}

/**
 * @param {string} channel
 * @returns {{namespace: string, rest: string}}
 */
export function splitChannel(channel) {
  const colon = channel.indexOf(":");
  return { namespace: channel.slice(0, colon), rest: channel.slice(colon + 1) };
}

/**
 * Who is at the other end of a direct chat; null when it is none.
 * @param {string} channel
 * @param {string} me
 */
export function peerOf(channel, me) {
  const { namespace, rest } = splitChannel(channel);
  if (namespace !== "dm") return null;
  const users = rest.split(":");
  return users.find((user) => user !== me) ?? me;
}

/**
 * The names in a text where people typed several, with spaces or commas between.
 * @param {string} typed
 */
export function splitNames(typed) {
  return typed.toLowerCase().split(/[\s,;]+/).filter(Boolean);
}
