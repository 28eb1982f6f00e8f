"""What everything else stands on: the configuration and the store, and what is read out of both."""

from collections.abc import Callable
from dataclasses import dataclass

from chatd.config import Config, Namespace
from chatd.counters import Counters
from chatd.rights import Directory
from chatd.settings import Settings
from protocol.names import ChannelName
from storage import Store


@dataclass(frozen=True, slots=True)
class Ground:
    """What a node was given, and what is in force. `config` is how it started, `settings.config` how it is now."""

    config: Config
    secret: bytes
    store: Store
    clock: Callable[[], float]  # Unix seconds
    settings: Settings
    counters: Counters
    directory: Directory

    def rules(self, channel: ChannelName) -> Namespace:
        """Return the namespace of a channel."""
        return self.directory.find(channel).namespace


def lay_ground(config: Config, secret: bytes, store: Store, clock: Callable[[], float]) -> Ground:
    """Make the ground."""
    settings = Settings(config)
    directory = Directory(settings)
    settings.on_replaced.append(lambda _: directory.forget())
    return Ground(config, secret, store, clock, settings, Counters(), directory)
