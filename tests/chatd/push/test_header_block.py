"""Header blocks: what is written here, the decoder of the hpack library reads."""

import hpack
from hypothesis import given
from hypothesis import strategies as st

from chatd.push.header_block import Field, HeaderEncoder

STEADY: list[Field] = [
    (b":method", b"POST"),
    (b":scheme", b"https"),
    (b":authority", b"api.push.apple.com"),
    (b"authorization", b"bearer " + b"t" * 180),
    (b"apns-topic", b"org.example.chat"),
]
LONG = 2000

names = st.sampled_from([b":authority", b"authorization", b"apns-topic", b"urgency", b":path", b"apns-id", b"x-other"])
fields = st.tuples(names, st.binary(max_size=LONG))
sizes = st.integers(min_value=0, max_value=10_000)


class Other:
    """The other side of one connection."""

    def __init__(self) -> None:
        self.encoder = HeaderEncoder()
        self.decoder = hpack.Decoder(max_header_list_size=2**20)

    def allow(self, size: int) -> None:
        """Say by settings how large the table may be."""
        self.decoder.max_allowed_table_size = size
        self.encoder.header_table_size = size

    def gets(self, headers: list[Field]) -> int:
        """Check that the headers arrive; return how long their block was."""
        block = self.encoder.encode(headers)
        assert list(self.decoder.decode(block, raw=True)) == headers
        return len(block)


def test_what_stays_the_same_is_one_byte_a_field_from_the_second_request_on() -> None:
    other = Other()
    path: Field = (b":path", b"/3/device/" + b"a" * 64)
    assert other.gets([*STEADY, path]) > 200
    assert other.gets([*STEADY, path]) == len(STEADY) + len(path[1]) + 2


def test_a_new_token_takes_the_place_of_the_oldest_when_the_table_is_full() -> None:
    other = Other()
    for number in range(100):
        token: Field = (b"authorization", b"bearer %d " % number + b"t" * 300)
        assert other.gets([*STEADY[:3], token]) > 300
        other.gets([*STEADY[:3], token])  # the host's name may have had to make room
        assert other.gets([*STEADY[:3], token]) == 4


def test_a_field_that_is_larger_than_the_table_is_written_each_time() -> None:
    other = Other()
    large: list[Field] = [(b"authorization", b"t" * 5000)]
    assert other.gets(large) == other.gets(large) > 5000


def test_a_server_may_want_a_smaller_table_or_none_and_a_larger_one_again() -> None:
    other = Other()
    other.gets(STEADY)
    other.allow(100)
    other.gets(STEADY)
    other.allow(0)
    other.allow(4096)
    other.gets(STEADY)
    assert other.gets(STEADY) == len(STEADY)
    other.allow(65_536)
    assert other.gets(STEADY) == len(STEADY)


@given(st.lists(st.one_of(sizes, st.lists(fields, max_size=8)), max_size=12))
def test_every_block_is_read_as_it_was_meant_whatever_happened_before(steps: list[int | list[Field]]) -> None:
    other = Other()
    for step in steps:
        if isinstance(step, int):
            other.allow(step)
        else:
            other.gets(step)
