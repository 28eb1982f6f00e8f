// @ts-check
/** Times and happenings in words. */

const DAY_MS = 86_400_000;
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "short" });
const shortDate = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const longDate = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const fullDate = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

/** @param {number} at */
export function clockTime(at) {
  return clock.format(at);
}

/** @param {number} at */
export function fullTime(at) {
  return fullDate.format(at);
}

/**
 * The time for today, the weekday for this week, else the date.
 * @param {number} at
 */
export function shortTime(at) {
  const days = daysAgo(at);
  if (days === 0) return clock.format(at);
  return days < 7 ? weekday.format(at) : shortDate.format(at);
}

/** @param {number} at */
export function dayName(at) {
  const days = daysAgo(at);
  if (days === 0) return "Today";
  return days === 1 ? "Yesterday" : longDate.format(at);
}

/**
 * @param {number} at
 * @returns {string} "3 minutes ago" and so on
 */
export function ago(at) {
  const minutes = Math.floor((Date.now() - at) / 60_000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return minutes === 1 ? "a minute ago" : `${minutes} minutes ago`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return hours === 1 ? "an hour ago" : `${hours} hours ago`;
  return shortTime(at);
}

/**
 * Say what chatd's own message tells, such as a change of members.
 * @param {import("./conversation.js").Line} line
 */
export function describeKind({ kind, from, data }) {
  const put = data.put && typeof data.put === "object" ? Object.keys(data.put) : [];
  const removed = Array.isArray(data.remove) ? data.remove.map(String) : [];
  if (removed.length === 1 && removed[0] === from) return `${from} left`;
  if (removed.length > 0) return `${from} removed ${removed.join(", ")}`;
  const others = put.filter((user) => user !== from);
  if (others.length > 0) return `${from} invited ${others.join(", ")}`;
  return put.length > 0 ? `${from} made this group` : `${from}: ${kind}`;
}

/**
 * @param {{state: string, last_seen?: number} | null} presence
 */
export function describePresence(presence) {
  if (!presence) return "";
  if (presence.state !== "offline") return presence.state;
  return presence.last_seen ? `last seen ${ago(presence.last_seen)}` : "offline";
}

/** @param {number} at */
function daysAgo(at) {
  return Math.round((new Date().setHours(0, 0, 0, 0) - new Date(at).setHours(0, 0, 0, 0)) / DAY_MS);
}
