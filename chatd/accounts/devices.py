"""Devices: opened by a login, renewed by refresh tokens that change with each use, closed by revoking."""

import base64
import hmac
from collections.abc import Callable

import msgspec
import trio

from chatd.accounts.errors import AccountError
from chatd.accounts.refresh_tokens import RefreshToken, RefreshTokens, hash_of
from chatd.accounts.tokens import Tokens
from chatd.config import Auth
from protocol.codes import ErrorCode
from protocol.names import DeviceId, UserId
from storage import Store
from storage.records import DeviceRecord, UserRecord

RETRY_MILLISECONDS = 30_000
"""A client whose refresh got no answer may repeat it for this long: the time after which clients give up waiting."""

Revoked = Callable[[DeviceId], None]
DeviceRevoked = Callable[[UserId, DeviceId], None]


class Grant(msgspec.Struct, frozen=True):
    """What a login gives: who you are, and the tokens to say so."""

    user: UserId
    device: DeviceId
    access_token: str
    refresh_token: str
    expires_in: int


class Devices:
    """Opens, renews and revokes the devices of users."""

    def __init__(
        self,
        store: Store,
        tokens: Tokens,
        refresh_tokens: RefreshTokens,
        config: Auth,
        clock: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._refresh_tokens = refresh_tokens
        self._config = config
        self._clock = clock
        self._random_bytes = random_bytes
        self.on_revoked: list[Revoked] = []
        self.on_device_revoked: list[DeviceRevoked] = []

    async def start(self) -> None:
        """Remember the devices that were revoked so lately that their access tokens may still be valid."""
        since = self._now() - self._tokens.longest_seconds * 1000
        for device in await self._store.revoked_since(since):
            self._tokens.revoke(device)

    async def open(self, user: UserRecord, title: str) -> Grant:
        """Give the user a new device. The ones unused for the longest make room for it."""
        devices = await self._store.devices(user.user)
        for old in devices[self._config.devices_per_user - 1 :]:
            await self.revoke(old.device)
        now = self._now()
        device = DeviceId(base64.b32encode(self._random_bytes(10)).decode().lower())
        record = DeviceRecord(
            device=device,
            user=user.user,
            title=title,
            created_at=now,
            seen_at=now,
            generation=0,
            token_hash=hash_of(self._refresh_tokens.make(device, 0)),
            expires_at=now + self._config.refresh_seconds * 1000,
        )
        await self._store.put_device(record)
        return self._grant(user, record)

    async def refresh(self, token: str) -> Grant:
        """Exchange a refresh token for new tokens; it cannot be used again.

        A token that comes again later shows that two hold it, a thief and the owner. Nobody can tell which is which:
        the device is revoked and both are out. The one exception is in docs/reference/http.md: a lost answer.

        Raises:
            AccountError: BAD_TOKEN, TOKEN_EXPIRED, REVOKED; UNAVAILABLE if others change the device all the time.
        """
        shown = self._refresh_tokens.read(token)
        if shown is None:
            raise AccountError(ErrorCode.BAD_TOKEN, "this is no refresh token of this server")
        for _ in range(3):
            record, user = await self._find(shown)
            if shown.generation == record.generation:
                if not hmac.compare_digest(hash_of(token), record.token_hash):
                    raise AccountError(ErrorCode.BAD_TOKEN, "this is no refresh token of this server")
                renewed = self._renewed(record)
                if await self._store.rotate_device(renewed, record.generation):
                    return self._grant(user, renewed)
            elif self._is_repeated(shown, record):
                return self._grant(user, record)
            else:
                await self.revoke(shown.device)
                raise AccountError(ErrorCode.REVOKED, "the refresh token was used before, so the device is revoked")
        raise AccountError(ErrorCode.UNAVAILABLE, "the device is being changed; try again", 1.0)

    async def revoke(self, device: DeviceId) -> bool:
        """Refuse the device from now on and close its sessions; False if it was revoked already or does not exist."""
        # Not cancelled halfway: a device that the store has revoked must be out of memory too.
        with trio.CancelScope(shield=True):
            revoked = await self._store.revoke_device(device, self._now())
        if revoked:
            self._tokens.revoke(device)
            for call in self.on_revoked:
                call(device)
            await self._tell_revoked(device)
        return revoked

    async def _tell_revoked(self, device: DeviceId) -> None:
        """Tell whose device it was, if anybody wants to know."""
        record = await self._store.device(device) if self.on_device_revoked else None
        if record is not None:
            for tell in self.on_device_revoked:
                tell(record.user, device)

    async def _find(self, shown: RefreshToken) -> tuple[DeviceRecord, UserRecord]:
        record = await self._store.device(shown.device)
        user = None if record is None else await self._store.user(record.user)
        if record is None or user is None or shown.generation > record.generation:
            raise AccountError(ErrorCode.BAD_TOKEN, "this is no refresh token of this server")
        if record.revoked_at is not None or user.is_suspended:
            raise AccountError(ErrorCode.REVOKED, "the device was revoked or logged out")
        if self._now() >= record.expires_at:
            raise AccountError(ErrorCode.TOKEN_EXPIRED, "the refresh token has expired: log in again")
        return record, user

    def _is_repeated(self, shown: RefreshToken, record: DeviceRecord) -> bool:
        """Tell whether a client may be repeating a refresh whose answer was lost.

        It then gets that answer again, not a newer token. If a thief does the same, the two hold the same token, and
        the next use of it by both is found as ever.
        """
        return shown.generation == record.generation - 1 and self._now() - record.seen_at <= RETRY_MILLISECONDS

    def _renewed(self, record: DeviceRecord) -> DeviceRecord:
        now = self._now()
        generation = record.generation + 1
        return msgspec.structs.replace(
            record,
            seen_at=now,
            generation=generation,
            token_hash=hash_of(self._refresh_tokens.make(record.device, generation)),
            expires_at=now + self._config.refresh_seconds * 1000,
        )

    def _grant(self, user: UserRecord, record: DeviceRecord) -> Grant:
        seconds = self._config.guest_seconds if user.is_guest else self._config.access_seconds
        return Grant(
            user=user.user,
            device=record.device,
            access_token=self._tokens.issue(user.user, record.device, is_guest=user.is_guest, seconds=seconds),
            refresh_token=self._refresh_tokens.make(record.device, record.generation),
            expires_in=seconds,
        )

    def _now(self) -> int:
        return int(self._clock() * 1000)
