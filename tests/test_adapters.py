"""Interfaces name only adapters that exist."""

import importlib.util
import re
from types import ModuleType

import pytest

import chatd.broker
import storage


@pytest.mark.parametrize("interface", [chatd.broker, storage], ids=lambda module: module.__name__)
def test_every_adapter_that_an_interface_names_exists(interface: ModuleType) -> None:
    named = re.findall(rf"`({interface.__name__}\.\w+)`", interface.__doc__ or "")
    assert named
    assert [name for name in named if importlib.util.find_spec(name) is None] == []
