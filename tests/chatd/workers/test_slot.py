"""Places for workers: how long to wait before the next start."""

from chatd.config import Server
from chatd.ports import open_port
from chatd.workers.slot import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, STEADY_SECONDS, Slot, pause_seconds


def new_slot() -> Slot:
    return Slot(1, {}, None, lambda: open_port(Server(port=0), shared=True))


def test_pauses_double_up_to_the_longest() -> None:
    pauses = [pause_seconds(failures) for failures in range(1, 12)]
    assert pauses[:3] == [FIRST_PAUSE_SECONDS, 2 * FIRST_PAUSE_SECONDS, 4 * FIRST_PAUSE_SECONDS]
    assert pauses[-1] == pause_seconds(10_000) == LONGEST_PAUSE_SECONDS


def test_who_ran_for_a_while_begins_with_the_first_pause_again() -> None:
    slot = new_slot()
    assert [slot.failed(1.0) for _ in range(3)] == [pause_seconds(number) for number in (1, 2, 3)]
    assert slot.failed(STEADY_SECONDS) == FIRST_PAUSE_SECONDS
    assert slot.restarts == 4


def test_the_port_stays_open_for_a_short_pause_and_is_closed_for_a_long_one() -> None:
    slot = new_slot()
    [address] = slot.open()
    assert slot.failed(1.0) == FIRST_PAUSE_SECONDS
    assert slot.open() == [address]
    while slot.failed(1.0) < LONGEST_PAUSE_SECONDS:
        pass
    assert slot._sockets == []
    slot.close()
