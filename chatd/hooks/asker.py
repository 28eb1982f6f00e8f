"""Asks one backend: within a deadline, few questions at a time, and none while it does not answer at all."""

from collections import defaultdict
from collections.abc import Callable

import msgspec
import structlog
import trio

from chatd.config import Hook
from chatd.counters import Latency
from chatd.hooks.breaker import Breaker, State
from chatd.hooks.questions import Decision, Question
from chatd.outbound.client import Poster, PostFailed
from chatd.webhooks.courier import HEADERS
from chatd.webhooks.events import iso_time
from chatd.webhooks.signing import Signer

_log = structlog.get_logger("hooks")


class _NoGoodAnswer(Exception):
    """The backend answered, but nothing that counts."""


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A question as it is sent."""

    type: str
    timestamp: str
    data: Question


class Asker:
    """Asks about one kind of thing: `name` is connect, subscribe or send."""

    def __init__(
        self,
        name: str,
        config: Hook,
        signer: Signer,
        client: Poster,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        latency: Latency,
    ) -> None:
        self.config = config
        self.signer = signer
        self.client = client
        self.outcomes: defaultdict[str, int] = defaultdict(int)
        self._name = name
        self._clock = clock  # Unix seconds
        self._new_id = new_id
        self._latency = latency
        self._limiter = trio.CapacityLimiter(config.concurrency)
        self._waiting = 0
        self._breaker = Breaker(config.failures, config.rest_seconds)

    async def ask(self, question: Question) -> Decision | None:
        """Return what the backend decided; None if there is no good answer, and what then counts is configured."""
        if self._waiting >= self.config.waiting + self.config.concurrency:
            self.outcomes["crowded"] += 1
            return None
        started = trio.current_time()
        if not self._breaker.may_ask(started):
            self.outcomes["resting"] += 1
            return None
        self._waiting += 1
        try:
            with trio.fail_after(self.config.deadline_seconds):
                async with self._limiter:
                    decision = await self._post(question)
        except (PostFailed, _NoGoodAnswer, trio.TooSlowError) as error:
            self._failed(error)
            return None
        except trio.Cancelled:
            self._breaker.withdrawn(trio.current_time())
            raise
        except Exception as error:
            # A fault of a library on one question must not end the session.
            _log.exception("hook failed", hook=self._name)
            self._failed(error)
            return None
        finally:
            self._waiting -= 1
            self._latency.observe(trio.current_time() - started)
        self._worked()
        self.outcomes["allowed" if decision.decision == "allow" else "denied"] += 1
        return decision

    async def _post(self, question: Question) -> Decision:
        now = self._clock()
        asked = _Asked(type=f"hook.{self._name}", timestamp=iso_time(int(now * 1000)), data=question)
        body = msgspec.json.encode(asked)
        headers = HEADERS | self.signer.headers(self._new_id(), int(now), body)
        answer = await self.client.post(
            self.config.url,
            body,
            headers,
            seconds=self.config.deadline_seconds,
            answer_bytes=self.config.answer_bytes + 1,
        )
        if answer.status != 200:
            raise _NoGoodAnswer(f"status {answer.status}")
        if len(answer.body) > self.config.answer_bytes:
            raise _NoGoodAnswer(f"an answer of more than {self.config.answer_bytes} bytes")
        try:
            return msgspec.json.decode(answer.body, type=Decision)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise _NoGoodAnswer(f"no decision: {error}") from error

    def _worked(self) -> None:
        if self._breaker.state is not State.CLOSED:
            _log.info("hook is answered again", hook=self._name)
        self._breaker.worked()

    def _failed(self, error: Exception) -> None:
        self.outcomes["failed"] += 1
        was = self._breaker.state
        self._breaker.failed(trio.current_time())
        if self._breaker.state is State.OPEN and was is State.CLOSED:
            text = str(error) or f"no answer within {self.config.deadline_seconds:g} seconds"
            _log.error("hook is not answered", hook=self._name, error=text, then=self.config.on_failure)
