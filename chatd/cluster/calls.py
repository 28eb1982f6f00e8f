"""Several commands or scripts in one round trip: all are sent in one turn, and one task waits for all answers."""

from collections.abc import Sequence
from typing import Any

import trio

from chatd.redis import RedisError
from chatd.redis.packing import Argument, pack
from chatd.redis.scripts import Script, is_unknown_script
from chatd.redis.servers import Servers


async def call_all(servers: Servers, calls: Sequence[tuple[int, tuple[Argument, ...]]]) -> list[Any]:
    """Run commands, each on the server of its shard; return their answers, errors too."""
    return await _send_all(servers, [(shard, pack(command)) for shard, command in calls])


async def run_all(servers: Servers, script: Script, calls: Sequence[tuple[int, Sequence[Argument]]]) -> list[Any]:
    """Run a script on several shards; return the answers, errors too."""
    answers = await _send_all(servers, [(shard, script.command(arguments)) for shard, arguments in calls])
    for number, (shard, arguments) in enumerate(calls):
        if is_unknown_script(answers[number]):
            try:
                answers[number] = await servers.run_script(shard, script, arguments)
            except RedisError as error:
                answers[number] = error
    return answers


async def _send_all(servers: Servers, calls: Sequence[tuple[int, bytes]]) -> list[Any]:
    answers: list[Any] = [None] * len(calls)
    left = len(calls)
    answered = trio.Event()

    def take(number: int, answer: Any) -> None:
        nonlocal left
        answers[number] = answer
        left -= 1
        if not left:
            answered.set()

    for number, (shard, command) in enumerate(calls):
        try:
            servers.send(shard, command, lambda answer, number=number: take(number, answer))  # type: ignore[misc]
        except RedisError as error:
            take(number, error)
    if calls:
        await answered.wait()
    if any(isinstance(answer, RedisError) for answer in answers):
        servers.look_again()
    return answers


def raise_first(answers: Sequence[Any]) -> None:
    """Raise the first answer that is an error."""
    for answer in answers:
        if isinstance(answer, RedisError):
            raise answer
