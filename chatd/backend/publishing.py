"""Publishing by backends: to one channel, to many, to users, to all channels of a user. Each message has an answer.

The way is that of `send` (chatd/router.py) with other checks before it: the key's actions and namespaces instead of
a user's rights, and the key's rate.
"""

import hashlib
from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec

from chatd.backend.actions import BackendAction
from chatd.backend.caller import Caller
from chatd.backend.usage import Usage
from chatd.broker import RETRY_SECONDS, Broker, Draft, Published, Refused
from chatd.counters import Counters
from chatd.drafting import Permit, draft
from chatd.groups import Groups
from chatd.rights import Action, Address, Denied, Directory, require_backend
from protocol.body import Body
from protocol.codes import ErrorCode
from protocol.names import ChannelName, UserId, is_user_id
from storage import Store, StoreError


class NewEvent(msgspec.Struct, frozen=True, gc=False):
    """A message that a backend wants published. `expires_at` (Unix milliseconds) is when it is to be forgotten."""

    channel: str
    key: str
    body: Body
    sender: UserId | None = None
    retry: bool = False
    expires_at: int | None = None


class Expiry(Protocol):
    """Sees to it that messages are forgotten in time."""

    async def note(self, drafts: Sequence[tuple[Draft, int]]) -> None:
        """Remember, durably, when each of these is to be forgotten.

        Raises:
            StoreError: It cannot be remembered; they must not be published.
        """


class Publishing:
    """Publishes for backends. What is wrong with one message is its answer; what is wrong with the caller is raised."""

    def __init__(
        self, directory: Directory, groups: Groups, store: Store, usage: Usage, counters: Counters, expiry: Expiry
    ) -> None:
        self._directory = directory
        self._groups = groups
        self._store = store
        self._usage = usage
        self._counters = counters
        self._expiry = expiry
        self.broker: Broker  # set by the node

    async def publish(self, caller: Caller, events: Sequence[NewEvent]) -> list[Published | Refused]:
        """Publish events, in their order; return one answer for each, when all are as durable as they should be.

        Raises:
            Denied: The caller may not publish at all.
        """
        caller.require(BackendAction.PUBLISH)
        wait = await self._usage.messages(caller, len(events))
        if wait:
            return [Refused(ErrorCode.RATE_LIMITED, "more messages than this key may send", wait)] * len(events)
        return await self.place(await self.drafts(caller, events), events)

    async def drafts(self, caller: Caller, events: Sequence[NewEvent]) -> list[Draft | Refused]:
        """Check rights, names and sizes. Waits only when the store has to be asked for the members of a channel."""
        known: dict[str, Permit | Refused] = {}
        outcomes: list[Draft | Refused] = []
        for event in events:
            permit = known.get(event.channel)
            if permit is None:
                permit = known[event.channel] = await self._permit(caller, event.channel)
            if isinstance(permit, Refused):
                outcomes.append(permit)
                continue
            if event.sender is not None and event.sender != permit.sender:
                as_other = self._as(caller, permit, event.sender)
                outcomes.append(
                    as_other
                    if isinstance(as_other, Refused)
                    else draft(as_other, event.key, event.body, event.retry, "")
                )
                continue
            outcomes.append(draft(permit, event.key, event.body, event.retry, ""))
        return outcomes

    async def place(self, outcomes: Sequence[Draft | Refused], events: Sequence[NewEvent]) -> list[Published | Refused]:
        """Publish the drafts among these, and return one answer for each of all."""
        outcomes = await self.note_endings(outcomes, events)
        drafts = [outcome for outcome in outcomes if isinstance(outcome, Draft)]
        placed = await self._place(drafts)
        self._counters.messages_in += len(
            [answer for answer in placed if isinstance(answer, Published) and not answer.duplicate]
        )
        if len(drafts) == len(outcomes):
            return placed
        rest = iter(placed)
        return [next(rest) if isinstance(outcome, Draft) else outcome for outcome in outcomes]

    async def note_endings(
        self, outcomes: Sequence[Draft | Refused], events: Sequence[NewEvent]
    ) -> list[Draft | Refused]:
        """Remember when those with a time to live are to be forgotten; what cannot be remembered is refused."""
        ending = [
            (outcome, event.expires_at)
            for outcome, event in zip(outcomes, events, strict=True)
            if isinstance(outcome, Draft) and event.expires_at is not None
        ]
        if ending:
            try:
                await self._expiry.note(ending)
            except StoreError as error:
                return [Refused(ErrorCode.UNAVAILABLE, str(error), RETRY_SECONDS)] * len(events)
        return list(outcomes)

    async def _place(self, drafts: Sequence[Draft]) -> list[Published | Refused]:
        placed = self.broker.publish_at_once(drafts) if drafts else []
        answers: list[Published | Refused] = [Published(message.place) for message, _ in placed]
        rest = drafts[len(placed) :]
        return answers + await self.broker.publish(rest) if rest else answers

    async def _permit(self, caller: Caller, channel: str) -> Permit | Refused:
        try:
            address = self._directory.find(channel)
            caller.require_in(BackendAction.PUBLISH, address)
            require_backend(Action.WRITE, address)
            audience: Collection[UserId] = ()
            if address.is_member_channel:
                audience = await self._groups.audience(address)
        except Denied as error:
            return Refused(error.code, str(error))
        except StoreError as error:
            return Refused(ErrorCode.UNAVAILABLE, str(error), RETRY_SECONDS)
        return Permit(caller.sender, address, audience)

    def _as(self, caller: Caller, permit: Permit, sender: UserId) -> Permit | Refused:
        if not is_user_id(sender):
            return Refused(ErrorCode.UNKNOWN_USER, "that is no user id")
        try:
            return Permit(caller.sender_for(sender), permit.address, permit.audience)
        except Denied as error:
            return Refused(error.code, str(error))

    # Whom a message may be for, beside one channel.

    def inbox(self, user: str) -> ChannelName:
        """Return the channel of a user's own, which all devices of the user get.

        Raises:
            Denied: That is no user id.
        """
        if not is_user_id(user):
            raise Denied(ErrorCode.UNKNOWN_USER, "that is no user id")
        return ChannelName(f"user:{user}")

    async def channels_of(self, caller: Caller, user: str, limit: int) -> list[ChannelName]:
        """Return the member channels of a user that the caller may write to.

        Raises:
            Denied: That is no user id, or they are more than `limit`.
        """
        if not is_user_id(user):
            raise Denied(ErrorCode.UNKNOWN_USER, "that is no user id")
        found = await self._store.memberships(UserId(user), since=0, limit=limit + 1)
        if len(found) > limit:
            raise Denied(ErrorCode.BAD_REQUEST, f"the user is in more than {limit} channels")
        return [membership.channel for membership in found if self._may_write(caller, membership.channel)]

    def _may_write(self, caller: Caller, channel: ChannelName) -> bool:
        try:
            address: Address = self._directory.find(channel)
            caller.require_in(BackendAction.PUBLISH, address)
            require_backend(Action.WRITE, address)
        except Denied:
            return False
        return True


def key_in(key: str, channel: str) -> str:
    """Return the key of a message that goes to several channels, in one of them: the same at each try.

    (sender, key) is one message in one channel, so each channel needs a key of its own; its place in the request would
    not do, for a user's channels may have changed when the request is repeated.
    """
    return f"{key}.{hashlib.blake2b(channel.encode(), digest_size=6).hexdigest()}"


KEY_ROOM = 13
"""How much longer `key_in` makes a key."""
