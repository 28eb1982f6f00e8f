"""The client's side of RFC 6455 as the hot loop needs it: preformatted masked frames out, a scan of the stream in.

This is not a WebSocket library. It trusts the server to send whole frames, and fails loudly where that does not hold.
The mask is real, so that a server does the work of unmasking, but its four bytes are the same, so that masking is one
`bytes.translate`.
"""

from collections.abc import Iterator, Sequence
from operator import itemgetter

from bench.body import COUNTER_BASE, TIME_BASE
from bench.grammar import Grammar
from protocol.deflate import inflate

_MASK_BYTE = 0x5A
MASK = bytes((_MASK_BYTE,)) * 4
_MASKED = bytes(byte ^ _MASK_BYTE for byte in range(256))

_CLOSE, _PING, _PONG = 0x88, 0x89, 0x8A
_MOST_BYTES = 2**26  # of one inflated message
_BETWEEN_LINES = b"}\n{"  # some servers put several objects in a frame, each on its line


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

    __slots__ = ("_as_bytes", "_frame", "_pick")

    def __init__(self, payload: bytes, numbers: str, first: int = 0x81) -> None:
        """Take a %-template and which numbers it wants, in order.

        `n` is the counter (and id), `t` the time, both as numbers; `N` and `T` are the same as four and eight bytes.
        """
        self._as_bytes = "N" in numbers or "T" in numbers
        self._pick = itemgetter(*["ntNT".index(name) for name in numbers])
        self._frame = payload
        size = len(self._filled(((COUNTER_BASE, TIME_BASE),)))
        # The head is masked here, so that masking the whole frame brings it back.
        self._frame = head(first, size).translate(_MASKED).replace(b"%", b"%%") + payload

    def frames(self, counters: Sequence[int], time_ns: int) -> bytes:
        """Return the frames of these messages, one after the other."""
        time = TIME_BASE + time_ns
        return self._filled([(COUNTER_BASE + counter, time) for counter in counters]).translate(_MASKED)

    def _filled(self, numbers: Sequence[tuple[int, int]]) -> bytes:
        pick = self._pick
        values: list[int | bytes] = []
        for n, t in numbers:
            values += pick((n, t, n.to_bytes(4), t.to_bytes(8)) if self._as_bytes else (n, t))
        return self._frame * len(numbers) % tuple(values)


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
        self.answer = b""  # the last frame with an answer

    def clear(self) -> None:
        """Forget what was found, to be used for the next piece."""
        self.counters = []
        self.times = []
        self.answers = []
        self.errors = []
        self.others = []

    def feed(self, data: bytes, with_answers: bool, with_places: bool = False) -> int:
        """Find messages and answers in all whole frames at the start of `data`; return how many bytes those are.

        `others` gets what is neither, as (first byte of the frame, payload), and `answer` what is asked for by
        `with_places`: the frame with the last answer.
        """
        grammar = self.grammar
        count, end, is_plain = _measure(data, grammar.first)
        if with_places or not (is_plain and self._quickly(data, end, count, with_answers)):
            self._frame_by_frame(data, end, with_answers)
        return end

    def _quickly(self, data: bytes, end: int, count: int, with_answers: bool) -> bool:
        """Find everything in one go if every object of so many frames is a message or an answer; else find nothing."""
        _, begins, counter_at, counter_end, time_at, time_end, answer, id_end, error, number = self.grammar
        counters: list[int] = []
        times: list[int] = []
        answers: list[int] = []
        mark = data.find(begins, 0, end)
        while mark >= 0:
            counters.append(number(data[mark + counter_at : mark + counter_end]) - COUNTER_BASE)
            times.append(number(data[mark + time_at : mark + time_end]) - TIME_BASE)
            mark = data.find(begins, mark + time_end, end)
        if with_answers:
            id_at = len(answer)
            place = data.find(answer, 0, end)
            while place >= 0:
                answers.append(number(data[place + id_at : place + id_end]) - COUNTER_BASE)
                place = data.find(answer, place + id_end, end)
        objects = count + data.count(_BETWEEN_LINES, 0, end)
        if len(counters) + len(answers) != objects or data.find(error, 0, end) >= 0:
            return False
        self.counters += counters
        self.times += times
        self.answers += answers
        return True

    def _frame_by_frame(self, data: bytes, size: int, with_answers: bool) -> None:
        """Find everything, whatever is in the frames."""
        whole, begins, counter_at, counter_end, time_at, time_end, _, _, _, number = self.grammar
        counters, times = self.counters, self.times
        for first, payload, _ in frames(data[:size]):
            text = payload
            if first != whole:
                if first != self.grammar.compressed:
                    self.others.append((first, payload))
                    continue
                text = inflate(payload, _MOST_BYTES)
            mark = text.find(begins)
            if mark >= 0:
                while mark >= 0:
                    counters.append(number(text[mark + counter_at : mark + counter_end]) - COUNTER_BASE)
                    times.append(number(text[mark + time_at : mark + time_end]) - TIME_BASE)
                    mark = text.find(begins, mark + time_end)
                if with_answers:
                    self._answers(text)
            elif not self._answers(text):
                self.others.append((whole, text))

    def _answers(self, data: bytes) -> bool:
        """Find the ids that a message answers; tell whether there are any (or an error without an id)."""
        _, _, _, _, _, _, answer, id_end, error, number = self.grammar
        if data.find(error) >= 0:
            self.errors.append(data)
        place = data.find(answer)
        if place < 0:
            return bool(self.errors)
        self.answer = data
        id_at = len(answer)
        while place >= 0:
            self.answers.append(number(data[place + id_at : place + id_end]) - COUNTER_BASE)
            place = data.find(answer, place + id_end)
        return True


def _measure(data: bytes, wanted: int) -> tuple[int, int, bool]:
    """Return how many whole frames there are, where the last of them ends, and whether all begin with this byte."""
    size = len(data)
    at = count = 0
    is_plain = True
    while size - at >= 2:
        length = data[at + 1]
        if length < 126:
            end = at + 2 + length
        elif length > 127:
            raise WireError("a masked frame from a server")
        else:
            start = at + (4 if length == 126 else 10)
            if size < start:
                break
            end = start + int.from_bytes(data[at + 2 : start], "big")
        if end > size:
            break
        if data[at] != wanted:
            is_plain = False
        count += 1
        at = end
    return count, at, is_plain


def is_close(first: int) -> bool:
    """Tell whether the frame that starts so says goodbye."""
    return first == _CLOSE


def is_ping(first: int) -> bool:
    """Tell whether the frame that starts so wants a pong."""
    return first == _PING
