"""Groups: everybody has one, is in as many as it has members, and hears exactly the streams of the others."""

import pytest

from bench.bed import Bed
from bench.groups import Groups
from bench.seats import Seat


class FakeBed(Bed):
    def __init__(self) -> None:
        pass

    def seat(self, user: str, **more: object) -> Seat:
        return Seat(user, "", **more)  # type: ignore[arg-type]  # as the real one


@pytest.mark.parametrize(("count", "size"), [(500, 10), (12, 10), (10, 10), (3, 2), (1, 1)])
def test_a_member_hears_the_streams_of_the_others_in_its_groups(count: int, size: int) -> None:
    groups = Groups("u", count, size)
    members = groups.members()
    seats = groups.seats(FakeBed(), 1.0)
    assert [len(set(users)) for users in members.values()] == [size] * count
    streams = {seat.writes: seat.stream for seat in seats}
    assert len(set(streams.values())) == count
    for seat in seats:
        mine = {channel for channel, users in members.items() if seat.user in users}
        assert members[seat.writes][0] == seat.user
        assert set(seat.hears) == {streams[channel] for channel in mine - {seat.writes}}
        assert len(mine) == size
