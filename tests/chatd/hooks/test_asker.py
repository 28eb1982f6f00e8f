"""Asking a backend: deadlines, bounds, garbage, and a breaker between it and everybody."""

from typing import Any

import msgspec
import pytest
import structlog
import trio
from trio.testing import MockClock

from chatd.config import Hook
from chatd.counters import Latency
from chatd.hooks.asker import Asker
from chatd.hooks.questions import MAY_DENY_WITH, Decision, MayConnect
from chatd.outbound.client import Answer, PostFailed
from chatd.webhooks.signing import Signer, parse_key
from protocol.codes import ErrorCode
from tests.fakes.scripted_poster import ScriptedPoster
from tests.rig.webhook_receiver import SECRET

QUESTION = MayConnect(user="alice", device="phone", guest=False, session="s", address="192.0.2.1")


def answer(**decision: Any) -> Answer:
    return Answer(200, {}, msgspec.json.encode(decision))


class Bed:
    """An asker over a scripted backend."""

    def __init__(self, **keys: Any) -> None:
        self.poster = ScriptedPoster(default=answer(decision="allow"))
        config = msgspec.structs.replace(Hook(url="https://a.example/ask"), **keys)
        signer = Signer([parse_key(SECRET)])
        self.asker = Asker("connect", config, signer, self.poster, trio.current_time, lambda: "id", Latency())

    async def ask(self) -> Decision | None:
        return await self.asker.ask(QUESTION)


async def test_the_question_is_signed_json_and_the_answer_a_decision(autojump_clock: MockClock) -> None:
    bed = Bed()
    decision = await bed.ask()
    assert decision is not None
    assert decision.decision == "allow"
    [posted] = bed.poster.posted
    asked = msgspec.json.decode(posted.body)
    assert asked["type"] == "hook.connect"
    assert asked["timestamp"].endswith("Z")
    assert asked["data"] == {
        "user": "alice",
        "device": "phone",
        "guest": False,
        "session": "s",
        "address": "192.0.2.1",
    }
    assert posted.headers["webhook-signature"].startswith("v1,")


@pytest.mark.parametrize(
    "reply",
    [
        Answer(200, {}, b""),
        Answer(200, {}, b"yes"),
        Answer(200, {}, b"{}"),
        Answer(200, {}, b"[]"),
        Answer(200, {}, b'{"decision":"maybe"}'),
        Answer(200, {}, b'{"decision":"allow","attributes":{"a":1}}'),
        Answer(200, {}, b'{"decision":"allow","data":[1]}'),
        Answer(200, {}, b'{"decision":"deny","reason":"\xff"}'),
        Answer(200, {}, b'{"decision":"allow","data":' + b'{"a":' * 5000 + b"1" + b"}" * 5001),
        Answer(200, {}, msgspec.json.encode({"decision": "deny", "reason": "x" * 256})),
        Answer(200, {}, msgspec.json.encode({"decision": "allow", "attributes": {str(n): "" for n in range(17)}})),
        Answer(200, {}, b" " * 70_000),
        Answer(204, {}, b""),
        Answer(500, {}, msgspec.json.encode({"decision": "allow"})),
        Answer(302, {"location": "https://b.example/"}, b""),
        PostFailed("no answer"),
        KeyError("h2"),
    ],
    ids=repr,
)
async def test_what_is_no_good_answer_is_none(autojump_clock: MockClock, reply: Answer | Exception) -> None:
    bed = Bed()
    bed.poster.script.append(reply)
    assert await bed.ask() is None
    assert bed.asker.outcomes == {"failed": 1}


async def test_an_answer_that_is_late_is_none(autojump_clock: MockClock) -> None:
    bed = Bed(deadline_seconds=0.5)
    bed.poster.seconds = 3.0
    started = trio.current_time()
    assert await bed.ask() is None
    assert trio.current_time() - started == pytest.approx(0.5)


async def test_a_dead_backend_does_not_add_its_deadline_to_every_question(autojump_clock: MockClock) -> None:
    bed = Bed(deadline_seconds=1.0, failures=3, rest_seconds=60.0)
    bed.poster.seconds = 100.0
    started = trio.current_time()
    with structlog.testing.capture_logs() as logs:
        for _ in range(50):
            assert await bed.ask() is None
    assert trio.current_time() - started == pytest.approx(3.0)
    assert bed.asker.outcomes == {"failed": 3, "resting": 47}
    assert [line["event"] for line in logs] == ["hook is not answered"]

    bed.poster.seconds = 0.0
    await trio.sleep(60)
    with structlog.testing.capture_logs() as logs:
        assert await bed.ask() is not None
    assert [line["event"] for line in logs] == ["hook is answered again"]
    assert await bed.ask() is not None


async def test_few_questions_are_asked_at_once_and_few_wait(autojump_clock: MockClock) -> None:
    bed = Bed(concurrency=2, waiting=3, deadline_seconds=10.0)
    bed.poster.seconds = 1.0
    answers: list[Decision | None] = []

    async def ask() -> None:
        answers.append(await bed.ask())

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(ask)
    assert bed.poster.most_at_once == 2
    assert bed.asker.outcomes == {"allowed": 5, "crowded": 3}


async def test_a_session_that_goes_away_takes_its_question_back(autojump_clock: MockClock) -> None:
    bed = Bed(failures=1, rest_seconds=5.0, deadline_seconds=10.0)
    bed.poster.seconds = 2.0
    with trio.move_on_after(1.0):
        await bed.ask()
    assert await bed.ask() is not None
    assert bed.asker.outcomes == {"allowed": 1}


@pytest.mark.parametrize("code", [*ErrorCode, 0, -1, 999])
def test_a_backend_may_choose_some_codes_and_the_others_are_forbidden(code: int) -> None:
    expected = code if code in MAY_DENY_WITH else ErrorCode.FORBIDDEN
    assert Decision(decision="deny", code=code).error_code == expected
