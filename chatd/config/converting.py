"""Turns what a file says into tables of the configuration, and says in one line which key is wrong."""

import re
from collections.abc import Sequence
from typing import Any, TypeVar, get_args

import msgspec

from chatd.config.namespaces import Namespace
from chatd.config.section import ConfigError, Section
from chatd.config.tree import Config

_S = TypeVar("_S", bound=Section)
_NO_CHOICE = "Invalid enum value "


def convert(tree: dict[str, Any], section: type[_S], place: str) -> _S:
    """Make a table of what was read; `place` is its own key, empty for the whole tree.

    Raises:
        ConfigError: A key is unknown, of the wrong type or out of range.
    """
    _refuse_unknown(tree, section, place)
    _refuse_nul(tree, place)
    try:
        return msgspec.convert(tree, section)
    except msgspec.ValidationError as error:
        raise ConfigError(_one_line(error, section, place)) from error


def _refuse_unknown(tree: dict[str, Any], section: type[Section], place: str) -> None:
    fields = _fields(section)
    for key, value in tree.items():
        name = f"{place}.{shown(key)}".lstrip(".")
        if key not in fields:
            raise ConfigError(f"{name}: unknown key")
        kind = fields[key]
        if isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, Section):
            _refuse_unknown(value, kind, name)


def _refuse_nul(value: object, place: str) -> None:
    """Refuse what no path, address or name can hold, before some call of the system does."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _refuse_nul(inner, f"{place}.{shown(key)}".lstrip("."))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _refuse_nul(inner, f"{place}[{index}]")
    elif isinstance(value, str) and "\0" in value:
        raise ConfigError(f"{place}: text may not contain NUL")


def _fields(kind: object) -> dict[str, Any]:
    """Return the types of a table's keys; none if it is no table."""
    if not isinstance(kind, type) or not issubclass(kind, Section):
        return {}
    return {field.name: field.type for field in msgspec.structs.fields(kind)}


def shown(key: str) -> str:
    """Return a key as it can stand in a line: quoted if it is more than letters, digits, `_` and `-`."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else repr(key)


def type_of(path: Sequence[str], section: type[Section] = Config) -> object:
    """Return the type of a key; None if there is no such key."""
    if section is Config and path[0] == "namespaces":
        path, section = path[2:], Namespace
    kind: object = section
    for name in path:
        kind = _fields(kind).get(name)
    return kind


def _one_line(error: msgspec.ValidationError, section: type[Section], place: str) -> str:
    """Turn msgspec's words into one line that begins with the key."""
    text, is_inside, inner = str(error).rpartition(" - at `$.")
    if not is_inside:  # the table itself is wrong
        text, inner = inner, ""
    inner = inner.rstrip("`")
    key = f"{place}.{inner}".strip(".")
    if text.startswith(_NO_CHOICE):
        kind = type_of(inner.partition("[")[0].split("."), section)
        choices = get_args(get_args(kind)[0]) or get_args(kind)  # of a list: those of its items
        return f"{key}: {text.removeprefix(_NO_CHOICE)} is none of {', '.join(choices)}"
    return f"{key}: {text[0].lower()}{text[1:]}"
