"""A command that was packed but for two words is the same bytes as one that is packed at once."""

import pytest

from chatd.redis.packing import BLANK, Argument, Template, pack


@pytest.mark.parametrize(
    "words",
    [
        ("EVALSHA", "abc", 2, BLANK, "wal", BLANK, 0, ""),
        ("SET", BLANK, BLANK),
        (BLANK, "a", BLANK),
        ("X", BLANK, "é", b"\r\n", BLANK, 1.5),
    ],
)
@pytest.mark.parametrize("filling", [(b"key", b"content"), (b"", b"\r\n$3\r\n"), ("ü".encode(), bytes(300))])
def test_a_template_is_filled(words: tuple[Argument, ...], filling: tuple[bytes, bytes]) -> None:
    rest = iter(filling)
    whole = tuple(next(rest) if word is BLANK else word for word in words)
    assert Template(words).fill(*filling) == pack(whole)
