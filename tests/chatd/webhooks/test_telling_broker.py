"""What is published through a broker of many nodes is told once, by the node that published it."""

import json
from collections.abc import Sequence
from typing import cast

import trio

from chatd.broker import Broker, Draft, Published, Refused
from chatd.config import Config, WebhookEndpoint
from chatd.webhooks.gatherer import Gatherer
from chatd.webhooks.routes import Routes
from chatd.webhooks.telling import Telling
from chatd.webhooks.telling_broker import TellingBroker
from protocol.body import json_body
from protocol.codes import ErrorCode
from protocol.names import ChannelName, Epoch, Seq, UserId
from storage.records import Place
from tests.fakes.memory_jobs import MemoryJobs

ROOM = ChannelName("room:one")


class ScriptedBroker:
    """Answers publishes as a test says."""

    def __init__(self, *answers: Published | Refused) -> None:
        self._answers = list(answers)

    async def publish(self, drafts: Sequence[Draft]) -> list[Published | Refused]:
        await trio.lowlevel.checkpoint()
        return self._answers


def draft(key: str) -> Draft:
    return Draft(channel=ROOM, sender=UserId("alice"), key=key, body=json_body({"key": key}))


def published(seq: int, *, duplicate: bool = False) -> Published:
    return Published(Place(Epoch("e"), Seq(seq), 1000 + seq), duplicate)


async def test_new_messages_are_told_and_repeated_and_refused_ones_are_not() -> None:
    endpoint = WebhookEndpoint(url="https://a.example/", events=("message.published",))
    routes = Routes({"a": endpoint})
    jobs = MemoryJobs()
    gatherer = Gatherer(Config().webhooks, routes, jobs, trio.current_time, lambda: "id", lambda: None)
    telling = Telling(Config(), routes, gatherer, None, trio.current_time, lambda: "id")
    answers = (published(1), Refused(ErrorCode.UNAVAILABLE, "no"), published(7, duplicate=True), published(2))
    broker = TellingBroker(cast(Broker, ScriptedBroker(*answers)), telling)
    assert await broker.publish([draft(key) for key in "abcd"]) == list(answers)
    await gatherer.flush()
    [job] = await jobs.pending("webhook:a", limit=10)
    told = [event["data"] for event in json.loads(job.body)["data"]["events"]]
    assert [(data["key"], data["seq"], data["at"], data["data"]) for data in told] == [
        ("a", 1, 1001, {"key": "a"}),
        ("d", 2, 1002, {"key": "d"}),
    ]
