// @ts-check
/** The HTTP side of chatd: accounts and devices. */

/**
 * @typedef {object} Login
 * @property {string} user
 * @property {string} device
 * @property {string} access_token
 * @property {string | null} [refresh_token] guests have none
 * @property {number} expires_in seconds
 *
 * @typedef {{device: string, title: string, created_at: number, seen_at: number, current: boolean}} Device
 */

/** A request that the server refused; its message can be shown. */
export class Problem extends Error {
  /**
   * @param {number} status the HTTP status
   * @param {{title?: string, detail?: string, code?: number, retry_after?: number}} body
   */
  constructor(status, body) {
    super(body.detail || body.title || `The server answered ${status}.`);
    this.status = status;
    this.code = body.code ?? 0;
    this.retryAfter = body.retry_after;
  }
}

/** The server could not be reached at all. */
export class Unreachable extends Error {}

/** @returns {Promise<Login>} */
export function comeAsGuest() {
  return request("POST", "/v1/auth/guest", { title: deviceTitle() });
}

/**
 * @param {string} name
 * @param {string} password
 * @returns {Promise<Login>}
 */
export function register(name, password) {
  return request("POST", "/v1/auth/register", { name, password, title: deviceTitle() });
}

/**
 * @param {string} name
 * @param {string} password
 * @returns {Promise<Login>}
 */
export function logIn(name, password) {
  return request("POST", "/v1/auth/login", { name, password, title: deviceTitle() });
}

/**
 * @param {string} refreshToken
 * @returns {Promise<Login>}
 */
export function refresh(refreshToken) {
  return request("POST", "/v1/auth/refresh", { refresh_token: refreshToken });
}

/**
 * Look up an account by its name.
 * @param {string} accessToken
 * @param {string} name
 * @returns {Promise<{user: string, is_guest: boolean}>}
 */
export function findUser(accessToken, name) {
  return request("GET", `/v1/users/${encodeURIComponent(name)}`, undefined, accessToken);
}

/** @param {string} accessToken */
export function logOut(accessToken) {
  return request("POST", "/v1/auth/logout", {}, accessToken);
}

/**
 * @param {string} accessToken
 * @returns {Promise<Device[]>}
 */
export async function devices(accessToken) {
  return (await request("GET", "/v1/devices", undefined, accessToken)).devices;
}

/**
 * @param {string} accessToken
 * @param {string} device
 */
export function revoke(accessToken, device) {
  return request("DELETE", `/v1/devices/${encodeURIComponent(device)}`, undefined, accessToken);
}

/**
 * @param {string} method
 * @param {string} path
 * @param {object} [body]
 * @param {string} [accessToken]
 * @returns {Promise<any>}
 */
async function request(method, path, body, accessToken) {
  /** @type {Record<string, string>} */
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (accessToken !== undefined) headers.Authorization = `Bearer ${accessToken}`;
  let response;
  try {
    response = await fetch(path, { method, headers, body: body && JSON.stringify(body), credentials: "omit" });
  } catch {
    throw new Unreachable("The server cannot be reached. Try again in a moment.");
  }
  const isJson = /\bjson\b/.test(response.headers.get("Content-Type") ?? "");
  const answer = isJson ? await response.json() : {};
  if (!response.ok) throw new Problem(response.status, answer);
  return answer;
}

/** A name for this browser in the list of devices, such as "Firefox on Linux". */
function deviceTitle() {
  const agent = navigator.userAgent;
  /** @param {[RegExp, string][]} table */
  const first = (table) => table.find(([pattern]) => pattern.test(agent))?.[1];
  const browser = first([
    [/Edg\//, "Edge"],
    [/OPR\//, "Opera"],
    [/Firefox\//, "Firefox"],
    [/Chrom(e|ium)\//, "Chrome"],
    [/Safari\//, "Safari"],
  ]);
  const system = first([
    [/Android/, "Android"],
    [/iPhone|iPad/, "iOS"],
    [/Windows/, "Windows"],
    [/Mac OS/, "macOS"],
    [/Linux/, "Linux"],
  ]);
  return system ? `${browser ?? "Browser"} on ${system}` : (browser ?? "Browser");
}
