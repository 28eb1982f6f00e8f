"""Where the numbers stand in what a server sends, in each encoding: found by position, without a parser."""

from collections.abc import Callable
from typing import NamedTuple


class Grammar(NamedTuple):
    """The marks of one encoding. Places count from where a mark begins."""

    first: int  # the first byte of a whole, uncompressed message's frame
    mark: bytes  # begins the body
    counter_at: int
    counter_end: int
    time_at: int
    time_end: int
    answer: bytes  # comes before the id of an answer
    answer_end: int
    error: bytes  # is in every refusal
    number: Callable[[bytes], int]

    @property
    def compressed(self) -> int:
        """The first byte of a compressed message's frame: RSV1 is set."""
        return self.first | 0x40


def _grammar(first: int, mark: bytes, gap: int, digits: tuple[int, int], id_: bytes, error: bytes) -> Grammar:
    counter_end = len(mark) + digits[0]
    time_at = counter_end + gap
    number = int if digits[0] == 10 else int.from_bytes
    return Grammar(
        first=first,
        mark=mark,
        counter_at=len(mark),
        counter_end=counter_end,
        time_at=time_at,
        time_end=time_at + digits[1],
        answer=id_,
        answer_end=len(id_) + digits[0],
        error=error,
        number=number,
    )


JSON = _grammar(0x81, b'"data":{"n":', len(',"t":'), (10, 19), b'"id":', b'"error"')
MSGPACK = _grammar(0x82, b"\xa4data\x83\xa1n\xce", len(b"\xa1t\xcf"), (4, 8), b"\xa2id\xce", b"\xa5error")

GRAMMARS = {"json": JSON, "msgpack": MSGPACK}
