"""Takes GOAWAY out of what an HTTP/2 connection says, before the h2 library sees it.

A server that wants to close says GOAWAY and still answers the requests that it has (RFC 9113 section 6.8). The library
counts the connection as closed from then on and refuses these answers.
"""

import msgspec

_HEAD_BYTES = 9
_GOAWAY = 7


class GoAway(msgspec.Struct, frozen=True):
    """Requests after `last_stream` will not be looked at. `reason` is the server's own text, if it gave one."""

    last_stream: int
    code: int
    reason: str


class GoAwayFilter:
    """Cuts the bytes of one connection into frames (RFC 9113 section 4.1)."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> tuple[bytes, list[GoAway]]:
        """Return the whole frames of what has come but for GOAWAY, and what the GOAWAYs said."""
        data = self._rest + data if self._rest else data
        kept: list[bytes] = []
        found: list[GoAway] = []
        start = at = 0  # from `start` on is not kept yet
        while at + _HEAD_BYTES <= len(data):
            end = at + _HEAD_BYTES + int.from_bytes(data[at : at + 3], "big")
            if end > len(data):
                break
            if data[at + 3] == _GOAWAY:
                kept.append(data[start:at])
                found.append(_read(data[at + _HEAD_BYTES : end]))
                start = end
            at = end
        kept.append(data[start:at])
        self._rest = data[at:]
        return kept[0] if len(kept) == 1 else b"".join(kept), found


def _read(payload: bytes) -> GoAway:
    last = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
    return GoAway(last, int.from_bytes(payload[4:8], "big"), payload[8:208].decode("utf-8", "replace"))
