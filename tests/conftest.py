"""Fixtures for all tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.rig.node import Rig, running_node


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """Return a running node with the default configuration."""
    async with running_node(tmp_path) as running:
        yield running
