"""A node whose schedule works only when the test says so, and callers with keys."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chatd.backend.actions import EVERYTHING, BackendAction
from chatd.backend.caller import BACKEND, Caller
from chatd.config import Config
from tests.rig.node import Rig, changed, running_node


def caller(*actions: BackendAction, namespaces: tuple[str, ...] | None = None) -> Caller:
    """Return a key with these actions, or with all."""
    return Caller(
        actor="key:test",
        sender=BACKEND,
        actions=frozenset(actions) if actions else EVERYTHING,
        namespaces=namespaces,
        key_id="test",
    )


def quiet() -> Config:
    """Return a configuration in which nothing is done in time."""
    return changed("backend", tick_seconds=1000.0, key_refresh_seconds=1000.0)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running_node(tmp_path, quiet()) as running:
        yield running
