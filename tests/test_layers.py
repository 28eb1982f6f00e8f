"""The rings of the program: who may import whom, read from the source and not from what happens to be loaded."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# No input or output, no clock, no chance: what `protocol` does is a function of what it is given. `random`, `secrets`,
# `uuid`, `os` and `tempfile` are the ways to chance. `datetime` is a type, and a clock only where it is asked for now.
FORBIDDEN = {
    "protocol": {
        *("chatd", "storage", "client", "web", "bench"),
        *("trio", "anyio", "asyncio", "threading", "socket", "ssl", "select", "selectors", "subprocess", "urllib"),
        *("time", "random", "secrets", "uuid", "os", "tempfile"),
    },
    "storage": {"chatd", "client", "web", "bench"},
    "client": {"chatd", "protocol", "storage", "web", "bench"},
}


def imports(source: str) -> Iterator[str]:
    """Name every module that the source imports, anywhere in it; `time` also where `datetime` is asked for now."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, level=0) if module is not None:
                yield module
            case ast.ImportFrom(level=level) if level:
                yield "." * level
            case ast.Call(func=ast.Attribute(attr="now" | "utcnow" | "today")):
                yield "time"
            case ast.Call(func=ast.Name(id="__import__") | ast.Attribute(attr="import_module")):
                yield "import at run time"


def broken_rules(package: str, source: str) -> set[str]:
    """Return what this source of a package imports and may not."""
    names = set(imports(source))
    outside = {name for name in names if name.split(".")[0] in FORBIDDEN[package]}
    # Only absolute imports that stand in the source can be checked here.
    return outside | {name for name in names if name.startswith(".") or name == "import at run time"}


FILES = [(package, path) for package in FORBIDDEN for path in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize(("package", "path"), FILES, ids=[str(path.relative_to(ROOT)) for _, path in FILES])
def test_a_package_imports_only_from_its_own_ring(package: str, path: Path) -> None:
    assert broken_rules(package, path.read_text("utf-8")) == set()


def test_the_packages_are_where_they_are_looked_for() -> None:
    assert {package for package, _ in FILES} >= {"protocol", "storage"}


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "import trio.abc",
        "from os import urandom",
        "def f():\n    from secrets import token_bytes",
        "import json, chatd.config",
        "from . import frames",
        "import importlib\nimportlib.import_module('time')",
        "__import__('socket')",
        "from datetime import datetime, UTC\ndatetime.now(UTC)",
    ],
)
def test_a_forbidden_import_is_found(source: str) -> None:
    assert broken_rules("protocol", source)


def test_an_allowed_import_is_not_complained_about() -> None:
    assert broken_rules("protocol", "from datetime import datetime\nfrom protocol.codes import CloseCode") == set()
    assert broken_rules("storage", "import trio\nimport os\nfrom protocol.body import Body") == set()
