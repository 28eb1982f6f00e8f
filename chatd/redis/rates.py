"""Rates and quotas that all nodes count together, in Redis.

What one subject uses is in one shard, and one script (chatd/redis/lua/rates.lua) counts it under all policies that are
asked about, by the server's own clock: one round trip, and those of one turn go out together. A key ends when its
bucket is full again, or with its day, so there are as many as there are callers who used something lately.

While Redis does not answer, each node counts by itself, as a node alone does: nobody is refused for it, and a caller
may have its rate once on every node.
"""

from collections.abc import Sequence

import structlog
import trio

from chatd.limits import Policy, Standing
from chatd.rates import MemoryRates, Rates
from chatd.redis import RedisError
from chatd.redis.packing import Argument
from chatd.redis.scripts import Script
from chatd.redis.servers import Servers

ANSWER_SECONDS = 0.5
"""How long a request waits for its count before this node counts by itself."""

ALONE_SECONDS = 1.0
"""How long it then goes on by itself before Redis is asked again."""

_MOST_POLICIES = 2  # of one subject, counted together
_MICRO = 1e-6

_log = structlog.get_logger("rates")


class RedisRates:
    """Implements `chatd.rates.Rates` for all nodes; `alone` counts while Redis does not. `servers` must be running."""

    def __init__(self, servers: Servers, alone: MemoryRates) -> None:
        self._servers = servers
        self._alone = alone
        self._alone_until = float("-inf")
        self._is_alone = False
        self._scripts = {keys: Script("rates", keys) for keys in range(1, _MOST_POLICIES + 1)}

    async def take(self, policy: Policy, subject: str, count: int = 1) -> Standing:
        """Take so much, or nothing if not all of it is left."""
        [standing] = await self.take_all((policy,), subject, count)
        return standing

    async def take_all(self, policies: Sequence[Policy], subject: str, count: int = 1) -> list[Standing]:
        """Take so much under each policy, or nothing if one of them refuses."""
        answer = await self._ask(policies, subject, count) if trio.current_time() >= self._alone_until else None
        if answer is None:
            return self._alone.take_all_nowait(policies, subject, count)
        return [
            Standing(policy, wait * _MICRO, left, reset * _MICRO)
            for policy, wait, left, reset in zip(policies, answer[::3], answer[1::3], answer[2::3], strict=True)
        ]

    async def _ask(self, policies: Sequence[Policy], subject: str, count: int) -> list[int] | None:
        """Return the script's answer; None if there is none."""
        shards = self._servers.shards
        shard = shards.of(f"rates:{subject}")
        arguments: list[Argument] = [shards.key(shard, f"rates:{policy.name}:{subject}") for policy in policies]
        arguments.append(count)
        for policy in policies:
            arguments += [repr(policy.rate), policy.burst]
        reason = f"no answer in {ANSWER_SECONDS} seconds"
        with trio.move_on_after(ANSWER_SECONDS):
            try:
                answer: list[int] = await self._servers.run_script(shard, self._scripts[len(policies)], arguments)
            except RedisError as error:
                reason = str(error)
            else:
                self._note(None)
                return answer
        self._note(reason)
        return None

    def _note(self, error: str | None) -> None:
        """Remember whether Redis counts, and write a line when that changes."""
        if error is not None:
            self._alone_until = trio.current_time() + ALONE_SECONDS
            if not self._is_alone:
                _log.warning("rates are counted on this node alone", error=error)
        elif self._is_alone:
            _log.info("rates are counted in Redis again")
        self._is_alone = error is not None


_: type[Rates] = RedisRates
