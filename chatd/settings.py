"""The configuration in force: one object that every part holds, so that a reload reaches all of them at once."""

from chatd.config import Config, Limits, Namespace

RELOADABLE = ("limits", "auth", "presence", "log", "namespaces")
"""Sections that take effect without a restart. The others are built into sockets, files and threads."""


class Settings:
    """Holds the current configuration; `replace` changes it while the node runs."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.limits: Limits = config.limits
        self.namespaces: dict[str, Namespace] = config.namespaces
