"""The way of a message, from a command to its answer; the only place where that order exists.

session ─ commands of one read ─► Router.send
             limits, rights        nothing below runs for who may not
             broker.publish        numbered, stored, sent out: a crash before "stored" loses what nobody saw, and
                                   the sender resends it; after it, the resend (same key) finds it again
             answers               in the order of the commands, joined with the turn's other writes
"""

from chatd.accounts.principal import Principal
from chatd.broker import Broker, Draft, Published, Refused
from chatd.counters import Counters
from chatd.drafting import Drafting
from chatd.hub import Hub
from chatd.session import Session
from protocol.body import Body, BodyError, accept
from protocol.codes import ErrorCode
from protocol.messages import Send, Sent
from storage.records import StoredMessage


class Router:
    """Takes messages from sessions and requests to the broker, and from the broker to the hub."""

    def __init__(self, hub: Hub, drafting: Drafting, counters: Counters) -> None:
        self._hub = hub
        self._drafting = drafting
        self._counters = counters
        self._monotonic = hub.monotonic
        self.broker: Broker  # set by the node: the broker delivers through this router

    async def send(self, session: Session, commands: list[Send]) -> None:
        """Publish what one read of a session brought, and answer each in its order."""
        started = self._monotonic()
        drafts: list[Draft] = []
        refusals: list[Refused | None] = []
        for command in commands:
            draft = await self._admit(session, command, started)
            if isinstance(draft, Draft):
                drafts.append(draft)
                refusals.append(None)
            else:
                refusals.append(draft)
        placed = iter(await self.broker.publish(drafts) if drafts else ())
        for command, refused in zip(commands, refusals, strict=True):
            self._answer(session, command, refused or next(placed))
        self._counters.ack.observe(self._monotonic() - started, len(commands))

    async def _admit(self, session: Session, command: Send, now: float) -> Draft | Refused:
        """Check the limits and rights of one command. Waits only when the store has to be asked."""
        user, principal = session.user, session.principal
        if user is None or principal is None:
            return Refused(ErrorCode.NOT_CONNECTED, "say `connect` first")
        wait = user.bucket.take(now)
        if wait:
            return Refused(ErrorCode.RATE_LIMITED, "too many messages", wait)
        try:
            body = accept(session.format.codec.encoding, bytes(command.data))
        except BodyError as error:
            return Refused(ErrorCode.BAD_REQUEST, str(error))
        wanted = (principal, command.channel, command.key, body, command.retry, session.id)
        draft = self._drafting.at_once(*wanted)
        return draft if draft is not None else await self._drafting.later(*wanted)

    def _answer(self, session: Session, command: Send, answer: Published | Refused) -> None:
        if isinstance(answer, Refused):
            session.reply_error(command.id, answer.code, answer.reason, answer.retry_after)
            return
        place = answer.place
        session.messages_in += 1
        self._counters.messages_in += 1
        session.reply(
            Sent(
                id=command.id,
                channel=command.channel,
                epoch=place.epoch,
                seq=place.seq,
                at=place.at,
                duplicate=answer.duplicate,
            )
        )

    async def publish(
        self, principal: Principal, channel: str, key: str, body: Body, retry: bool
    ) -> Published | Refused:
        """Publish one message of an HTTP request; every session of its sender gets it."""
        user = self._hub.users.get(principal.user)
        wait = user.bucket.take(self._monotonic()) if user is not None else 0.0
        if wait:
            return Refused(ErrorCode.RATE_LIMITED, "too many messages", wait)
        draft = await self._drafting.later(principal, channel, key, body, retry, "")
        if isinstance(draft, Refused):
            return draft
        [answer] = await self.broker.publish([draft])
        if isinstance(answer, Published):
            self._counters.messages_in += 1
        return answer

    def deliver(self, message: StoredMessage, draft: Draft) -> None:
        """Take a message that has its place to this node's sessions. Called by the broker; never waits."""
        if draft.audience:
            self._hub.deliver_to(draft.audience, message, draft.origin)
        else:
            self._hub.deliver(message.channel, message, draft.origin)
