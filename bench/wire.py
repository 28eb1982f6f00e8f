"""The client's side of RFC 6455 as the hot loop needs it: preformatted masked frames out, a scan of the stream in.

This is not a WebSocket library. It trusts the server to send whole frames, and fails loudly where that does not hold.
The mask is real, so that a server does the work of unmasking, but its four bytes are the same, so that masking is one
`bytes.translate`.
"""

from collections.abc import Iterator

from bench.body import COUNTER_BASE, TIME_BASE
from bench.grammar import Grammar
from protocol.deflate import inflate

_MASK_BYTE = 0x5A
MASK = bytes((_MASK_BYTE,)) * 4
_MASKED = bytes(byte ^ _MASK_BYTE for byte in range(256))

_CLOSE, _PING, _PONG = 0x88, 0x89, 0x8A
_MOST_BYTES = 2**26  # of one inflated message


class WireError(Exception):
    """The server sent what this scan does not understand."""


def message_frame(first: int, payload: bytes) -> bytes:
    """Frame one message of a client; `first` is the frame's first byte."""
    return head(first, len(payload)) + payload.translate(_MASKED)


def text_frame(payload: bytes) -> bytes:
    """Frame one text message of a client."""
    return message_frame(0x81, payload)


def pong_frame(payload: bytes) -> bytes:
    """Frame the answer to a ping."""
    return message_frame(_PONG, payload)


def close_frame() -> bytes:
    """Frame a goodbye."""
    return message_frame(_CLOSE, (1000).to_bytes(2, "big"))


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

    def __init__(self, payload: bytes, numbers: str, first: int = 0x81) -> None:
        """Take a %-template and which numbers it wants, in order.

        `n` is the counter (and id), `t` the time, both as numbers; `N` and `T` are the same as four and eight bytes.
        """
        self._payload = payload
        self._places = numbers
        self._head = head(first, len(self._filled(COUNTER_BASE, TIME_BASE)))

    def frame(self, counter: int, time_ns: int) -> bytes:
        """Return the frame of one message."""
        return self._head + self._filled(COUNTER_BASE + counter, TIME_BASE + time_ns).translate(_MASKED)

    def _filled(self, n: int, t: int) -> bytes:
        known = {"n": n, "t": t, "N": n.to_bytes(4), "T": t.to_bytes(8)}
        return self._payload % tuple([known[name] for name in self._places])


def frames(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Cut a stream into whole frames: the first byte, the payload, and where the frame ends."""
    size = len(data)
    at = 0
    while size - at >= 2:
        length = data[at + 1]
        start = at + (2 if length < 126 else 4 if length == 126 else 10)
        if length > 127:
            raise WireError("a masked frame from a server")
        if length >= 126:
            length = int.from_bytes(data[at + 2 : start], "big") if size >= start else size
        end = start + length
        if end > size:
            return
        yield data[at], data[start:end], end
        at = end


class Scan:
    """What one piece of a stream held. One object is used again and again by a hot loop."""

    __slots__ = ("answer", "answers", "counters", "errors", "grammar", "others", "times")

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar
        self.counters: list[int] = []
        self.times: list[int] = []
        self.answers: list[int] = []
        self.errors: list[bytes] = []
        self.others: list[tuple[int, bytes]] = []
        self.answer = (b"", 0, 0)  # where the last frame with an answer is: in which bytes, from, to

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
        whole, begins, counter_at, counter_end, time_at, time_end, _, _, _, number = self.grammar
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
            text, left, right = data, start, end
            first, at = data[at], end
            if first != whole:
                if first != self.grammar.compressed:
                    self.others.append((first, data[start:end]))
                    continue
                text = inflate(data[start:end], _MOST_BYTES)
                left, right = 0, len(text)
            mark = text.find(begins, left, right)
            if mark >= 0:
                while mark >= 0:
                    counters.append(number(text[mark + counter_at : mark + counter_end]) - COUNTER_BASE)
                    times.append(number(text[mark + time_at : mark + time_end]) - TIME_BASE)
                    mark = text.find(begins, mark + time_end, right)
                if with_answers:
                    self._answers(text, left, right)
            elif not self._answers(text, left, right):
                self.others.append((whole, text[left:right]))
        return at

    def _answers(self, data: bytes, start: int, end: int) -> bool:
        """Find the ids that a message answers; tell whether there are any (or an error without an id)."""
        _, _, _, _, _, _, answer, id_end, error, number = self.grammar
        if data.find(error, start, end) >= 0:
            self.errors.append(data[start:end])
        place = data.find(answer, start, end)
        if place < 0:
            return bool(self.errors)
        self.answer = (data, start, end)
        id_at = len(answer)
        while place >= 0:
            self.answers.append(number(data[place + id_at : place + id_end]) - COUNTER_BASE)
            place = data.find(answer, place + id_end, end)
        return True


def is_close(first: int) -> bool:
    """Tell whether the frame that starts so says goodbye."""
    return first == _CLOSE


def is_ping(first: int) -> bool:
    """Tell whether the frame that starts so wants a pong."""
    return first == _PING
