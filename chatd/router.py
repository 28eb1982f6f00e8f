"""The way of a message, from a command to its answer; the only place where that order exists.

session ─ commands of one read ─► Router.send
             limits, rights        nothing below runs for who may not
             broker.publish        numbered, stored, sent out: a crash before "stored" loses what nobody saw, and
                                   the sender resends it; after it, the resend (same key) finds it again
             answers               in the order of the commands, joined with the turn's other writes
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Protocol

from chatd.accounts.principal import Principal
from chatd.backend.caller import Caller
from chatd.broker import Broker, Draft, Published, Refused, Routed
from chatd.channel import Outgoing
from chatd.counters import Counters
from chatd.drafting import Drafting, Permit, draft, draft_of_command, drafts_at_once
from chatd.event import sent_frames
from chatd.hooks.hooks import Hooks
from chatd.hub import Hub
from chatd.session import Session
from protocol.body import Body
from protocol.codes import ErrorCode
from protocol.messages import Error, Send, Sent
from protocol.names import ChannelName
from storage.records import StoredMessage


class Admission(Protocol):
    """Checks what a backend sends, in the place of a user's limits and rights."""

    async def admit(self, session: Session, caller: Caller, commands: Sequence[Send]) -> list[Draft | Refused]:
        """Return the draft of each command, or why it is refused."""


class Router:
    """Takes messages from sessions and requests to the broker, and from the broker to the hub."""

    def __init__(self, hub: Hub, drafting: Drafting, counters: Counters) -> None:
        self._hub = hub
        self._drafting = drafting
        self._counters = counters
        self._monotonic = hub.monotonic
        self.broker: Broker  # set by the node: the broker delivers through this router
        self.hooks: Hooks | None = None  # set by the node, if a backend is asked what may be sent
        self.admission: Admission  # set by the node, of server sessions

    def send_at_once(self, session: Session, commands: Sequence[Send], now: float, alone: bool) -> int:
        """Publish and answer messages of one read, up to the first that a task has to wait for; return how many.

        Where the broker can say later where it was placed, one that came alone is answered then. This is the short way
        of `send`, which does the rest: it waits for the store, and says what is wrong.
        """
        user, permit = session.user, session.permit
        if permit is None or user is None or permit.address is not self._drafting.current(permit.address.name):
            return 0
        if permit.address.is_member_channel and session.principal is not None:
            newest = self._drafting.permit_now(session.principal, permit.address.name)
            if not isinstance(newest, Permit):
                return 0
            permit = newest
        drafts = drafts_at_once(permit, commands, session.format.codec.encoding, session.id)
        if not drafts or not user.bucket.take_together(now, len(drafts)):
            return 0
        placed = self.broker.publish_at_once(drafts)
        count = len(placed)
        if alone and not count:
            answered = partial(self._answered, session, commands[0], now)
            session.under_way = self.broker.publish_soon(drafts[0], answered)
            if session.under_way:
                return 1
        if count < len(drafts):
            user.bucket.give_back(len(drafts) - count)
        if count:
            session.reply_frames(sent_frames(commands, placed, session.format))
            counters = self._counters
            counters.commands["send"] += count
            counters.messages_in += count
            session.messages_in += count
            self._hub.answered(now, count)
        return count

    def _answered(self, session: Session, command: Send, started: float, outcome: Published | Refused) -> None:
        """Answer a message that was under way, and let the session go on."""
        session.settle()
        answer = _answer(command, outcome)
        counters = self._counters
        counters.commands["send"] += 1
        if isinstance(answer, Error):
            counters.errors[answer.code] += 1
        elif not answer.duplicate:
            counters.messages_in += 1
            session.messages_in += 1
        session.reply(answer)
        counters.ack.observe(self._monotonic() - started)

    async def send(self, session: Session, commands: list[Send], started: float) -> None:
        """Publish what one read of a session brought, and answer each in its order.

        `started` is when it was read, on the hub's monotonic clock.
        """
        outcomes = await self._admit(session, commands, started)
        if self.hooks is not None and session.principal is not None:
            outcomes = await self.hooks.screen(session.principal, session, outcomes)
        drafts = [outcome for outcome in outcomes if isinstance(outcome, Draft)]
        placed = await self.broker.publish(drafts) if drafts else ()
        counters = self._counters
        counters.commands["send"] += len(commands)
        if len(drafts) == len(outcomes):
            answers = [_answer(command, answer) for command, answer in zip(commands, placed, strict=True)]
        else:
            rest = iter(placed)
            answers = [
                _answer(command, next(rest) if isinstance(outcome, Draft) else outcome)
                for command, outcome in zip(commands, outcomes, strict=True)
            ]
        refused = [answer.code for answer in answers if isinstance(answer, Error)]
        for code in refused:
            counters.errors[code] += 1
        new = len([answer for answer in answers if isinstance(answer, Sent) and not answer.duplicate])
        counters.messages_in += new
        session.messages_in += new
        session.reply(*answers)
        counters.ack.observe(self._monotonic() - started, len(commands))

    async def _admit(self, session: Session, commands: list[Send], now: float) -> list[Draft | Refused]:
        """Check limits and rights. Waits only when the store has to be asked for the members of a channel."""
        user, principal = session.user, session.principal
        if session.caller is not None:
            return await self.admission.admit(session, session.caller, commands)
        if user is None or principal is None:
            return [Refused(ErrorCode.NOT_CONNECTED, "say `connect` first")] * len(commands)
        in_pace = user.bucket.take_together(now, len(commands))
        encoding = session.format.codec.encoding
        channel = ""
        permit: Permit | Refused | None = None
        outcomes: list[Draft | Refused] = []
        for command in commands:
            if not in_pace and (wait := user.bucket.take(now)):
                outcomes.append(Refused(ErrorCode.RATE_LIMITED, "too many messages", wait))
                continue
            if permit is None or command.channel != channel:
                channel = command.channel
                permit = self._drafting.permit_now(principal, channel)
                if permit is None:
                    permit = await self._drafting.permit(principal, channel)
                session.permit = self._kept(permit)
            if isinstance(permit, Refused):
                outcomes.append(permit)
            else:
                outcomes.append(draft_of_command(permit, command, encoding, session.id))
        return outcomes

    def _kept(self, permit: Permit | Refused) -> Permit | None:
        """Return the permit for `send_at_once`; None where a backend is asked about each message.

        Without its audience: members come and go, and who wrote to them once would hold on to all of them.
        """
        if isinstance(permit, Refused):
            return None
        if self.hooks is not None and self.hooks.screens(permit.address.namespace_name):
            return None
        return Permit(permit.sender, permit.address, ()) if permit.audience else permit

    async def publish(
        self, principal: Principal, channel: str, key: str, body: Body, retry: bool
    ) -> Published | Refused:
        """Publish one message of an HTTP request; every session of its sender gets it."""
        user = self._hub.users.get(principal.user)
        wait = user.bucket.take(self._monotonic()) if user is not None else 0.0
        if wait:
            return Refused(ErrorCode.RATE_LIMITED, "too many messages", wait)
        permit = await self._drafting.permit(principal, channel)
        wanted = permit if isinstance(permit, Refused) else draft(permit, key, body, retry, "")
        if isinstance(wanted, Refused):
            return wanted
        if self.hooks is not None:
            [wanted] = await self.hooks.screen(principal, None, [wanted])
            if isinstance(wanted, Refused):
                return wanted
        [answer] = await self.broker.publish([wanted])
        if isinstance(answer, Published) and not answer.duplicate:
            self._counters.messages_in += 1
        return answer

    def deliver(self, placed: Iterable[tuple[StoredMessage, Routed]]) -> None:
        """Take messages that have their places to this node's sessions. Called by the broker; never waits."""
        channel: ChannelName | None = None
        outgoing: list[Outgoing] | None = None
        for message, wanted in placed:
            if wanted.audience:
                self._hub.deliver_to(wanted.audience, message, wanted.origin)
                continue
            if message.channel != channel:
                channel = message.channel
                outgoing = self._hub.outgoing(channel)
            if outgoing is not None:
                outgoing.append((message, wanted.origin))


def _answer(command: Send, answer: Published | Refused) -> Sent | Error:
    if isinstance(answer, Refused):
        return Error(id=command.id, code=answer.code, reason=answer.reason, retry_after=answer.retry_after)
    place = answer.place
    return Sent(
        id=command.id,
        channel=command.channel,
        epoch=place.epoch,
        seq=place.seq,
        at=place.at,
        duplicate=answer.duplicate,
    )
