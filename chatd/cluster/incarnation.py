"""Which node this is. Everything that it says in Redis is under this name."""

import re
import secrets
import socket
from collections.abc import Callable

import structlog

from chatd.cluster import NodeId

_CHANCE_BYTES = 4
_NAME_LENGTH = 32

_log = structlog.get_logger("cluster")


class Incarnation:
    """The life of a node from a start to its end, or until others took it for dead.

    Sessions belong to it. When it is over they are removed by others, so a node that finds itself alive begins a new
    one and says again what it has.
    """

    def __init__(self, name: str, chance: Callable[[int], str] = secrets.token_hex) -> None:
        self.name = name or _host()
        self.on_renewed: list[Callable[[NodeId], None]] = []
        """Called with the incarnation that is over, when the new one has begun."""
        self._chance = chance
        self.node = self._new()

    def renew(self) -> None:
        """Begin another incarnation: this one was taken for dead."""
        before, self.node = self.node, self._new()
        _log.error("taken for dead: began anew", before=before, node=self.node)
        for tell in self.on_renewed:
            tell(before)

    def _new(self) -> NodeId:
        return NodeId(f"{self.name}.{self._chance(_CHANCE_BYTES)}")


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())[:_NAME_LENGTH] or "node"
