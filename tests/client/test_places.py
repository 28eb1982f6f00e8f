"""Places: each message once, in order, whatever came twice, late or not at all."""

from hypothesis import given
from hypothesis import strategies as st

from client.answers import Sent
from client.events import Event, Gap, Message
from client.places import Places


def _message(seq: int, epoch: str = "e", channel: str = "group:a") -> Message:
    return Message(channel, epoch, seq, "bob", f"k{seq}", 0, {})


def _sent(seq: int, channel: str = "group:a", epoch: str = "e") -> Sent:
    return Sent(channel, epoch, seq, 0)


def _seqs(events: list[Event]) -> list[int]:
    return [event.seq for event in events if isinstance(event, Message)]


def test_a_member_channel_begins_where_it_is_first_heard_of() -> None:
    places = Places(10)
    assert places.take(_message(7)) == ([_message(7)], False)
    assert places.take(_message(7)) == ([], False)
    assert places.cursors(10) == {"group:a": ["e", 7]}


def test_a_reborn_channel_is_told_and_goes_on() -> None:
    places = Places(10)
    places.take(_message(7))
    assert places.take(_message(1_000_000, "f")) == ([Gap("group:a", "f", 1_000_000), _message(1_000_000, "f")], False)
    assert places.cursors(10) == {"group:a": ["f", 1_000_000]}


def test_a_channel_that_was_empty_has_no_gap_when_it_begins() -> None:
    places = Places(10)
    places.subscribed("group:a", "", 0)
    assert places.take(_message(1)) == ([_message(1)], False)


def test_a_channel_only_written_to_has_no_cursor_until_something_comes_from_it() -> None:
    places = Places(10)
    places.sent(_sent(1))
    assert places.cursors(10) == {}
    assert places.take(_message(2)) == ([_message(2)], False)
    assert places.cursors(10) == {"group:a": ["e", 2]}


def test_own_messages_move_the_cursor_once_what_is_before_them_came() -> None:
    places = Places(10)
    places.take(_message(1))
    places.sent(_sent(2))
    assert places.seq("group:a") == 2
    places.sent(_sent(4))
    assert places.seq("group:a") == 2
    places.take(_message(3))
    assert places.seq("group:a") == 4


def test_writing_for_long_where_nothing_comes_from_needs_no_memory() -> None:
    places = Places(10)
    for seq in range(1, 5000, 2):
        places.sent(_sent(seq))
    place = places._places["group:a"]
    assert len(place.ahead) + len(place.echoes) <= 600


def test_subscriptions_come_first_among_the_cursors_then_the_latest_members() -> None:
    places = Places(10)
    for channel in ("group:old", "group:new", "group:old"):
        places.take(_message(1 if channel == "group:new" else 2, channel=channel))
    places.subscribed("room:a", "e", 3)
    assert list(places.cursors(2)) == ["room:a", "group:old"]


def test_only_so_many_channels_are_remembered_but_every_subscription() -> None:
    places = Places(3)
    places.subscribed("room:a", "e", 3)
    for number in range(5):
        places.take(_message(1, channel=f"group:{number}"))
    assert list(places.cursors(10)) == ["room:a", "group:4", "group:3"]


@given(
    st.lists(
        st.tuples(st.integers(1, 12), st.sampled_from(["event", "sent", "lost connection"])), min_size=1, max_size=40
    ),
    st.booleans(),
)
def test_every_message_comes_once_and_in_order(steps: list[tuple[int, str]], trims: bool) -> None:
    """Play events in any order with repeats and losses; holes are filled from a history, cursors resumed from it."""
    places = Places(10)
    log = [_message(seq) for seq in range(1, 13)]
    got: list[Event] = []
    places.take(log[0])
    got.append(log[0])
    own: set[int] = set()

    def history() -> list[Message]:
        known = places.seq("group:a") or 0
        return [message for message in log if message.seq > known and not (trims and message.seq == 6)]

    for seq, what in steps:
        if what == "event":
            events, is_hole = places.take(log[seq - 1])
            got += events
            while is_hole:
                page = [m for m in history() if m.seq < seq]
                got += places.fill(page)
                events, is_hole = places.release("group:a")
                got += events
        elif what == "sent":
            places.sent(_sent(seq))
            own.add(seq)
        else:
            places.disconnected()
            got += places.resumed("group:a", "e", 12, True, history())
    messages = [event for event in got if isinstance(event, Message)]
    newest = max(message.seq for message in messages)
    # An own message that was acknowledged may come back later as an echo; everything else rises.
    others = [message.seq for message in messages if message.seq not in own]
    assert others == sorted(set(others))
    assert len(messages) == len({message.seq for message in messages})
    known = {message.seq for message in messages} | own
    assert {seq for seq in range(1, newest + 1) if seq not in known} <= ({6} if trims else set())
