"""Shards: where keys live, on one server, on several, and in a cluster."""

from collections import Counter

import pytest

from chatd.redis.addresses import Address, parse_address
from chatd.redis.shards import Shards, server_of


def test_all_keys_of_a_shard_have_one_hash_tag() -> None:
    shards = Shards("chatd:", 128)
    shard = shards.of("room:a")
    assert shards.key(shard, "log:room:a") == f"chatd:{{s{shard}}}:log:room:a"
    assert shards.key(shard, "wal").partition("}")[0] == shards.key(shard, "log:room:a").partition("}")[0]


def test_channels_spread_over_all_shards() -> None:
    shards = Shards("chatd:", 16)
    counts = Counter(shards.of(f"room:{number}") for number in range(16_000))
    assert len(counts) == 16
    assert max(counts.values()) < 1300


@pytest.mark.parametrize(("shard", "slot"), [(0, 11097), (1, 15224), (17, 12616)])
def test_slots_are_those_of_redis_cluster(shard: int, slot: int) -> None:
    assert Shards("", 128).slot(shard) == slot


def test_one_more_server_takes_only_its_own_share() -> None:
    three = ["10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.3:6379"]
    four = [*three, "10.0.0.4:6379"]
    before = [server_of(shard, three) for shard in range(1000)]
    after = [server_of(shard, list(reversed(four))) for shard in range(1000)]
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {"10.0.0.4:6379"}
    assert 150 < len(moved) < 350


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("redis:6380", Address("redis", 6380)),
        ("10.0.0.1", Address("10.0.0.1", 6379)),
        ("[::1]:7000", Address("::1", 7000)),
        ("[::1]", Address("::1", 6379)),
    ],
)
def test_addresses_are_read(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", ":6379", "host:", "host:0", "host:65536", "host:x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no HOST:PORT"):
        parse_address(text)
