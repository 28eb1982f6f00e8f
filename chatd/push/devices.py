"""What devices and their users say about pushes: which token a device has, and what the user wishes."""

from collections.abc import Callable, Mapping, Sequence

import structlog

from chatd.accounts.principal import Principal
from chatd.push.preferences import EVERYWHERE, ChannelWishes, Wishes, check, from_values, to_values
from chatd.push.webpush import is_endpoint, subscription_keys
from chatd.rights import Denied, Directory
from protocol.codes import ErrorCode
from protocol.names import ChannelName, DeviceId, UserId
from storage import Store, StoreError
from storage.records import PreferenceRecord, Provider, PushTokenRecord

# Firebase's tokens have some hundred characters, and URLs of browsers up to a thousand.
_TOKEN_CHARACTERS = 4096
_DETAILS = 16
_DETAIL_CHARACTERS = 512

_log = structlog.get_logger("push")


class PushDevices:
    """Keeps tokens and wishes. What is refused raises `Denied`; a store that fails raises StoreError."""

    def __init__(
        self,
        store: Store,
        directory: Directory,
        providers: Sequence[str],
        hosts: Sequence[str],
        tokens_per_device: int,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._directory = directory
        self._providers = providers
        self._hosts = hosts
        self._tokens_per_device = tokens_per_device
        self._clock = clock  # Unix seconds

    async def register(
        self,
        principal: Principal,
        device: DeviceId,
        provider: Provider,
        token: str,
        details: Mapping[str, str],
        locale: str,
    ) -> None:
        """Let pushes for a device of the principal go there. A token has one owner: who registered it last.

        A newer token of the same kind replaces the device's older ones.
        """
        await self._check_device(principal, device)
        self._check_token(provider, token, details)
        now = int(self._clock() * 1000)
        record = PushTokenRecord(
            user=principal.user,
            device=device,
            provider=provider,
            token=token,
            details=dict(details),
            locale=locale,
            created_at=now,
        )
        await self._store.put_push_token(record)
        others = [
            one for one in await self._of(principal.user, device) if (one.provider, one.token) != (provider, token)
        ]
        same = [one for one in others if one.provider == provider and _kind(one) == _kind(record)]
        rest = sorted((one for one in others if one not in same), key=lambda one: one.created_at, reverse=True)
        for old in [*same, *rest[self._tokens_per_device - 1 :]]:
            await self._store.remove_push_token(old.provider, old.token)

    async def remove(self, principal: Principal, device: DeviceId) -> None:
        """Push to this device no more."""
        await self._check_device(principal, device)
        await self._remove_all(principal.user, device)

    async def forget(self, device: DeviceId) -> None:
        """Remove the tokens of a device that was revoked. A store that fails is said in the log."""
        try:
            record = await self._store.device(device)
            if record is not None:
                await self._remove_all(record.user, device)
        except StoreError as error:
            _log.warning("the push tokens of a revoked device are not removed", device=device, error=str(error))

    async def wishes(self, principal: Principal, channel: str) -> Wishes:
        """Return what the user wishes for a channel, or for all ("")."""
        name = self._place(principal, channel)
        records = await self._store.preferences([(principal.user, name)])
        return next((from_values(one.values) for one in records if one.channel == name), Wishes())

    async def wish(self, principal: Principal, channel: str, wishes: ChannelWishes) -> None:
        """Keep what the user wishes.

        Raises:
            BadWishes: It does not make sense.
        """
        name = self._place(principal, channel)
        check(wishes)
        record = PreferenceRecord(user=principal.user, channel=name, values=to_values(wishes))
        await self._store.put_preference(record)

    def _place(self, principal: Principal, channel: str) -> ChannelName:
        if principal.is_guest:
            raise Denied(ErrorCode.FORBIDDEN, "guests get no pushes")
        if not channel:
            return EVERYWHERE
        address = self._directory.find(channel)
        if not address.is_member_channel:
            raise Denied(ErrorCode.FORBIDDEN, "only channels with members are pushed")
        return address.name

    async def _check_device(self, principal: Principal, device: DeviceId) -> None:
        """Return if the device is the one that asks, or another of the same user."""
        if principal.is_guest:
            raise Denied(ErrorCode.FORBIDDEN, "guests get no pushes")
        if device == principal.device:
            return
        if all(one.device != device for one in await self._store.devices(principal.user)):
            raise Denied(ErrorCode.NOT_FOUND, "you have no such device")

    def _check_token(self, provider: Provider, token: str, details: Mapping[str, str]) -> None:
        if provider not in self._providers:
            raise Denied(ErrorCode.BAD_REQUEST, f"this server does not push by {provider}")
        if not 1 <= len(token) <= _TOKEN_CHARACTERS or not token.isascii() or not token.isprintable() or " " in token:
            raise Denied(ErrorCode.BAD_REQUEST, "that is no token")
        if len(details) > _DETAILS or any(len(part) > _DETAIL_CHARACTERS for item in details.items() for part in item):
            raise Denied(ErrorCode.BAD_REQUEST, "too much in `details`")
        if provider == "apns" and not (token.isalnum() and len(token) % 2 == 0):
            raise Denied(ErrorCode.BAD_REQUEST, "a token of APNs is hexadecimal")
        if provider == "webpush":
            if not is_endpoint(token, self._hosts):
                raise Denied(ErrorCode.BAD_REQUEST, "the endpoint is not one of a push service that this server trusts")
            try:
                subscription_keys(dict(details))
            except ValueError as error:
                raise Denied(ErrorCode.BAD_REQUEST, str(error)) from error

    async def _of(self, user: UserId, device: DeviceId) -> list[PushTokenRecord]:
        return [one for one in await self._store.push_tokens([user]) if one.device == device]

    async def _remove_all(self, user: UserId, device: DeviceId) -> None:
        for one in await self._of(user, device):
            await self._store.remove_push_token(one.provider, one.token)


def _kind(token: PushTokenRecord) -> tuple[str, str]:
    return token.details.get("kind", "alert"), token.details.get("activity", "")
