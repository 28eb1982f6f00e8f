"""The part of a store that accounts use, in memory."""

from collections.abc import Collection, Sequence
from typing import cast

import msgspec
import trio

from protocol.names import ChannelName, DeviceId, UserId
from storage import AlreadyExists, Store, UserChannel
from storage.records import DeviceRecord, PreferenceRecord, Provider, PushTokenRecord, UserRecord


class AccountRecords:
    """Users, devices and what they say of pushes, as the Store promises to keep them.

    Each call is a checkpoint, as real ones are.
    """

    def __init__(self) -> None:
        self.users: dict[str, UserRecord] = {}
        self.device_records: dict[DeviceId, DeviceRecord] = {}
        self.push_token_records: dict[tuple[str, str], PushTokenRecord] = {}
        self.preference_records: dict[tuple[UserId, ChannelName], PreferenceRecord] = {}
        self.failure: Exception | None = None

    def as_store(self) -> Store:
        """Return itself for who needs no more of a store than this."""
        return cast(Store, self)

    async def add_user(self, user: UserRecord) -> None:
        await self._wait()
        if user.user.lower() in self.users:
            raise AlreadyExists(user.user)
        self.users[user.user.lower()] = user

    async def user(self, user: UserId) -> UserRecord | None:
        await self._wait()
        return self.users.get(user.lower())

    async def put_user(self, user: UserRecord) -> None:
        await self._wait()
        self.users[user.user.lower()] = user

    async def put_push_token(self, token: PushTokenRecord) -> None:
        await self._wait()
        self.push_token_records[token.provider, token.token] = token

    async def push_tokens(self, users: Sequence[UserId]) -> list[PushTokenRecord]:
        await self._wait()
        return [record for record in self.push_token_records.values() if record.user in users]

    async def remove_push_token(self, provider: Provider, token: str) -> None:
        await self._wait()
        self.push_token_records.pop((provider, token), None)

    async def put_preference(self, preference: PreferenceRecord) -> None:
        await self._wait()
        self.preference_records[preference.user, preference.channel] = preference

    async def preferences(self, places: Collection[UserChannel]) -> list[PreferenceRecord]:
        await self._wait()
        wanted = {*places, *((user, ChannelName("")) for user, _ in places)}
        return [record for place, record in self.preference_records.items() if place in wanted]

    async def put_device(self, device: DeviceRecord) -> None:
        await self._wait()
        self.device_records[device.device] = device

    async def device(self, device: DeviceId) -> DeviceRecord | None:
        await self._wait()
        return self.device_records.get(device)

    async def devices(self, user: UserId) -> list[DeviceRecord]:
        await self._wait()
        mine = [record for record in self.device_records.values() if record.user == user and record.revoked_at is None]
        return sorted(mine, key=lambda record: record.seen_at, reverse=True)

    async def rotate_device(self, device: DeviceRecord, expected_generation: int) -> bool:
        await self._wait()
        kept = self.device_records.get(device.device)
        if kept is None or kept.revoked_at is not None or kept.generation != expected_generation:
            return False
        self.device_records[device.device] = device
        return True

    async def revoke_device(self, device: DeviceId, at: int) -> bool:
        await self._wait()
        kept = self.device_records.get(device)
        if kept is None or kept.revoked_at is not None:
            return False
        self.device_records[device] = msgspec.structs.replace(kept, revoked_at=at)
        return True

    async def revoked_since(self, at: int) -> list[DeviceId]:
        await self._wait()
        return [r.device for r in self.device_records.values() if r.revoked_at is not None and r.revoked_at >= at]

    async def check(self) -> None:
        await self._wait()

    async def _wait(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.failure is not None:
            raise self.failure
