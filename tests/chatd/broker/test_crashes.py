"""A node dies at each step of an append: the other one finishes what it left, and no message is lost or seen twice."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest
import trio

from chatd.broker import Draft, Published
from protocol.names import ChannelName, UserId
from storage.records import Role
from storage.sqlite import open_sqlite
from tests.rig.broker import DURABLE, RECENT, Desk, draft
from tests.rig.crash import Crash, Step
from tests.rig.redis import RedisServer
from tests.rig.redis_broker import Street, redis_config, redis_node
from tests.rig.witness import Witness

pytestmark = pytest.mark.system

GROUP = ChannelName("group:crew")
HOMES = {UserId("alice"): "one", UserId("bob"): "two"}
LEFTOVER_SECONDS = 0.3
SETTLE_SECONDS = 5.0
TOGETHER = 3  # drafts of one publish

EVERYWHERE = [Step.BEFORE_SCRIPT, Step.BEFORE_REPLY]
STORED = [*EVERYWHERE, Step.BEFORE_STORE, Step.WHILE_STORING, Step.AFTER_STORE, Step.BEFORE_TAKING_OFF]
STEPS = {
    DURABLE: [*STORED, Step.BEFORE_ANSWER],
    GROUP: [*STORED, Step.BEFORE_POST, Step.BETWEEN_POSTS],
    RECENT: EVERYWHERE,
}
CASES = [(channel, step) for channel, steps in STEPS.items() for step in steps]

MakeDraft = Callable[[str, str], Draft]


class Writers:
    """Writers on one node, each of whom knows what was not answered."""

    def __init__(self, witness: Witness, desk: Desk, make: MakeDraft) -> None:
        self.witness = witness
        self.desk = desk
        self.make = make
        self.unanswered: dict[str, list[Draft]] = {}

    async def write(self, sender: str, until: trio.Event) -> None:
        """Write, some messages at once, until told to stop or cancelled."""
        number = 0
        while not until.is_set():
            await self.publish(sender, [self.make(f"{number + more}", sender) for more in range(TOGETHER)], self.desk)
            number += TOGETHER
            await trio.lowlevel.checkpoint()

    async def publish(self, sender: str, drafts: Sequence[Draft], desk: Desk) -> None:
        """Publish, and note the places."""
        self.unanswered[sender] = list(drafts)
        for wanted, answer in zip(drafts, await desk.publish(*drafts), strict=True):
            assert isinstance(answer, Published), answer
            self.witness.acked[sender, wanted.key] = answer.place
        del self.unanswered[sender]

    async def send_again(self, desk: Desk) -> None:
        """Send on another node what was not answered."""
        for sender, drafts in list(self.unanswered.items()):
            await self.publish(sender, [msgspec.structs.replace(wanted, retry=True) for wanted in drafts], desk)


def make_draft(channel: ChannelName) -> MakeDraft:
    """Return what makes a draft for a channel."""

    def make(key: str, sender: str) -> Draft:
        return msgspec.structs.replace(
            draft(key, channel, sender=sender), audience=list(HOMES) if channel == GROUP else ()
        )

    return make


@pytest.mark.parametrize("after", [0, 31])
@pytest.mark.parametrize(("channel", "step"), CASES, ids=[f"{channel}, {step.value}" for channel, step in CASES])
async def test_a_node_that_dies_costs_no_message(
    redis_server: RedisServer, tmp_path: Path, channel: ChannelName, step: Step, after: int
) -> None:
    street = Street(dict(HOMES))
    crash = Crash(step, after, redis_server)
    witness = Witness(channel)
    readers = [] if channel == GROUP else [channel]
    config = redis_config(
        redis_server.address, leftover_seconds=LEFTOVER_SECONDS, hole_seconds=0.02, recent_messages=10_000
    )
    stop = trio.Event()
    async with open_sqlite(tmp_path / "chatd.sqlite3") as store:
        if channel == GROUP:
            await store.create_channel(GROUP, dict.fromkeys(HOMES, Role.MEMBER), 1)
        async with (
            redis_node(store, config, channels=readers, street=street, name="two") as two,
            trio.open_nursery() as nursery,
        ):
            with crash.life:
                async with (
                    redis_node(
                        crash.store(store),
                        config,
                        channels=readers,
                        street=crash.street(street),
                        name="one",
                        make_servers=crash.servers,
                    ) as one,
                    trio.open_nursery() as dying,
                ):
                    writers = Writers(witness, one.desk, make_draft(channel))
                    others = Writers(witness, two.desk, make_draft(channel))
                    nursery.start_soon(others.write, "staying", stop)
                    for number in range(3):
                        dying.start_soon(writers.write, f"dying{number}", stop)
            assert crash.is_dead
            street.homes = {user: home for user, home in HOMES.items() if home == "two"}
            writers.unanswered.pop("dying0", None)  # this one never comes back
            await writers.send_again(two.desk)
            stop.set()
            with redis_server.client() as client, trio.fail_after(SETTLE_SECONDS):
                while any(client.xlen(key) for key in client.scan_iter("*wal")):  # noqa: ASYNC110
                    await trio.sleep(0.02)
            history = two.broker if channel == RECENT else store
            await witness.caught_up(history, two.desk)
            await witness.check(history, two.desk)
            assert len(witness.acked) >= TOGETHER
            seen = [message.place for message in one.desk.delivered]
            places = [message.place for message in await witness.history(history)]
            first = places.index(seen[0]) if seen else 0
            assert seen == places[first : first + len(seen)], "the dead node showed what is not in the history"
