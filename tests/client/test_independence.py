"""The client shares no code with the server, and its list of names is true."""

import ast
from pathlib import Path

import client

FORBIDDEN = {"bench", "chatd", "msgspec", "protocol", "storage", "tests", "websockets"}


def test_the_client_imports_nothing_of_the_server() -> None:
    for path in Path(client.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & FORBIDDEN, path.name


def test_every_exported_name_exists() -> None:
    assert sorted(client.__all__) == client.__all__
    assert [name for name in client.__all__ if not hasattr(client, name)] == []
