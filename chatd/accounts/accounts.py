"""Accounts: people who register with a name and a password, guests without, and what they may do with both."""

import base64
import secrets
from collections.abc import Callable

import msgspec

from chatd.accounts.devices import DeviceRevoked, Devices, Grant, Revoked
from chatd.accounts.errors import AccountError
from chatd.accounts.login_guard import LoginGuard
from chatd.accounts.names import GUEST_PREFIX, new_name, normal_name
from chatd.accounts.passwords import Passwords
from chatd.accounts.principal import Principal
from chatd.accounts.refresh_tokens import RefreshTokens
from chatd.accounts.tokens import Tokens
from chatd.config import Auth
from protocol.codes import ErrorCode
from protocol.names import DeviceId, UserId, is_user_id
from storage import AlreadyExists, Store
from storage.records import DeviceRecord, UserRecord

MAX_TITLE_LENGTH = 64


class Accounts:
    """Makes accounts, lets people in and puts devices out.

    Every method that is refused raises AccountError; a store that fails raises its own StoreError. `on_revoked` is
    called with each device that may not go on, before the revoking method returns.
    """

    def __init__(
        self,
        store: Store,
        tokens: Tokens,
        refresh_tokens: RefreshTokens,
        config: Auth,
        clock: Callable[[], float],
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._store = store
        self._config = config
        self._clock = clock
        self._random_bytes = random_bytes
        self._passwords = Passwords(config)
        self._guard = LoginGuard(config)
        self._devices = Devices(store, tokens, refresh_tokens, config, clock, random_bytes)
        self.on_suspended: list[Callable[[UserId], None]] = []

    @property
    def on_revoked(self) -> list[Revoked]:
        """What is called, at once, when a device is revoked or logged out."""
        return self._devices.on_revoked

    @property
    def on_device_revoked(self) -> list[DeviceRevoked]:
        """What is called with a revoked device and its user; nothing hangs on it."""
        return self._devices.on_device_revoked

    async def start(self) -> None:
        """Load what must be known before the first token is verified."""
        await self._devices.start()

    # Coming in.

    async def register(self, name: str, password: str, title: str = "") -> Grant:
        """Make an account and open its first device.

        Refused with NAME_TAKEN, BAD_REQUEST (name or password), FORBIDDEN where nobody may register. With an outside
        issuer nobody may: its users have the same names, and whoever registered one would be taken for them.
        """
        if not self._config.registration or self._config.key_file or self._config.jwks_url:
            raise AccountError(ErrorCode.FORBIDDEN, "accounts cannot be registered here")
        _check_title(title)
        return await self._devices.open(await self.create(name, password), title)

    async def create(self, name: str, password: str | None) -> UserRecord:
        """Make an account, for somebody who may whatever the configuration says. Without a password it has no login.

        Refused with NAME_TAKEN, BAD_REQUEST (name or password).
        """
        user = new_name(name)
        if await self._store.user(user) is not None:
            raise AccountError(ErrorCode.NAME_TAKEN, "the name is taken")
        password_hash = None if password is None else await self._passwords.hash(password)
        record = UserRecord(user=user, password_hash=password_hash, created_at=int(self._clock() * 1000))
        try:
            await self._store.add_user(record)
        except AlreadyExists as error:
            raise AccountError(ErrorCode.NAME_TAKEN, "the name is taken") from error
        return record

    async def login(self, name: str, password: str, address: str, title: str = "") -> Grant:
        """Open a new device for the owner of the password.

        Refused with WRONG_CREDENTIALS (the same, in the same time, whether the name exists or not), RATE_LIMITED after
        many failures of the name or address, REVOKED when the account is suspended.
        """
        _check_title(title)
        user = await self._check_password(name, password, address)
        if user.is_suspended:
            raise AccountError(ErrorCode.REVOKED, "the account is suspended")
        grant = await self._devices.open(user, title)
        # The password may have been changed since it was checked, or the account suspended; who did it does not know
        # of this device then.
        after = await self._store.user(user.user)
        if after is None or after.is_suspended or after.password_hash != user.password_hash:
            await self._devices.revoke(grant.device)
            raise AccountError(ErrorCode.WRONG_CREDENTIALS, "name or password is wrong")
        return grant

    async def guest(self, title: str = "") -> Grant:
        """Make an account that only this device can use, under a name of chatd's choice."""
        if not self._config.guests:
            raise AccountError(ErrorCode.FORBIDDEN, "there are no guests here")
        _check_title(title)
        while True:
            name = UserId(GUEST_PREFIX + base64.b32encode(self._random_bytes(5)).decode().lower())
            record = UserRecord(user=name, password_hash=None, created_at=int(self._clock() * 1000), is_guest=True)
            try:
                await self._store.add_user(record)
            except AlreadyExists:
                continue
            return await self._devices.open(record, title)

    async def refresh(self, token: str) -> Grant:
        """Exchange a refresh token for new tokens; see Devices.refresh for what happens when one comes twice."""
        return await self._devices.refresh(token)

    # Being in.

    async def user(self, name: str) -> UserRecord:
        """Return the account of this name, or refuse with UNKNOWN_USER."""
        record = await self._store.user(UserId(name)) if is_user_id(name) else None
        if record is None:
            raise AccountError(ErrorCode.UNKNOWN_USER, "no account has this name")
        return record

    async def devices(self, principal: Principal) -> list[DeviceRecord]:
        """Return the user's devices that may still come in, the latest seen first."""
        now = self._clock() * 1000
        return [device for device in await self._store.devices(principal.user) if device.expires_at > now]

    async def change_password(self, principal: Principal, old: str, new: str, address: str) -> None:
        """Set a new password and revoke every device but this one."""
        await self._check_password(principal.user, old, address)
        password_hash = await self._passwords.hash(new)
        user = await self.user(principal.user)  # hashing took a while: it may be suspended by now
        await self._store.put_user(msgspec.structs.replace(user, password_hash=password_hash))
        for device in await self._store.devices(user.user):
            if device.device != principal.device:
                await self._devices.revoke(device.device)

    # Going out.

    async def logout(self, principal: Principal) -> None:
        """Revoke the device that asks."""
        await self.revoke(principal, principal.device)

    async def revoke(self, principal: Principal, device: DeviceId) -> None:
        """Revoke one of the user's devices, or refuse with NOT_FOUND."""
        record = await self._store.device(device) if is_user_id(device) else None
        if record is None or record.user != principal.user or not await self._devices.revoke(device):
            raise AccountError(ErrorCode.NOT_FOUND, "you have no such device")

    async def revoke_all(self, user: str) -> int:
        """Revoke every device of a user, for somebody who may; return how many there were."""
        devices = await self._store.devices(UserId(user)) if is_user_id(user) else []
        return [await self._devices.revoke(device.device) for device in devices].count(True)

    async def revoke_device(self, user: str, device: str) -> None:
        """Revoke one device of a user, for somebody who may, or refuse with NOT_FOUND."""
        record = await self._store.device(DeviceId(device)) if is_user_id(device) else None
        if record is None or record.user != user or not await self._devices.revoke(record.device):
            raise AccountError(ErrorCode.NOT_FOUND, "the user has no such device")

    async def suspend(self, user: str) -> UserRecord:
        """Let an account in no more, and revoke its devices; refuse with UNKNOWN_USER."""
        record = msgspec.structs.replace(await self.user(user), is_suspended=True)
        await self._store.put_user(record)  # before the devices go: none is opened after this
        await self.revoke_all(record.user)
        for tell in self.on_suspended:
            tell(record.user)
        return record

    async def unsuspend(self, user: str) -> UserRecord:
        """Let an account in again; refuse with UNKNOWN_USER."""
        record = msgspec.structs.replace(await self.user(user), is_suspended=False)
        await self._store.put_user(record)
        return record

    async def _check_password(self, name: str, password: str, address: str) -> UserRecord:
        user_id = normal_name(name)
        if user_id is None:
            raise AccountError(ErrorCode.WRONG_CREDENTIALS, "name or password is wrong")
        wait = self._guard.begin(user_id, address, self._clock())
        if wait > 0.0:
            raise AccountError(ErrorCode.RATE_LIMITED, "too many wrong passwords", wait)
        try:
            user = await self._store.user(user_id)
            is_right = await self._passwords.verify(user.password_hash if user else None, password)
        except BaseException:
            self._guard.withdrawn(user_id)
            raise
        if user is None or not is_right:
            self._guard.failed(address, self._clock())
            raise AccountError(ErrorCode.WRONG_CREDENTIALS, "name or password is wrong")
        self._guard.succeeded(user_id)
        if user.password_hash is not None and self._passwords.is_outdated(user.password_hash):
            return await self._hash_anew(user, password)
        return user

    async def _hash_anew(self, user: UserRecord, password: str) -> UserRecord:
        """Replace a hash that was made with other parameters; at a later login if it cannot be done now.

        Returns the account as it is kept then.
        """
        try:
            password_hash = await self._passwords.hash(password)
        except AccountError:
            return user  # too many logins wait, or passwords must be longer today
        now = await self._store.user(user.user)
        if now is None or now.password_hash != user.password_hash:
            return user  # it was changed while this one was hashed
        newer = msgspec.structs.replace(now, password_hash=password_hash)
        await self._store.put_user(newer)
        return newer


def _check_title(title: str) -> None:
    if len(title) > MAX_TITLE_LENGTH or not title.isprintable():
        raise AccountError(
            ErrorCode.BAD_REQUEST, f"a device's title has up to {MAX_TITLE_LENGTH} characters that can be shown"
        )
