"""The client's side of RFC 6455 as the hot loop needs it: preformatted masked frames out, a scan of the stream in.

This is not a WebSocket library. It trusts the server to send whole, uncompressed frames, and fails loudly where that
does not hold. The mask is real, so that a server does the work of unmasking, but its four bytes are the same, so that
masking is one `bytes.translate`.
"""

from bench.body import COUNTER_AT, COUNTER_BASE, COUNTER_END, MARK, TIME_AT, TIME_BASE, TIME_END

_MASK_BYTE = 0x5A
MASK = bytes((_MASK_BYTE,)) * 4
_MASKED = bytes(byte ^ _MASK_BYTE for byte in range(256))

ANSWER = b'"id":'
ERROR = b'"error"'

_FIN_TEXT = 0x81
_CLOSE, _PING, _PONG = 0x88, 0x89, 0x8A


class WireError(Exception):
    """The server sent what this scan does not understand."""


def text_frame(payload: bytes) -> bytes:
    """Frame one text message of a client."""
    return _frame(_FIN_TEXT, payload)


def pong_frame(payload: bytes) -> bytes:
    """Frame the answer to a ping."""
    return _frame(_PONG, payload)


def close_frame() -> bytes:
    """Frame a goodbye."""
    return _frame(_CLOSE, (1000).to_bytes(2, "big"))


def _frame(first: int, payload: bytes) -> bytes:
    return head(first, len(payload)) + payload.translate(_MASKED)


def head(first: int, size: int) -> bytes:
    """Make the head of a masked frame, mask included."""
    if size < 126:
        return bytes((first, 0x80 | size)) + MASK
    if size < 65536:
        return bytes((first, 0x80 | 126)) + size.to_bytes(2, "big") + MASK
    return bytes((first, 0x80 | 127)) + size.to_bytes(8, "big") + MASK


class SendTemplate:
    """A publish command of fixed size as a masked frame, but for its numbers."""

    __slots__ = ("_head", "_payload", "_places")

    def __init__(self, payload: bytes, numbers: str) -> None:
        """Take a %-template and which numbers it wants, in order: `n` the counter (and id), `t` the time."""
        size = len(payload % tuple(COUNTER_BASE if name == "n" else TIME_BASE for name in numbers))
        self._head = head(_FIN_TEXT, size)
        self._payload = payload
        self._places = numbers

    def frame(self, counter: int, time_ns: int) -> bytes:
        """Return the frame of one message."""
        n = COUNTER_BASE + counter
        t = TIME_BASE + time_ns
        values = tuple(n if name == "n" else t for name in self._places)
        return self._head + (self._payload % values).translate(_MASKED)


class Scan:
    """What one piece of a stream held. One object is used again and again by a hot loop."""

    __slots__ = ("answer", "answers", "counters", "errors", "others", "times")

    def __init__(self) -> None:
        self.counters: list[int] = []
        self.times: list[int] = []
        self.answers: list[int] = []
        self.errors: list[bytes] = []
        self.others: list[tuple[int, bytes]] = []
        self.answer = (0, 0)  # where the last text frame with an answer is in the data

    def clear(self) -> None:
        """Forget what was found, to be used for the next piece."""
        self.counters = []
        self.times = []
        self.answers = []
        self.errors = []
        self.others = []

    def feed(self, data: bytes, with_answers: bool) -> int:
        """Find messages and answers in all whole frames at the start of `data`; return how many bytes those are.

        `others` gets what is neither, as (first byte of the frame, payload).
        """
        find = data.find
        counters, times = self.counters, self.times
        size = len(data)
        at = 0
        while size - at >= 2:
            length = data[at + 1]
            if length < 126:
                start = at + 2
            elif length == 126:
                start = at + 4
                length = int.from_bytes(data[at + 2 : start], "big") if size >= start else size
            elif length == 127:
                start = at + 10
                length = int.from_bytes(data[at + 2 : start], "big") if size >= start else size
            else:
                raise WireError("a masked frame from a server")
            end = start + length
            if end > size:
                break
            if data[at] == _FIN_TEXT:
                mark = find(MARK, start, end)
                if mark >= 0:
                    while mark >= 0:
                        counters.append(int(data[mark + COUNTER_AT : mark + COUNTER_END]) - COUNTER_BASE)
                        times.append(int(data[mark + TIME_AT : mark + TIME_END]) - TIME_BASE)
                        mark = find(MARK, mark + TIME_END, end)
                    if with_answers:
                        self._answers(data, start, end)
                elif not self._answers(data, start, end):
                    self.others.append((_FIN_TEXT, data[start:end]))
            else:
                self.others.append((data[at], data[start:end]))
            at = end
        return at

    def _answers(self, data: bytes, start: int, end: int) -> bool:
        """Find the ids that a text frame answers; tell whether there are any (or an error without an id)."""
        if data.find(ERROR, start, end) >= 0:
            self.errors.append(data[start:end])
        place = data.find(ANSWER, start, end)
        if place < 0:
            return bool(self.errors)
        self.answer = (start, end)
        while place >= 0:
            self.answers.append(int(data[place + 5 : place + 15]) - COUNTER_BASE)
            place = data.find(ANSWER, place + 15, end)
        return True


def is_close(first: int) -> bool:
    """Tell whether the frame that starts so says goodbye."""
    return first == _CLOSE


def is_ping(first: int) -> bool:
    """Tell whether the frame that starts so wants a pong."""
    return first == _PING
