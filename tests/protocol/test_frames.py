"""Frames in: every rule of RFC 6455 as a table of byte streams, and hypothesis for what no table thinks of."""

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from protocol.codes import CloseCode
from protocol.deflate import Deflate
from protocol.frames import FrameLimits, FrameReader, Opcode, client_frame, close_payload, server_frame

MASK = b"\x12\xfe\x00\x81"
LIMITS = FrameLimits(frame_bytes=1 << 20, message_bytes=1 << 20, fragments=1000)
TEXT, BINARY, MORE = Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION
CLOSE, PING, PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG

Events = list[tuple[int, bytes]]


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv1: bool = False) -> bytes:
    return client_frame(opcode, payload, MASK, fin=fin, rsv1=rsv1)


def deflated(payload: bytes) -> bytes:
    stream = zlib.compressobj(6, zlib.DEFLATED, -15)
    return (stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


def read(
    data: bytes, *, limits: FrameLimits = LIMITS, inflate: bool = False, masked: bool = True, step: int = 0
) -> tuple[Events, int | None]:
    """Feed everything, at once or so many bytes at a time; return the events and the code of the error."""
    reader = FrameReader(limits, inflate=inflate, masked=masked)
    events: Events = []
    step = step or len(data) or 1
    for at in range(0, len(data), step):
        events += reader.feed(data[at : at + step])
    return events, None if reader.error is None else reader.error.code


SIZES = [0, 1, 125, 126, 127, 128, 65535, 65536, 65537]


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("step", [0, 997])
def test_messages_of_every_length_encoding_are_read(opcode: int, size: int, masked: bool, step: int) -> None:
    payload = b"*" * size
    data = frame(opcode, payload) if masked else server_frame(opcode, payload)
    assert read(data * 2, masked=masked, step=step) == ([(opcode, payload)] * 2, None)


SEQUENCES: dict[str, tuple[bytes, Events]] = {
    "a ping": (frame(PING), [(PING, b"")]),
    "the largest ping": (frame(PING, b"\xfe" * 125), [(PING, b"\xfe" * 125)]),
    "a pong nobody asked for": (frame(PONG, b"hello"), [(PONG, b"hello")]),
    "many pings": (frame(PING, b"1") * 10, [(PING, b"1")] * 10),
    "a text in two frames": (frame(TEXT, b"he", fin=False) + frame(MORE, b"llo"), [(TEXT, b"hello")]),
    "an empty text in three frames": (
        frame(TEXT, fin=False) + frame(MORE, fin=False) + frame(MORE),
        [(TEXT, b"")],
    ),
    "a binary message in three frames": (
        frame(BINARY, b"a", fin=False) + frame(MORE, b"", fin=False) + frame(MORE, b"c"),
        [(BINARY, b"ac")],
    ),
    "pings between fragments": (
        frame(TEXT, b"a", fin=False) + frame(PING, b"x") + frame(MORE, b"b", fin=False) + frame(PONG) + frame(MORE),
        [(PING, b"x"), (PONG, b""), (TEXT, b"ab")],
    ),
    "a character over two frames": (
        frame(TEXT, "µ".encode()[:1], fin=False) + frame(PING) + frame(MORE, "µ".encode()[1:]),
        [(PING, b""), (TEXT, "µ".encode())],
    ),
    "a close without a code": (frame(CLOSE), [(CLOSE, b"")]),
    "a close with a code": (frame(CLOSE, close_payload(1000)), [(CLOSE, b"\x03\xe8")]),
    "a close with the longest reason": (
        frame(CLOSE, close_payload(1000, "*" * 123)),
        [(CLOSE, b"\x03\xe8" + b"*" * 123)],
    ),
    "anything after a close": (frame(CLOSE) + frame(TEXT, b"x") + frame(PING) + b"\xff\xff", [(CLOSE, b"")]),
    "a close between fragments": (frame(TEXT, b"a", fin=False) + frame(CLOSE) + frame(MORE, b"b"), [(CLOSE, b"")]),
}


@pytest.mark.parametrize("step", [0, 1, 2, 5])
@pytest.mark.parametrize("name", SEQUENCES)
def test_what_a_peer_may_send_is_read(name: str, step: int) -> None:
    data, events = SEQUENCES[name]
    assert read(data, step=step) == (events, None)


HELLO = frame(TEXT, b"hello")

VIOLATIONS: dict[str, bytes] = {
    **{f"reserved bits {bits:#x} on opcode {op}": bytes((0x80 | bits | op, 0x80)) + MASK
       for bits in (0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70) for op in (TEXT, PING, CLOSE)},
    **{f"opcode {op}": frame(op) for op in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    **{f"opcode {op} with a payload": frame(op, b"abc") for op in (3, 7, 11, 15)},
    **{f"a close with {code}": frame(CLOSE, code.to_bytes(2))
       for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)},
    "half a close code": frame(CLOSE, b"\x03"),
    "a ping of 126 bytes": frame(PING, b"x" * 126),
    "a close of 126 bytes": frame(CLOSE, close_payload(1000) + b"x" * 124),
    "a fragmented ping": frame(PING, b"a", fin=False) + frame(MORE, b"b"),
    "a fragmented close": frame(CLOSE, fin=False),
    "a continuation of nothing": frame(MORE, b"x"),
    "an open continuation of nothing": frame(MORE, b"x", fin=False),
    "a continuation after a whole message": HELLO + frame(MORE),
    "a text inside a text": frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"),
    "a binary message inside a text": frame(TEXT, b"a", fin=False) + frame(BINARY, b"b", fin=False),
    "no mask": server_frame(TEXT, b"hello"),
    "a ping without a mask": server_frame(PING, b""),
    "a length of two bytes that fits seven bits": b"\x82\xfe" + (125).to_bytes(2) + bytes(4 + 125),
    "a length of eight bytes that fits two": b"\x82\xff" + (65535).to_bytes(8) + bytes(4 + 65535),
    "a length with its highest bit set": b"\x82\xff" + (1 << 63).to_bytes(8),
}  # fmt: skip


@pytest.mark.parametrize("step", [0, 1, 2])
@pytest.mark.parametrize("name", VIOLATIONS)
def test_what_a_peer_must_not_send_ends_the_reading_after_what_came_before(name: str, step: int) -> None:
    before = len(read(VIOLATIONS[name])[0])
    events, code = read(HELLO + frame(PING, b"p") + VIOLATIONS[name] + HELLO, step=step)
    assert code == CloseCode.PROTOCOL_ERROR
    assert events == [(TEXT, b"hello"), (PING, b"p")] + [(TEXT, b"hello")] * before


@pytest.mark.parametrize("code", [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999])
def test_close_codes_that_may_be_sent_are_read(code: int) -> None:
    assert read(frame(CLOSE, close_payload(code, "why"))) == ([(CLOSE, code.to_bytes(2) + b"why")], None)


def test_a_client_refuses_a_masked_frame() -> None:
    assert read(server_frame(TEXT, b"x") + HELLO, masked=False) == ([(TEXT, b"x")], CloseCode.PROTOCOL_ERROR)


# Texts. The table is after Markus Kuhn's decoder stress test.

GOOD_TEXTS = [
    *("Hello-µ@ßöäüàá-UTF-8!!", "κόσμε", "\0", "\x7f", "\x80", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\ufffd"),
    *("\ufffe", "\uffff", "\U00010000", "\U0001fffe", "\U0010fffe", "\U0010ffff"),
]
BAD_TEXTS = [
    *(b"\x80", b"\xbf", b"\x80\xbf\x80", b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"),  # never the first byte
    *(b"\xc2a", b"\xe2\x82a", b"\xf0\x9f\x98a", b"\xf0\x9fa"),  # not all of a character
    *(b"\xc0\xaf", b"\xc1\xbf", b"\xe0\x80\xaf", b"\xe0\x9f\xbf", b"\xf0\x80\x80\xaf", b"\xf0\x8f\xbf\xbf"),  # overlong
    *(b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"),  # beyond U+10FFFF
    *(b"\xed\xa0\x80", b"\xed\xaf\xbf", b"\xed\xb0\x80", b"\xed\xbf\xbf", b"\xed\xa0\x80\xed\xb0\x80"),  # surrogates
]


@pytest.mark.parametrize("text", GOOD_TEXTS)
def test_utf_8_is_read_in_frames_of_any_size(text: str) -> None:
    raw = ("abc" + text + "xyz").encode()
    whole = [(TEXT, raw)]
    assert read(frame(TEXT, raw)) == (whole, None)
    assert read(frame(TEXT, raw), step=1) == (whole, None)
    fragments = b"".join(frame(MORE, bytes((byte,)), fin=False) for byte in raw)
    assert read(frame(TEXT, fin=False) + fragments + frame(MORE)) == (whole, None)


@pytest.mark.parametrize("bad", BAD_TEXTS)
def test_what_is_no_utf_8_is_refused(bad: bytes) -> None:
    raw = "κόσμε".encode() + bad + b"edited"
    for step in (0, 1, 7):
        assert read(HELLO + frame(TEXT, raw), step=step) == ([(TEXT, b"hello")], CloseCode.INVALID_DATA)
    fragments = frame(TEXT, raw[:8], fin=False) + frame(MORE, raw[8:])
    assert read(fragments) == ([], CloseCode.INVALID_DATA)
    assert read(frame(CLOSE, close_payload(1000) + raw)) == ([], CloseCode.INVALID_DATA)


@pytest.mark.parametrize("text", ["é", "€", "😀"])
def test_a_text_that_ends_inside_a_character_is_refused(text: str) -> None:
    raw = b"ok" + text.encode()[:-1]
    assert read(frame(TEXT, raw)) == ([], CloseCode.INVALID_DATA)
    assert read(frame(TEXT, raw), step=1) == ([], CloseCode.INVALID_DATA)
    assert read(frame(TEXT, raw, fin=False) + frame(MORE)) == ([], CloseCode.INVALID_DATA)
    assert read(frame(CLOSE, close_payload(1000) + raw)) == ([], CloseCode.INVALID_DATA)


@pytest.mark.parametrize(("start", "bad"), [("κόσμε".encode() + b"\xf4", b"\x90"), (b"\xed", b"\xa0"), (b"a", b"\xff")])
def test_bad_text_fails_at_its_first_wrong_byte(start: bytes, bad: bytes) -> None:
    """Neither the end of the frame nor that of the message is waited for."""
    data = frame(TEXT, start + bad + b"x" * 100, fin=False)
    head = 6
    assert read(data[: head + len(start)], step=1) == ([], None)
    assert read(data[: head + len(start) + 1], step=1) == ([], CloseCode.INVALID_DATA)
    assert read(data[: head + len(start) + 1]) == ([], CloseCode.INVALID_DATA)


def test_binary_messages_need_no_utf_8() -> None:
    raw = bytes(range(256))
    assert read(frame(BINARY, raw), step=3) == ([(BINARY, raw)], None)


# Limits.

SMALL = FrameLimits(frame_bytes=100, message_bytes=150, fragments=3)


def head_only(opcode: int, size: int, *, fin: bool = True) -> bytes:
    """The header of a frame, up to and with its length: no mask, no payload."""
    return frame(opcode, b"x" * size, fin=fin)[: 2 if size < 126 else 4]


def test_a_frame_over_the_limit_is_refused_before_its_payload_comes() -> None:
    assert read(head_only(TEXT, 100), limits=SMALL) == ([], None)
    assert read(head_only(TEXT, 101), limits=SMALL) == ([], CloseCode.TOO_BIG)
    assert read(b"\x82\xff" + ((1 << 63) - 1).to_bytes(8), limits=SMALL) == ([], CloseCode.TOO_BIG)
    assert read(frame(TEXT, b"x" * 100), limits=SMALL) == ([(TEXT, b"x" * 100)], None)


def test_a_message_over_the_limit_is_refused_before_its_payload_comes() -> None:
    start = frame(TEXT, b"x" * 100, fin=False)
    assert read(start + head_only(MORE, 51), limits=SMALL) == ([], CloseCode.TOO_BIG)
    assert read(start + frame(MORE, b"x" * 50), limits=SMALL) == ([(TEXT, b"x" * 150)], None)
    wide = FrameLimits(frame_bytes=1000, message_bytes=150, fragments=3)
    assert read(head_only(BINARY, 151), limits=wide) == ([], CloseCode.TOO_BIG)


def test_fragments_over_the_limit_are_refused_though_they_are_empty() -> None:
    two = frame(TEXT, fin=False) + frame(MORE, fin=False)
    assert read(two + frame(PING) + frame(MORE), limits=SMALL) == ([(PING, b""), (TEXT, b"")], None)
    three = two + frame(MORE, fin=False)
    assert read(three, limits=SMALL) == ([], None)
    assert read(three + head_only(MORE, 0), limits=SMALL) == ([], CloseCode.TOO_BIG)


def test_control_frames_are_not_under_the_limits_of_messages() -> None:
    tiny = FrameLimits(frame_bytes=1, message_bytes=1, fragments=1)
    assert read(frame(PING, b"x" * 125), limits=tiny) == ([(PING, b"x" * 125)], None)


# Compression.


@pytest.mark.parametrize("step", [0, 1, 10])
def test_compressed_messages_are_read_whole_and_in_fragments(step: int) -> None:
    raw = "Grüße ".encode() * 100
    small = deflated(raw)
    fragments = frame(TEXT, small[:5], fin=False, rsv1=True) + frame(PING) + frame(MORE, small[5:])
    data = frame(BINARY, small, rsv1=True) + frame(TEXT, b"plain") + fragments
    expected = [(BINARY, raw), (TEXT, b"plain"), (PING, b""), (TEXT, raw)]
    assert read(data, inflate=True, step=step) == (expected, None)


def test_rsv1_belongs_on_the_first_frame_of_a_message_alone() -> None:
    small = deflated(b"hello")
    assert read(frame(TEXT, small, rsv1=True)) == ([], CloseCode.PROTOCOL_ERROR)
    assert read(frame(PING, rsv1=True), inflate=True) == ([], CloseCode.PROTOCOL_ERROR)
    data = frame(TEXT, small[:2], fin=False, rsv1=True) + frame(MORE, small[2:], rsv1=True)
    assert read(data, inflate=True) == ([], CloseCode.PROTOCOL_ERROR)


@pytest.mark.parametrize("step", [0, 1, 7])
def test_a_compressed_message_is_never_inflated_over_the_limit(step: int) -> None:
    limits = FrameLimits(frame_bytes=1 << 20, message_bytes=1000, fragments=10)
    fits = frame(BINARY, deflated(b"\0" * 1000), rsv1=True)
    bomb = frame(BINARY, deflated(b"\0" * 1001), rsv1=True)
    assert read(fits + bomb, limits=limits, inflate=True, step=step) == ([(BINARY, b"\0" * 1000)], CloseCode.TOO_BIG)
    huge = frame(BINARY, deflated(b"\0" * 50_000_000), rsv1=True)
    assert read(huge, limits=limits, inflate=True) == ([], CloseCode.TOO_BIG)


@pytest.mark.parametrize("step", [0, 1])
def test_compressed_text_must_be_utf_8(step: int) -> None:
    assert read(frame(TEXT, deflated(b"\xed\xa0\x80"), rsv1=True), inflate=True, step=step)[1] == 1007
    assert read(frame(TEXT, deflated("é".encode()[:1]), rsv1=True), inflate=True, step=step)[1] == 1007


def test_compressed_text_fails_before_its_message_ends() -> None:
    stream = zlib.compressobj(6, zlib.DEFLATED, -15)
    start = stream.compress(b"\xff") + stream.flush(zlib.Z_SYNC_FLUSH)
    assert read(frame(TEXT, start, fin=False, rsv1=True), inflate=True)[1] == CloseCode.INVALID_DATA


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("payload", [b"", b"\xff\xff\xff", deflated(b"hello" * 20)[:-3]])
def test_what_cannot_be_inflated_is_refused(payload: bytes, step: int) -> None:
    assert read(frame(BINARY, payload, rsv1=True), inflate=True, step=step) == ([], CloseCode.INVALID_DATA)


# Whatever comes, in whatever pieces.

wholes = st.builds(frame, st.sampled_from([TEXT, BINARY, PING, PONG]), st.text(max_size=40).map(str.encode))
pieces = st.builds(
    frame, st.sampled_from([TEXT, BINARY, MORE, PING]), st.binary(max_size=20), fin=st.booleans(), rsv1=st.booleans()
)
squeezed = st.builds(frame, st.sampled_from([TEXT, BINARY]), st.binary(max_size=60).map(deflated), rsv1=st.just(True))
joined = st.lists(st.text(max_size=6), min_size=2, max_size=5).map(
    lambda parts: b"".join(
        frame(MORE if index else TEXT, part.encode(), fin=index == len(parts) - 1) for index, part in enumerate(parts)
    )
)
streams = st.lists(wholes | joined | squeezed | pieces | st.binary(max_size=8), max_size=8).map(b"".join)


@settings(deadline=None)
@given(st.binary(max_size=200), st.booleans(), st.booleans())
def test_garbage_never_raises(data: bytes, inflate: bool, masked: bool) -> None:
    read(data, inflate=inflate, masked=masked)


@settings(deadline=None)
@given(streams, st.lists(st.integers(0, 500), max_size=12), st.sampled_from([LIMITS, SMALL]))
def test_any_split_of_a_stream_gives_what_one_read_gives(data: bytes, cuts: list[int], limits: FrameLimits) -> None:
    whole = read(data, inflate=True, limits=limits)
    reader = FrameReader(limits, inflate=True)
    events: Events = []
    at = 0
    for cut in [*sorted(cuts), len(data)]:
        events += reader.feed(data[at:cut])
        at = max(at, cut)
    assert (events, None if reader.error is None else reader.error.code) == whole
    assert read(data, inflate=True, limits=limits, step=1) == whole


def test_a_large_frame_in_small_reads_is_joined() -> None:
    payload = bytes(range(256)) * 4096
    assert read(frame(BINARY, payload), step=1009) == ([(BINARY, payload)], None)


# An independent peer: the sans-IO client of `websockets`.


def open_client(*, deflate: bool) -> ClientProtocol:
    client = ClientProtocol(parse_uri("ws://localhost/"), state=OPEN)
    if deflate:
        client.extensions = [PerMessageDeflate(True, True, 15, 15)]
    return client


messages = st.lists(
    st.tuples(st.just(TEXT), st.text(max_size=300).map(str.encode))
    | st.tuples(st.just(BINARY), st.binary(max_size=300))
    | st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125)),
    max_size=10,
)


@settings(deadline=None)
@given(messages, st.booleans(), st.integers(1, 64))
def test_what_another_implementation_sends_is_read(sent: Events, deflate: bool, step: int) -> None:
    client = open_client(deflate=deflate)
    for opcode, payload in sent:
        match opcode:
            case Opcode.TEXT:
                client.send_text(payload)
            case Opcode.BINARY:
                half = len(payload) // 2
                client.send_binary(payload[:half], fin=False)
                client.send_continuation(payload[half:], fin=True)
            case Opcode.PING:
                client.send_ping(payload)
            case Opcode.PONG:
                client.send_pong(payload)
    client.send_close(1000, "bye")
    data = b"".join(client.data_to_send())
    expected = [*sent, (CLOSE, close_payload(1000, "bye"))]
    assert read(data, inflate=deflate) == (expected, None)
    assert read(data, inflate=deflate, step=step) == (expected, None)


@settings(deadline=None)
@given(messages, st.booleans())
def test_another_implementation_reads_what_is_written(sent: Events, deflate: bool) -> None:
    client = open_client(deflate=deflate)
    compressor = Deflate(15, 6, 20)
    for opcode, payload in sent:
        compress = deflate and opcode in (TEXT, BINARY)
        client.receive_data(compressor.frame(opcode, payload) if compress else server_frame(opcode, payload))
    client.receive_data(server_frame(CLOSE, close_payload(4001, "slow")))
    received = [(event.opcode, bytes(event.data)) for event in client.events_received() if isinstance(event, Frame)]
    assert received == [*sent, (CLOSE, close_payload(4001, "slow"))]


# Frames out.


def test_a_frame_is_one_whole_unmasked_frame_with_the_shortest_length() -> None:
    assert server_frame(TEXT, b"hi") == b"\x81\x02hi"
    assert server_frame(BINARY, b"x" * 126)[:4] == b"\x82\x7e\x00\x7e"
    assert server_frame(BINARY, b"x" * 65536, True)[:10] == b"\xc2\x7f" + (65536).to_bytes(8)


@pytest.mark.parametrize("character", ["a", "é", "€", "😀"])
def test_a_long_reason_is_cut_between_characters(character: str) -> None:
    payload = close_payload(1002, "x" + character * 123)
    assert 122 <= len(payload) <= 125
    assert payload[2:].decode() == "x" + character * ((len(payload) - 3) // len(character.encode()))


def test_an_idle_reader_holds_nothing() -> None:
    reader = FrameReader(LIMITS, inflate=True)
    reader.feed(HELLO[:3])
    reader.feed(HELLO[3:])
    assert not hasattr(reader, "__dict__")
    held = [getattr(reader, name) for name in FrameReader.__slots__]
    assert not any(isinstance(value, (bytes, bytearray)) and value for value in held)


def test_an_error_holds_neither_the_reader_nor_the_bytes() -> None:
    reader = FrameReader(LIMITS)
    reader.feed(frame(TEXT, b"\xff"))
    assert reader.error is not None
    assert reader.error.__traceback__ is None
    assert reader.error.__cause__ is None
