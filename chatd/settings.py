"""The configuration in force: one object that every part holds, so that a reload reaches all of them at once."""

from collections.abc import Callable

from chatd.config import Config, Limits, Namespace

RELOADABLE = ("limits", "presence", "log", "namespaces")
"""Sections that take effect without a restart. The others are built into sockets, files, threads and keys."""


class Settings:
    """Holds the current configuration; `replace` changes it while the node runs."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.limits: Limits = config.limits
        self.namespaces: dict[str, Namespace] = config.namespaces
        self.on_replaced: list[Callable[[Config], None]] = []
        """Called with the new configuration, for parts that keep something made from it."""

    def replace(self, config: Config) -> None:
        """Let another configuration be in force."""
        self.config = config
        self.limits = config.limits
        self.namespaces = config.namespaces
        for tell in self.on_replaced:
            tell(config)
