"""GOAWAY is taken out of what a server says, however that is cut."""

from itertools import pairwise

from hyperframe.frame import DataFrame, GoAwayFrame, PingFrame
from hypothesis import given
from hypothesis import strategies as st

from chatd.push.goaway import GoAway, GoAwayFilter

OTHERS = [DataFrame(1, b"x" * 300).serialize(), PingFrame(0, b"12345678").serialize(), DataFrame(3, b"").serialize()]
GOODBYE = GoAwayFrame(0, last_stream_id=7, error_code=2, additional_data=b"Shutdown").serialize()


@given(st.lists(st.sampled_from([*OTHERS, GOODBYE]), max_size=8), st.lists(st.integers(0, 2000)))
def test_the_rest_comes_out_whole_and_in_order(frames: list[bytes], cuts: list[int]) -> None:
    data = b"".join(frames)
    filter_, kept, found = GoAwayFilter(), b"", []
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for start, end in pairwise(places):
        part, goodbyes = filter_.feed(data[start:end])
        kept += part
        found += goodbyes
    assert kept == b"".join(frame for frame in frames if frame != GOODBYE)
    assert found == [GoAway(7, 2, "Shutdown")] * frames.count(GOODBYE)
