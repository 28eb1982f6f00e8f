// @ts-check
/** The codes of protocol/codes.py that a page acts on; the bands say what to do with every other. */

export const ErrorCode = Object.freeze({
  RATE_LIMITED: 100,
  BAD_TOKEN: 204,
  TOKEN_EXPIRED: 205,
  REVOKED: 206,
  FORBIDDEN: 207,
  UNKNOWN_CHANNEL: 208,
  NOT_SUBSCRIBED: 209,
  ALREADY_SUBSCRIBED: 210,
  NAME_TAKEN: 215,
  UNKNOWN_USER: 217,
});

export const CloseCode = Object.freeze({
  NORMAL: 1000,
  PROTOCOL_ERROR: 1002,
  UNSUPPORTED_DATA: 1003,
  INVALID_DATA: 1007,
  TOO_BIG: 1009,
  TOKEN_EXPIRED: 4003,
  REPLACED: 4005,
  HELLO_TIMEOUT: 4500,
  UNAUTHORIZED: 4502,
  REVOKED: 4503,
});

/**
 * Tell whether the same command may succeed later.
 * @param {number} code
 */
export function mayRetry(code) {
  return code >= 100 && code < 200;
}
