"""The way of a message, from a command to its answer; the only place where that order exists.

session ─ commands of one read ─► Router.send
             rights and limits     nothing below runs for who may not
             broker.publish        numbered, stored, sent out: a crash before "stored" loses what nobody saw, and
                                   the sender resends it; after it, the resend (same key) finds it again
             answers               in the order of the commands, joined with the turn's other writes
"""

import trio

from chatd.accounts.principal import Principal
from chatd.broker import Broker, Draft, Published, Refused
from chatd.counters import Counters
from chatd.groups import Groups
from chatd.hub import Hub
from chatd.rights import Action, Denied, Directory, require
from chatd.session import Session
from protocol.body import Body, BodyError, accept
from protocol.codes import ErrorCode
from protocol.messages import Send, Sent
from protocol.names import is_key
from storage import StoreError
from storage.records import StoredMessage


class Router:
    """Takes messages from sessions and requests to the broker, and from the broker to the hub."""

    def __init__(self, hub: Hub, directory: Directory, groups: Groups, counters: Counters) -> None:
        self._hub = hub
        self._directory = directory
        self._groups = groups
        self._counters = counters
        self.broker: Broker  # set by the server: the broker delivers through this router

    async def send(self, session: Session, commands: list[Send]) -> None:
        """Publish what one read of a session brought, and answer each in its order."""
        user, principal = session.user, session.principal
        started = trio.current_time()
        drafts: list[Draft] = []
        outcomes: list[Refused | None] = []
        for command in commands:
            if user is None or principal is None:
                outcomes.append(Refused(ErrorCode.NOT_CONNECTED, "say `connect` first"))
                continue
            wait = user.bucket.take(started)
            if wait:
                outcomes.append(Refused(ErrorCode.RATE_LIMITED, "too many messages", wait))
                continue
            draft = await self._draft(session, principal, command)
            if isinstance(draft, Draft):
                drafts.append(draft)
                outcomes.append(None)
            else:
                outcomes.append(draft)
        placed = iter(await self.broker.publish(drafts) if drafts else ())
        for command, refused in zip(commands, outcomes, strict=True):
            self._answer(session, command, refused or next(placed))
        self._counters.ack.observe(trio.current_time() - started, len(commands))

    async def _draft(self, session: Session, principal: Principal, command: Send) -> Draft | Refused:
        try:
            body = accept(session.format.codec.encoding, bytes(command.data))
        except BodyError as error:
            return Refused(ErrorCode.BAD_REQUEST, str(error))
        return await self.draft(principal, command.channel, command.key, body, command.retry, session.id)

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

    async def draft(
        self, principal: Principal, channel: str, key: str, body: Body, retry: bool, origin: str
    ) -> Draft | Refused:
        """Check that the principal may write this to the channel; return what to publish, or why not."""
        try:
            address = self._directory.find(channel)
            members = await self._groups.for_writing(principal, address) if address.is_member_channel else ()
            require(principal, Action.WRITE, address, members)
        except Denied as error:
            return Refused(error.code, str(error))
        except StoreError as error:
            return Refused(ErrorCode.UNAVAILABLE, str(error), 1.0)
        if not is_key(key):
            return Refused(ErrorCode.BAD_REQUEST, "`key` is 1 to 128 printable ASCII characters without space")
        if len(body) > address.namespace.data_bytes:
            return Refused(ErrorCode.TOO_LARGE, f"`data` may have {address.namespace.data_bytes} bytes here")
        return Draft(
            channel=address.name,
            sender=principal.user,
            key=key,
            body=body,
            retry=retry,
            origin="" if address.namespace.echo else origin,
            audience=members,
        )

    async def publish(
        self, principal: Principal, channel: str, key: str, body: Body, retry: bool
    ) -> Published | Refused:
        """Publish one message of an HTTP request; every session of its sender gets it."""
        user = self._hub.users.get(principal.user)
        wait = user.bucket.take(trio.current_time()) if user is not None else 0.0
        if wait:
            return Refused(ErrorCode.RATE_LIMITED, "too many messages", wait)
        draft = await self.draft(principal, channel, key, body, retry, "")
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
