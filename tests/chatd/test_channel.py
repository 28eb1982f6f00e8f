"""Sending out a turn of a channel: each reader gets its own events once, in one write, and harms nobody else."""

from collections.abc import Callable
from itertools import count

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatd.batch import Batch
from chatd.channel import Channel, send_out
from chatd.config import NAMESPACES, Config
from chatd.counters import Counters
from chatd.event import frame, message_frames
from chatd.hub import Hub
from chatd.outlet import State
from chatd.session import Session
from chatd.settings import Settings
from protocol.body import Body, Encoding
from protocol.codec import JSON, MSGPACK, Codec
from protocol.format import Format, Formats
from protocol.frames import FrameLimits, FrameReader, Opcode
from protocol.messages import Count, Event, Message
from protocol.names import ChannelName, Epoch, Seq, UserId
from storage.records import StoredMessage
from tests.fakes.hand_link import HandLink
from tests.fakes.held_store import stored

ROOM, PRESENCE = ChannelName("room:a"), ChannelName("presence:a")


class Readers:
    """Sessions over links that the test holds."""

    def __init__(self, outbox_bytes: int = 1000) -> None:
        limits = msgspec.structs.replace(Config().limits, outbox_bytes=outbox_bytes)
        self.hub = Hub(Settings(msgspec.structs.replace(Config(), limits=limits)), Counters(), lambda: 0.0, lambda: 0.0)
        self.formats = Formats(deflate_level=6, deflate_min_bytes=100)
        self.links: list[HandLink] = []
        self._ids = count()

    def add(self, codec: Codec = JSON, window_bits: int = 0, name: ChannelName = ROOM) -> tuple[Session, HandLink]:
        """Let one more session read a channel."""
        link = HandLink()
        format_ = self.formats.get(codec, window_bits)
        reader = FrameReader(FrameLimits(65536, 65536, 64))
        session = Session(f"session-{next(self._ids)}", link.as_link(), format_, reader, self.hub)
        self.hub.open(session)
        self.hub.subscribe(session, name, NAMESPACES[name.partition(":")[0]])
        return session, link

    def send(self, *events: tuple[Event | StoredMessage, str], name: ChannelName = ROOM) -> int:
        """Send a turn to every reader; return how many bytes that was."""
        channel = self.hub.channels[name]
        channel.pending += events
        taken = channel.take()
        return sum(
            send_out(channel, taken, format_, list(sessions), Batch())
            for format_, sessions in list(channel.readers.items())
        )


def event(number: int, name: ChannelName = ROOM) -> Count:
    return Count(channel=name, count=number)


def counts(data: bytes) -> list[int]:
    """Return the numbers of the uncompressed JSON events in a stream of frames."""
    found = []
    reader = FrameReader(FrameLimits(2**20, 2**20, 64), masked=False)
    for opcode, payload in reader.feed(data):
        assert opcode == Opcode.TEXT
        found.append(msgspec.json.decode(payload, type=Count).count)
    assert reader.error is None
    return found


@pytest.fixture
def readers() -> Readers:
    """Nobody yet."""
    return Readers()


# Who reads.


def test_readers_are_grouped_by_format_and_counted(readers: Readers) -> None:
    sessions = [readers.add()[0], readers.add()[0], readers.add(MSGPACK)[0], readers.add(JSON, 12)[0]]
    channel = readers.hub.channels[ROOM]
    assert (len(channel), len(channel.readers), bool(channel)) == (4, 3, True)
    for session in sessions:
        channel.remove(session)
        channel.remove(session)
    assert (len(channel), channel.readers, bool(channel)) == (0, {}, False)


def test_a_turn_is_taken_once_and_of_a_conflated_channel_only_the_newest() -> None:
    for namespace, expected in (("room", [1, 2, 3]), ("presence", [3])):
        channel = Channel(ROOM, NAMESPACES[namespace])
        channel.pending += [(event(number), "") for number in (1, 2, 3)]
        assert [it.count for it, _ in channel.take() if isinstance(it, Count)] == expected
        assert channel.take() == []


# What they get.


def test_a_turn_is_encoded_once_for_each_format_and_is_one_write_for_each_reader(
    readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = [readers.add(*format_)[1] for format_ in ((JSON, 0), (MSGPACK, 0), (JSON, 15)) for _ in range(3)]
    encoded: list[Format] = []
    original: Callable[[Format, Event], bytes] = Format.frame

    def frame(self: Format, event: Event) -> bytes:
        encoded.append(self)
        return original(self, event)

    monkeypatch.setattr(Format, "frame", frame)
    size = readers.send((event(1), ""), (event(2), ""))
    assert len(encoded) == 2 * 3
    assert [link.sends for link in links] == [1] * 9
    assert size == sum(len(link.sent) for link in links)
    assert counts(links[0].sent) == [1, 2]


def test_a_message_is_given_in_each_readers_encoding(readers: Readers) -> None:
    (_, json_link), (_, msgpack_link) = readers.add(), readers.add(MSGPACK)
    readers.send((stored(ROOM, 7), ""))
    json_event = msgspec.json.decode(json_link.sent[2:], type=Message)
    msgpack_event = msgspec.msgpack.decode(msgpack_link.sent[2:], type=Message)
    assert (json_event.seq, bytes(json_event.data)) == (7, b'{"n":7}')
    assert (msgpack_event.seq, bytes(msgpack_event.data)) == (7, msgspec.msgpack.encode({"n": 7}))


def test_a_session_does_not_get_its_own_events(readers: Readers) -> None:
    (one, one_link), (two, two_link), (_, link) = readers.add(), readers.add(), readers.add()
    size = readers.send((event(1), one.id), (event(2), two.id), (event(3), ""), (event(4), one.id))
    assert (counts(one_link.sent), counts(two_link.sent)) == ([2, 3], [1, 3, 4])
    assert counts(link.sent) == [1, 2, 3, 4]
    assert size == len(one_link.sent) + len(two_link.sent) + len(link.sent)
    readers.send((event(5), one.id))
    assert counts(one_link.sent) == [2, 3]


# Readers that do not keep up.


def test_what_a_socket_refuses_comes_later_whole_and_in_order(readers: Readers) -> None:
    (slow, slow_link), (_, link) = readers.add(), readers.add()
    slow_link.room = 10
    for number in range(5):
        readers.send((event(number), ""))
    assert (len(slow_link.sent), counts(link.sent)) == (10, [0, 1, 2, 3, 4])
    assert slow.outbox_bytes == len(link.sent) - 10
    for _ in range(100):
        slow_link.open_up(7)
    assert counts(slow_link.sent) == [0, 1, 2, 3, 4]
    assert (slow.outbox_bytes, readers.hub.slow_sessions) == (0, set())
    readers.send((event(5), ""))
    assert slow.outbox_bytes > 0  # the last 7 bytes of room took no whole event
    slow_link.open_up()
    assert counts(slow_link.sent) == [0, 1, 2, 3, 4, 5]


def test_a_reader_whose_connection_broke_is_lost_and_the_others_get_everything(readers: Readers) -> None:
    (lost, lost_link), *others = [readers.add() for _ in range(3)]
    lost_link.is_broken = True
    readers.send((event(1), ""))
    assert (lost.state, lost_link.is_shut) == (State.CLOSED, True)
    readers.send((event(2), ""))
    assert [counts(link.sent) for _, link in others] == [[1, 2]] * 2
    assert len(readers.hub.channels[ROOM]) == 2


async def test_a_reader_that_never_reads_is_cut_off_at_its_limit(readers: Readers) -> None:
    (slow, slow_link), (_, link) = readers.add(), readers.add()
    slow_link.room = 10
    for number in range(100):
        readers.send((event(number), ""))
        assert slow.outbox_bytes <= 1000 + 125  # the close frame may come on top
    assert slow.state is State.CLOSING
    assert counts(link.sent) == list(range(100))
    assert readers.hub.counters.drops["slow"] == 1


def test_of_a_conflated_channel_the_newest_replaces_the_waiting_one(readers: Readers) -> None:
    slow, slow_link = readers.add(name=PRESENCE)
    _, link = readers.add(name=PRESENCE)
    slow_link.room = 10
    for number in range(100):
        readers.send((event(number, PRESENCE), ""), name=PRESENCE)
    assert slow.outbox_bytes < 200
    slow_link.open_up()
    assert counts(slow_link.sent) == [0, 99]
    assert counts(link.sent) == list(range(100))
    assert readers.hub.counters.drops["conflated"] == 98


KEY = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128)


@given(
    key=KEY,
    seq=st.integers(1, 2**53),
    at=st.integers(0, 2**53),
    kind=st.sampled_from(["", "members"]),
    data=st.dictionaries(st.text(), st.integers(-(2**63), 2**63) | st.text(), max_size=3),
    encoding=st.sampled_from(list(Encoding)),
    codec=st.sampled_from([JSON, MSGPACK]),
)
def test_a_message_is_put_together_as_its_codec_would(
    key: str, seq: int, at: int, kind: str, data: dict[str, object], encoding: Encoding, codec: Codec
) -> None:
    raw = msgspec.json.encode(data) if encoding is Encoding.JSON else msgspec.msgpack.encode(data)
    stored = StoredMessage(
        channel=ChannelName("room:a.b|c~d+e=f-g:h@i"),
        epoch=Epoch("A-z_0123"),
        seq=Seq(seq),
        sender=UserId("alice@example.org"),
        key=key,
        at=at,
        body=Body(encoding, raw),
        kind=kind,
    )
    format_ = Formats(deflate_level=6, deflate_min_bytes=128).get(codec, 0)
    assert message_frames([stored], format_) == [frame(stored, format_)]
