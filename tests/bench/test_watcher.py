"""What a watching client knows: the answer, and the events over it."""

from bench.watcher import Seen, Watcher


def watcher() -> Watcher:
    one = Watcher(("ann", "bob"))
    one.answered([{"user": "ann", "state": "online"}, {"user": "bob", "state": "online"}])
    return one


def test_everybody_is_right_after_the_answer() -> None:
    assert watcher().seen(()) == Seen(right=2)


def test_an_event_changes_what_is_known_and_is_counted_once() -> None:
    one = watcher()
    one.changed({"user": "bob", "state": "offline"})
    assert one.seen({"bob"}) == Seen(right=2, changes=1)
    assert one.seen(()) == Seen(right=1, wrong=1)


def test_a_state_that_nobody_told_is_wrong() -> None:
    assert Watcher(("ann",)).seen(()) == Seen(wrong=1)


def test_who_is_gone_and_was_not_told_so_is_wrong() -> None:
    assert watcher().seen({"ann"}) + watcher().seen(()) == Seen(right=3, wrong=1)
