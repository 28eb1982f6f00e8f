"""Bodies are sealed so that only the right key, in the right row, opens them."""

import msgspec
import pytest

from protocol.body import Body, Encoding
from protocol.names import ChannelName, Epoch, Seq
from storage.records import DataKeyRecord, StoredMessage
from storage.sealing import BodyDamaged, BodyUnreadable, KeyMissing, KeyRing, is_sealed
from tests.contracts.store import message

MASTERS = {"old": b"o" * 32, "new": b"n" * 32}


def ring(active: str = "old", *records: DataKeyRecord, masters: dict[str, bytes] | None = None) -> KeyRing:
    """Make a ring that has these data keys."""
    made = KeyRing(MASTERS if masters is None else masters, active)
    made.load(records)
    return made


def sealing() -> tuple[KeyRing, DataKeyRecord]:
    """Make a ring with one data key."""
    record = ring().make(1000)
    return ring("old", record), record


def seal(keys: KeyRing, plain: StoredMessage) -> StoredMessage:
    """Seal a message."""
    assert keys.sealer is not None
    return keys.sealer.seal(plain)


@pytest.mark.parametrize(
    "body",
    [Body(Encoding.JSON, b'{"t":"\xc3\xa9"}'), Body(Encoding.MSGPACK, b"\x80"), Body(Encoding.JSON, b"x" * 65536)],
)
def test_a_sealed_body_opens_again(body: Body) -> None:
    keys, record = sealing()
    plain = message(1, body=body, kind="note")
    sealed = seal(keys, plain)
    assert is_sealed(sealed.body)
    assert not is_sealed(plain.body)
    assert len(sealed.body) == len(body) + 50
    assert msgspec.structs.replace(sealed, body=body) == plain  # nothing else is changed
    assert keys.open(sealed) == plain
    assert ring("", record).open(sealed) == plain  # by another process, which seals nothing itself


def test_a_sealed_body_cannot_be_read() -> None:
    keys, _ = sealing()
    body = Body(Encoding.JSON, b'{"t":"of more bytes than chance could repeat"}')
    assert body.raw not in seal(keys, message(1, body=body)).body.raw


def test_a_plain_body_is_opened_as_it_is() -> None:
    keys, _ = sealing()
    assert keys.open(message(1)) == message(1)


def test_an_empty_body_stays_empty() -> None:
    keys, _ = sealing()
    deleted = message(1, body=Body(Encoding.JSON, b""), kind="deleted")
    assert seal(keys, deleted) == deleted == keys.open(deleted)


def test_the_same_body_is_never_sealed_alike() -> None:
    keys, record = sealing()
    rings = [keys, keys, ring("old", record), ring("old", record)]
    assert len({seal(each, message(1)).body.raw for each in rings}) == len(rings)


@pytest.mark.parametrize(
    "changed",
    [
        {"channel": ChannelName("room:two")},
        {"epoch": Epoch("second")},
        {"seq": Seq(2)},
    ],
)
def test_a_body_does_not_open_in_another_row(changed: dict[str, str]) -> None:
    keys, _ = sealing()
    sealed = seal(keys, message(1))
    with pytest.raises(BodyDamaged, match="does not open"):
        keys.open(msgspec.structs.replace(sealed, **changed))


def test_a_body_does_not_open_in_another_encoding() -> None:
    keys, _ = sealing()
    sealed = seal(keys, message(1))
    with pytest.raises(BodyDamaged):
        keys.open(msgspec.structs.replace(sealed, body=Body(Encoding.MSGPACK, sealed.body.raw)))


def test_no_byte_of_a_sealed_body_can_be_changed() -> None:
    keys, _ = sealing()
    sealed = seal(keys, message(1))
    for position in range(2, len(sealed.body)):
        raw = bytearray(sealed.body.raw)
        raw[position] ^= 1
        with pytest.raises((BodyDamaged, BodyUnreadable)):
            keys.open(msgspec.structs.replace(sealed, body=Body(Encoding.JSON, bytes(raw))))
    for length in range(2, len(sealed.body)):
        with pytest.raises((BodyDamaged, BodyUnreadable)):
            keys.open(msgspec.structs.replace(sealed, body=Body(Encoding.JSON, sealed.body.raw[:length])))


def test_without_its_data_key_a_body_is_unreadable() -> None:
    keys, record = sealing()
    sealed = seal(keys, message(1))
    with pytest.raises(BodyUnreadable, match=f"room:one 1 is sealed with the data key {record.data_key}"):
        ring().open(sealed)


def test_an_error_never_has_the_body_in_it() -> None:
    keys, _ = sealing()
    sealed = seal(keys, message(1, body=Body(Encoding.JSON, b'{"secret":1}')))
    moved = msgspec.structs.replace(sealed, seq=Seq(2))
    for strange, reader in ((sealed, ring()), (moved, keys)):
        with pytest.raises((BodyDamaged, BodyUnreadable)) as caught:
            reader.open(strange)
        assert "secret" not in str(caught.value)


def test_a_data_key_opens_with_its_own_master_key_only() -> None:
    _, record = sealing()
    with pytest.raises(KeyMissing, match=f"the master key old is missing, which the data key {record.data_key}"):
        ring("", record, masters={"new": b"n" * 32})
    with pytest.raises(KeyMissing, match="the master key old is not the one"):
        ring("", record, masters={"old": b"x" * 32})
    with pytest.raises(KeyMissing, match="is not the one"):
        ring("", msgspec.structs.replace(record, data_key="00" * 8))
    with pytest.raises(KeyMissing, match="is not the one"):
        ring("", msgspec.structs.replace(record, wrapped=b""))


def test_a_new_data_key_seals_and_the_old_one_still_opens() -> None:
    keys, first = sealing()
    before = seal(keys, message(1))
    second = keys.make(2000)
    keys.load([first, second])
    after = seal(keys, message(2))
    assert keys.open(before) == message(1)
    assert keys.open(after) == message(2)
    with pytest.raises(BodyUnreadable):
        ring("old", first).open(after)


def test_a_new_master_key_needs_the_data_keys_only_to_be_wrapped_anew() -> None:
    keys, record = sealing()
    sealed = seal(keys, message(1))
    rewrapped = ring("new", record).rewrap(record)
    assert (rewrapped.data_key, rewrapped.created_at, rewrapped.master) == (record.data_key, 1000, "new")
    only_new = ring("new", rewrapped, masters={"new": b"n" * 32})
    assert only_new.open(sealed) == message(1)
    assert only_new.open(seal(only_new, message(2))) == message(2)


def test_a_ring_wants_a_key_only_when_it_is_to_seal_and_has_none() -> None:
    _, record = sealing()
    assert not ring("").wants_key
    assert not ring("", record).wants_key
    assert ring("old").wants_key
    assert not ring("old", record).wants_key
    assert ring("new", record).wants_key
    assert ring("", record).sealer is None


def test_keys_are_random() -> None:
    made = [ring().make(1) for _ in range(4)]
    assert len({record.data_key for record in made}) == len({ring().unwrap(record) for record in made}) == 4
