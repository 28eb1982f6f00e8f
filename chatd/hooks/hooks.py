"""The three hooks, as the parts of the node ask them: what may be done, changed if the backend says so, or why not."""

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
import trio

from chatd.accounts.principal import Principal
from chatd.broker import RETRY_SECONDS, Draft, Refused
from chatd.config import Config, ConfigError, Hook
from chatd.counters import Latency
from chatd.hooks.asker import Asker
from chatd.hooks.questions import Decision, MayConnect, MaySend, MaySubscribe
from chatd.outbound.backend import Resolve, resolve
from chatd.outbound.client import Client
from chatd.rights import Address, Denied
from chatd.session import Session
from chatd.settings import Settings
from chatd.webhooks.secrets import load_signer
from chatd.webhooks.signing import Signer
from protocol.body import BodyError, Encoding, accept
from protocol.codes import ErrorCode

_ID_BYTES = 12
_NO_ANSWER = "the backend that decides it gives no answer now"
_OVER_HTTP = ""

_log = structlog.get_logger("hooks")


@dataclass(frozen=True, slots=True)
class HookStatistics:
    """What became of the questions of each hook, and how long they took."""

    connect: Mapping[str, int]
    subscribe: Mapping[str, int]
    send: Mapping[str, int]
    latency: Latency


class Hooks:
    """Asks backends. Of a hook without a URL nothing is asked, and the node does not call it."""

    def __init__(
        self,
        config: Config,
        settings: Settings,
        environment: Mapping[str, str],
        *,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: secrets.token_hex(_ID_BYTES),
        resolver: Resolve = resolve,
    ) -> None:
        """Make it; connections are opened when they are needed.

        Raises:
            ConfigError: A secret cannot be read.
        """
        self._settings = settings
        self._environment = environment
        self._latency = Latency()
        self._places = {"connect": config.hooks.connect, "subscribe": config.hooks.subscribe, "send": config.hooks.send}
        self._askers = {
            name: Asker(
                name,
                hook,
                self._signer(name, hook),
                Client(connections=hook.concurrency, allow_private=hook.allow_private, resolver=resolver),
                clock,
                new_id,
                self._latency,
            )
            for name, hook in self._places.items()
            if hook.url
        }
        self.on_connect = self._askers.get("connect")
        self.on_subscribe = self._askers.get("subscribe")
        self.on_send = self._askers.get("send")
        if self._askers:
            settings.on_replaced.append(self._reload)

    @property
    def is_used(self) -> bool:
        """Whether anything is asked at all."""
        return bool(self._askers)

    async def run(self) -> None:
        """Keep connections open, until cancelled."""
        try:
            if self._askers:
                await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                for asker in self._askers.values():
                    await asker.client.aclose()

    def statistics(self) -> HookStatistics:
        """Return counts for /metrics."""
        counts = {name: self._askers[name].outcomes if name in self._askers else {} for name in self._places}
        return HookStatistics(counts["connect"], counts["subscribe"], counts["send"], self._latency)

    # Asking.

    async def connect(self, session: Session, principal: Principal) -> dict[str, str] | None:
        """Return what the backend says of a session that may be let in.

        Raises:
            Denied: It may not.
        """
        if self.on_connect is None:
            return None
        question = MayConnect(
            user=principal.user,
            device=principal.device,
            guest=principal.is_guest,
            session=session.id,
            address=session.link.address,
        )
        decision = _allowed(self.on_connect, await self.on_connect.ask(question))
        return decision.attributes if decision is not None else None

    async def subscribe(self, session: Session, principal: Principal, address: Address) -> None:
        """Return if the session may read the channel.

        Raises:
            Denied: It may not.
        """
        asker = self.on_subscribe
        if asker is None or not _covers(asker.config, address.namespace_name):
            return
        question = MaySubscribe(
            user=principal.user,
            device=principal.device,
            guest=principal.is_guest,
            session=session.id,
            attributes=session.attributes or {},
            channel=address.name,
        )
        _allowed(asker, await asker.ask(question))

    def screens(self, namespace: str) -> bool:
        """Tell whether messages of a namespace are asked about."""
        return self.on_send is not None and _covers(self.on_send.config, namespace)

    async def screen(
        self, principal: Principal, session: Session | None, outcomes: list[Draft | Refused]
    ) -> list[Draft | Refused]:
        """Return the drafts that may be sent, as the backend wants them, and the reasons of the others; in their order.

        `session` is None for messages over HTTP.
        """
        asked = [
            place
            for place, draft in enumerate(outcomes)
            if isinstance(draft, Draft) and self.screens(draft.channel.partition(":")[0])
        ]
        if not asked:
            return outcomes
        screened = outcomes[:]

        async def screen_one(place: int) -> None:
            draft = outcomes[place]
            if isinstance(draft, Draft):
                screened[place] = await self._screen_one(principal, session, draft)

        if len(asked) == 1:
            await screen_one(asked[0])
        else:
            async with trio.open_nursery() as nursery:
                for place in asked:
                    nursery.start_soon(screen_one, place)
        return screened

    async def _screen_one(self, principal: Principal, session: Session | None, draft: Draft) -> Draft | Refused:
        asker = self.on_send
        if asker is None:
            return draft
        question = MaySend(
            user=principal.user,
            device=principal.device,
            guest=principal.is_guest,
            session=session.id if session is not None else _OVER_HTTP,
            attributes=(session.attributes or {}) if session is not None else {},
            channel=draft.channel,
            key=draft.key,
            data=msgspec.Raw(draft.body.as_encoding(Encoding.JSON)),
        )
        decision = await asker.ask(question)
        if decision is None and asker.config.on_failure == "allow":
            return draft
        if decision is None:
            return Refused(ErrorCode.UNAVAILABLE, _NO_ANSWER, RETRY_SECONDS)
        if decision.decision == "deny":
            return Refused(decision.error_code, decision.reason, decision.retry_after)
        return draft if decision.data is None else self._changed(draft, decision.data)

    def _changed(self, draft: Draft, data: dict[str, Any]) -> Draft | Refused:
        """Return the draft with the backend's data, which keeps to the same rules as a client's."""
        namespace = self._settings.namespaces.get(draft.channel.partition(":")[0])
        try:
            body = accept(Encoding.JSON, msgspec.json.encode(data))
        except BodyError as error:
            _log.warning("a hook's data cannot be used", channel=draft.channel, error=str(error))
            return Refused(ErrorCode.UNAVAILABLE, _NO_ANSWER, RETRY_SECONDS)
        if namespace is not None and len(body.raw) > namespace.data_bytes:
            return Refused(ErrorCode.TOO_LARGE, f"`data` may have {namespace.data_bytes} bytes here")
        return msgspec.structs.replace(draft, body=body)

    # Secrets.

    def _signer(self, name: str, hook: Hook) -> Signer:
        return load_signer(f"hooks.{name}", hook.secret_files, hook.secret_variables, self._environment)

    def _reload(self, _: Config) -> None:
        """Read the secrets again: a rotation needs no restart."""
        for name, asker in self._askers.items():
            try:
                asker.signer = self._signer(name, self._places[name])
            except ConfigError as error:
                _log.error("secrets of hooks are not read again", error=str(error))


def _covers(config: Hook, namespace: str) -> bool:
    return not config.namespaces or namespace in config.namespaces


def _allowed(asker: Asker, decision: Decision | None) -> Decision | None:
    """Return the decision if it allows; None where there is none and that counts as one."""
    if decision is None and asker.config.on_failure == "deny":
        raise Denied(ErrorCode.UNAVAILABLE, _NO_ANSWER)
    if decision is not None and decision.decision == "deny":
        raise Denied(decision.error_code, decision.reason)
    return decision
