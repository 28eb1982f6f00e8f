"""The table of keys is bounded and forgets the oldest."""

import pytest

from chatd.broker.keys import Key, Keys, KnownKey
from protocol.names import ChannelName, Epoch, Seq, UserId


def key(number: int) -> Key:
    return UserId("alice"), f"k{number}"


def known(number: int) -> KnownKey:
    return KnownKey(ChannelName("room:a"), Epoch("e"), Seq(number), 0)


@pytest.mark.parametrize("size", [1, 2, 3, 10, 100])
def test_between_a_half_and_the_whole_is_remembered(size: int) -> None:
    keys = Keys(size)
    half = max(1, size // 2)
    for number in range(1000):
        keys.put(key(number), known(number))
        assert len(keys) <= max(2, size)
        for remembered in range(max(0, number - half + 1), number + 1):
            assert keys.get(key(remembered)) == known(remembered)
    assert keys.get(key(0)) is None


def test_a_key_put_again_is_known_as_the_newer() -> None:
    keys = Keys(4)
    keys.put(key(1), known(1))
    keys.put(key(2), known(2))
    keys.put(key(3), known(3))
    keys.put(key(1), known(9))
    assert keys.get(key(1)) == known(9)


def test_a_discarded_key_is_forgotten_in_both_generations() -> None:
    keys = Keys(4)
    for number in range(1, 4):
        keys.put(key(number), known(number))
    keys.put(key(1), known(9))
    for number in range(1, 4):
        keys.discard(key(number))
        assert keys.get(key(number)) is None
    assert len(keys) == 0
    keys.discard(key(7))
