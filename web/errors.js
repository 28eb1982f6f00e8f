// @ts-check
/** What can go wrong between a client and its server. */

/** A command that the server refused. */
export class Refused extends Error {
  /** @param {{code: number, reason: string, retry_after?: number}} error */
  constructor({ code, reason, retry_after }) {
    super(reason);
    this.code = code;
    this.retryAfter = retry_after;
  }
}

/** The connection was not there, or went before the answer came. */
export class Disconnected extends Error {}

/** No token can be had: the person must log in again. */
export class SignedOut extends Error {}
