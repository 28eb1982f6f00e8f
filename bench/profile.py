"""A profile: how many of a server's users do what. Read from a TOML file, played by `mixed` and `soak`."""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from bench.accounts import Population
from bench.bed import Bed
from bench.groups import Groups
from bench.seats import Seat
from protocol.names import UserId, direct_channel

PROFILES = Path(__file__).with_name("profiles")
SMALL = PROFILES / "small.toml"
SOAK = PROFILES / "soak.toml"

_Users = Annotated[int, Meta(ge=0, le=30_000)]
_Rate = Annotated[float, Meta(gt=0, le=100_000)]


class ProfileError(Exception):
    """The file is no profile."""


class Idle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Connected, and say nothing."""

    users: _Users = 0


class Chatting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Pairs in direct chats, of which one writes."""

    users: _Users = 0
    messages_per_minute: _Rate = 6.0


class Grouped(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Members of groups, each with one of its own to write to."""

    users: _Users = 0
    members: Annotated[int, Meta(ge=2, le=100)] = 10
    messages_per_minute: _Rate = 6.0


class Lurking(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Readers of rooms."""

    users: _Users = 0
    rooms: Annotated[int, Meta(ge=1, le=1000)] = 1
    messages_per_second: _Rate = 1.0


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many do what."""

    idle: Idle = Idle()
    chatting: Chatting = Chatting()
    groups: Grouped = Grouped()
    lurking: Lurking = Lurking()

    @property
    def users(self) -> int:
        """How many people that is."""
        return self.idle.users + self.chatting.users + self.groups.users + self.lurking.users

    def population(self) -> Population:
        """Return the users and groups that must exist before the server starts."""
        pairs = [name for pair in self._pairs() for name in pair]
        return Population([*pairs, *self._groups().users], self._groups().members())

    def seats(self, bed: Bed) -> list[Seat]:
        """Make all clients, and the publishers of the rooms."""
        seats = [bed.seat(f"idle{index}") for index in range(self.idle.users)]
        for one, other in self._pairs():
            channel = direct_channel(UserId(one), UserId(other))
            seats.append(bed.seat(one, writes=channel, rate=self.chatting.messages_per_minute / 60))
            seats.append(bed.seat(other, reads=channel))
        seats += self._groups().seats(bed, self.groups.messages_per_minute / 60)
        rooms = [bed.server.dialect.room(f"mixed{index}") for index in range(self.lurking.rooms)]
        if self.lurking.users:
            rate = self.lurking.messages_per_second
            seats += [bed.seat(f"publisher{index}", writes=room, rate=rate) for index, room in enumerate(rooms)]
        seats += [
            bed.seat(f"lurker{index}", reads=rooms[index % len(rooms)], subscribes=True)
            for index in range(self.lurking.users)
        ]
        return seats

    def _pairs(self) -> list[tuple[str, str]]:
        return [(f"writer{index}", f"friend{index}") for index in range(self.chatting.users // 2)]

    def _groups(self) -> Groups:
        return Groups("member", self.groups.users, min(self.groups.members, self.groups.users))


def load(path: Path) -> Profile:
    """Read a profile.

    Raises:
        ProfileError: It cannot be read, or a key is unknown, of the wrong type or out of range.
    """
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Profile)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path}: {error}") from error
