"""Webhooks and pushes, looked after by backends: what waits, what was given up, and to try it again."""

from collections.abc import Sequence

from chatd.backend.actions import BackendAction
from chatd.backend.audit import Audit
from chatd.backend.caller import Caller
from chatd.push.operations import DeadPush, PushOperations, PushQueue, UnknownQueue
from chatd.rights import Denied
from chatd.webhooks.operations import DeadLetter, EndpointState, TestResult, UnknownEndpoint, WebhookOperations
from protocol.codes import ErrorCode


class Deliveries:
    """Sees and changes them. Raises `Denied` and `StoreError`.

    What they carry is of all namespaces, so a key of only some may do none of it.
    """

    def __init__(self, webhooks: WebhookOperations, pushes: PushOperations, audit: Audit) -> None:
        self._webhooks = webhooks
        self._pushes = pushes
        self._audit = audit

    # Webhooks.

    async def endpoints(self, caller: Caller) -> list[EndpointState]:
        """List the endpoints of webhooks."""
        _require(caller, BackendAction.WEBHOOKS)
        return await self._webhooks.endpoints()

    async def dead_letters(self, caller: Caller, name: str, after: str | None, limit: int) -> list[DeadLetter]:
        """Return a page of the requests to an endpoint that were given up."""
        _require(caller, BackendAction.WEBHOOKS)
        try:
            return await self._webhooks.dead_letters(name, after=after, limit=limit)
        except UnknownEndpoint as error:
            raise Denied(ErrorCode.NOT_FOUND, str(error)) from error

    async def replay(self, caller: Caller, name: str, letters: Sequence[str] | None) -> int:
        """Send dead letters again: these, or (None) all; return how many there were."""
        _require(caller, BackendAction.WEBHOOKS_CHANGE)
        try:
            count = await self._webhooks.replay(name, letters)
        except UnknownEndpoint as error:
            raise Denied(ErrorCode.NOT_FOUND, str(error)) from error
        await self._audit.note(caller, "webhook.replay", name, letters=count)
        return count

    async def test(self, caller: Caller, name: str) -> TestResult:
        """Send an event of type `webhook.test` to an endpoint now; return what it answered."""
        _require(caller, BackendAction.WEBHOOKS_CHANGE)
        try:
            result = await self._webhooks.test(name)
        except UnknownEndpoint as error:
            raise Denied(ErrorCode.NOT_FOUND, str(error)) from error
        await self._audit.note(caller, "webhook.test", name, status=result.status)
        return result

    async def enable(self, caller: Caller, name: str) -> None:
        """Send to an endpoint again that had said it is gone."""
        _require(caller, BackendAction.WEBHOOKS_CHANGE)
        try:
            await self._webhooks.enable(name)
        except UnknownEndpoint as error:
            raise Denied(ErrorCode.NOT_FOUND, str(error)) from error
        await self._audit.note(caller, "webhook.enable", name)

    # Pushes.

    async def push_queues(self, caller: Caller) -> list[PushQueue]:
        """List the queues of pushes."""
        _require(caller, BackendAction.PUSH)
        return await self._pushes.queues()

    async def dead_pushes(self, caller: Caller, queue: str, after: str | None, limit: int) -> list[DeadPush]:
        """Return a page of the pushes of a queue that were given up."""
        _require(caller, BackendAction.PUSH)
        try:
            return await self._pushes.dead(queue, after=after, limit=limit)
        except UnknownQueue as error:
            raise Denied(ErrorCode.NOT_FOUND, str(error)) from error

    async def replay_pushes(self, caller: Caller, queue: str, letters: Sequence[str] | None) -> int:
        """Try dead pushes again: these, or (None) all; return how many there were."""
        _require(caller, BackendAction.PUSH_CHANGE)
        try:
            count = await self._pushes.replay(queue, letters)
        except UnknownQueue as error:
            raise Denied(ErrorCode.NOT_FOUND, str(error)) from error
        await self._audit.note(caller, "push.replay", queue, letters=count)
        return count


def _require(caller: Caller, action: BackendAction) -> None:
    caller.require(action)
    if caller.namespaces is not None:
        raise Denied(ErrorCode.FORBIDDEN, "this needs a key of all namespaces")
