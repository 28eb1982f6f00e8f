"""What the load generator writes is a WebSocket client's, and what it finds in a stream is what was in it."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import body
from bench.body import COUNTER_BASE, TIME_BASE
from bench.dialects import ASK_ID, HELLO_ID, SUBSCRIBE_ID, Chatd, Encoding
from bench.grammar import GRAMMARS, JSON
from bench.seats import STREAM, STREAMS
from bench.wire import Scan, SendTemplate, WireError, is_ping, text_frame
from bench.wire import frames as cut
from protocol import codec
from protocol.format import Formats
from protocol.frames import FrameLimits, FrameReader, Opcode, server_frame
from protocol.messages import Error, Message, Send, Sent
from protocol.names import ChannelName, Epoch, Seq, UserId

LIMITS = FrameLimits(frame_bytes=2**20, message_bytes=2**20, fragments=8)


def message(counter: int, time_ns: int = 0, size: int = 200) -> bytes:
    data = body.json_template(size) % (COUNTER_BASE + counter, TIME_BASE + time_ns)
    return b'{"type":"message","channel":"room:a","seq":7,"data":%s}' % data


def answer(counter: int) -> bytes:
    return b'{"type":"sent","id":%d,"channel":"room:a"}' % (COUNTER_BASE + counter)


def frames(*payloads: bytes) -> bytes:
    return b"".join(server_frame(Opcode.TEXT, payload) for payload in payloads)


def scan(data: bytes) -> Scan:
    found = Scan(JSON)
    assert found.feed(data, with_answers=True) == len(data)
    return found


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_a_frame_is_read_by_the_server_s_codec(size: int) -> None:
    assert FrameReader(LIMITS).feed(text_frame(b"x" * size)) == [(Opcode.TEXT, b"x" * size)]


def test_a_template_makes_frames_of_bodies_of_the_wanted_size() -> None:
    template = SendTemplate(b'{"id":%%d,"key":"%%d","data":%s}' % body.json_template(100), "nnnt")
    [(_, payload)] = FrameReader(LIMITS).feed(template.frames([5], 77))
    assert payload.startswith(b'{"id":1000000005,"key":"1000000005","data":{"n":1000000005,"t":1000000000000000077,')
    assert len(payload) - len(b'{"id":1000000005,"key":"1000000005","data":}') == 100


def test_a_body_has_room_for_its_numbers_or_is_refused() -> None:
    with pytest.raises(ValueError, match="at least"):
        body.json_template(body.SMALLEST - 1)


@pytest.mark.parametrize("size", [64, 200, 250, 300, 16384])
@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_a_send_is_what_the_server_reads_with_a_body_of_the_wanted_size(encoding: Encoding, size: int) -> None:
    frame = Chatd("run", encoding).send("room:a", size).frames([37], 77)
    [(opcode, payload)] = FrameReader(LIMITS).feed(frame)
    known = codec.JSON if encoding == "json" else codec.MSGPACK
    assert opcode == known.opcode
    command = known.decode(payload)
    assert isinstance(command, Send)
    assert (command.id, command.channel, command.key) == (COUNTER_BASE + 37, "room:a", f"run-{COUNTER_BASE + 37}")
    assert len(bytes(command.data)) == size
    data = (msgspec.json if encoding == "json" else msgspec.msgpack).decode(command.data)
    assert (data["n"], data["t"]) == (COUNTER_BASE + 37, TIME_BASE + 77)


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
@pytest.mark.parametrize("window_bits", [0, 15])
def test_what_the_server_says_is_found_in_every_encoding(encoding: Encoding, window_bits: int) -> None:
    known = codec.JSON if encoding == "json" else codec.MSGPACK
    [(_, payload)] = FrameReader(LIMITS).feed(Chatd("run", encoding).send("room:a", 200).frames([5], 9))
    command = known.decode(payload)
    assert isinstance(command, Send)
    said = [
        Message(
            channel=ChannelName("room:a"),
            epoch=Epoch("e"),
            seq=Seq(1),
            sender=UserId("u"),
            key=command.key,
            at=1,
            data=command.data,
        ),
        Sent(id=command.id, channel="room:a", epoch=Epoch("e"), seq=Seq(1), at=1),
        Error(id=COUNTER_BASE + 6, code=100, reason="slower"),
    ]
    form = Formats(deflate_level=6, deflate_min_bytes=0).get(known, window_bits)
    found = Scan(GRAMMARS[encoding])
    data = b"".join(form.frame(event) for event in said)
    assert found.feed(data, with_answers=True) == len(data)
    assert (found.counters, found.times, found.answers, len(found.errors)) == ([5], [9], [5, 6], 1)


def test_a_stream_is_cut_into_whole_frames() -> None:
    stream = server_frame(Opcode.TEXT, b"x" * 200) + server_frame(Opcode.PING, b"")
    assert [(first, len(payload)) for first, payload, _ in cut(stream + b"\x81")] == [(0x81, 200), (0x89, 0)]


def test_no_counter_is_used_twice_and_all_have_ten_digits() -> None:
    assert STREAM * (STREAMS + 1) < HELLO_ID < ASK_ID < SUBSCRIBE_ID < body.COUNTERS - 1000
    assert COUNTER_BASE == 10**9


def test_messages_and_answers_are_found() -> None:
    found = scan(frames(message(3, 30), answer(9), message(4, 40)))
    assert (found.counters, found.times, found.answers) == ([3, 4], [30, 40], [9])


def test_several_objects_in_one_frame_are_found() -> None:
    found = scan(frames(message(3) + b"\n" + answer(1) + b"\n" + message(4)))
    assert (found.counters, found.answers) == ([3, 4], [1])


def test_a_list_of_messages_in_an_answer_is_found() -> None:
    resumed = b'{"type":"connected","id":%d,"resumed":{"room:a":{"messages":[%s,%s]}}}'
    found = scan(frames(resumed % (COUNTER_BASE + 2, message(8), message(9))))
    assert (found.counters, found.answers) == ([8, 9], [2])


def test_errors_are_found_with_their_ids_and_without() -> None:
    found = scan(frames(b'{"type":"error","id":1000000007,"code":100}', b'{"type":"error","code":103}'))
    assert (found.answers, len(found.errors)) == ([7], 2)


def test_control_frames_and_unknown_events_are_others() -> None:
    found = scan(server_frame(Opcode.PING, b"p") + frames(b'{"type":"count","count":3}'))
    assert [(is_ping(first), payload) for first, payload in found.others] == [
        (True, b"p"),
        (False, b'{"type":"count","count":3}'),
    ]


def test_a_masked_frame_is_refused() -> None:
    with pytest.raises(WireError):
        Scan(JSON).feed(text_frame(b"{}"), with_answers=True)


@settings(deadline=None)
@given(st.lists(st.integers(60, 70_000), min_size=1, max_size=4), st.data())
def test_a_stream_cut_anywhere_is_read_the_same(sizes: list[int], data: st.DataObject) -> None:
    stream = frames(*(message(number, size=size) for number, size in enumerate(sizes)))
    cut = data.draw(st.integers(0, len(stream)))
    found = Scan(JSON)
    end = found.feed(stream[:cut], with_answers=False)
    assert end <= cut
    found.feed(stream[end:], with_answers=False)
    assert found.counters == list(range(len(sizes)))
